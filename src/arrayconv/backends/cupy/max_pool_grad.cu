// max_pool_grad: each cell gathers the cotangents of the windows whose maximum it is.
//
// A thread takes one cell of each of its planes, looks at the indices of all windows that see it,
// and adds the cotangents of those that name it, always in the same order: no atomics. Neighbouring
// cells look at the same windows, so that indices and cotangents come from memory once. Launch: a
// thread for each cell of Planes planes.

template <typename T, typename Index, int Dims, int Kernel, int Stride, int Planes, bool Dense>
__global__ void max_pool_grad(
    const T* __restrict__ cotangent, const Layout<Index> layout,
    const long long* __restrict__ indices, const Layout<Index> index_layout,
    const Window<Index> window, T* __restrict__ gradient, const Index cells, const Index planes,
    const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Place<Index> place = cell_of<Dims>(item, window);
    const Index first = place.plane * Planes;
    Index from[Planes], index_from[Planes];
    layout.template several<Dense>(first, planes, from);
    index_layout.template several<Dense>(first, planes, index_from);
    const Index number = item - place.plane * cells;
    typename Sum<T>::Type sum[Planes] = {};
    for_each_sight<Dims, Kernel, Stride>(
        window, place, [&](Index, Index z, Index y, Index position) {
            const Index at = layout.template at<Dense>(z, y, position);
            const Index index_at = index_layout.template at<Dense>(z, y, position);
#pragma unroll
            for (int p = 0; p < Planes; ++p) {
                // Both are read: to wait for the one before the other would take longer.
                const T given = cotangent[from[p] + at];
                const bool mine = indices[index_from[p] + index_at] == number;
                sum[p] = mine ? plus(sum[p], widen(given)) : sum[p];
            }
        });
    const Index to = (first - place.plane) * cells + item;
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
        if (first + p < planes) gradient[to + p * cells] = Narrow<T>::from(sum[p]);
    }
}
