// place (max_unpool): planes of 0 but where an index is; of equal indices the last value stays.
//
// A block takes a run of RUN cells of one plane. Its threads first look through all indices of the
// plane and keep, for each cell of the run, the number of the last value that goes there, in shared
// memory; an atomic maximum of whole numbers is the same in any order. Then they write the run.
// The indices of a plane are read once for each of its runs, all but once from the cache.
//
// Layouts: cell[2] for a value or an index; the grid has `runs` blocks for each plane.

constexpr int RUN = 4096;

template <typename Word, typename Index>
__global__ void place(
    const Word* __restrict__ values, const Layout<Index> layout,
    const long long* __restrict__ indices, const Layout<Index> index_layout,
    Word* __restrict__ planes, const Index number, const Index cells, const Index runs) {
    __shared__ int last[RUN];
    const Index block = static_cast<Index>(blockIdx.x);
    const Index plane = block / runs, first = (block - plane * runs) * RUN;
    const Index length = cells - first < RUN ? cells - first : RUN;
    for (Index cell = threadIdx.x; cell < length; cell += blockDim.x) last[cell] = -1;
    __syncthreads();
    const Index index_plane = index_layout.template plane<false>(plane);
    for (Index each = threadIdx.x; each < number; each += blockDim.x) {
        const long long cell = indices[index_plane + each * index_layout.cell[2]] - first;
        if (cell >= 0 && cell < length) atomicMax(&last[cell], static_cast<int>(each));
    }
    __syncthreads();
    const Index value_plane = layout.template plane<false>(plane);
    for (Index cell = threadIdx.x; cell < length; cell += blockDim.x) {
        const Index each = last[cell];
        planes[plane * cells + first + cell] =
            each < 0 ? Word() : values[value_plane + each * layout.cell[2]];
    }
}
