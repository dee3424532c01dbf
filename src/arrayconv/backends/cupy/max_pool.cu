// max_pool: the maximum of what each window sees, and with Indexed where in the plane it is.
//
// A thread takes one position and reads its window in the order of memory: the first of equal
// maxima stays, and the last NaN. Padding is no value; a window that sees nothing else gives the
// lowest number, at -1. Windows overlap in the cache, so memory is read once. Launch: a thread a
// position.

template <typename T, typename Index, int Dims, int Kernel, int Stride, bool Indexed>
__global__ void max_pool(
    const T* __restrict__ x, const Layout<Index> layout, const Window<Index> window,
    T* __restrict__ values, long long* __restrict__ indices, const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Place<Index> place = position_of<Dims>(item, window);
    const Index plane = layout.plane(place.plane);
    T best = Lowest<T>::value();
    Index where = -1;
    for_each_tap<Dims, Kernel, Stride>(
        window, place, [&](Index z, Index y, Index cell, bool seen) {
            if (!seen) return;
            const T value = x[plane + layout.at(z, y, cell)];
            if (beats(value, best) || (Indexed && where < 0)) {
                best = value;
                where = (z * window.axes[1].size + y) * window.axes[2].size + cell;
            }
        });
    values[item] = best;
    if (Indexed) indices[item] = where;
}
