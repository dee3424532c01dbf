// max_pool_grad: each cell gathers the cotangents of the windows whose maximum it is.
//
// A thread takes one cell, looks at the indices of all windows that see it, and adds the cotangents
// of those that name it, always in the same order: no atomics. Neighbouring cells look at the same
// windows, so that indices and cotangents come from memory once. Launch: a thread a cell.

template <typename T, typename Index, int Dims, int Kernel, int Stride>
__global__ void max_pool_grad(
    const T* __restrict__ cotangent, const Layout<Index> layout,
    const long long* __restrict__ indices, const Layout<Index> index_layout,
    const Window<Index> window, T* __restrict__ gradient, const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Place<Index> place = cell_of<Dims>(item, window);
    const Index plane = layout.plane(place.plane), index_plane = index_layout.plane(place.plane);
    const Index number =
        (place.at[0] * window.axes[1].size + place.at[1]) * window.axes[2].size + place.at[2];
    typename Sum<T>::Type sum = {};
    for_each_sight<Dims, Kernel, Stride>(
        window, place, [&](Index, Index z, Index y, Index position) {
            if (indices[index_plane + index_layout.at(z, y, position)] == number) {
                sum = plus(sum, widen(cotangent[plane + layout.at(z, y, position)]));
            }
        });
    gradient[item] = Narrow<T>::from(sum);
}
