// A window slides over an array: the geometry of _window.py as a kernel sees it.
//
// Every kernel works in three spatial dimensions; with Dims = 1 or 2 the leading ones have one cell
// and one tap, which the compiler knows, so that their loops vanish. Index is int, or long long
// where a number would not fit. Kernel and Stride are an axis's where the compiler may know them:
// 0 stands for what the struct says, PARTS for the windows of adaptive pooling. Fields have the
// names of Python's Axis; geometry.py fills these structs, field by field.
//
// A thread works on the same position, or cell, of Planes planes that follow each other: the index
// arithmetic of a window costs more than what it moves, and is done once for all of them.

constexpr int PARTS = -1;

template <typename Index>
struct Unsigned;
template <>
struct Unsigned<int> {
    typedef unsigned int Type;
    static __device__ __forceinline__ Type high_product(Type a, Type b) { return __umulhi(a, b); }
};
template <>
struct Unsigned<long long> {
    typedef unsigned long long Type;
    static __device__ __forceinline__ Type high_product(Type a, Type b) { return __umul64hi(a, b); }
};

// Division of a number that is not negative by one known before: a product and a shift
// (T. Granlund and P. L. Montgomery, "Division by invariant integers using multiplication", 1994).
template <typename Index>
struct Divisor {
    Index multiplier, shift;

    __device__ __forceinline__ Index quotient(Index n) const {
        typedef typename Unsigned<Index>::Type Number;
        const Number high = Unsigned<Index>::high_product(
            static_cast<Number>(n), static_cast<Number>(multiplier));
        return static_cast<Index>((high + static_cast<Number>(n)) >> shift);
    }
};

template <typename Index>
struct Axis {
    Index size, kernel, stride, dilation, before, out;
    // How the taps that see one cell follow each other: see Sights.
    Index common, tap_step, position_step, inverse, rounds;
    Divisor<Index> by_size, by_out, by_stride, by_common, by_tap_step;
};

template <typename Index>
struct Window {
    Axis<Index> axes[3];
};

// How far apart, in elements, the cells of an array (N, C, *cells) lie in memory.
template <typename Index>
struct Layout {
    Index channels, image, channel, cell[3];
    Divisor<Index> by_channels;

    // The first cell of a plane, of which there are N * channels. Dense tells the compiler that
    // planes are equally far apart, and that the cells of a row follow each other.
    template <bool Dense>
    __device__ __forceinline__ Index plane(Index number) const {
        if (Dense) return number * channel;
        const Index n = by_channels.quotient(number);
        return n * image + (number - n * channels) * channel;
    }

    // The first cells of Planes planes from number `first` on; beyond the last one, that one's.
    template <bool Dense, int Planes>
    __device__ __forceinline__ void several(
        Index first, Index planes, Index (&cells)[Planes]) const {
#pragma unroll
        for (int p = 0; p < Planes; ++p) {
            cells[p] = plane<Dense>(first + p < planes ? first + p : planes - 1);
        }
    }

    // Where a cell is in its plane; if Dense, the loads of a row of taps share one address.
    template <bool Dense>
    __device__ __forceinline__ Index at(Index z, Index y, Index x) const {
        return z * cell[0] + y * cell[1] + (Dense ? x : x * cell[2]);
    }
};

// The channels of a depthwise convolution: output o sees the input channel o / multiplier.
template <typename Index>
struct Groups {
    Index outputs, multiplier, row_groups;
    Divisor<Index> by_outputs, by_multiplier, by_row_groups;
};

template <typename Index>
__device__ __forceinline__ Index thread_number() {
    return static_cast<Index>(blockIdx.x) * static_cast<Index>(blockDim.x) +
           static_cast<Index>(threadIdx.x);
}

template <typename Index>
__device__ __forceinline__ bool inside(Index number, Index size) {
    typedef typename Unsigned<Index>::Type Number;
    return static_cast<Number>(number) < static_cast<Number>(size);
}

// Where an item of an array (planes, *cells) is, its cells counted with the last one fastest.
template <typename Index>
struct Place {
    Index plane, at[3];
};

