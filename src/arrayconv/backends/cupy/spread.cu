// spread: the adjoint of sum_pool, each cell the sum of all windows that see it.
//
// A thread takes one cell of each of its planes and adds the positions that see it, always in the
// same order: no atomics. Neighbouring cells are seen by the same windows, which come from memory
// once. Launch: a thread for each cell of Planes planes.

template <typename T, typename Index, int Dims, int Kernel, int Stride, int Planes, bool Dense>
__global__ void spread(
    const T* __restrict__ y, const Layout<Index> layout, const Window<Index> window,
    T* __restrict__ x, const Index cells, const Index planes, const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Place<Index> place = cell_of<Dims>(item, window);
    const Index first = place.plane * Planes;
    Index from[Planes];
    layout.template several<Dense>(first, planes, from);
    typename Sum<T>::Type sum[Planes] = {};
    for_each_sight<Dims, Kernel, Stride>(
        window, place, [&](Index, Index z, Index row, Index position) {
            const Index at = layout.template at<Dense>(z, row, position);
#pragma unroll
            for (int p = 0; p < Planes; ++p) sum[p] = plus(sum[p], widen(y[from[p] + at]));
        });
    const Index to = (first - place.plane) * cells + item;
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
        if (first + p < planes) x[to + p * cells] = Narrow<T>::from(sum[p]);
    }
}
