// The sums of a tile on tensor cores, float32 sums of products of TF32, float16 or bfloat16: see
// product.cuh.
//
// A warp keeps the sums of RowTiles x ColumnTiles fragments of 16 x 8; there are 2 x 4 warps. The
// instruction takes 8 words of 32 bits from each row and column: 8 steps of float32, 16 of a half
// type. Which words a lane holds, and which sums, is as in the PTX manual ("Matrix fragments for
// mma.m16n8k8" and "mma.m16n8k16"). From sm_80 on; elsewhere, as on the CPU where tests run this,
// each lane adds up its own sums, of the words that the others would hold.

constexpr int FRAGMENT_ROWS = 16, FRAGMENT_COLUMNS = 8, FRAGMENT_WORDS = 8;

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define TENSOR_CORES
#endif

// The number that a tensor core takes for a float: the nearest of 10 bits, away from 0 of two. The
// bits below are left as they come, since the instruction does not read them.
__device__ __forceinline__ float taken(float value) {
    const Int bits = __float_as_uint(value);
    // What is added would carry the bits of a NaN into the sign.
    const Int nearest = value == value ? bits + 0x1000u : bits;
#ifdef TENSOR_CORES
    return __uint_as_float(nearest);
#else
    return __uint_as_float(nearest & ~0x1fffu);
#endif
}
template <typename Half>
__device__ __forceinline__ Half taken(Half value) {
    return value;
}

// Some steps of left or of right, in words that the instruction takes: 1 float32 or 2 of a half
// type. A Store for copies.cuh: the words of a place follow each other (ByPlace), or the places of
// a word. What is left over at the end of either keeps the 4 words of 8 places that a warp reads in
// 32 banks, and lines at multiples of 16 bytes.
template <typename T, int Places, int Steps, int Run, bool ByPlace>
struct Words {
    static constexpr int IN_WORD = sizeof(Int) / sizeof(T), COUNT = Steps / IN_WORD;
    static constexpr int PLACES = Places, STEPS = Steps, RUN = Run > 1 ? Run : IN_WORD;
    // A half alone is smaller than a copy: two steps make a word on their way through registers.
    static constexpr bool COPIED = ASYNCHRONOUS && (Run > 1 || IN_WORD == 1);
    static constexpr int LINES = ByPlace ? PLACES : COUNT;
    static constexpr int LENGTH = ByPlace ? COUNT + 4 : PLACES + 8;
    alignas(16) T line[LINES][LENGTH][IN_WORD];

    // The first step of a word.
    __device__ __forceinline__ T* word(int number, int place) {
        return ByPlace ? line[place][number] : line[number][place];
    }
    __device__ __forceinline__ const T* word(int number, int place) const {
        return ByPlace ? line[place][number] : line[number][place];
    }
    __device__ __forceinline__ Int bits(int number, int place) const {
        if constexpr (IN_WORD == 1) return __float_as_uint(taken(*word(number, place)));
        return *reinterpret_cast<const Int*>(word(number, place));
    }
    __device__ __forceinline__ T* at(int step, int place) { return word(step / IN_WORD, place); }
    __device__ __forceinline__ void put(int step, int place, const T (&values)[RUN]) {
        struct alignas(sizeof(Int)) Word {
            T steps[IN_WORD];
        } whole;
#pragma unroll
        for (int i = 0; i < IN_WORD; ++i) whole.steps[i] = values[i];
        *reinterpret_cast<Word*>(at(step, place)) = whole;
    }
};

// Where the words of a lane's registers are in a fragment, and its sums.
__device__ __forceinline__ int left_word(int lane, int i) { return lane % 4 + i / 2 * 4; }
__device__ __forceinline__ int left_row(int lane, int i) { return lane / 4 + i % 2 * 8; }
__device__ __forceinline__ int right_word(int lane, int i) { return lane % 4 + i * 4; }
__device__ __forceinline__ int right_column(int lane) { return lane / 4; }
__device__ __forceinline__ int sum_row(int lane, int i) { return lane / 4 + i / 2 * 8; }
__device__ __forceinline__ int sum_column(int lane, int i) { return lane % 4 * 2 + i % 2; }

#ifdef TENSOR_CORES
#define MULTIPLY(shape, type)                                                                     \
    asm volatile(                                                                                 \
        "mma.sync.aligned." shape ".row.col.f32." type "." type ".f32 {%0, %1, %2, %3}, "         \
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                           \
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])                              \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
__device__ __forceinline__ void multiply_fragments(
    float, float (&sums)[4], const Int (&a)[4], const Int (&b)[2]) {
    MULTIPLY("m16n8k8", "tf32");
}
__device__ __forceinline__ void multiply_fragments(
    Float16, float (&sums)[4], const Int (&a)[4], const Int (&b)[2]) {
    MULTIPLY("m16n8k16", "f16");
}
__device__ __forceinline__ void multiply_fragments(
    BFloat16, float (&sums)[4], const Int (&a)[4], const Int (&b)[2]) {
    MULTIPLY("m16n8k16", "bf16");
}
#undef MULTIPLY
#endif

