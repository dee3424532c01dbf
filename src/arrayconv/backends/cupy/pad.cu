// pad: y (N, C, *positions) of x (N, C, *sizes), cells added at the ends of axes or cropped.
//
// Padding is a window of one tap, which shows a cell of x at each position: in Mode CONSTANT none
// where it is beyond the ends, in the other modes one that is looked up there. A thread takes a run of
// Cells positions of a row, in each of its planes, copies what they show and writes it at once.
// Neighbouring threads read neighbouring cells but where an axis is mirrored or repeated. Cells
// divides the positions of a row.
//
// Launch: a thread for each run of Planes planes.

constexpr int CONSTANT = 0, REFLECT = 1, REPLICATE = 2, CIRCULAR = 3;

// The part of an axis that is wrapped around: what is cropped is gone before.
template <typename Index>
struct Circle {
    Index first, length;

    __device__ __forceinline__ explicit Circle(const Axis<Index>& axis)
        : first(axis.before < 0 ? -axis.before : 0),
          length((axis.size < axis.out - axis.before ? axis.size : axis.out - axis.before) - first) {}
};

// The cell that is shown where a window of one tap sees `cell`, which may be beyond the ends.
template <int Mode, typename Index>
__device__ __forceinline__ Index shown(Index cell, const Axis<Index>& axis) {
    const Index last = axis.size - 1;
    if constexpr (Mode == REFLECT) {
        const Index mirrored = cell < 0 ? -cell : cell;
        return mirrored > last ? 2 * last - mirrored : mirrored;
    } else if constexpr (Mode == REPLICATE) {
        const Index above = cell < 0 ? 0 : cell;
        return above > last ? last : above;
    } else if constexpr (Mode == CIRCULAR) {
        const Circle<Index> circle(axis);
        const Index place = cell - circle.first;
        if (place < 0) return cell + circle.length;
        return place >= circle.length ? cell - circle.length : cell;
    } else {
        return cell;
    }
}

template <typename Word, typename Index, int Dims, int Kernel, int Stride, int Planes, bool Dense,
          int Cells, int Mode>
__global__ void pad(
    const Word* __restrict__ x, const Layout<Index> layout, const Window<Index> window,
    const Word value, Word* __restrict__ y, const Index positions, const Index planes,
    const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Place<Index> place = position_of<Dims>(item * Cells, window);
    const Index first = place.plane * Planes;
    Index from[Planes];
    layout.template several<Dense>(first, planes, from);
    const Index to = (first - place.plane) * positions + item * Cells;
    const Axis<Index>* axes = window.axes;
    const Index start = place.at[2] - axes[2].before;
    for_each_row_of_taps<Dims, Kernel, Stride>(window, place, [&](Index z, Index row, bool in_row) {
        const Index depth = Dims < 3 ? 0 : shown<Mode>(z, axes[0]);
        const Index height = Dims < 2 ? 0 : shown<Mode>(row, axes[1]);
#pragma unroll
        for (int p = 0; p < Planes; ++p) {
            Word held[Cells];
#pragma unroll
            for (int c = 0; c < Cells; ++c) {
                const bool there = Mode != CONSTANT || (in_row && inside(start + c, axes[2].size));
                const Index cell = shown<Mode>(start + c, axes[2]);
                held[c] = there ? x[from[p] + layout.template at<Dense>(depth, height, cell)] : value;
            }
            if (first + p < planes) store(y + to + p * positions, held);
        }
    });
}

// Where a cell of an axis is shown: `count` positions that follow each other, or three which may
// lie outside of the axis.
template <int Mode, typename Index>
struct Showing {
    Index count, at[3];

    __device__ __forceinline__ Showing(int dim, int dims, const Axis<Index>& axis, Index cell) {
        const Index here = cell + axis.before, last = axis.size - 1;
        at[0] = here;
        if (dim < 3 - dims) {
            count = 1;
        } else if constexpr (Mode == REPLICATE) {
            const Index stop = cell == last || here >= axis.out ? axis.out : here + 1;
            at[0] = cell == 0 || here < 0 ? 0 : here;
            count = stop - at[0];
        } else if constexpr (Mode == REFLECT) {
            count = 3;
            at[1] = cell > 0 ? axis.before - cell : -1;
            at[2] = cell < last ? 2 * last - cell + axis.before : -1;
        } else {
            const Circle<Index> circle(axis);
            // What is cropped is shown nowhere.
            count = inside(cell - circle.first, circle.length) ? 3 : 0;
            at[1] = here - circle.length;
            at[2] = here + circle.length;
        }
    }

    __device__ __forceinline__ Index position(Index n) const {
        if (Mode == REPLICATE) return at[0] + n;
        return n == 0 ? at[0] : n == 1 ? at[1] : at[2];
    }
};

// pad_adjoint: x (N, C, *sizes) of y, each cell the sum of all positions that show it, in every mode
// but CONSTANT, whose adjoint crops. A thread takes one cell of each of its planes and gathers, with
// no atomics and always in the same order. Launch: a thread for each cell of Planes planes.
template <typename T, typename Index, int Dims, int Kernel, int Stride, int Planes, bool Dense,
          int Mode>
__global__ void pad_adjoint(
    const T* __restrict__ y, const Layout<Index> layout, const Window<Index> window,
    T* __restrict__ x, const Index cells, const Index planes, const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Place<Index> place = cell_of<Dims>(item, window);
    const Index first = place.plane * Planes;
    Index from[Planes];
    layout.template several<Dense>(first, planes, from);
    typename Sum<T>::Type sum[Planes] = {};
    const Showing<Mode, Index> depth(0, Dims, window.axes[0], place.at[0]);
    const Showing<Mode, Index> height(1, Dims, window.axes[1], place.at[1]);
    const Showing<Mode, Index> width(2, Dims, window.axes[2], place.at[2]);
    for (Index d = 0; d < depth.count; ++d) {
        const Index z = depth.position(d);
        if (!inside(z, window.axes[0].out)) continue;
        for (Index h = 0; h < height.count; ++h) {
            const Index row = height.position(h);
            if (!inside(row, window.axes[1].out)) continue;
            for (Index w = 0; w < width.count; ++w) {
                const Index position = width.position(w);
                if (!inside(position, window.axes[2].out)) continue;
                const Index at = layout.template at<Dense>(z, row, position);
#pragma unroll
                for (int p = 0; p < Planes; ++p) sum[p] = plus(sum[p], widen(y[from[p] + at]));
            }
        }
    }
    const Index to = (first - place.plane) * cells + item;
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
        if (first + p < planes) x[to + p * cells] = Narrow<T>::from(sum[p]);
    }
}
