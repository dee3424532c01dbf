// spread: the adjoint of sum_pool, each cell the sum of all windows that see it.
//
// A thread takes one cell and adds the positions that see it, always in the same order: no
// atomics. Neighbouring cells are seen by the same windows, which come from memory once. Launch: a
// thread a cell.

template <typename T, typename Index, int Dims, int Kernel, int Stride>
__global__ void spread(
    const T* __restrict__ y, const Layout<Index> layout, const Window<Index> window,
    T* __restrict__ x, const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Place<Index> place = cell_of<Dims>(item, window);
    const Index plane = layout.plane(place.plane);
    typename Sum<T>::Type sum = {};
    for_each_sight<Dims, Kernel, Stride>(
        window, place, [&](Index, Index z, Index row, Index position) {
            sum = plus(sum, widen(y[plane + layout.at(z, row, position)]));
        });
    x[item] = Narrow<T>::from(sum);
}
