// What a product of matrices is whose factors are not there: each element is looked up where it is.
//
// result[row, column] is the sum over `step` of left[row, step] * right[step, column]. Where an
// element of right is, and whether it is padding, depends on its step and on its column. Both have
// an Offset, and an element's cell is their sum: no element costs a division. What left, right and
// the result are, a Problem says: see implicit.cu. A block computes a Tile of the result.

constexpr int THREADS = 256;

// A number written in the sizes of three axes, the last one fastest, and what is left in front.
template <typename Index>
struct Counter {
    Index sizes[3];
    Divisor<Index> by_sizes[3];

    template <int Dims>
    __device__ __forceinline__ Place<Index> split(Index number) const {
        Place<Index> place = {number, {0, 0, 0}};
#pragma unroll
        for (int dim = 2; dim >= 3 - Dims; --dim) {
            const Index whole = by_sizes[dim].quotient(place.plane);
            place.at[dim] = place.plane - whole * sizes[dim];
            place.plane = whole;
        }
        return place;
    }
};

// The sizes of one group's product, and how blocks divide it. `parts` are runs of `steps_each`
// steps; `phases` is for cells of different phases, whose products are of the same sizes.
template <typename Index>
struct Product {
    Index rows, columns, steps, steps_each, groups, parts, phases, row_tiles, column_tiles;
    Counter<Index> column, step;
};

// A term of where an element of right is: `at` from its first one, in these cells of its axes.
template <typename Index>
struct __align__(16) Offset {
    Index at, cell[3];

    // A step that is none is so far away that with no column it is a cell.
    typedef typename Unsigned<Index>::Type Number;
    static constexpr Index NOWHERE =
        static_cast<Index>(static_cast<Number>(1) << (8 * sizeof(Index) - 1));
    __device__ __forceinline__ bool counts() const { return cell[2] != NOWHERE; }
};

// A step of the reduction: where its column of left begins, and its term in right.
template <typename Index>
struct Step {
    Index left;
    Offset<Index> right;
};

// The tile that a block computes, and of which steps. Blocks that follow each other have the same
// columns: what they read of right is then still in the cache.
template <typename Index>
struct Tile {
    Index row, column, part, first_step, last_step, phase, group;

    __device__ __forceinline__ Tile(const Product<Index>& product, int rows, int columns) {
        Index block = static_cast<Index>(blockIdx.x);
        row = block % product.row_tiles * rows;
        block /= product.row_tiles;
        column = block % product.column_tiles * columns;
        block /= product.column_tiles;
        phase = block % product.phases;
        block /= product.phases;
        part = block % product.parts;
        group = block / product.parts;
        first_step = part * product.steps_each;
        const Index left = product.steps - first_step;
        last_step = first_step + (left < product.steps_each ? left : product.steps_each);
    }
};

template <typename Index>
__device__ __forceinline__ bool meet(Index a, Index b, Index size) {
    typedef typename Unsigned<Index>::Type Number;
    return static_cast<Number>(a) + static_cast<Number>(b) < static_cast<Number>(size);
}

// Not &&: a jump would cost more than to look at all.
template <int Dims, typename Index>
__device__ __forceinline__ bool seen(
    const Offset<Index>& step, const Offset<Index>& column, const Index (&sizes)[3]) {
    return (Dims < 3 || meet(step.cell[0], column.cell[0], sizes[0])) &
           (Dims < 2 || meet(step.cell[1], column.cell[1], sizes[1])) &
           meet(step.cell[2], column.cell[2], sizes[2]);
}
