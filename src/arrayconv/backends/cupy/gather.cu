// gather: the cells (N, C, n) of planes (N, C, cells) that indices (N, C, n) name; an index outside
// of the plane takes 0.
//
// A thread takes the indices of one number in each of its planes. Neighbouring threads read
// neighbouring indices and write neighbouring results; the cells lie where the indices say. Word is
// any type of an element's size: nothing is computed. Layouts: cell[2] for a cell or an index.
// Launch: a thread for each number of Planes planes.

template <typename Word, typename Index, int Planes>
__global__ void gather(
    const Word* __restrict__ planes, const Layout<Index> layout,
    const long long* __restrict__ indices, const Layout<Index> index_layout,
    Word* __restrict__ taken, const Index cells, const Index number, const Index plane_count,
    const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Index group = item / number, first = group * Planes;
    const Index each = item - group * number;
    Index from[Planes], index_from[Planes];
    layout.template several<false>(first, plane_count, from);
    index_layout.template several<false>(first, plane_count, index_from);
    const Index to = first * number + each;
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
        const long long cell = indices[index_from[p] + each * index_layout.cell[2]];
        const bool there = cell >= 0 && cell < cells;
        const Word held = there ? planes[from[p] + static_cast<Index>(cell) * layout.cell[2]] : Word();
        if (first + p < plane_count) taken[to + p * number] = held;
    }
}
