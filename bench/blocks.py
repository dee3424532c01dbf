"""A Dask picture filtered by arrayconv's blocks, by `map_overlap` written by hand, by dask-image.

Run by hand, ``python -m bench.blocks``: each way is checked against the first, then all take turns,
on as many threads of Dask as ``--threads`` says. The numbers stand in docs/larger-than-memory.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np

import arrayconv as ac


def ways(picture: Any, kernel: Any) -> dict[str, Callable[[], Any]]:
    """Return lazy results of one filter: zeros around the picture, the kernel not flipped."""
    import dask.array as da

    depth = kernel.shape[0] // 2
    weight = kernel[None, None]

    def by_hand(block: Any) -> Any:
        # The overlap is there already, so the ends of the block are not padded.
        return np.pad(ac.conv2d(block[None, None], weight)[0, 0], depth)

    found = {
        "arrayconv": lambda: ac.correlate(picture, kernel),
        "map_overlap and arrayconv": lambda: da.map_overlap(
            by_hand, picture, depth=depth, boundary=0, dtype=picture.dtype, meta=picture._meta
        ),
    }
    if importlib.util.find_spec("scipy") is not None:
        from scipy import ndimage

        found["map_overlap and SciPy"] = lambda: da.map_overlap(
            lambda block: ndimage.correlate(block, kernel, mode="constant"),
            picture,
            depth=depth,
            boundary=0,
            dtype=picture.dtype,
            meta=picture._meta,
        )
    if importlib.util.find_spec("dask_image") is not None:
        from dask_image import ndfilters

        found["dask-image"] = lambda: ndfilters.correlate(picture, kernel, mode="constant")
    return found


def measured(each: Callable[[], Any]) -> tuple[float, int]:
    """Return the seconds that a result takes, summed so that nothing is kept, and its tasks."""
    start = time.perf_counter()
    total = each().sum()
    total.compute()
    return time.perf_counter() - start, len(total.__dask_graph__())


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each way and kernel."""
    import dask
    import dask.array as da

    parser = argparse.ArgumentParser(prog="python -m bench.blocks", description=__doc__)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--chunk", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    rng = np.random.default_rng(0)
    values = rng.random((given.size, given.size), dtype=np.float32)
    picture = da.from_array(values, chunks=given.chunk)
    with dask.config.set(scheduler="threads", num_workers=given.threads):
        for size in (3, 5, 9):
            # Noise is no outer product, so no way takes the kernel apart.
            kernel = rng.random((size, size), dtype=np.float32)
            found = ways(picture, kernel)
            wanted = found["arrayconv"]().compute()
            for name, each in found.items():
                error = float(np.max(np.abs(each().compute() - wanted)))
                assert error < 1e-4, f"{name}: {error}"
            seconds: dict[str, list[float]] = {name: [] for name in found}
            tasks: dict[str, int] = {}
            for _ in range(given.rounds):
                for name, each in found.items():
                    took, tasks[name] = measured(each)
                    seconds[name].append(took)
            base = median(seconds["arrayconv"])
            for name, rounds in seconds.items():
                middle = median(rounds)
                print(
                    f"| {size} x {size} | {name} | {middle:.2f} s | {middle / base:.2f} x | "
                    f"{tasks[name]} |"
                )


if __name__ == "__main__":
    main()
