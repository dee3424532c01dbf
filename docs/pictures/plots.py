"""Bars, curves and boxes: parameters, a signal, a network on digits, the house."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

import arrayconv as ac

EPOCHS = 4


def parameters() -> Figure:
    """Weights of a layer from a 512 x 512 picture to a map of that size."""
    cells = 512 * 512
    counts = [cells * cells, cells * 9, 9]
    words = ["dense", "3 x 3 windows,\nown weights each", "convolution:\none 3 x 3 kernel"]
    figure = Figure(figsize=(5.4, 2.2), layout="constrained")
    axes = figure.subplots()
    axes.barh(words, counts, color=["#d1495b", "#edae49", "#00868b"], height=0.6)
    axes.set_xscale("log")
    axes.set_xlim(1, 1e13)
    for row, count in enumerate(counts):
        axes.text(count * 1.5, row, f"{count:,}", va="center", fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel("weights")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def signal() -> Figure:
    """A noisy signal, its moving average, and its slope."""
    random = np.random.default_rng(0)
    time = np.linspace(0, 4, 400)
    clean = np.sin(2 * np.pi * time) * np.exp(-time / 3)
    noisy = (clean + random.normal(0, 0.25, time.shape))[None, None]
    smooth = ac.conv1d(noisy, np.full((1, 1, 25), 1 / 25), padding="same")
    figure = Figure(figsize=(6.5, 2.1), layout="constrained")
    axes = figure.subplots()
    axes.plot(time, noisy[0, 0], ".", ms=2.5, color="0.6", label="signal")
    axes.plot(time, smooth[0, 0], color="#00868b", lw=2, label="mean of 25: conv1d")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure


@cache
def learned() -> tuple[Any, list[float], float, Any, int]:
    """Return a trained network, its losses, the share it reads right, a digit and its label."""
    from arrayconv import nn
    from arrayconv.examples import digits as example

    images, labels, held, right = example.digits(0)
    device = ac.get_device("cpu")
    nn.manual_seed(0)
    net = example.network(device)
    with ac.options(threads=1):
        losses = list(example.learn(net, images, labels, EPOCHS, 0, device))
    return net, losses, example.accuracy(net, held, right, device), held[:1], int(right[0])


def digits() -> Figure:
    """A small network on digits: a digit, the first filters, their maps, and how it learned."""
    net, losses, share, image, label = learned()
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.1, 1))
    grid: Any = parts[0].subplots(2, 9)
    weight = ac.to_numpy(net[0].state_dict()["weight"])[:, 0]
    maps = ac.to_numpy(net[0](image))[0]
    for axes in grid.flat:
        axes.set_axis_off()
    grid[0, 0].imshow(image[0, 0], cmap="gray")
    grid[0, 0].set_title(f"a {label}", fontsize=8)
    limit = np.abs(weight).max()
    for place in range(8):
        grid[0, place + 1].imshow(weight[place], cmap="RdBu_r", vmin=-limit, vmax=limit)
        grid[1, place + 1].imshow(maps[place], cmap="gray")
    grid[0, 4].set_title("filters of the first layer, and their maps", fontsize=8)
    axes = parts[1].subplots()
    axes.plot(losses, color="0.6", lw=0.8)
    axes.set(xlabel="batch of 32", ylabel="loss", ylim=(0, None))
    axes.set_title(f"{share:.1%} of unseen digits read right after {EPOCHS} epochs", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def house() -> Figure:
    """The floors of the house, from the public operation down to the integers."""
    floors = [
        ("arrayconv.nn", "layers: no gradient is written here", "#00868b"),
        (
            "public operations",
            "conv2d, max_pool2d, unfold, vjp, ...: check, build a window, call",
            "#2a9d8f",
        ),
        (
            "primitives",
            "conv, unfold, max_pool, sum_pool, gather, pad: closed under gradients",
            "#8ab17d",
        ),
        ("registry", "who runs it: generic, im2col, winograd, cuda, native, ...", "#e9c46a"),
        ("window", "Axis(size, kernel, stride, dilation, before, after, out): integers", "#f4a261"),
    ]
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for row, (name, words, colour) in enumerate(floors):
        axes.add_patch(
            FancyBboxPatch(
                (0.05, row + 0.12), 9.9, 0.72, boxstyle="round,pad=0.04", fc=colour, ec="none"
            )
        )
        axes.text(0.25, row + 0.32, name, va="center", weight="bold", color="black", fontsize=10)
        axes.text(0.25, row + 0.64, words, va="center", color="black", fontsize=9)
    axes.set(xlim=(0, 10), ylim=(len(floors) + 0.05, -0.05))
    axes.set_axis_off()
    return figure
