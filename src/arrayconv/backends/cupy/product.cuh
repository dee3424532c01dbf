// A tile of a product in registers, by the arithmetic of CUDA cores: see tiles.cuh.
//
// A block of 256 threads goes through the steps 8 at a time: it brings 8 columns of left and 8 rows
// of right into shared memory, and each thread adds products of QUAD * RowQuads rows and
// QUAD * ColumnQuads columns in registers. While it does, the next 8 are on their way. The order of
// every sum is that of the steps, whatever the tile.

constexpr int THREADS = 256;
constexpr int QUAD = 4;
constexpr int STEPS = 8;
constexpr int BYTES_AT_ONCE = 16;

// The shape of a tile: RowThreads of the threads are below each other, and a warp is 4 x 8 of them.
template <int RowThreads, int RowQuads, int ColumnQuads>
struct Shape {
    static constexpr int COLUMN_THREADS = THREADS / RowThreads;
    static constexpr int ROWS_EACH = QUAD * RowQuads, ROWS = RowThreads * ROWS_EACH;
    static constexpr int COLUMNS_EACH = QUAD * ColumnQuads, COLUMNS = COLUMN_THREADS * COLUMNS_EACH;

    // The i-th row of a thread within the tile, and its j-th column: runs of QUAD, which are read
    // from shared memory at once.
    static __device__ __forceinline__ int row(int thread, int i) {
        const int mine = thread / 32 / (COLUMN_THREADS / 8) * 4 + thread % 32 / 8;
        return (i / QUAD * RowThreads + mine) * QUAD + i % QUAD;
    }
    static __device__ __forceinline__ int column(int thread, int j) {
        const int mine = thread / 32 % (COLUMN_THREADS / 8) * 8 + thread % 8;
        return (j / QUAD * COLUMN_THREADS + mine) * QUAD + j % QUAD;
    }
};

// Compute a tile of a problem, in which neighbouring threads read neighbouring steps of left; and
// of right neighbouring columns, or steps where AlongSteps says so. Launch: THREADS threads.
template <typename T, int Dims, typename Shape, bool AlongSteps, typename Problem, typename Index>
__device__ __forceinline__ void multiply(
    const Problem& problem, const Product<Index>& product, const Tile<Index>& tile) {
    typedef typename Sum<T>::Type Wide;
    constexpr int ROWS = Shape::ROWS, ROWS_EACH = Shape::ROWS_EACH;
    constexpr int COLUMNS = Shape::COLUMNS, COLUMNS_EACH = Shape::COLUMNS_EACH;
    // What is left over at the end of a row keeps the threads that store one column of it in banks
    // of their own.
    constexpr int REST = BYTES_AT_ONCE / sizeof(Wide);
    constexpr int LEFTS = (ROWS * STEPS + THREADS - 1) / THREADS;
    constexpr int RIGHTS = COLUMNS * STEPS / THREADS;
    alignas(BYTES_AT_ONCE) __shared__ Wide left[2][STEPS][ROWS + REST];
    alignas(BYTES_AT_ONCE) __shared__ Wide right[2][STEPS][COLUMNS + REST];
    __shared__ Step<Index> steps[2][STEPS];

    const int thread = static_cast<int>(threadIdx.x);
    const auto left_row = [&](int i) { return thread / STEPS + i * (THREADS / STEPS); };
    const auto right_step = [&](int i) {
        return AlongSteps ? thread % STEPS : thread / COLUMNS + i * (THREADS / COLUMNS);
    };
    const auto right_column = [&](int i) {
        return AlongSteps ? thread / STEPS + i * (THREADS / STEPS) : thread % COLUMNS;
    };
    Offset<Index> columns[AlongSteps ? RIGHTS : 1];
#pragma unroll
    for (int i = 0; i < (AlongSteps ? RIGHTS : 1); ++i) {
        columns[i] = problem.column(tile.column + right_column(i));
    }

    T held_left[LEFTS], held_right[RIGHTS];
    const auto read = [&](int stage) {
        const Step<Index>& mine = steps[stage][thread % STEPS];
#pragma unroll
        for (int i = 0; i < LEFTS; ++i) {
            const Index row = tile.row + left_row(i);
            const bool counts = mine.right.counts && row < product.rows && left_row(i) < ROWS;
            held_left[i] = counts ? problem.left[mine.left + row * problem.row_step] : T();
        }
#pragma unroll
        for (int i = 0; i < RIGHTS; ++i) {
            const Offset<Index>& step = steps[stage][right_step(i)].right;
            const Offset<Index>& column = columns[AlongSteps ? i : 0];
            const bool counts = seen<Dims>(step, column, problem.sizes);
            held_right[i] = counts ? problem.right[step.at + column.at] : T();
        }
    };
    const auto store = [&](int stage) {
#pragma unroll
        for (int i = 0; i < LEFTS; ++i) {
            if (left_row(i) < ROWS) left[stage][thread % STEPS][left_row(i)] = widen(held_left[i]);
        }
#pragma unroll
        for (int i = 0; i < RIGHTS; ++i) {
            right[stage][right_step(i)][right_column(i)] = widen(held_right[i]);
        }
    };

    Wide sums[ROWS_EACH][COLUMNS_EACH] = {};
    const auto add_products = [&](int stage) {
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
            Wide a[ROWS_EACH], b[COLUMNS_EACH];
#pragma unroll
            for (int i = 0; i < ROWS_EACH; ++i) a[i] = left[stage][step][Shape::row(thread, i)];
#pragma unroll
            for (int j = 0; j < COLUMNS_EACH; ++j) {
                b[j] = right[stage][step][Shape::column(thread, j)];
            }
#pragma unroll
            for (int i = 0; i < ROWS_EACH; ++i) {
#pragma unroll
                for (int j = 0; j < COLUMNS_EACH; ++j) {
                    sums[i][j] = multiply_add(a[i], b[j], sums[i][j]);
                }
            }
        }
    };

    if (thread < 2 * STEPS) {
        steps[thread / STEPS][thread % STEPS] = problem.step(tile.first_step + thread);
    }
    __syncthreads();
    read(0);
    store(0);
    __syncthreads();
    int stage = 0;
    for (Index step = tile.first_step; step < tile.last_step; step += STEPS, stage ^= 1) {
        const bool more = step + STEPS < tile.last_step;
        if (more) read(stage ^ 1);
        // The steps after the next: nobody reads the ones in their place any more.
        if (thread < STEPS) steps[stage][thread] = problem.step(step + 2 * STEPS + thread);
        add_products(stage);
        if (more) store(stage ^ 1);
        __syncthreads();
    }

#pragma unroll
    for (int j = 0; j < COLUMNS_EACH; ++j) {
        const Index to = problem.written(tile.column + Shape::column(thread, j));
#pragma unroll
        for (int i = 0; i < ROWS_EACH; ++i) {
            const Index row = tile.row + Shape::row(thread, i);
            if (to >= 0 && row < product.rows) problem.write(to, row, sums[i][j]);
        }
    }
}
