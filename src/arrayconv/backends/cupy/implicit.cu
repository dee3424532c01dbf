// Convolution as a product of matrices, whose column matrix is never made; and its gradients.
//
// Each is a Problem for product.cuh. Weights w (O, C / groups, *kernel) are contiguous, `taps` for
// each pair of channels; x and y are read as they lie in memory; what is written is contiguous, and
// so is the bias of each output, if there is one.
// Launch: THREADS threads for each tile of each part, phase and group.

// The cell that a tap of a position sees is `position * stride - before + tap * dilation`: the
// position's term and the tap's.
template <typename Index>
struct Sliding {
    const Window<Index>& window;
    const Layout<Index>& layout;

    __device__ __forceinline__ Offset<Index> term(
        Index plane, Index z, Index y, Index x, bool counts) const {
        return {plane + layout.template at<false>(z, y, x),
                {z, y, counts ? x : Offset<Index>::NOWHERE}};
    }
    __device__ __forceinline__ Offset<Index> of_position(const Place<Index>& p, bool counts) const {
        const Axis<Index>&a = window.axes[0], &b = window.axes[1], &c = window.axes[2];
        return term(p.plane * layout.image, p.at[0] * a.stride - a.before,
                    p.at[1] * b.stride - b.before, p.at[2] * c.stride - c.before, counts);
    }
    __device__ __forceinline__ Offset<Index> of_tap(const Place<Index>& p, bool counts) const {
        const Axis<Index>&a = window.axes[0], &b = window.axes[1], &c = window.axes[2];
        return term(p.plane * layout.channel, p.at[0] * a.dilation, p.at[1] * b.dilation,
                    p.at[2] * c.dilation, counts);
    }
};

// y[o, (n, position)] = bias[o] + sum of w[o, (c, tap)] * x[(c, tap), (n, position)]
template <typename T, typename Index, int Dims>
struct Forward {
    const T *left, *right, *bias;
    T* result;
    Index row_step, sizes[3];
    const Sliding<Index> sliding;
    const Product<Index>& product;
    const Tile<Index>& tile;
    Index positions;

    __device__ __forceinline__ Offset<Index> column(Index number) const {
        const Place<Index> place = product.column.template split<Dims>(number);
        return sliding.of_position(place, true);
    }
    __device__ __forceinline__ Step<Index> step(Index number) const {
        const Place<Index> place = product.step.template split<Dims>(number);
        return {number, sliding.of_tap(place, number < tile.last_step)};
    }
    // Where a column goes in the first row; -1 beyond the last one.
    __device__ __forceinline__ Index written(Index number) const {
        const Index image = product.column.template split<Dims>(number).plane;
        const Index plane = (image * product.groups + tile.group) * product.rows;
        return number < product.columns ? (plane - image) * positions + number : -1;
    }
    __device__ __forceinline__ void write(Index to, Index row, typename Sum<T>::Type sum) const {
        const Index output = tile.group * product.rows + row;
        result[to + row * positions] = Narrow<T>::from(plus(sum, bias_of(bias, output)));
    }
};

template <typename T, typename Index, int Dims, int Run, typename Cores>
__global__ void implicit_conv(
    const T* __restrict__ x, const Layout<Index> layout, const T* __restrict__ w,
    const T* __restrict__ bias, const Window<Index> window, const Product<Index> product,
    T* __restrict__ y, const Index channels, const Index positions) {
    const Tile<Index> tile(product, Cores::ROWS, Cores::COLUMNS);
    const Axis<Index>* axes = window.axes;
    const Forward<T, Index, Dims> problem = {
        w + tile.group * product.rows * product.steps,
        x + tile.group * channels * layout.channel,
        bias,
        y,
        product.steps,
        {axes[0].size, axes[1].size, axes[2].size},
        {window, layout},
        product,
        tile,
        positions};
    multiply<T, Dims, Run, Cores, false>(problem, product, tile);
}

// The gradient to w, in parts: partial[o, (c, tap)] = sum of y[o, (n, position)] * x[(n, position),
// (c, tap)], each part over its run of images and positions.
template <typename T, typename Index, int Dims>
struct Weight {
    const T *left, *right;
    typename Sum<T>::Type* partial;
    Index row_step, sizes[3];
    const Sliding<Index> sliding;
    const Layout<Index>& left_layout;
    const Product<Index>& product;
    const Tile<Index>& tile;

    __device__ __forceinline__ Offset<Index> column(Index number) const {
        const Place<Index> place = product.column.template split<Dims>(number);
        return sliding.of_tap(place, true);
    }
    __device__ __forceinline__ Step<Index> step(Index number) const {
        const Place<Index> place = product.step.template split<Dims>(number);
        const Index plane = place.plane * left_layout.image;
        const Index in_plane =
            left_layout.template at<false>(place.at[0], place.at[1], place.at[2]);
        return {plane + in_plane, sliding.of_position(place, number < tile.last_step)};
    }
    __device__ __forceinline__ Index written(Index number) const {
        const Index row = (tile.part * product.groups + tile.group) * product.rows;
        return number < product.columns ? row * product.columns + number : -1;
    }
    __device__ __forceinline__ void write(Index to, Index row, typename Sum<T>::Type sum) const {
        partial[to + row * product.columns] = sum;
    }
};

template <typename T, typename Index, int Dims, int Run, typename Cores>
__global__ void implicit_conv_weight(
    const T* __restrict__ x, const Layout<Index> layout, const T* __restrict__ y,
    const Layout<Index> y_layout, const Window<Index> window, const Product<Index> product,
    typename Sum<T>::Type* __restrict__ partial, const Index channels) {
    const Tile<Index> tile(product, Cores::ROWS, Cores::COLUMNS);
    const Axis<Index>* axes = window.axes;
    const Weight<T, Index, Dims> problem = {
        y + tile.group * product.rows * y_layout.channel,
        x + tile.group * channels * layout.channel,
        partial,
        y_layout.channel,
        {axes[0].size, axes[1].size, axes[2].size},
        {window, layout},
        y_layout,
        product,
        tile};
    // Positions of a row of x and y follow each other in memory; taps do only within a row.
    multiply<T, Dims, Run, Cores, true>(problem, product, tile);
}

// w: the parts of each weight added in their order. Launch: a thread a weight.
template <typename T, typename Index>
__global__ void implicit_conv_weight_sum(
    const typename Sum<T>::Type* __restrict__ partial, T* __restrict__ w, const Index parts,
    const Index count) {
    const Index item = thread_number<Index>();
    if (item >= count) return;
    typename Sum<T>::Type sum = {};
    for (Index part = 0; part < parts; ++part) sum = plus(sum, partial[part * count + item]);
    w[item] = Narrow<T>::from(sum);
}