template <int Dims, typename Index>
__device__ __forceinline__ Place<Index> position_of(Index item, const Window<Index>& window) {
    Place<Index> place = {item, {0, 0, 0}};
#pragma unroll
    for (int dim = 2; dim >= 3 - Dims; --dim) {
        const Index whole = window.axes[dim].by_out.quotient(place.plane);
        place.at[dim] = place.plane - whole * window.axes[dim].out;
        place.plane = whole;
    }
    return place;
}

template <int Dims, typename Index>
__device__ __forceinline__ Place<Index> cell_of(Index item, const Window<Index>& window) {
    Place<Index> place = {item, {0, 0, 0}};
#pragma unroll
    for (int dim = 2; dim >= 3 - Dims; --dim) {
        const Index whole = window.axes[dim].by_size.quotient(place.plane);
        place.at[dim] = place.plane - whole * window.axes[dim].size;
        place.plane = whole;
    }
    return place;
}

// What a position sees along an axis: count cells, start, start + step, ...; some may be padding.
template <typename Index>
struct Taps {
    Index start, step, count;
};

template <int Dims, int Kernel, int Stride, typename Index>
__device__ __forceinline__ Taps<Index> taps_of(
    int dim, const Window<Index>& window, const Place<Index>& place) {
    const Axis<Index>& axis = window.axes[dim];
    const Index position = place.at[dim];
    if (dim < 3 - Dims) return {0, 1, 1};
    if constexpr (Kernel == PARTS) {
        const Index start = axis.by_out.quotient(position * axis.size);
        const Index stop = axis.by_out.quotient((position + 1) * axis.size + axis.out - 1);
        return {start, 1, stop - start};
    } else if constexpr (Kernel > 0) {
        return {position * Stride - axis.before, 1, Kernel};
    } else {
        return {position * axis.stride - axis.before, axis.dilation, axis.kernel};
    }
}

// Who sees a cell along an axis: tap, tap + tap_step, ... of position, position - position_step,
// ...; a round counts where tap < kernel and position is one of the axis.
//
// Tap t of position o sees the cell o * stride + t * dilation - before. For all solutions of that
// equation t is the same modulo stride / common, where common = gcd(stride, dilation).
template <typename Index>
struct Sights {
    Index tap, tap_step, position, position_step, rounds, kernel, out;

    __device__ __forceinline__ bool counts() const { return tap < kernel && inside(position, out); }
    __device__ __forceinline__ void next() {
        tap += tap_step;
        position -= position_step;
    }
};

template <int Dims, int Kernel, int Stride, typename Index>
__device__ __forceinline__ Sights<Index> sights_of(
    int dim, const Window<Index>& window, const Place<Index>& place) {
    const Axis<Index>& axis = window.axes[dim];
    const Index cell = place.at[dim];
    if (dim < 3 - Dims) return {0, 1, 0, 1, 1, 1, 1};
    const Index reach = cell + axis.before;
    if constexpr (Kernel == PARTS) {
        const Index first = axis.by_size.quotient(cell * axis.out);
        const Index stop = axis.by_size.quotient((cell + 1) * axis.out + axis.size - 1);
        return {0, 0, stop - 1, 1, stop - first, 1, axis.out};
    } else if constexpr (Kernel > 0) {
        // A negative reach has no position; the rounds stay those that the compiler knows.
        const Index position = reach < 0 ? -1 : reach / Stride;
        const Index tap = reach < 0 ? 0 : reach - position * Stride;
        return {tap, Stride, position, 1, (Kernel + Stride - 1) / Stride, Kernel, axis.out};
    } else {
        const Index shared = reach < 0 ? 0 : axis.by_common.quotient(reach);
        if (reach < 0 || shared * axis.common != reach) return {0, 0, -1, 0, 0, 1, 1};
        const Index rest = shared - axis.by_tap_step.quotient(shared) * axis.tap_step;
        const Index turned = rest * axis.inverse;
        const Index tap = turned - axis.by_tap_step.quotient(turned) * axis.tap_step;
        const Index left = reach - tap * axis.dilation;
        const Index position = left < 0 ? -1 : axis.by_stride.quotient(left);
        return {tap,         axis.tap_step, position, axis.position_step,
                axis.rounds, axis.kernel,   axis.out};
    }
}
