// The two loops under all kernels: the taps of a position, and the sights of a cell.
//
// Both have an outer half, over rows, and an inner one along a row; a thread that takes a run of
// several results of a row replaces the inner half, since these see, or are seen by, nearly the same.

// A phase is the cells of an axis whose numbers are the same modulo the stride: the same taps see
// them.
template <typename Index>
__device__ __forceinline__ Index phases_of(const Axis<Index>& axis) {
    return axis.stride < axis.size ? axis.stride : axis.size;
}

// The sights of cell `phase`, of which the first position may be none of the axis, and negative; those
// of cell `phase + k * stride` have k more. A phase that is not seen has no rounds.
template <int Dims, typename Index>
__device__ __forceinline__ Sights<Index> sights_of_phase(
    int dim, const Window<Index>& window, Index phase) {
    const Axis<Index>& axis = window.axes[dim];
    // The sights are asked of a later cell of the phase, whose first position is one.
    const Index wanting = (axis.tap_step - 1) * axis.dilation - axis.before - phase;
    const Index later =
        wanting > 0 ? axis.by_stride.quotient(wanting + axis.stride - 1) : Index(0);
    Place<Index> place = {0, {0, 0, 0}};
    place.at[dim] = phase + later * axis.stride;
    Sights<Index> sights = sights_of<Dims, 0, 0>(dim, window, place);
    sights.position -= later;
    return sights;
}

// How many turns of a loop the compiler lays out: a row of known taps, and few such rows.
__device__ constexpr int laid_out(int kernel, bool row) {
    return kernel > 0 && (row || kernel <= 3) ? kernel : 1;
}

// Call body(z, y, seen) for every row of taps of a position, in the order of memory: the row of cells
// that it sees, and whether that is one of the input or padding.
template <int Dims, int Kernel, int Stride, typename Index, typename Body>
__device__ __forceinline__ void for_each_row_of_taps(
    const Window<Index>& window, const Place<Index>& place, Body body) {
    const Taps<Index> depth = taps_of<Dims, Kernel, Stride>(0, window, place);
    const Taps<Index> height = taps_of<Dims, Kernel, Stride>(1, window, place);
#pragma unroll laid_out(Kernel, false)
    for (Index d = 0; d < depth.count; ++d) {
        const Index z = depth.start + d * depth.step;
#pragma unroll laid_out(Kernel, false)
        for (Index h = 0; h < height.count; ++h) {
            const Index y = height.start + h * height.step;
            body(z, y, (Dims < 3 || inside(z, window.axes[0].size)) &&
                           (Dims < 2 || inside(y, window.axes[1].size)));
        }
    }
}

// Call body(z, y, x, seen) for every tap of a position, in the order of memory: the cell that the
// tap sees, and whether it is one of the input or padding.
template <int Dims, int Kernel, int Stride, typename Index, typename Body>
__device__ __forceinline__ void for_each_tap(
    const Window<Index>& window, const Place<Index>& place, Body body) {
    const Taps<Index> width = taps_of<Dims, Kernel, Stride>(2, window, place);
    for_each_row_of_taps<Dims, Kernel, Stride>(
        window, place, [&](Index z, Index y, bool in_row) {
#pragma unroll laid_out(Kernel, true)
            for (Index w = 0; w < width.count; ++w) {
                const Index x = width.start + w * width.step;
                body(z, y, x, in_row && inside(x, window.axes[2].size));
            }
        });
}

// Call body(row, z, y) for every row of taps, as it is numbered, and row of positions that see a
// cell, always in the same order.
template <int Dims, int Kernel, int Stride, typename Index, typename Body>
__device__ __forceinline__ void for_each_row_of_sights(
    const Window<Index>& window, const Place<Index>& place, Body body) {
    const Sights<Index> first_height = sights_of<Dims, Kernel, Stride>(1, window, place);
    Sights<Index> depth = sights_of<Dims, Kernel, Stride>(0, window, place);
#pragma unroll laid_out(Kernel, false)
    for (Index d = 0; d < depth.rounds; ++d, depth.next()) {
        Sights<Index> height = first_height;
#pragma unroll laid_out(Kernel, false)
        for (Index h = 0; h < height.rounds; ++h, height.next()) {
            if (!(depth.counts() && height.counts())) continue;
            body(depth.tap * height.kernel + height.tap, depth.position, height.position);
        }
    }
}

// Call body(tap, x) for every tap and position along the last axis that see a cell. Of a run of Cells
// cells, place is the first one: `tap` is then what sees the last of them, and tap - e what sees the
// one e before it, if it is a tap: see is_tap.
template <int Dims, int Kernel, int Stride, int Cells, typename Index, typename Body>
__device__ __forceinline__ void for_each_sight_in_row(
    const Window<Index>& window, const Place<Index>& place, Body body) {
    if constexpr (Cells == 1) {
        Sights<Index> width = sights_of<Dims, Kernel, Stride>(2, window, place);
#pragma unroll laid_out(Kernel, true)
        for (Index w = 0; w < width.rounds; ++w, width.next()) {
            if (width.counts()) body(width.tap, width.position);
        }
    } else {
        static_assert(Kernel > 0, "a run of cells needs a kernel that is known");
        const Index reach = place.at[2] + Cells - 1 + window.axes[2].before;
        const Index last = reach < 0 ? -1 : reach / Stride;
        const Index tap = Stride == 1 || reach < 0 ? 0 : reach - last * Stride;
#pragma unroll
        for (int n = 0; n <= (Kernel + Cells - 2) / Stride; ++n) {
            if (inside(last - n, window.axes[2].out)) body(tap + n * Stride, last - n);
        }
    }
}

template <int Kernel, int Cells, typename Index>
__device__ __forceinline__ bool is_tap(Index tap) {
    return Cells == 1 || inside<Index>(tap, Kernel);
}

// Call body(tap, z, y, x) for every tap, as it is numbered, and position (z, y, x) that see a
// cell, always in the same order.
template <int Dims, int Kernel, int Stride, typename Index, typename Body>
__device__ __forceinline__ void for_each_sight(
    const Window<Index>& window, const Place<Index>& place, Body body) {
    for_each_row_of_sights<Dims, Kernel, Stride>(
        window, place, [&](Index row, Index z, Index y) {
            for_each_sight_in_row<Dims, Kernel, Stride, 1>(
                window, place, [&](Index tap, Index x) {
                    body(row * window.axes[2].kernel + tap, z, y, x);
                });
        });
}

// Elements that follow each other and are moved at once, 16 bytes at the most.
template <typename T, int Cells>
struct __align__(Cells * sizeof(T) < 16 ? Cells * sizeof(T) : 16) Pack {
    T held[Cells];
};

template <typename T, int Cells, typename Wide>
__device__ __forceinline__ void store(T* to, const Wide (&sums)[Cells]) {
    Pack<T, Cells> pack;
#pragma unroll
    for (int c = 0; c < Cells; ++c) pack.held[c] = Narrow<T>::from(sums[c]);
    *reinterpret_cast<Pack<T, Cells>*>(to) = pack;
}
