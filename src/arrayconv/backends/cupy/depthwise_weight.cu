// The gradient of a depthwise convolution to its weights (O, 1, *kernel), O = channels * multiplier.
//
// First partial sums (O * taps, splits): blocks of THREADS threads add up products of x and y, their
// threads' sums in a tree. Then the partial sums of each weight, in their order. No atomics: shapes
// alone say in which order is added.

constexpr int THREADS = 256;

// The sum of what the block's threads hold, the same for the first thread in every run.
template <typename Wide>
__device__ __forceinline__ Wide sum_of_block(Wide mine, Wide (&sums)[THREADS]) {
    sums[threadIdx.x] = mine;
    __syncthreads();
#pragma unroll 1
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            sums[threadIdx.x] = plus(sums[threadIdx.x], sums[threadIdx.x + half]);
        }
        __syncthreads();
    }
    const Wide total = sums[0];
    // Before another sum is begun.
    __syncthreads();
    return total;
}

// In general: a block takes one tap of one output and every `splits`-th run of THREADS positions of
// all images. Launch: O * taps * splits blocks.
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
    const Wide total = sum_of_block(sum, sums);
    if (threadIdx.x == 0) partial[block] = total;
}

// Where the compiler knows the kernel and the stride: a block takes all taps of one output and every
// `splits`-th run of THREADS runs of Cells positions of a row. A thread reads each y of its run once,
// and each x that several of its windows see; it keeps a sum for each tap in registers. Cells divides
// the positions of a row. Launch: O * splits blocks; count: such runs in all images.
template <typename T, typename Index, int Dims, int Kernel, int Stride, bool Dense, int Cells>
__global__ void depthwise_weight_taps(
    const T* __restrict__ x, const Layout<Index> layout, const T* __restrict__ y,
    const Layout<Index> y_layout, const Window<Index> window, const Groups<Index> groups,
    typename Sum<T>::Type* __restrict__ partial, const Index splits, const Index count) {
    typedef typename Sum<T>::Type Wide;
    constexpr int DEPTH = Dims < 3 ? 1 : Kernel, HEIGHT = Dims < 2 ? 1 : Kernel;
    constexpr int TAPS = DEPTH * HEIGHT * Kernel, SEEN = (Cells - 1) * Stride + Kernel;
    __shared__ Wide sums[THREADS];
    const Index block = static_cast<Index>(blockIdx.x), output = block / splits;
    const Index split = block - output * splits;
    const Axis<Index>* axes = window.axes;
    const T* from = x + groups.by_multiplier.quotient(output) * layout.channel;
    const T* given = y + output * y_layout.channel;
    Wide sum[TAPS] = {};
    Index item = split * THREADS + static_cast<Index>(threadIdx.x);
    for (; item < count; item += splits * THREADS) {
        const Place<Index> place = position_of<Dims>(item * Cells, window);
        const T* image = from + place.plane * layout.image;
        const T* factors = given + place.plane * y_layout.image +
                           y_layout.template at<Dense>(place.at[0], place.at[1], place.at[2]);
        Wide factor[Cells];
#pragma unroll
        for (int c = 0; c < Cells; ++c) factor[c] = widen(factors[Dense ? c : c * y_layout.cell[2]]);
        const Index left = place.at[2] * Stride - axes[2].before;
#pragma unroll
        for (int row = 0; row < DEPTH * HEIGHT; ++row) {
            const Index z = place.at[0] * Stride + row / HEIGHT - axes[0].before;
            const Index height = place.at[1] * Stride + row % HEIGHT - axes[1].before;
            const bool in_row = (Dims < 3 || inside(z, axes[0].size)) &&
                                (Dims < 2 || inside(height, axes[1].size));
#pragma unroll
            for (int c = 0; c < SEEN; ++c) {
                const bool there = in_row && inside(left + c, axes[2].size);
                const Index at = layout.template at<Dense>(
                    Dims < 3 ? 0 : z, Dims < 2 ? 0 : height, left + c);
                const Wide value = there ? widen(image[at]) : Wide();
#pragma unroll
                for (int tap = 0; tap < Kernel; ++tap) {
                    // The position of the run whose tap sees this cell, if there is one.
                    if (c < tap || (c - tap) % Stride != 0 || (c - tap) / Stride >= Cells) continue;
                    Wide& its = sum[row * Kernel + tap];
                    its = multiply_add(value, factor[(c - tap) / Stride], its);
                }
            }
        }
    }
#pragma unroll
    for (int tap = 0; tap < TAPS; ++tap) {
        const Wide total = sum_of_block(sum[tap], sums);
        if (threadIdx.x == 0) partial[(output * TAPS + tap) * splits + split] = total;
    }
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
