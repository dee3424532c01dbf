// unfold (im2col): columns (N, C * taps, positions) of x (N, C, *sizes).
//
// A thread takes a run of Cells positions that follow each other in a row, and copies every cell that
// their windows see, in each of its planes. What it writes for one tap is one run of a row of the
// columns, 16 bytes at the most; what several of its windows see of a row of x it reads once.
// Threads of a warp have neighbouring runs. Cells divides the positions of a row.
//
// Word is any type of an element's size: nothing is computed. Launch: a thread for each run of
// Planes planes.

template <typename Word, typename Index, int Dims, int Kernel, int Stride, int Planes, bool Dense,
          int Cells>
__global__ void unfold(
    const Word* __restrict__ x, const Layout<Index> layout, const Window<Index> window,
    Word* __restrict__ columns, const Index rows, const Index positions, const Index planes,
    const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Place<Index> place = position_of<Dims>(item * Cells, window);
    const Index first = place.plane * Planes;
    Index from[Planes];
    layout.template several<Dense>(first, planes, from);
    // Row `first * rows` of the columns, at this position; the planes' rows follow each other.
    Index to = (first * rows - place.plane) * positions + item * Cells;
    const Index next_plane = rows * positions;
    if constexpr (Cells == 1) {
        for_each_tap<Dims, Kernel, Stride>(
            window, place, [&](Index z, Index y, Index cell, bool seen) {
                const Index at = layout.template at<Dense>(z, y, cell);
#pragma unroll
                for (int p = 0; p < Planes; ++p) {
                    const Word value = seen ? x[from[p] + at] : Word();
                    if (first + p < planes) columns[to + p * next_plane] = value;
                }
                to += positions;
            });
    } else {
        constexpr int SEEN = (Cells - 1) * Stride + Kernel;
        const Index start = place.at[2] * Stride - window.axes[2].before;
        for_each_row_of_taps<Dims, Kernel, Stride>(window, place, [&](Index z, Index y, bool in_row) {
#pragma unroll
            for (int p = 0; p < Planes; ++p) {
                Word seen[SEEN];
#pragma unroll
                for (int c = 0; c < SEEN; ++c) {
                    const bool there = in_row && inside(start + c, window.axes[2].size);
                    seen[c] = there ? x[from[p] + layout.template at<Dense>(z, y, start + c)] : Word();
                }
                if (first + p >= planes) continue;
#pragma unroll
                for (int tap = 0; tap < Kernel; ++tap) {
                    Pack<Word, Cells> pack;
#pragma unroll
                    for (int c = 0; c < Cells; ++c) pack.held[c] = seen[c * Stride + tap];
                    const Index row = to + p * next_plane + tap * positions;
                    *reinterpret_cast<Pack<Word, Cells>*>(columns + row) = pack;
                }
            }
            to += Kernel * positions;
        });
    }
}
