// The geometry of a window, in integers: the same arithmetic as arrayconv/_window.py, which the
// tests hold it against. No drawing here.
"use strict";

const Geometry = (() => {
  /** Return one dimension of a window that slides over `size` cells; an Error where it cannot. */
  function slidingAxis({ size, kernel, stride, dilation, before, after, ceil }) {
    const span = dilation * (kernel - 1) + 1;
    const room = size + before + after - span;
    let out = Math.floor((room + (ceil ? stride - 1 : 0)) / stride) + 1;
    // The last window is dropped unless it starts in the input or the padding before it.
    if (ceil && (out - 1) * stride >= size + before) out -= 1;
    if (out < 1) {
      throw new Error(
        `the kernel spans ${span} cells, more than the ${size + before + after} of the padded input`
      );
    }
    return { size, kernel, stride, dilation, before, after, out };
  }

  /** Return the window over the output of a transposed convolution of `size` cells. */
  function transposedAxis({ size, kernel, stride, dilation, before, after, outputPadding }) {
    if (outputPadding >= Math.max(stride, dilation)) {
      throw new Error("output padding must be smaller than the stride or the dilation");
    }
    const output =
      (size - 1) * stride - before - after + dilation * (kernel - 1) + outputPadding + 1;
    if (output < 1) {
      throw new Error(`the padding crops the output to ${output} cells`);
    }
    return { size: output, kernel, stride, dilation, before, after, out: size };
  }

  /** Return the cell that a tap sees from a position; -1 where that is padding. */
  function cell(axis, position, tap) {
    const found = position * axis.stride + tap * axis.dilation - axis.before;
    return found >= 0 && found < axis.size ? found : -1;
  }

  /** Return the rows (a tap each) of the im2col matrix: flat numbers of cells, -1 for padding. */
  function columns(rows, across) {
    const matrix = [];
    for (let i = 0; i < rows.kernel; i++) {
      for (let j = 0; j < across.kernel; j++) {
        const row = [];
        for (let r = 0; r < rows.out; r++) {
          for (let c = 0; c < across.out; c++) {
            const down = cell(rows, r, i);
            const right = cell(across, c, j);
            row.push(down < 0 || right < 0 ? -1 : down * across.size + right);
          }
        }
        matrix.push(row);
      }
    }
    return matrix;
  }

  /** Return how many cells beyond the input the windows reach, or its padding where that is more. */
  function shownAfter(axis) {
    const reach = (axis.out - 1) * axis.stride + axis.dilation * (axis.kernel - 1) + 1;
    return Math.max(axis.after, reach - axis.before - axis.size);
  }

  /** Return the formula of an axis with its numbers. */
  function formula(axis, { transposed, ceil, outputPadding }) {
    const { size, kernel, stride, dilation, before, after, out } = axis;
    if (transposed) {
      return (
        `(${out} − 1) · ${stride} − ${before} − ${after} + ${dilation} · (${kernel} − 1) + ` +
        `${outputPadding} + 1 = ${size}`
      );
    }
    const rounded = ceil ? "ceil" : "floor";
    const plain =
      `${rounded}((${size} + ${before} + ${after} − ${dilation} · (${kernel} − 1) − 1) / ` +
      `${stride}) + 1`;
    const room = size + before + after - dilation * (kernel - 1) - 1;
    const rough = Math.floor((room + (ceil ? stride - 1 : 0)) / stride) + 1;
    const dropped = rough === out ? "" : ` = ${rough}, less a window that starts in the padding`;
    return `${plain}${dropped} = ${out}`;
  }

  return { slidingAxis, transposedAxis, cell, columns, shownAfter, formula };
})();

if (typeof module !== "undefined") module.exports = Geometry;
