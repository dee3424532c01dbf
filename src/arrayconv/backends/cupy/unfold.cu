// unfold (im2col): columns (N, C * taps, positions) of x (N, C, *sizes).
//
// A thread takes one position of one plane and copies every cell that its window sees. Threads of
// a warp have neighbouring positions: what they write for one tap is one run of a row of the
// columns, and what they read is one run (for a stride of 1) of a row of x, most of which the
// cache holds from the tap before. The index arithmetic is done once for all taps.
//
// Word is any type of an element's size: nothing is computed. Launch: a thread a position.

template <typename Word, typename Index, int Dims, int Kernel, int Stride>
__global__ void unfold(
    const Word* __restrict__ x, const Layout<Index> layout, const Window<Index> window,
    Word* __restrict__ columns, const Index rows, const Index positions, const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    const Place<Index> place = position_of<Dims>(item, window);
    const Index plane = layout.plane(place.plane);
    // Row `place.plane * rows` of the columns, at this position.
    Index to = place.plane * (rows - 1) * positions + item;
    for_each_tap<Dims, Kernel, Stride>(
        window, place, [&](Index z, Index y, Index cell, bool seen) {
            columns[to] = seen ? x[plane + layout.at(z, y, cell)] : Word();
            to += positions;
        });
}
