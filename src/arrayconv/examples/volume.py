"""Three-dimensional convolution of a magnetic resonance image of a head.

nibabel ships one (128 x 96 x 24 cells). A Gaussian blur and the three derivatives of Sobel's
kernel are separable, so each is three one-dimensional kernels; `max_pool3d` makes it coarser.
Run ``python -m arrayconv.examples.volume --help``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import arrayconv as ac


def head() -> Any:
    """Return the volume (depth, height, width) in [0, 1]."""
    import nibabel
    from nibabel.testing import data_path

    values = nibabel.load(Path(data_path) / "example4d.nii.gz").get_fdata()[..., 0]
    return (values.T / values.max()).astype(np.float32)


def edges(volume: Any, device: ac.Device) -> Any:
    """Return the length of the gradient, by Sobel's kernel along each axis in turn."""
    smooth, slope = (device.asarray(each, dtype=volume.dtype) for each in ([1, 2, 1], [-1, 0, 1]))
    total = None
    for axis in range(3):
        factors = [slope if axis == each else smooth for each in range(3)]
        along = ac.correlate(volume, factors, padding_mode="replicate")
        total = along * along if total is None else total + along * along
    return device.xp.sqrt(total)


def blurred(volume: Any, width: float, device: ac.Device) -> Any:
    """Return the volume convolved by a Gaussian, all 27 or more taps of which are one `conv3d`."""
    places = np.arange(-int(3 * width), int(3 * width) + 1)
    bell = np.exp(-0.5 * (places / width) ** 2)
    kernel = bell[:, None, None] * bell[:, None] * bell
    weight = device.asarray((kernel / kernel.sum())[None, None], dtype=volume.dtype)
    whole = ac.conv3d(volume[None, None], weight, padding="same", padding_mode="replicate")
    return whole[0, 0]


def draw(path: Path, volumes: dict[str, Any]) -> None:
    """Save the middle slice of each volume, in each direction."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(volumes), 8), layout="constrained")
    grid = figure.subplots(3, len(volumes))
    for column, (name, volume) in enumerate(volumes.items()):
        for axis in range(3):
            axes = grid[axis, column]
            middle = np.take(volume, volume.shape[axis] // 2, axis)
            axes.imshow(middle, cmap="gray", aspect="auto", origin="lower")
            axes.set_axis_off()
        grid[0, column].set_title(f"{name}\n{' x '.join(map(str, volume.shape))}", fontsize=10)
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> int:
    """Blur, find edges, make coarser, and save the picture."""
    parser = argparse.ArgumentParser(
        prog="python -m arrayconv.examples.volume", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--output", type=Path, default=Path("volume.png"), metavar="FILE")
    given = parser.parse_args(arguments)
    try:
        device = ac.get_device(given.device)
        volume = device.asarray(head())
    except ImportError as missing:
        print(f"{missing}: python -m pip install 'arrayconv[examples]'", file=sys.stderr)
        return 1
    except (RuntimeError, ValueError) as problem:
        print(problem, file=sys.stderr)
        return 1
    smooth = blurred(volume, 1.0, device)
    made = {
        "a head": volume,
        "blurred": smooth,
        "edges": edges(smooth, device),
        "coarser": ac.max_pool3d(smooth[None, None], 2)[0, 0],
    }
    host = {name: ac.to_numpy(each) for name, each in made.items()}
    for name, each in host.items():
        shape = " x ".join(map(str, each.shape))
        print(f"{name:<8} {shape:<14} from {each.min():.3f} to {each.max():.3f}")
    draw(given.output, host)
    print(f"saved {given.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
