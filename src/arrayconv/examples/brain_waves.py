"""A bank of one-dimensional filters splits a recorded EEG into its rhythms.

matplotlib ships 800 samples of four channels. Each rhythm is a band of frequencies, so a band-pass
filter is one kernel of a `conv1d`, and a moving average of the square (`avg_pool1d`) its power.
Run ``python -m arrayconv.examples.brain_waves --help``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import arrayconv as ac

RATE = 80.0
"""Samples a second: 800 of them in ten seconds, as matplotlib's own example draws them."""
BANDS = {"delta": (0.5, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0)}
TAPS = 161


def recording() -> Any:
    """Return the EEG (1, channels, samples), each channel around 0."""
    from matplotlib import cbook

    path = cbook.get_sample_data("eeg.dat", asfileobj=False)
    samples = np.fromfile(str(path), float).reshape(800, 4)
    return (samples - samples.mean(0)).T[None].copy()


def filter_bank() -> Any:
    """Return a band-pass kernel (bands, 1, taps) for each rhythm: a windowed difference of sincs.

    See A. Oppenheim and R. Schafer, "Discrete-Time Signal Processing", section 7.5.
    """
    time = np.arange(TAPS) - TAPS // 2
    low_passes = {
        edge: 2 * edge / RATE * np.sinc(2 * edge / RATE * time) * np.hamming(TAPS)
        for edge in {edge for band in BANDS.values() for edge in band}
    }
    return np.stack([low_passes[high] - low_passes[low] for low, high in BANDS.values()])[:, None]


def rhythms(signal: Any, device: ac.Device) -> tuple[Any, Any]:
    """Return each channel's bands (channels, bands, samples), and their power by the second."""
    each = device.xp.permute_dims(device.asarray(signal), (1, 0, 2))
    kernels = device.asarray(filter_bank())
    bands = ac.conv1d(each, kernels, padding="same", padding_mode="reflect")
    return bands, ac.avg_pool1d(bands * bands, int(RATE))


def draw(path: Path, signal: Any, bands: Any, power: Any) -> None:
    """Save a picture of one channel, its bands, and the power of each channel's bands."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 8), layout="constrained")
    rows = figure.subplots(len(BANDS) + 2, 1)
    time = np.arange(signal.shape[-1]) / RATE
    for axes, values, name in zip(
        rows, [signal[0, 0], *bands[0]], ["channel 1", *BANDS], strict=False
    ):
        axes.plot(time, values, linewidth=0.8, color="C0" if name == "channel 1" else "C1")
        axes.set_ylabel(name)
        axes.spines[["top", "right"]].set_visible(False)
    rows[-2].set_xlabel("seconds")
    width = 0.2
    for channel, values in enumerate(power.mean(-1)):
        places = np.arange(len(BANDS)) + (channel - 1.5) * width
        rows[-1].bar(places, values / values.sum(), width, label=f"channel {channel + 1}")
    rows[-1].set_xticks(range(len(BANDS)), list(BANDS))
    rows[-1].set_ylabel("share of power")
    rows[-1].legend(ncols=4, frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


def main(arguments: Sequence[str] | None = None) -> int:
    """Filter, print the power of each band, and save the picture."""
    parser = argparse.ArgumentParser(
        prog="python -m arrayconv.examples.brain_waves",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--output", type=Path, default=Path("brain_waves.png"), metavar="FILE")
    given = parser.parse_args(arguments)
    try:
        signal, device = recording(), ac.get_device(given.device)
    except ImportError as missing:
        print(f"{missing}: python -m pip install 'arrayconv[examples]'", file=sys.stderr)
        return 1
    except (RuntimeError, ValueError) as problem:
        print(problem, file=sys.stderr)
        return 1
    bands, power = (ac.to_numpy(each) for each in rhythms(signal, device))
    print(f"{'share of power':<16}" + "".join(f"{name:>8}" for name in BANDS))
    for channel, values in enumerate(power.mean(-1)):
        shares = "".join(f"{share:8.0%}" for share in values / values.sum())
        print(f"channel {channel + 1:<8}{shares}")
    draw(given.output, signal, bands, power)
    print(f"saved {given.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
