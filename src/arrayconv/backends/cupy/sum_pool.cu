// sum_pool: the sum of what each window sees, in the wide type, or a share of it.
//
// A thread takes one position and adds its window in the order of memory, in each of its planes.
// Windows overlap in the cache, so memory is read once. Launch: a thread for each position of
// Planes planes.

template <typename T, typename Index, int Dims, int Kernel, int Stride, int Planes, bool Dense>
__global__ void sum_pool(
    const T* __restrict__ x, const Layout<Index> layout, const Window<Index> window,
    const double share, typename Sum<T>::Type* __restrict__ sums, const Index positions,
    const Index planes, const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Place<Index> place = position_of<Dims>(item, window);
    const Index first = place.plane * Planes;
    Index from[Planes];
    layout.template several<Dense>(first, planes, from);
    typename Sum<T>::Type sum[Planes] = {};
    for_each_tap<Dims, Kernel, Stride>(
        window, place, [&](Index z, Index y, Index cell, bool seen) {
            if (!seen) return;
            const Index at = layout.template at<Dense>(z, y, cell);
#pragma unroll
            for (int p = 0; p < Planes; ++p) sum[p] = plus(sum[p], widen(x[from[p] + at]));
        });
    const Index to = (first - place.plane) * positions + item;
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
        if (first + p < planes) sums[to + p * positions] = share_of(sum[p], share);
    }
}
