// Depthwise convolution, in which each output channel sees one input channel, and its gradient to x.
//
// Weights (O, 1, *kernel) are contiguous, `taps` for an output; O = channels * multiplier. So is the
// bias of each plane of results, if there is one. Both kernels gather: no atomics, and always the same
// order of addition.

// y (N, O, *positions) of x, w and bias. A thread takes one position of Planes output planes:
// neighbouring threads read neighbouring cells, and all threads of a plane the same weights. Launch: a
// thread for each position of Planes planes.
template <typename T, typename Index, int Dims, int Kernel, int Stride, int Planes, bool Dense>
__global__ void depthwise(
    const T* __restrict__ x, const Layout<Index> layout, const T* __restrict__ w,
    const T* __restrict__ bias, const Window<Index> window, const Groups<Index> groups,
    T* __restrict__ y, const Index taps, const Index positions, const Index planes,
    const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Place<Index> place = position_of<Dims>(item, window);
    const Index first = place.plane * Planes;
    // As pointers: the taps of a row then share one address.
    const T *from[Planes], *weights[Planes];
    typename Sum<T>::Type sum[Planes];
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
        const Index plane = first + p < planes ? first + p : planes - 1;
        const Index image = groups.by_outputs.quotient(plane);
        const Index output = plane - image * groups.outputs;
        const Index channel = groups.by_multiplier.quotient(output);
        from[p] = x + image * layout.image + channel * layout.channel;
        weights[p] = w + output * taps;
        sum[p] = bias_of(bias, output);
    }
    Index tap = 0;
    for_each_tap<Dims, Kernel, Stride>(
        window, place, [&](Index z, Index row, Index cell, bool seen) {
            const Index each = tap++;
            if (!seen) return;
            const Index at = layout.template at<Dense>(z, row, cell);
#pragma unroll
            for (int p = 0; p < Planes; ++p) {
                sum[p] = multiply_add(widen(from[p][at]), widen(weights[p][each]), sum[p]);
            }
        });
    const Index to = (first - place.plane) * positions + item;
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
        if (first + p < planes) y[to + p * positions] = Narrow<T>::from(sum[p]);
    }
}

// x (N, C, *sizes) of y, w and bias: the gradient to x. A thread takes a run of Cells cells of a row, in
// each of its planes, and gathers from all taps and positions that see them, in each of its channel's
// outputs. What sees several of its cells it reads once, and the weights of a row of taps too. Cells
// divides the length of a row. Launch: a thread for each run of Planes planes.
template <typename T, typename Index, int Dims, int Kernel, int Stride, int Planes, bool Dense,
          int Cells>
__global__ void depthwise_transpose(
    const T* __restrict__ y, const Layout<Index> layout, const T* __restrict__ w,
    const T* __restrict__ bias, const Window<Index> window, const Groups<Index> groups,
    T* __restrict__ x, const Index taps, const Index cells, const Index planes,
    const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Place<Index> place = cell_of<Dims>(item * Cells, window);
    const Index first = place.plane * Planes;
    Index from[Planes], kernel[Planes];
    typename Sum<T>::Type sum[Planes][Cells];
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
        const Index plane = first + p < planes ? first + p : planes - 1;
        const Index image = layout.by_channels.quotient(plane);
        const Index channel = plane - image * layout.channels;
        const Index output = channel * groups.multiplier;
        from[p] = image * layout.image + output * layout.channel;
        kernel[p] = output * taps;
        const typename Sum<T>::Type begin = bias_of(bias, channel);
#pragma unroll
        for (int c = 0; c < Cells; ++c) sum[p][c] = begin;
    }
    for (Index output = 0; output < groups.multiplier; ++output) {
        for_each_row_of_sights<Dims, Kernel, Stride>(
            window, place, [&](Index taps_row, Index z, Index row) {
                const Index weights = output * taps + taps_row * window.axes[2].kernel;
                for_each_sight_in_row<Dims, Kernel, Stride, Cells>(
                    window, place, [&](Index tap, Index position) {
                        const Index at =
                            output * layout.channel + layout.template at<Dense>(z, row, position);
#pragma unroll
                        for (int p = 0; p < Planes; ++p) {
                            const auto value = widen(y[from[p] + at]);
#pragma unroll
                            for (int c = 0; c < Cells; ++c) {
                                const Index its = tap - (Cells - 1 - c);
                                if (!is_tap<Kernel, Cells>(its)) continue;
                                const auto weight = widen(w[kernel[p] + weights + its]);
                                sum[p][c] = multiply_add(value, weight, sum[p][c]);
                            }
                        }
                    });
            });
    }
    const Index to = (first - place.plane) * cells + item * Cells;
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
        if (first + p < planes) store<T>(x + to + p * cells, sum[p]);
    }
}
