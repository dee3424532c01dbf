// spread: the adjoint of sum_pool, each cell the sum of all windows that see it, or a share of it.
//
// A thread takes a run of Cells cells of a row, in each of its planes, and adds the positions that
// see them, always in the same order: no atomics. What sees several of its cells it reads once;
// neighbouring threads are seen by the same windows, which come from memory once. Cells divides the
// length of a row. Launch: a thread for each run of Planes planes.

template <typename T, typename Index, int Dims, int Kernel, int Stride, int Planes, bool Dense,
          int Cells>
__global__ void spread(
    const T* __restrict__ y, const Layout<Index> layout, const Window<Index> window,
    const double share, T* __restrict__ x, const Index cells, const Index planes,
    const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Place<Index> place = cell_of<Dims>(item * Cells, window);
    const Index first = place.plane * Planes;
    Index from[Planes];
    layout.template several<Dense>(first, planes, from);
    typename Sum<T>::Type sum[Planes][Cells] = {};
    for_each_row_of_sights<Dims, Kernel, Stride>(
        window, place, [&](Index, Index z, Index row) {
            for_each_sight_in_row<Dims, Kernel, Stride, Cells>(
                window, place, [&](Index tap, Index position) {
                    const Index at = layout.template at<Dense>(z, row, position);
#pragma unroll
                    for (int p = 0; p < Planes; ++p) {
                        const auto value = widen(y[from[p] + at]);
#pragma unroll
                        for (int c = 0; c < Cells; ++c) {
                            const bool seen = is_tap<Kernel, Cells>(tap - (Cells - 1 - c));
                            if (seen) sum[p][c] = plus(sum[p][c], value);
                        }
                    }
                });
        });
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
#pragma unroll
        for (int c = 0; c < Cells; ++c) sum[p][c] = share_of(sum[p][c], share);
    }
    const Index to = (first - place.plane) * cells + item * Cells;
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
        if (first + p < planes) store<T>(x + to + p * cells, sum[p]);
    }
}
