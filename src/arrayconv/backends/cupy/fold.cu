// fold (col2im): x (N, C, *sizes), each cell the sum of what the columns hold of it.
//
// A thread takes one cell of each of its planes and gathers from all taps and positions that see
// it: no atomics, and always the same order of addition. Each element of the columns is read once,
// by neighbouring threads from neighbouring places; the sums are kept in registers, in float for
// half types.
//
// The layout of the columns (N, C * taps, positions): plane() gives a channel's first row, and
// cell[1] and cell[2] go from row to row and from position to position. Launch: a thread for each
// cell of Planes planes.

template <typename T, typename Index, int Dims, int Kernel, int Stride, int Planes, bool Dense>
__global__ void fold(
    const T* __restrict__ columns, const Layout<Index> layout, const Window<Index> window,
    T* __restrict__ x, const Index cells, const Index planes, const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Place<Index> place = cell_of<Dims>(item, window);
    const Index first = place.plane * Planes;
    Index from[Planes];
    layout.template several<Dense>(first, planes, from);
    typename Sum<T>::Type sum[Planes] = {};
    for_each_sight<Dims, Kernel, Stride>(
        window, place, [&](Index tap, Index z, Index y, Index position) {
            const Index number = (z * window.axes[1].out + y) * window.axes[2].out + position;
            const Index at = layout.template at<Dense>(0, tap, number);
#pragma unroll
            for (int p = 0; p < Planes; ++p) sum[p] = plus(sum[p], widen(columns[from[p] + at]));
        });
    const Index to = (first - place.plane) * cells + item;
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
        if (first + p < planes) x[to + p * cells] = Narrow<T>::from(sum[p]);
    }
}
