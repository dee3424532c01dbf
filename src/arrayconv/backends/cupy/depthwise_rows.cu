// Depthwise convolution in two dimensions, where the compiler knows the kernel and the stride.
//
// y (N, O, *positions) of x, w and bias, as in depthwise.cu, but that a thread takes Rows positions
// below each other: it reads each cell that they see once, and each weight once, into registers.
// Threads of a warp are beside each other. At one position a thread, the reads of x and w would take
// longer than the memory does. Flipped turns the kernel around: a gradient to x is then of this form
// too.
//
// `groups.row_groups` is the number of runs of Rows rows in a plane of y. Launch: a thread for each
// column of each run.

template <typename T, typename Index, int Dims, int Kernel, int Stride, int Rows, bool Dense,
          bool Flipped>
__global__ void depthwise_rows(
    const T* __restrict__ x, const Layout<Index> layout, const T* __restrict__ w,
    const T* __restrict__ bias, const Window<Index> window, const Groups<Index> groups,
    T* __restrict__ y, const Index count) {
    static_assert(Dims == 2 && Kernel > 0, "two dimensions, and a kernel that is known");
    typedef typename Sum<T>::Type Wide;
    constexpr int TAPS = Kernel * Kernel;
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Axis<Index>&height = window.axes[1], &width = window.axes[2];
    const Index above = width.by_out.quotient(item), column = item - above * width.out;
    const Index plane = groups.by_row_groups.quotient(above);
    const Index first = (above - plane * groups.row_groups) * Rows;
    const Index image = groups.by_outputs.quotient(plane);
    const Index output = plane - image * groups.outputs;
    const Index channel = groups.by_multiplier.quotient(output);
    const T* from = x + image * layout.image + channel * layout.channel;
    Wide weights[TAPS], sum[Rows];
#pragma unroll
    for (int tap = 0; tap < TAPS; ++tap) {
        weights[tap] = widen(w[output * TAPS + (Flipped ? TAPS - 1 - tap : tap)]);
    }
#pragma unroll
    for (int row = 0; row < Rows; ++row) sum[row] = bias_of(bias, output);
    const Index top = first * Stride - height.before, left = column * Stride - width.before;
#pragma unroll
    for (int r = 0; r < (Rows - 1) * Stride + Kernel; ++r) {
        const bool in_row = inside(top + r, height.size);
#pragma unroll
        for (int t = 0; t < Kernel; ++t) {
            const bool seen = in_row && inside(left + t, width.size);
            const Index at = layout.template at<Dense>(0, top + r, left + t);
            const Wide value = seen ? widen(from[at]) : Wide();
#pragma unroll
            for (int row = 0; row < Rows; ++row) {
                const int tap = r - row * Stride;
                if (tap < 0 || tap >= Kernel) continue;
                sum[row] = multiply_add(value, weights[tap * Kernel + t], sum[row]);
            }
        }
    }
    const Index to = (plane * height.out + first) * width.out + column;
#pragma unroll
    for (int row = 0; row < Rows; ++row) {
        if (first + row < height.out) y[to + row * width.out] = Narrow<T>::from(sum[row]);
    }
}
