// fold (col2im): x (N, C, *sizes), each cell the sum of what the columns hold of it.
//
// A thread takes one cell and gathers from all taps and positions that see it: no atomics, and
// always the same order of addition. Each element of the columns is read once, by neighbouring
// threads from neighbouring places; the sum is kept in a register, in float for half types.
//
// The layout of the columns (N, C * taps, positions): plane() gives a channel's first row, and
// cell[1] and cell[2] go from row to row and from position to position. Launch: a thread a cell.

template <typename T, typename Index, int Dims, int Kernel, int Stride>
__global__ void fold(
    const T* __restrict__ columns, const Layout<Index> layout, const Window<Index> window,
    T* __restrict__ x, const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Place<Index> place = cell_of<Dims>(item, window);
    const Index plane = layout.plane(place.plane);
    typename Sum<T>::Type sum = {};
    for_each_sight<Dims, Kernel, Stride>(
        window, place, [&](Index tap, Index z, Index y, Index position) {
            const Index number = (z * window.axes[1].out + y) * window.axes[2].out + position;
            sum = plus(sum, widen(columns[plane + layout.at(0, tap, number)]));
        });
    x[item] = Narrow<T>::from(sum);
}
