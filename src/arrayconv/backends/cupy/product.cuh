// A tile of a product, by a block of 256 threads: see tiles.cuh.
//
// It goes through the steps, 8 or 16 at a time: it brings as many columns of left and rows of right
// into shared memory, and adds their products to sums that its threads keep in registers. While it
// does, the next steps are on their way. How they are added, `Cores` says: see cuda_cores.cuh and
// tensor_cores.cuh. Neighbouring threads read neighbouring steps of left; and of right neighbouring
// columns, or steps where AlongSteps says so.

template <typename T, int Dims, typename Cores, bool AlongSteps, typename Problem, typename Index>
__device__ __forceinline__ void multiply(
    const Problem& problem, const Product<Index>& product, const Tile<Index>& tile) {
    typedef typename Cores::template Sums<T> Sums;
    constexpr int ROWS = Cores::ROWS, COLUMNS = Cores::COLUMNS, STEPS = Sums::STEPS;
    constexpr int LEFTS = (ROWS * STEPS + THREADS - 1) / THREADS;
    constexpr int RIGHTS = COLUMNS * STEPS / THREADS;
    __shared__ typename Sums::Left left[2];
    __shared__ typename Sums::Right right[2];
    // Terms are kept here too: in registers they would take the place of sums.
    __shared__ Step<Index> steps[2][STEPS];
    __shared__ Offset<Index> columns[COLUMNS];

    const int thread = static_cast<int>(threadIdx.x);
    const auto left_row = [&](int i) { return thread / STEPS + i * (THREADS / STEPS); };
    const auto right_step = [&](int i) {
        return AlongSteps ? thread % STEPS : thread / COLUMNS + i * (THREADS / COLUMNS);
    };
    const auto right_column = [&](int i) {
        return AlongSteps ? thread / STEPS + i * (THREADS / STEPS) : thread % COLUMNS;
    };
    for (int column = thread; column < COLUMNS; column += THREADS) {
        columns[column] = problem.column(tile.column + column);
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
            const Offset<Index>& column = columns[right_column(i)];
            const bool counts = seen<Dims>(step, column, problem.sizes);
            held_right[i] = counts ? problem.right[step.at + column.at] : T();
        }
    };
    const auto store = [&](int stage) {
#pragma unroll
        for (int i = 0; i < LEFTS; ++i) {
            if (left_row(i) < ROWS) left[stage].put(thread % STEPS, left_row(i), held_left[i]);
        }
#pragma unroll
        for (int i = 0; i < RIGHTS; ++i) {
            right[stage].put(right_step(i), right_column(i), held_right[i]);
        }
    };

    if (thread < 2 * STEPS) {
        steps[thread / STEPS][thread % STEPS] = problem.step(tile.first_step + thread);
    }
    __syncthreads();
    read(0);
    store(0);
    __syncthreads();
    Sums sums;
    int stage = 0;
    for (Index step = tile.first_step; step < tile.last_step; step += STEPS, stage ^= 1) {
        const bool more = step + STEPS < tile.last_step;
        if (more) read(stage ^ 1);
        // The steps after the next: nobody reads the ones in their place any more.
        if (thread < STEPS) steps[stage][thread] = problem.step(step + 2 * STEPS + thread);
        sums.add(left[stage], right[stage], thread);
        if (more) store(stage ^ 1);
        __syncthreads();
    }
    sums.for_each(thread, [&](int column) {
        const Index to = problem.written(tile.column + column);
        return [&, to](int row, typename Sum<T>::Type sum) {
            if (to < 0 || tile.row + row >= product.rows) return;
            problem.write(to, tile.row + row, sum);
        };
    });
}
