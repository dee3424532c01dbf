// What threads bring from arrays into shared memory, ahead of the products: see product.cuh.
//
// From sm_80 on a copy needs no register and nobody who waits until it has been read (cp.async): it
// is under way until its thread waits for the group of copies that it is in. It is of 4, 8 or 16
// bytes, aligned on both sides, or of zeros where an element does not count. What is smaller, or
// changes its type, is read into registers before the products and written after them.

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr bool ASYNCHRONOUS = false;
#else
constexpr bool ASYNCHRONOUS = true;
#endif

// On the CPU the tests have their own: these land as early as they may, or as late.
#ifdef __CUDACC__
__device__ __forceinline__ unsigned char* dynamic_shared() {
    extern __shared__ __align__(16) unsigned char memory[];
    return memory;
}

template <int Bytes>
__device__ __forceinline__ void copy_async(void* to, const void* from, bool counts) {
#if __CUDA_ARCH__ >= 800
    const Int place = static_cast<Int>(__cvta_generic_to_shared(to)), read = counts ? Bytes : 0;
    if constexpr (Bytes == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                     :: "r"(place), "l"(from), "r"(read));
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
                     :: "r"(place), "l"(from), "n"(Bytes), "r"(read));
    }
#endif
}

// The copies since the last group are a group; there may be none.
__device__ __forceinline__ void end_group() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Wait until all but the last `Most` groups of this thread have landed; others see what they
// brought after a barrier.
template <int Most>
__device__ __forceinline__ void wait_for_groups() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" :: "n"(Most) : "memory");
#endif
}
#endif

// An element to be brought; 0 where it does not count.
template <typename T>
struct Element {
    const T* from;
    bool counts;
};

// A thread's share of what is brought into a Store, RUN steps of a place at once: threads that
// follow each other take steps that do so (AlongSteps), or places.
template <typename T, typename Store, bool AlongSteps>
struct Carrier {
    static constexpr int RUN = Store::RUN, PLACES = Store::PLACES, RUNS = Store::STEPS / RUN;
    static constexpr int COUNT = (PLACES * RUNS + THREADS - 1) / THREADS;
    static constexpr bool COPIED = Store::COPIED;
    T held[COPIED ? 1 : COUNT][RUN];

    static __device__ __forceinline__ int step(int i) {
        const int thread = static_cast<int>(threadIdx.x);
        return (AlongSteps ? thread % RUNS : thread / PLACES + i * (THREADS / PLACES)) * RUN;
    }
    static __device__ __forceinline__ int place(int i) {
        const int thread = static_cast<int>(threadIdx.x);
        return AlongSteps ? thread / RUNS + i * (THREADS / RUNS) : thread % PLACES;
    }
    static __device__ __forceinline__ bool is_mine(int i) {
        return PLACES * RUNS % THREADS == 0 ||
               (AlongSteps ? place(i) < PLACES : step(i) < Store::STEPS);
    }

    // Before the products: copies are on their way, or what passes through registers is.
    template <typename Lookup>
    __device__ __forceinline__ void begin(Store& store, Lookup element) {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            if (!is_mine(i)) continue;
            if constexpr (COPIED) {
                const Element<T> first = element(step(i), place(i));
                copy_async<RUN * sizeof(T)>(store.at(step(i), place(i)), first.from, first.counts);
            } else {
#pragma unroll
                for (int j = 0; j < RUN; ++j) {
                    const Element<T> one = element(step(i) + j, place(i));
                    held[i][j] = one.counts ? *one.from : T();
                }
            }
        }
    }
    // After them.
    __device__ __forceinline__ void finish(Store& store) const {
        if constexpr (!COPIED) {
#pragma unroll
            for (int i = 0; i < COUNT; ++i) {
                if (is_mine(i)) store.put(step(i), place(i), held[i]);
            }
        }
    }
};
