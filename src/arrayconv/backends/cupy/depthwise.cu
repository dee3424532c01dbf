// Depthwise convolution, in which each output channel sees one input channel, and its gradients.
//
// Weights (O, 1, *kernel) are contiguous, `taps` for an output; O = channels * multiplier. All three kernels
// gather: no atomics, and always the same order of addition.

// y (N, O, *positions) of x and w. A thread takes one position of Planes output planes: neighbouring
// threads read neighbouring cells, and all threads of a plane the same weights. Launch: a thread for
// each position of Planes planes.
template <typename T, typename Index, int Dims, int Kernel, int Stride, int Planes, bool Dense>
__global__ void depthwise(
    const T* __restrict__ x, const Layout<Index> layout, const T* __restrict__ w,
    const Window<Index> window, const Groups<Index> groups, T* __restrict__ y, const Index taps,
    const Index positions, const Index planes, const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Place<Index> place = position_of<Dims>(item, window);
    const Index first = place.plane * Planes;
    // As pointers: the taps of a row then share one address.
    const T *from[Planes], *weights[Planes];
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
        const Index plane = first + p < planes ? first + p : planes - 1;
        const Index image = groups.by_outputs.quotient(plane);
        const Index output = plane - image * groups.outputs;
        const Index channel = groups.by_multiplier.quotient(output);
        from[p] = x + image * layout.image + channel * layout.channel;
        weights[p] = w + output * taps;
    }
    typename Sum<T>::Type sum[Planes] = {};
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

// x (N, C, *sizes) of y and w: the gradient to x. A thread takes a run of Cells cells of a row, in
// each of its planes, and gathers from all taps and positions that see them, in each of its channel's
// outputs. What sees several of its cells it reads once, and the weights of a row of taps too. Cells
// divides the length of a row. Launch: a thread for each run of Planes planes.
template <typename T, typename Index, int Dims, int Kernel, int Stride, int Planes, bool Dense,
          int Cells>
__global__ void depthwise_transpose(
    const T* __restrict__ y, const Layout<Index> layout, const T* __restrict__ w,
    const Window<Index> window, const Groups<Index> groups, T* __restrict__ x, const Index taps,
    const Index cells, const Index planes, const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Place<Index> place = cell_of<Dims>(item * Cells, window);
    const Index first = place.plane * Planes;
    Index from[Planes], kernel[Planes];
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
        const Index plane = first + p < planes ? first + p : planes - 1;
        const Index image = layout.by_channels.quotient(plane);
        const Index output = (plane - image * layout.channels) * groups.multiplier;
        from[p] = image * layout.image + output * layout.channel;
        kernel[p] = output * taps;
    }
    typename Sum<T>::Type sum[Planes][Cells] = {};
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

constexpr int THREADS = 256;

// The gradient to w, as partial sums (O * taps, splits). A block of THREADS takes one tap of one
// output and every `splits`-th run of THREADS positions of all images; its threads' sums are added
// in a tree. Launch: O * taps * splits blocks.
template <typename T, typename Index, int Dims>
__global__ void depthwise_weight(
    const T* __restrict__ x, const Layout<Index> layout, const T* __restrict__ y,
    const Layout<Index> y_layout, const Window<Index> window, const Groups<Index> groups,
    typename Sum<T>::Type* __restrict__ partial, const Index taps, const Index splits,
    const Index count) {
    typedef typename Sum<T>::Type Wide;
    __shared__ Wide sums[THREADS];
    const Index block = static_cast<Index>(blockIdx.x), row = block / splits;
    const Index output = row / taps, tap = row - output * taps;
    const Index taps_of_row = window.axes[2].kernel, rows = window.axes[1].kernel;
    const Index width = tap % taps_of_row, height = tap / taps_of_row % rows;
    const Index depth = tap / taps_of_row / rows;
    const Axis<Index>*axes = window.axes, &a = axes[0], &b = axes[1], &c = axes[2];
    const Index channel = groups.by_multiplier.quotient(output) * layout.channel;
    const Index y_channel = output * y_layout.channel;
    Wide sum = {};
    Index item = (block - row * splits) * THREADS + static_cast<Index>(threadIdx.x);
    for (; item < count; item += splits * THREADS) {
        const Place<Index> place = position_of<Dims>(item, window);
        const Index z = place.at[0] * a.stride + depth * a.dilation - a.before;
        const Index cell_row = place.at[1] * b.stride + height * b.dilation - b.before;
        const Index cell = place.at[2] * c.stride + width * c.dilation - c.before;
        if (inside(z, a.size) && inside(cell_row, b.size) && inside(cell, c.size)) {
            const Index seen = channel + layout.template at<false>(z, cell_row, cell);
            const Index given =
                y_channel + y_layout.template at<false>(place.at[0], place.at[1], place.at[2]);
            const T value = x[place.plane * layout.image + seen];
            const T factor = y[place.plane * y_layout.image + given];
            sum = multiply_add(widen(value), widen(factor), sum);
        }
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            sums[threadIdx.x] = plus(sums[threadIdx.x], sums[threadIdx.x + half]);
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) partial[block] = sums[0];
}

// w (O, 1, *kernel): the partial sums of each weight added in their order. Launch: a thread a
// weight.
template <typename T, typename Index>
__global__ void depthwise_weight_sum(
    const typename Sum<T>::Type* __restrict__ partial, T* __restrict__ w, const Index splits,
    const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    typename Sum<T>::Type sum = {};
    for (Index split = 0; split < splits; ++split) sum = plus(sum, partial[item * splits + split]);
    w[item] = Narrow<T>::from(sum);
}
