// max_pool_grad: each cell gathers the cotangents of the windows whose maximum it is.
//
// A thread takes a run of Cells cells of a row, in each of its planes, looks at the indices of all
// windows that see one of them, and adds the cotangents of those that name it, always in the same
// order: no atomics. Neighbouring threads look at the same windows, so that indices and cotangents
// come from memory once. Cells divides the length of a row. Launch: a thread for each run of Planes
// planes.

template <typename T, typename Index, int Dims, int Kernel, int Stride, int Planes, bool Dense,
          int Cells>
__global__ void max_pool_grad(
    const T* __restrict__ cotangent, const Layout<Index> layout,
    const long long* __restrict__ indices, const Layout<Index> index_layout,
    const Window<Index> window, T* __restrict__ gradient, const Index cells, const Index planes,
    const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Place<Index> place = cell_of<Dims>(item * Cells, window);
    const Index first = place.plane * Planes;
    Index from[Planes], index_from[Planes];
    layout.template several<Dense>(first, planes, from);
    index_layout.template several<Dense>(first, planes, index_from);
    const Index number = item * Cells - place.plane * cells;
    typename Sum<T>::Type sum[Planes][Cells] = {};
    for_each_row_of_sights<Dims, Kernel, Stride>(
        window, place, [&](Index, Index z, Index y) {
            for_each_sight_in_row<Dims, Kernel, Stride, Cells>(
                window, place, [&](Index, Index position) {
                    const Index at = layout.template at<Dense>(z, y, position);
                    const Index index_at = index_layout.template at<Dense>(z, y, position);
#pragma unroll
                    for (int p = 0; p < Planes; ++p) {
                        // Both are read: to wait for the one before the other would take longer.
                        const auto given = widen(cotangent[from[p] + at]);
                        // Cells of a plane are numbered in the bits of an Index.
                        const Index named = static_cast<Index>(indices[index_from[p] + index_at]);
#pragma unroll
                        for (int c = 0; c < Cells; ++c) {
                            if (named == number + c) sum[p][c] = plus(sum[p][c], given);
                        }
                    }
                });
        });
    const Index to = first * cells + number;
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
        if (first + p < planes) store<T>(gradient + to + p * cells, sum[p]);
    }
}
