// scatter_add: planes (N, C, cells), each cell the sum of the values whose index it is, added in the
// order of their numbers; an index outside of the plane is dropped.
//
// A block takes a run of RUN cells of one plane, whose sums it keeps in shared memory. Its threads
// go through the values of the plane, as many at a time as they are. Among those that wait for the
// same cell the one with the lowest number adds first: in each round all of them bid for the cell,
// an atomic maximum of whole numbers, which is the same in any order, and the winner adds. So sums
// of floating-point numbers are the same in every run, and no round is made but for equal indices.
// A bid of a later round is above all of earlier rounds: nothing need be taken back.
//
// Layouts: cell[2] for a value or an index. Launch: `runs` blocks for each plane.

constexpr int RUN = 2048;

template <typename T, typename Index>
__global__ void scatter_add(
    const T* __restrict__ values, const Layout<Index> layout,
    const long long* __restrict__ indices, const Layout<Index> index_layout,
    T* __restrict__ planes, const Index number, const Index cells, const Index runs) {
    typedef typename Sum<T>::Type Wide;
    __shared__ Wide sums[RUN];
    __shared__ int bids[RUN];
    const Index block = static_cast<Index>(blockIdx.x);
    const Index plane = block / runs, first = (block - plane * runs) * RUN;
    const Index length = cells - first < RUN ? cells - first : RUN;
    for (Index cell = threadIdx.x; cell < length; cell += blockDim.x) {
        sums[cell] = Wide();
        bids[cell] = 0;
    }
    const Index value_plane = layout.template plane<false>(plane);
    const Index index_plane = index_layout.template plane<false>(plane);
    int round = 0;
    for (Index start = 0; start < number; start += blockDim.x) {
        const Index each = start + static_cast<Index>(threadIdx.x);
        const bool mine = each < number;
        const long long named = mine ? indices[index_plane + each * index_layout.cell[2]] - first : -1;
        bool waits = named >= 0 && named < length;
        const int cell = waits ? static_cast<int>(named) : 0;
        const Wide value = waits ? widen(values[value_plane + each * layout.cell[2]]) : Wide();
        // The barrier is also that between the zeros, or the sums of before, and what follows.
        while (__syncthreads_or(waits)) {
            const int bid = (round + 1) * blockDim.x - threadIdx.x;
            if (waits) atomicMax(&bids[cell], bid);
            __syncthreads();
            if (waits && bids[cell] == bid) {
                sums[cell] = plus(sums[cell], value);
                waits = false;
            }
            ++round;
        }
    }
    __syncthreads();
    for (Index cell = threadIdx.x; cell < length; cell += blockDim.x) {
        planes[plane * cells + first + cell] = Narrow<T>::from(sums[cell]);
    }
}
