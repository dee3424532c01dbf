// sum_pool: the sum of what each window sees, in the wide type.
//
// A thread takes one position and adds its window in the order of memory. Windows overlap in the
// cache, so memory is read once. Launch: a thread a position.

template <typename T, typename Index, int Dims, int Kernel, int Stride>
__global__ void sum_pool(
    const T* __restrict__ x, const Layout<Index> layout, const Window<Index> window,
    typename Sum<T>::Type* __restrict__ sums, const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Place<Index> place = position_of<Dims>(item, window);
    const Index plane = layout.plane(place.plane);
    typename Sum<T>::Type sum = {};
    for_each_tap<Dims, Kernel, Stride>(
        window, place, [&](Index z, Index y, Index cell, bool seen) {
            if (seen) sum = plus(sum, widen(x[plane + layout.at(z, y, cell)]));
        });
    sums[item] = sum;
}
