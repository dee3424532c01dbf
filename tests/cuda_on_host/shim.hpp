// CUDA C++ on the host, as far as the kernels use it: built-ins are variables, a grid is two loops.
//
// Kernels without __syncthreads run a thread at a time. With it, each thread of a block is a fiber
// that runs until the barrier, where it hands over to the next one: BARRIER is then defined.

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>
#ifdef BARRIER
#include <ucontext.h>
#endif

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __align__(bytes) alignas(bytes)

struct Dim {
    unsigned int x;
};
static Dim blockIdx, threadIdx, blockDim, gridDim;

template <typename To, typename From>
To same_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "as many bits");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
inline float __uint_as_float(unsigned int bits) { return same_bits<float>(bits); }
inline unsigned int __float_as_uint(float value) { return same_bits<unsigned int>(value); }
inline double __longlong_as_double(long long bits) { return same_bits<double>(bits); }
inline unsigned int __umulhi(unsigned int a, unsigned int b) {
    return static_cast<unsigned int>(static_cast<unsigned long long>(a) * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline int atomicMax(int* address, int value) {
    const int before = *address;
    if (value > before) *address = value;
    return before;
}

void __syncthreads();

// Whether any thread of the block says yes: a barrier too.
inline int __syncthreads_or(int yes) {
    static int any = 0;
    if (yes) any = 1;
    __syncthreads();
    const int said = any;
    __syncthreads();
    any = 0;
    __syncthreads();
    return said;
}

struct Float16;
float widen(Float16 value);
Float16 rounded_to_half(float wide);
