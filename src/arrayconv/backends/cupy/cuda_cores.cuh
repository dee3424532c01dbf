// The sums of a tile on CUDA cores, in every type: see product.cuh.
//
// RowThreads of the 256 threads are below each other, and a warp is 4 x 8 of them. Each keeps the
// sums of QUAD * RowQuads rows and QUAD * ColumnQuads columns in registers. The order of every sum
// is that of the steps, whatever the tile. Stages are those of the ring.

constexpr int QUAD = 4;
constexpr int BYTES_AT_ONCE = 16;

// Some steps of left or of right, a line of numbers for each: a Store for copies.cuh.
template <typename T, int Places, int Steps>
struct Lines {
    typedef typename Sum<T>::Type Wide;
    static constexpr int PLACES = Places, STEPS = Steps, RUN = 1;
    // What is summed in another type, or is smaller than a copy, passes through registers.
    static constexpr bool COPIED = ASYNCHRONOUS && sizeof(T) == sizeof(Wide) && sizeof(T) >= 4;
    // What is left over at the end of a line keeps threads that write one place of all lines in
    // banks of their own.
    alignas(BYTES_AT_ONCE) Wide line[STEPS][PLACES + BYTES_AT_ONCE / sizeof(Wide)];

    __device__ __forceinline__ Wide* at(int step, int place) { return &line[step][place]; }
    __device__ __forceinline__ void put(int step, int place, const T (&value)[RUN]) {
        line[step][place] = widen(value[0]);
    }
};

template <int RowThreads, int RowQuads, int ColumnQuads, int Stages>
struct CudaCores {
    static constexpr int STAGES = Stages;
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

    template <typename T, int Run, bool AlongSteps>
    struct Sums {
        static_assert(Run == 1, "the steps of a row are in lines of their own");
        typedef typename Sum<T>::Type Wide;
        static constexpr int STEPS = 8;
        typedef Lines<T, ROWS, STEPS> Left;
        typedef Lines<T, COLUMNS, STEPS> Right;
        Wide held[ROWS_EACH][COLUMNS_EACH] = {};

        __device__ __forceinline__ void add(const Left& left, const Right& right, int thread) {
#pragma unroll
            for (int step = 0; step < STEPS; ++step) {
                Wide a[ROWS_EACH], b[COLUMNS_EACH];
#pragma unroll
                for (int i = 0; i < ROWS_EACH; ++i) a[i] = left.line[step][row(thread, i)];
#pragma unroll
                for (int j = 0; j < COLUMNS_EACH; ++j) b[j] = right.line[step][column(thread, j)];
#pragma unroll
                for (int i = 0; i < ROWS_EACH; ++i) {
#pragma unroll
                    for (int j = 0; j < COLUMNS_EACH; ++j) {
                        held[i][j] = multiply_add(a[i], b[j], held[i][j]);
                    }
                }
            }
        }

        // Call body(column) for each column of a thread, then its result(row, sum) for each row.
        template <typename Body>
        __device__ __forceinline__ void for_each(int thread, Body body) const {
#pragma unroll
            for (int j = 0; j < COLUMNS_EACH; ++j) {
                const auto write = body(column(thread, j));
#pragma unroll
                for (int i = 0; i < ROWS_EACH; ++i) write(row(thread, i), held[i][j]);
            }
        }
    };
};
