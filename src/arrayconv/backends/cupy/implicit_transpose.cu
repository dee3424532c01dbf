// The gradient of a convolution to its input, as a product whose column matrix is never made.
//
// Cells whose numbers are the same modulo the stride are one phase. They are seen by the same taps,
// tap + round * tap_step, of positions that lie side by side: for cell `phase + k * stride` of an
// axis position + k - round * position_step. So each phase is a convolution of y with a stride of
// 1, and a Problem for product.cuh:
//
// x[c, (n, k)] = bias[c] + sum of w[(o, round), c] * y[(o, round), (n, k)]
//
// Weights w (O, C / groups, *kernel) are contiguous, `taps` for each pair of channels; x is
// contiguous, and so is the bias, if there is one. Launch: THREADS threads for each tile of each phase
// and group.

template <typename T, typename Index, int Dims>
struct Transpose {
    const T *left, *right, *bias;
    T* result;
    Index row_step, sizes[3];
    const Window<Index>& window;
    const Layout<Index>& layout;
    const Product<Index>& product;
    const Tile<Index>& tile;
    // Of the first cell of the phase; a phase that no tap sees has no rounds.
    Index phases[3];
    Sights<Index> first[3];

    __device__ __forceinline__ Offset<Index> term(
        Index start, Index z, Index y, Index x, bool counts) const {
        return {start + layout.template at<false>(z, y, x),
                {z, y, counts ? x : Offset<Index>::NOWHERE}};
    }
    __device__ __forceinline__ Offset<Index> column(Index number) const {
        const Place<Index> p = product.column.template split<Dims>(number);
        return term(p.plane * layout.image, p.at[0] + first[0].position,
                    p.at[1] + first[1].position, p.at[2] + first[2].position,
                    true);
    }
    __device__ __forceinline__ Step<Index> step(Index number) const {
        const Place<Index> p = product.step.template split<Dims>(number);
        bool counts = number < tile.last_step;
        Index weight = p.plane * product.rows, back[3];
#pragma unroll
        for (int dim = 0; dim < 3; ++dim) {
            const Index tap = first[dim].tap + p.at[dim] * first[dim].tap_step;
            counts = counts && p.at[dim] < first[dim].rounds && tap < first[dim].kernel;
            weight = weight * first[dim].kernel + tap;
            back[dim] = -p.at[dim] * first[dim].position_step;
        }
        return {weight, term(p.plane * layout.channel, back[0], back[1], back[2], counts)};
    }
    // Where the cell of a column goes in the first row; -1 where there is no such cell.
    __device__ __forceinline__ Index written(Index number) const {
        const Place<Index> p = product.column.template split<Dims>(number);
        Index to = (p.plane * product.groups + tile.group) * product.rows;
        bool is_cell = number < product.columns;
#pragma unroll
        for (int dim = 0; dim < 3; ++dim) {
            const Axis<Index>& axis = window.axes[dim];
            const Index cell = phases[dim] + p.at[dim] * axis.stride;
            is_cell = is_cell && cell < axis.size;
            to = to * axis.size + cell;
        }
        return is_cell ? to : -1;
    }
    __device__ __forceinline__ void write(Index to, Index row, typename Sum<T>::Type sum) const {
        const Axis<Index>* axes = window.axes;
        const Index cells = axes[0].size * axes[1].size * axes[2].size;
        const Index channel = tile.group * product.rows + row;
        result[to + row * cells] = Narrow<T>::from(plus(sum, bias_of(bias, channel)));
    }
};

template <typename T, typename Index, int Dims, int Run, typename Cores>
__global__ void implicit_conv_transpose(
    const T* __restrict__ y, const Layout<Index> layout, const T* __restrict__ w,
    const T* __restrict__ bias, const Window<Index> window, const Product<Index> product,
    T* __restrict__ x, const Index outputs, const Index taps) {
    const Tile<Index> tile(product, Cores::ROWS, Cores::COLUMNS);
    const Axis<Index>* axes = window.axes;
    Transpose<T, Index, Dims> problem = {
        w + tile.group * outputs * product.rows * taps,
        y + tile.group * outputs * layout.channel,
        bias,
        x,
        taps,
        {axes[0].out, axes[1].out, axes[2].out},
        window,
        layout,
        product,
        tile};
    Index phase = tile.phase;
#pragma unroll
    for (int dim = 2; dim >= 0; --dim) {
        const Index number = phases_of(axes[dim]), above = phase / number;
        problem.phases[dim] = phase - above * number;
        problem.first[dim] = sights_of_phase<Dims>(dim, window, problem.phases[dim]);
        phase = above;
    }
    multiply<T, Dims, Run, Cores, false>(problem, product, tile);
}
