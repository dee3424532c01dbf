// max_pool: the maximum of what each window sees, and with Indexed where in the plane it is.
//
// A thread takes one position and reads its window in the order of memory, in each of its planes:
// the first of equal maxima stays, and the last NaN. Padding is no value; a window that sees nothing
// else gives the lowest number, at -1. Windows overlap in the cache, so memory is read once.
// Launch: a thread for each position of Planes planes.

template <typename T, typename Index, int Dims, int Kernel, int Stride, int Planes, bool Dense, bool Indexed>
__global__ void max_pool(
    const T* __restrict__ x, const Layout<Index> layout, const Window<Index> window,
    T* __restrict__ values, long long* __restrict__ indices, const Index positions,
    const Index planes, const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Place<Index> place = position_of<Dims>(item, window);
    const Index first = place.plane * Planes;
    Index from[Planes], where[Planes];
    T best[Planes];
    layout.template several<Dense>(first, planes, from);
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
        best[p] = Lowest<T>::value();
        where[p] = -1;
    }
    for_each_tap<Dims, Kernel, Stride>(
        window, place, [&](Index z, Index y, Index cell, bool seen) {
            if (!seen) return;
            const Index at = layout.template at<Dense>(z, y, cell);
            const Index number = (z * window.axes[1].size + y) * window.axes[2].size + cell;
#pragma unroll
            for (int p = 0; p < Planes; ++p) {
                const T value = x[from[p] + at];
                if (beats(value, best[p]) || (Indexed && where[p] < 0)) {
                    best[p] = value;
                    where[p] = number;
                }
            }
        });
    const Index to = (first - place.plane) * positions + item;
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
        if (first + p >= planes) return;
        values[to + p * positions] = best[p];
        if (Indexed) indices[to + p * positions] = where[p];
    }
}
