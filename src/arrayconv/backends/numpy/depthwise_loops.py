"""The loops of depthwise convolutions, compiled by numba.

Import this by `compiler.loops` only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayconv._integers import Ints
from arrayconv.backends.numpy.channel_sums import add_along, sum_channels
from arrayconv.backends.numpy.loop_forms import Loop, compiled_by_form
from arrayconv.backends.numpy.registers import VECTOR_BYTES
from arrayconv.backends.numpy.row_products import add_rows
from arrayconv.backends.numpy.row_sums import sum_rows

POSITIONS, VECTORS = 4, 2
"""What is summed at a time: with the weights of a tap that is what 16 registers hold."""
VECTORS_ALONG = 4
"""Vectors of channels that are summed over positions at a time."""


@compiled_by_form
def convolve_rows(shape: Ints) -> Loop:
    """Return sums of products for groups of rows of outputs: see `depthwise_rows.Plan`.

    ``shape`` has the numbers of `row_sums.Rows`. Of ``outputs`` planes of an image, of a bias each,
    each channel has ``multiple``.
    """
    along, vectors = shape[4], shape[8]

    def run(
        cells: Any,
        weight: Any,
        biases: Any,
        result: Any,
        begin: Any,
        end: Any,
        offsets: Any,
        places: Any,
        numbers: Any,
        outputs: Any,
        multiple: Any,
    ) -> None:
        size, width, before, positions, outs, taps = numbers
        groups, entries = offsets.shape
        zeros = np.zeros(width, cells.dtype)
        same = (cells, offsets.reshape(-1), weight, result, zeros, width, outs)
        some = vectors * (VECTOR_BYTES // cells.itemsize)
        for number in range(begin, end):
            made, group = number // groups, number % groups
            plane, output = made // multiple * size, made % outputs
            first, bias = output * taps, biases[output]
            place = made * positions + places[group]
            for start in range(0, outs, some):
                # The last vectors may be some of those before again.
                at = max(0, min(start, outs - some))
                column, left = before + at * along, outs - at
                entry, to = group * entries, place + at
                sum_rows(shape, plane, entry, first, bias, column, to, left, same)

    return run


@compiled_by_form
def gradient_rows(shape: Ints) -> Loop:
    """Return what adds up the gradient to the weight for some planes of outputs, over all images.

    ``shape`` has the numbers of `row_products.Products`; the rest is as `convolve_rows` takes it,
    but that each row of outputs has offsets for all rows of the kernel. ``some`` rows, and of
    each ``some_columns``, are summed up by themselves.
    """
    at_once, taps, dilation = shape[0], shape[1], shape[3]

    def run(
        cells: Any,
        cotangents: Any,
        result: Any,
        begin: Any,
        end: Any,
        offsets: Any,
        numbers: Any,
        some: Any,
        some_columns: Any,
        batch: Any,
        outputs: Any,
        multiple: Any,
    ) -> None:
        size, width, before, positions, outs, of_kernel = numbers
        rows, tall = offsets.shape
        wide = of_kernel // tall
        zeros = np.zeros(width, cells.dtype)
        same = (cells, offsets.reshape(-1), cotangents, result, zeros, width, outs, tall, wide)
        columns = -(-outs // some_columns)
        for number in range(begin, end):
            for part in range(batch * -(-rows // some) * columns):
                image, start = part % batch, part // batch % columns * some_columns
                stop, low = min(outs, start + some_columns), part // (batch * columns) * some
                high = min(rows, low + some)
                made = image * outputs + number
                plane, given = made // multiple * size, made * positions
                for line in range(0, tall, at_once):
                    # The last ones may be some of those before again, which are done.
                    top = max(0, min(line, tall - at_once))
                    for tap in range(0, wide, taps):
                        left = max(0, min(tap, wide - taps))
                        add_rows(
                            shape,
                            plane,
                            given,
                            low,
                            high,
                            start,
                            stop,
                            top,
                            before + left * dilation,
                            number * of_kernel + top * wide + left,
                            line - top,
                            tap - left,
                            same,
                        )

    return run


@compiled_by_form
def convolve_channels(lanes: int) -> Loop:
    """Return sums of products and biases for rows of results: see `depthwise_channels.Plan`."""

    def run(
        cells: Any,
        weights: Any,
        biases: Any,
        result: Any,
        begin: Any,
        end: Any,
        rows: Any,
        ends: Any,
        columns: Any,
        numbers: Any,
        channels: Any,
    ) -> None:
        plane, dilation, stride = numbers[0], numbers[1], numbers[2]
        first, last = numbers[3], numbers[4]
        outs, places = len(columns), len(ends) - 1
        most = max(1, (ends[1:] - ends[:-1]).max() * columns[:, 2].max())
        seen, taps = np.empty(most, np.int64), np.empty(most, np.int64)
        step, together = stride * channels, last - first >= POSITIONS
        same = (cells, weights, biases, seen, taps, result, step, channels)
        whole = channels - channels % (VECTORS * lanes)
        for row in range(begin, end):
            image, place = row // places, row % places
            held, count, o = (-1, -1), 0, 0
            while o < outs:
                grouped = together and first <= o < last
                if grouped:
                    # The last ones may be some of those before again.
                    o = min(o, last - POSITIONS)
                column, tap, length = columns[o]
                if held != (tap, length):
                    held, count = (tap, length), 0
                    for n in range(ends[place], ends[place + 1]):
                        for x in range(length):
                            seen[count] = (rows[n, 0] + x * dilation) * channels
                            taps[count] = (rows[n, 1] + tap + x) * channels
                            count += 1
                cell, to = (image * plane + column) * channels, (row * outs + o) * channels
                if channels < lanes:
                    if grouped:
                        sum_channels(POSITIONS, 1, cell, 0, to, count, channels, same)
                    else:
                        sum_channels(1, 1, cell, 0, to, count, channels, same)
                for c in range(0, whole, VECTORS * lanes):
                    if grouped:
                        sum_channels(POSITIONS, VECTORS, cell + c, c, to + c, count, None, same)
                    else:
                        sum_channels(1, VECTORS, cell + c, c, to + c, count, None, same)
                for c in range(whole, channels if channels >= lanes else 0, lanes):
                    # The last vector may overlap the one before.
                    at = min(c, channels - lanes)
                    if grouped:
                        sum_channels(POSITIONS, 1, cell + at, at, to + at, count, None, same)
                    else:
                        sum_channels(1, 1, cell + at, at, to + at, count, None, same)
                o += POSITIONS if grouped else 1

    return run


@compiled_by_form
def gradient_channels(lanes: int) -> Loop:
    """Return what adds up the gradient to the weight (taps, C), for the channels of a range."""

    def run(
        cells: Any,
        positions: Any,
        result: Any,
        begin: Any,
        end: Any,
        batch: Any,
        rows: Any,
        ends: Any,
        taps: Any,
        numbers: Any,
        channels: Any,
    ) -> None:
        plane, stride, outs = numbers[0], numbers[2], numbers[5]
        same = (cells, positions, result, stride * channels, channels)
        places, wide = len(ends) - 1, VECTORS_ALONG * lanes
        whole = begin + (end - begin) // wide * wide
        for row in range(batch * places):
            image, place = row // places, row % places
            low, high = ends[place], ends[place + 1]
            # The first cache holds what some channels have of a row, for all taps.
            for c in range(begin, whole, wide):
                for n in range(low, high):
                    for tap in range(len(taps)):
                        cell = (image * plane + rows[n, 0] + taps[tap, 2]) * channels + c
                        position = (row * outs + taps[tap, 0]) * channels + c
                        to = (rows[n, 1] + tap) * channels + c
                        add_along(VECTORS_ALONG, cell, position, to, taps[tap, 1], None, same)
            for c in range(whole, end - lanes + 1, lanes):
                for n in range(low, high):
                    for tap in range(len(taps)):
                        cell = (image * plane + rows[n, 0] + taps[tap, 2]) * channels + c
                        position = (row * outs + taps[tap, 0]) * channels + c
                        to = (rows[n, 1] + tap) * channels + c
                        add_along(1, cell, position, to, taps[tap, 1], None, same)
            left = (end - begin) % lanes
            for c in range(end - left, end, lanes):
                for n in range(low, high):
                    for tap in range(len(taps)):
                        cell = (image * plane + rows[n, 0] + taps[tap, 2]) * channels + c
                        position = (row * outs + taps[tap, 0]) * channels + c
                        to = (rows[n, 1] + tap) * channels + c
                        add_along(1, cell, position, to, taps[tap, 1], left, same)

    return run
