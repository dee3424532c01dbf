// The element types that CUDA C++ has no operators for, and the type that each is summed in.
//
// Names on the left are what launch.py writes into name expressions. Arrays of bool hold the bytes
// 0 and 1; half types are summed in float; integers are summed without a sign, so that they wrap.

typedef unsigned char Byte;
typedef unsigned short Short;
typedef unsigned int Int;
typedef unsigned long long Long;

// 16 bytes that are moved at once.
struct __align__(16) Wide16 {
    Long low, high;
};

struct Bool {
    Byte held;
};

struct Float16 {
    Short bits;
};

struct BFloat16 {
    Short bits;
};

template <typename Real>
struct __align__(2 * sizeof(Real)) Complex {
    Real real, imag;
};

// --- the type that sums are kept in ---------------------------------------------------------

template <typename T>
struct Sum {
    typedef T Type;
};
template <>
struct Sum<Float16> {
    typedef float Type;
};
template <>
struct Sum<BFloat16> {
    typedef float Type;
};

template <typename T>
__device__ __forceinline__ T widen(T value) {
    return value;
}

#ifdef __CUDACC__
__device__ __forceinline__ float widen(Float16 value) {
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value.bits));
    return wide;
}

__device__ __forceinline__ Float16 rounded_to_half(float wide) {
    Float16 value;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(value.bits) : "f"(wide));
    return value;
}
#endif

__device__ __forceinline__ float widen(BFloat16 value) {
    return __uint_as_float(static_cast<Int>(value.bits) << 16);
}

// Narrow<T>::from rounds a sum to the nearest element, to the even one of two.
template <typename T>
struct Narrow {
    static __device__ __forceinline__ T from(T sum) { return sum; }
};
template <>
struct Narrow<Float16> {
    static __device__ __forceinline__ Float16 from(float sum) { return rounded_to_half(sum); }
};
template <>
struct Narrow<BFloat16> {
    static __device__ __forceinline__ BFloat16 from(float sum) {
        const Int bits = __float_as_uint(sum);
        const Int rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
        // Rounding could carry a NaN's bits into infinity, or into the sign.
        return {static_cast<Short>(sum == sum ? rounded : 0x7fc0u)};
    }
};

// --- sums and products ----------------------------------------------------------------------

// C++ widens small integers before it adds: the casts bring them back.
template <typename T>
__device__ __forceinline__ T plus(T a, T b) {
    return static_cast<T>(a + b);
}
__device__ __forceinline__ Bool plus(Bool a, Bool b) {
    return {static_cast<Byte>(a.held | b.held)};
}
template <typename Real>
__device__ __forceinline__ Complex<Real> plus(Complex<Real> a, Complex<Real> b) {
    return {a.real + b.real, a.imag + b.imag};
}

// a * b + sum
template <typename T>
__device__ __forceinline__ T multiply_add(T a, T b, T sum) {
    return static_cast<T>(a * b + sum);
}
// In C++ the product of two large shorts is that of two ints, which overflows.
__device__ __forceinline__ Short multiply_add(Short a, Short b, Short sum) {
    return static_cast<Short>(static_cast<Int>(a) * b + sum);
}
template <typename Real>
__device__ __forceinline__ Complex<Real> multiply_add(
    Complex<Real> a, Complex<Real> b, Complex<Real> sum) {
    return {a.real * b.real - a.imag * b.imag + sum.real,
            a.real * b.imag + a.imag * b.real + sum.imag};
}

// The bias of an output, with which its sum begins or ends; 0 where there is none.
template <typename T, typename Index>
__device__ __forceinline__ typename Sum<T>::Type bias_of(const T* bias, Index output) {
    return bias ? widen(bias[output]) : typename Sum<T>::Type();
}

// A share of a sum, the reciprocal of a divisor: of integers and bools all of it.
template <typename T>
__device__ __forceinline__ T share_of(T sum, double) {
    return sum;
}
__device__ __forceinline__ float share_of(float sum, double share) {
    return sum * static_cast<float>(share);
}
__device__ __forceinline__ double share_of(double sum, double share) { return sum * share; }
template <typename Real>
__device__ __forceinline__ Complex<Real> share_of(Complex<Real> sum, double share) {
    return {share_of(sum.real, share), share_of(sum.imag, share)};
}

// --- order ----------------------------------------------------------------------------------

// Lowest<T>::value() is the number that no other is below.
template <typename T>
struct Lowest {
    static __device__ __forceinline__ T value() {
        const bool is_signed = static_cast<T>(-1) < static_cast<T>(1);
        return is_signed ? static_cast<T>(static_cast<T>(1) << (8 * sizeof(T) - 1)) : T();
    }
};
template <>
struct Lowest<float> {
    static __device__ __forceinline__ float value() { return __uint_as_float(0xff800000u); }
};
template <>
struct Lowest<double> {
    static __device__ __forceinline__ double value() {
        return __longlong_as_double(static_cast<long long>(0xfff0000000000000ull));
    }
};
template <>
struct Lowest<Float16> {
    static __device__ __forceinline__ Float16 value() { return {0xfc00u}; }
};
template <>
struct Lowest<BFloat16> {
    static __device__ __forceinline__ BFloat16 value() { return {0xff80u}; }
};

// Whether a later value takes the place of an earlier one: it is larger, or not a number.
template <typename T>
__device__ __forceinline__ bool beats(T later, T earlier) {
    const auto a = widen(later), b = widen(earlier);
    return a > b || a != a;
}
