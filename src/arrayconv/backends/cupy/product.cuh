// A tile of a product, by a block of 256 threads: see tiles.cuh.
//
// It goes through the steps, 8 or 16 at a time: it brings as many columns of left and rows of right
// into one of the stages of a ring in shared memory, and adds their products to sums that its
// threads keep in registers. While it does, the next steps are on their way into the other stages:
// see copies.cuh. How they are added, `Cores` says: see cuda_cores.cuh and tensor_cores.cuh.
// Neighbouring threads bring neighbouring steps of left; and of right neighbouring columns, or
// steps where AlongSteps says so. Run is the number of steps of left that follow each other in
// memory, at a multiple of as many bytes, so that one copy brings them.

template <typename T, int Dims, int Run, typename Cores, bool AlongSteps, typename Problem,
          typename Index>
__device__ __forceinline__ void multiply(
    const Problem& problem, const Product<Index>& product, const Tile<Index>& tile) {
    typedef typename Cores::template Sums<T, Run, AlongSteps> Sums;
    constexpr int COLUMNS = Cores::COLUMNS, STEPS = Sums::STEPS, STAGES = Cores::STAGES;
    struct Stage {
        typename Sums::Left left;
        typename Sums::Right right;
    };
    Stage* const ring = reinterpret_cast<Stage*>(dynamic_shared());
    // Terms are kept in shared memory too: in registers they would take the place of sums. But of
    // a column that is the same for all that a thread brings.
    __shared__ Step<Index> steps[STAGES][STEPS];
    __shared__ Offset<Index> columns[AlongSteps ? COLUMNS : 1];
    Carrier<T, typename Sums::Left, true> left;
    Carrier<T, typename Sums::Right, AlongSteps> right;

    // What lies beyond the last column and row is the last one again, and written nowhere.
    const auto column_of = [&](int place) {
        const Index number = tile.column + place;
        return problem.column(number < product.columns ? number : product.columns - 1);
    };
    const int thread = static_cast<int>(threadIdx.x);
    Offset<Index> column = {};
    if constexpr (AlongSteps) {
        for (int place = thread; place < COLUMNS; place += THREADS) {
            columns[place] = column_of(place);
        }
    } else {
        column = column_of(right.place(0));
    }
    for (int i = thread; i < STAGES * STEPS; i += THREADS) {
        steps[i / STEPS][i % STEPS] = problem.step(tile.first_step + i);
    }
    __syncthreads();

    const auto begin = [&](int stage) {
        const Step<Index>* const terms = steps[stage];
        left.begin(ring[stage].left, [&](int step, int place) {
            const Step<Index>& mine = terms[step];
            const Index number = tile.row + place;
            const Index row = number < product.rows ? number : product.rows - 1;
            const T* const from = problem.left + (mine.left + row * problem.row_step);
            return Element<T>{from, mine.right.counts()};
        });
        right.begin(ring[stage].right, [&](int step, int place) {
            const Offset<Index>& its = AlongSteps ? columns[place] : column;
            const Offset<Index>& mine = terms[step].right;
            return Element<T>{problem.right + (mine.at + its.at),
                              seen<Dims>(mine, its, problem.sizes)};
        });
        end_group();
    };
    const auto finish = [&](int stage) {
        left.finish(ring[stage].left);
        right.finish(ring[stage].right);
    };
#pragma unroll
    for (int stage = 0; stage < STAGES - 1; ++stage) {
        begin(stage);
        finish(stage);
    }
    Sums sums;
    int stage = 0;
    for (Index step = tile.first_step; step < tile.last_step; step += STEPS) {
        // All groups but those of later stages have landed, for this thread; then for all. And
        // nobody reads the stage before this one any more: the furthest steps go there.
        wait_for_groups<STAGES - 2>();
        __syncthreads();
        const int furthest = stage == 0 ? STAGES - 1 : stage - 1;
        begin(furthest);
        sums.add(ring[stage].left, ring[stage].right, thread);
        // The terms in this place have been used before the barrier.
        if (thread < STEPS) steps[stage][thread] = problem.step(step + STAGES * STEPS + thread);
        finish(furthest);
        stage = stage + 1 == STAGES ? 0 : stage + 1;
    }
    sums.for_each(thread, [&](int place) {
        const Index to = problem.written(tile.column + place);
        return [&, to](int row, typename Sum<T>::Type sum) {
            if (to < 0 || tile.row + row >= product.rows) return;
            problem.write(to, tile.row + row, sum);
        };
    });
}
