// unfold (im2col): columns (N, C * taps, positions) of x (N, C, *sizes).
//
// A thread takes one position and copies every cell that its window sees, in each of its planes.
// Threads of a warp have neighbouring positions: what they write for one tap is one run of a row of
// the columns, and what they read is one run (for a stride of 1) of a row of x, most of which the
// cache holds from the tap before.
//
// Word is any type of an element's size: nothing is computed. Launch: a thread for each position of
// Planes planes.

template <typename Word, typename Index, int Dims, int Kernel, int Stride, int Planes, bool Dense>
__global__ void unfold(
    const Word* __restrict__ x, const Layout<Index> layout, const Window<Index> window,
    Word* __restrict__ columns, const Index rows, const Index positions, const Index planes,
    const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Place<Index> place = position_of<Dims>(item, window);
    const Index first = place.plane * Planes;
    Index from[Planes];
    layout.template several<Dense>(first, planes, from);
    // Row `first * rows` of the columns, at this position; the planes' rows follow each other.
    Index to = (first * rows - place.plane) * positions + item;
    const Index next_plane = rows * positions;
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
}
