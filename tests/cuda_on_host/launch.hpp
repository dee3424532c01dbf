// What the kernels' source needs behind it: float16 by its bits, and the launch of a kernel.

float widen(Float16 value) {
    const unsigned int sign = (value.bits & 0x8000u) << 16, rest = value.bits & 0x7fffu;
    if (rest >= 0x7c00u) return __uint_as_float(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
    // 2^112 moves the exponent from float16's bias to float's, subnormal numbers included.
    return __uint_as_float(sign | __float_as_uint(__uint_as_float(rest << 13) * 0x1p112f));
}

Float16 rounded_to_half(float wide) {
    const unsigned int bits = __float_as_uint(wide), sign = bits >> 16 & 0x8000u;
    const float size = __uint_as_float(bits & 0x7fffffffu);
    if (size != size) return {static_cast<Short>(sign | 0x7e00u)};
    if (size >= 65520.0f) return {static_cast<Short>(sign | 0x7c00u)};
    if (size < 0x1p-14f) {
        // Adding 0.5 leaves multiples of 2^-24, rounded to even, in the last bits.
        const unsigned int steps = __float_as_uint(size + 0.5f) - __float_as_uint(0.5f);
        return {static_cast<Short>(sign | steps)};
    }
    const unsigned int even = __float_as_uint(size) + 0xfffu + (__float_as_uint(size) >> 13 & 1u);
    return {static_cast<Short>(sign | ((even >> 13) - (112u << 10)))};
}

static const std::size_t STACK = 64 << 10;

#ifdef BARRIER
// `enter` of the one kernel that runs, and where its fibers hand over to.
static void (*enter)(void**);
static void** entered_with;
static ucontext_t scheduler;
static std::vector<ucontext_t> fibers;
static std::vector<char> finished;

void __syncthreads() { swapcontext(&fibers[threadIdx.x], &scheduler); }

void fiber() {
    enter(entered_with);
    finished[threadIdx.x] = 1;
}

void run_block(unsigned int threads, bool descending) {
    static std::vector<char> stacks;
    stacks.resize(threads * STACK);
    fibers.resize(threads);
    finished.assign(threads, 0);
    for (unsigned int thread = 0; thread < threads; ++thread) {
        getcontext(&fibers[thread]);
        fibers[thread].uc_stack.ss_sp = stacks.data() + thread * STACK;
        fibers[thread].uc_stack.ss_size = STACK;
        fibers[thread].uc_link = &scheduler;
        makecontext(&fibers[thread], fiber, 0);
    }
    for (bool waiting = true; waiting;) {
        waiting = false;
        for (unsigned int each = 0; each < threads; ++each) {
            threadIdx.x = descending ? threads - 1 - each : each;
            if (finished[threadIdx.x]) continue;
            swapcontext(&scheduler, &fibers[threadIdx.x]);
            waiting = waiting || !finished[threadIdx.x];
        }
    }
}
#else
static void (*enter)(void**);
static void** entered_with;

void run_block(unsigned int threads, bool descending) {
    for (unsigned int each = 0; each < threads; ++each) {
        threadIdx.x = descending ? threads - 1 - each : each;
        enter(entered_with);
    }
}
#endif

// Runs the blocks first ... blocks - 1, in either order; -1 - i where the i-th argument has another
// size than the kernel's parameter, or there are more or fewer of them; -100 and -101 say what
// copies.hpp has seen.
template <auto kernel, typename... Parameters, std::size_t... I>
int run(void (*)(Parameters...), std::index_sequence<I...>, long long first, long long blocks,
        unsigned int threads, bool descending, bool late, std::size_t shared, void** arguments,
        const std::size_t* sizes, std::size_t count) {
    const std::size_t wanted[] = {sizeof(Parameters)...};
    for (std::size_t i = 0; i < sizeof...(Parameters); ++i) {
        if (i >= count || sizes[i] != wanted[i]) return -1 - static_cast<int>(i);
    }
    if (count != sizeof...(Parameters)) return -1 - static_cast<int>(count);
    enter = [](void** given) { kernel(*static_cast<Parameters*>(given[I])...); };
    entered_with = arguments;
    gridDim.x = static_cast<unsigned int>(blocks);
    blockDim.x = threads;
    land_late = late;
    misaligned = false;
    shared_bytes = shared;
    for (long long each = first; each < blocks; ++each) {
        blockIdx.x = static_cast<unsigned int>(descending ? blocks - 1 - (each - first) : each);
        begin_block(threads);
        run_block(threads, descending);
        if (misaligned) return -100;
        if (!shared_memory_holds()) return -101;
    }
    return 0;
}

template <typename... Parameters>
constexpr std::size_t parameters(void (*)(Parameters...)) {
    return sizeof...(Parameters);
}

#define ENTRY(name, ...)                                                                          \
    extern "C" int name(long long first, long long blocks, unsigned int threads, int descending,  \
                        int late, std::size_t shared, void** arguments, const std::size_t* sizes, \
                        std::size_t count) {                                                      \
        return run<&__VA_ARGS__>(&__VA_ARGS__,                                                    \
                                 std::make_index_sequence<parameters(&__VA_ARGS__)>(), first,     \
                                 blocks, threads, descending != 0, late != 0, shared, arguments,  \
                                 sizes, count);                                                   \
    }