template <int RowTiles, int ColumnTiles, int Stages>
struct TensorCores {
    static constexpr int STAGES = Stages;
    static constexpr int WARP_ROWS = FRAGMENT_ROWS * RowTiles, ROWS = 2 * WARP_ROWS;
    static constexpr int WARP_COLUMNS = FRAGMENT_COLUMNS * ColumnTiles, COLUMNS = 4 * WARP_COLUMNS;

    // The first row of a warp's fragments within the tile, and the first column.
    static __device__ __forceinline__ int row(int thread) { return thread / 128 * WARP_ROWS; }
    static __device__ __forceinline__ int column(int thread) {
        return thread / 32 % 4 * WARP_COLUMNS;
    }

    template <typename T, int Run, bool AlongSteps>
    struct Sums {
        static constexpr int STEPS = 16;
        typedef Words<T, ROWS, STEPS, Run, true> Left;
        typedef Words<T, COLUMNS, STEPS, 1, AlongSteps> Right;
        float held[RowTiles][ColumnTiles][4] = {};

        __device__ __forceinline__ void add(const Left& left, const Right& right, int thread) {
#pragma unroll
            for (int word = 0; word < Left::COUNT; word += FRAGMENT_WORDS) {
                add_words(left, right, word, row(thread), column(thread), thread % 32);
            }
        }

        // Add the products of the 8 words from number `first` on.
        __device__ __forceinline__ void add_words(
            const Left& left, const Right& right, int first, int row, int column, int lane) {
#ifdef TENSOR_CORES
            Int a[RowTiles][4], b[ColumnTiles][2];
#pragma unroll
            for (int i = 0; i < RowTiles * 4; ++i) {
                const int place = row + i / 4 * FRAGMENT_ROWS + left_row(lane, i % 4);
                a[i / 4][i % 4] = left.bits(first + left_word(lane, i % 4), place);
            }
#pragma unroll
            for (int j = 0; j < ColumnTiles * 2; ++j) {
                const int place = column + j / 2 * FRAGMENT_COLUMNS + right_column(lane);
                b[j / 2][j % 2] = right.bits(first + right_word(lane, j % 2), place);
            }
#pragma unroll
            for (int i = 0; i < RowTiles; ++i) {
#pragma unroll
                for (int j = 0; j < ColumnTiles; ++j) {
                    multiply_fragments(T(), held[i][j], a[i], b[j]);
                }
            }
#else
            for (int i = 0; i < RowTiles * ColumnTiles * 4 * FRAGMENT_WORDS; ++i) {
                const int word = i % FRAGMENT_WORDS, sum = i / FRAGMENT_WORDS % 4;
                const int down = i / FRAGMENT_WORDS / 4 / ColumnTiles;
                const int across = i / FRAGMENT_WORDS / 4 % ColumnTiles;
                // What the instruction adds to this sum, by the manual alone: its row and column,
                // and which lanes hold a word of these, in which register.
                const int sum_row = lane / 4 + sum / 2 * 8, sum_column = lane % 4 * 2 + sum % 2;
                const int left_lane = sum_row % 8 * 4 + word % 4;
                const int left_held = sum_row / 8 + word / 4 * 2;
                const int right_lane = sum_column * 4 + word % 4;
                const int above = row + down * FRAGMENT_ROWS + left_row(left_lane, left_held);
                const T* a = left.word(first + left_word(left_lane, left_held), above);
                const int beside = column + across * FRAGMENT_COLUMNS + right_column(right_lane);
                const T* b = right.word(first + right_word(right_lane, word / 4), beside);
                for (int half = 0; half < Left::IN_WORD; ++half) {
                    held[down][across][sum] += widen(taken(a[half])) * widen(taken(b[half]));
                }
            }
#endif
        }

        // Call body(column) for each column of a thread, then its result(row, sum) for each row.
        template <typename Body>
        __device__ __forceinline__ void for_each(int thread, Body body) const {
            const int lane = thread % 32;
#pragma unroll
            for (int j = 0; j < ColumnTiles * 2; ++j) {
                const int across = j / 2 * FRAGMENT_COLUMNS + sum_column(lane, j % 2);
                const auto write = body(column(thread) + across);
#pragma unroll
                for (int i = 0; i < RowTiles * 2; ++i) {
                    const int down = i / 2 * FRAGMENT_ROWS + sum_row(lane, i % 2 * 2);
                    write(row(thread) + down, held[i / 2][j / 2][i % 2 * 2 + j % 2]);
                }
            }
        }
    };
};
