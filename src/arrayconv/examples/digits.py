"""A small convolutional network learns to read handwritten digits.

scikit-learn ships 1,797 of them, 8 x 8 pixels each. Adaptive pooling lets the same network, with
the same weights, read them enlarged as well. Run ``python -m arrayconv.examples.digits --help``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import arrayconv as ac
from arrayconv import nn

EXTRA = "python -m pip install 'arrayconv[examples]'"
BATCH = 32


def digits(seed: int) -> tuple[Any, Any, Any, Any]:
    """Return images (N, 1, 8, 8) in [0, 1] and labels, to learn from and held out (a quarter)."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = (found.images / 16).astype(np.float32)[:, None]
    order = np.random.default_rng(seed).permutation(len(images))
    held = len(images) // 4
    images, labels = images[order], found.target[order]
    return images[held:], labels[held:], images[:held], labels[:held]


def network(device: ac.Device) -> nn.Sequential:
    """Return the network: three convolutions, pooling to 4 x 4 whatever the size, a linear head."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1, device=device),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1, device=device),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1, device=device),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(1024, 10, device=device),
    )


def batches(images: Any, labels: Any, random: np.random.Generator) -> Iterator[tuple[Any, Any]]:
    """Yield the images in a new order, moved by at most a pixel and some enlarged, with labels."""
    order = random.permutation(len(images))
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        down, right = random.integers(0, 3, 2)
        moved = padded[chosen][:, :, down : down + 8, right : right + 8]
        yield enlarged(moved, int(random.choice((1, 1, 1, 2, 3)))), labels[chosen]


def enlarged(images: Any, times: int) -> Any:
    """Return the images with each pixel made into a square of ``times`` x ``times``."""
    return images.repeat(times, 2).repeat(times, 3)


def scores(net: nn.Sequential, images: Any, device: ac.Device) -> Any:
    """Return the network's scores (N, 10), as NumPy's array."""
    was = net.training
    net.eval()
    given = ac.to_numpy(net(device.asarray(images)))
    net.train(was)
    return given


def accuracy(net: nn.Sequential, images: Any, labels: Any, device: ac.Device) -> float:
    """Return the share of images that the network reads right."""
    return float((scores(net, images, device).argmax(1) == labels).mean())


def learn(
    net: nn.Sequential, images: Any, labels: Any, epochs: int, seed: int, device: ac.Device
) -> Iterator[float]:
    """Train, and yield the loss of each batch."""
    random = np.random.default_rng(seed)
    optimizer = nn.Adam(net.parameters(), lr=4e-3)
    loss = nn.CrossEntropyLoss()
    for epoch in range(epochs):
        optimizer.lr = 4e-3 * (1 - epoch / epochs)
        for some, right in batches(images, labels, random):
            optimizer.zero_grad()
            value = loss(net(device.asarray(some)), device.asarray(right))
            net.backward(loss.backward())
            optimizer.step()
            yield float(value)


def draw(
    path: Path,
    net: nn.Sequential,
    losses: Sequence[float],
    images: Any,
    labels: Any,
    device: ac.Device,
) -> None:
    """Save a picture of the loss, the first filters, a digit's feature maps, and what was read."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8.5), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=(1, 1.2))
    top, bottom = halves
    left, right = top.subplots(1, 2)
    left.plot(losses, color="0.8", label="each batch")
    window = max(1, len(losses) // 40)
    smooth = ac.to_numpy(ac.correlate(np.asarray(losses), np.full(window, 1 / window), "valid"))
    left.plot(np.arange(len(smooth)) + window / 2, smooth, color="C0", label=f"mean of {window}")
    left.set(title="loss", xlabel="batch", ylabel="cross-entropy", yscale="log")
    left.legend(frameon=False)
    read = scores(net, images, device).argmax(1)
    table = np.zeros((10, 10), int)
    np.add.at(table, (labels, read), 1)
    right.imshow(table, cmap="Blues", norm="symlog")
    for row, column in np.argwhere(table):
        shade = "white" if table[row, column] > table.max() / 4 else "black"
        right.text(
            column, row, str(table[row, column]), ha="center", va="center", color=shade, fontsize=8
        )
    right.set(
        title=f"held out: {np.trace(table)} of {table.sum()} right",
        xlabel="read as",
        ylabel="digit",
        xticks=range(10),
        yticks=range(10),
    )
    grid = bottom.subplots(3, 12)
    convolution = net[0]
    maps = ac.to_numpy(convolution(device.asarray(images[:1])))[0]
    filters = ac.to_numpy(convolution.state_dict()["weight"])[:, 0]
    for axes in grid.flat:
        axes.set_axis_off()
    grid[0, 0].imshow(images[0, 0], cmap="gray_r")
    grid[0, 0].set_title(f"a {labels[0]}", fontsize=9)
    limit = np.abs(filters).max()
    for place in range(11):
        grid[1, place + 1].imshow(filters[place], cmap="RdBu", vmin=-limit, vmax=limit)
        grid[2, place + 1].imshow(maps[place], cmap="gray_r")
    for row, words in ((1, "filters"), (2, "maps")):
        grid[row, 0].text(0.5, 0.5, words, ha="center", va="center")
    figure.savefig(path, dpi=120)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m arrayconv.examples.digits", description=(__doc__ or "").splitlines()[0]
    )
    made.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    made.add_argument("--epochs", type=int, default=40, help="passes over the data (default: 40)")
    made.add_argument("--seed", type=int, default=0, help="makes a run repeatable (default: 0)")
    made.add_argument(
        "--output",
        type=Path,
        default=Path("digits.png"),
        metavar="FILE",
        help="the picture to save (default: digits.png)",
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, print what was learned, and save the picture; 0 where it was."""
    given = parser().parse_args(arguments)
    if given.epochs < 1 or given.seed < 0:
        parser().error("--epochs must be at least 1, and --seed not negative")
    try:
        from rich.progress import track

        learned, labels, held, right = digits(given.seed)
        device = ac.get_device(given.device)
    except ImportError as missing:
        print(f"{missing}: this example needs {EXTRA}", file=sys.stderr)
        return 1
    except (RuntimeError, ValueError) as problem:
        print(problem, file=sys.stderr)
        return 1
    nn.manual_seed(given.seed)
    net = network(device)
    print(net.summary((1, 1, 8, 8)))
    start = time.perf_counter()
    steps = learn(net, learned, labels, given.epochs, given.seed, device)
    count = given.epochs * -(-len(learned) // BATCH)
    losses = list(track(steps, f"learning on {device.name}", total=count))
    took = time.perf_counter() - start
    print(f"{count} batches of {BATCH} in {took:.1f} s on {device.name}")
    print(f"learned from {len(learned)}: {accuracy(net, learned, labels, device):.1%} right")
    for times in (1, 2, 3):
        shown = accuracy(net, enlarged(held, times), right, device)
        print(f"held out, {len(held)} at {8 * times} x {8 * times} pixels: {shown:.1%} right")
    draw(given.output, net, losses, held, right, device)
    print(f"saved {given.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
