"""A picture of 40,000 x 40,000 pixels through a small network, in 2 GB of memory, with Dask.

The picture (6.4 GB) is made block by block as it is needed, goes through a convolution, a pool
and another convolution, and is written to a Zarr store. By default in this process, on two
threads, whose memory the operating system limits; with ``--workers 2`` on a cluster of processes
with that much memory together, where ``--lose-a-worker`` kills one of them on the way. Windows of
the result are then compared with direct computation.
Run ``python -m arrayconv.examples.larger_than_memory --help``.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

import arrayconv as ac

MARGIN = 8
"""Pixels that a pixel of the result may depend on, in each direction; more than enough."""
MEBIBYTE = 1 << 20


def pattern(rows: Any, columns: Any) -> Any:
    """Return the pixels, in [0, 1), at these rows (n, 1) and columns (1, m)."""
    mixed = (rows * np.uint32(2654435761)) ^ (columns * np.uint32(40503))
    return ((mixed ^ (mixed >> np.uint32(13))) & np.uint32(1023)).astype(np.float32) / 1024


def pixels(rows: tuple[int, int], columns: tuple[int, int]) -> Any:
    """Return a window (1, 1, height, width) of the picture."""
    along = [np.arange(*each, dtype=np.uint32) for each in (rows, columns)]
    return pattern(along[0][:, None], along[1][None, :])[None, None]


def _block(block_info: Any = None) -> Any:
    return pixels(*block_info[None]["array-location"][2:])


def picture(size: int, chunk: tuple[int, int]) -> Any:
    """Return the lazy picture (1, 1, size, size): each chunk is made by a task of its own."""
    import dask.array as da

    chunks = da.core.normalize_chunks((1, 1, *chunk), (1, 1, size, size))
    meta = np.zeros((0, 0, 0, 0), np.float32)
    return da.map_blocks(_block, chunks=chunks, dtype=np.float32, meta=meta)


def weights(channels: int = 8) -> tuple[Any, Any]:
    """Return the kernels of the two convolutions."""
    rng = np.random.default_rng(0)
    shapes = (channels, 1, 3, 3), (1, channels, 3, 3)
    first, second = (rng.standard_normal(shape).astype(np.float32) / 3 for shape in shapes)
    return first, second


def network(x: Any) -> Any:
    """Return (1, 1, size / 2, size / 2) of (1, 1, size, size): NumPy and Dask arrays alike."""
    first, second = weights()
    seen = ac.max_pool2d(ac.relu(ac.conv2d(x, first, padding="same")), 2)
    return ac.conv2d(seen, second, padding="same")


def direct(size: int, row: int, column: int, length: int) -> Any:
    """Return a window (length, length) of the result, from just the pixels that it depends on."""
    bounds = []
    for start in (row, column):
        low, high = 2 * start - MARGIN, 2 * (start + length) + MARGIN
        bounds.append((max(0, low), min(size, high)))
    seen = network(pixels(*bounds))[0, 0]
    top, left = (start - low // 2 for start, (low, _) in zip((row, column), bounds, strict=True))
    return seen[top : top + length, left : left + length]


def largest_difference(result: Any, size: int, length: int = 64, windows: int = 40) -> float:
    """Return how far windows of the result, the corners among them, are from direct computation."""
    last = size // 2 - length
    rng = np.random.default_rng(1)
    places = [(0, 0), (0, last), (last, 0), (last, last), *rng.integers(0, last, (windows, 2))]
    worst = 0.0
    for row, column in places:
        got = result[0, 0, row : row + length, column : column + length]
        wanted = direct(size, int(row), int(column), length)
        worst = max(worst, float(np.max(np.abs(got - wanted))))
    return worst


def peak_bytes() -> int:
    """Return the most memory that this process has held."""
    status = Path("/proc/self/status")
    if status.exists():
        # What getrusage says is also the memory of whoever started this process, up to its exec.
        held = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(encoding="utf-8"), re.MULTILINE)
        if held is not None:
            return int(held[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def on_threads(lazy: Any, store: Path, threads: int, limit: int) -> str:
    """Write the result from threads of this process, which may hold ``limit`` bytes."""
    import dask
    from dask.diagnostics import ProgressBar

    # What a process maps privately and may write: Linux refuses more, with a MemoryError.
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    with ProgressBar(), dask.config.set(scheduler="threads", num_workers=threads):
        lazy.to_zarr(str(store))
    return f"peak memory of the process {peak_bytes() // MEBIBYTE} MiB, limit {limit // MEBIBYTE}"


def on_workers(lazy: Any, store: Path, count: int, limit: int, lose: bool) -> str:
    """Write the result from processes that may hold ``limit`` bytes together."""
    from distributed import Client, LocalCluster, progress, wait

    # A worker that is lost takes its blocks along; they are computed again.
    with (
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            memory_limit=limit // count,
            dashboard_address=":0",
        ) as cluster,
        Client(cluster) as client,
    ):
        before = client.run(os.getpid)
        future = client.compute(lazy.to_zarr(str(store), compute=False))
        if lose:
            Thread(target=_lose, args=(store, next(iter(before.values())))).start()
        progress(future, notebook=False)
        wait(future)
        future.result()
        after = client.run(os.getpid)
        peaks = client.run(peak_bytes)
        lost = set(before.values()) - set(after.values())
    if lose and not lost:
        raise RuntimeError("the work was over before a worker could be killed")
    each = ", ".join(str(peak // MEBIBYTE) for peak in peaks.values())
    return (
        f"peak memory of the workers {each} MiB, limit {limit // count // MEBIBYTE} each; "
        f"workers lost on the way: {len(lost)}"
    )


def _lose(store: Path, worker: int) -> None:
    """Kill a worker when the first blocks of the result are there."""
    while sum(each.is_file() for each in store.glob("c/**/*")) < 2:
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Filter the picture, and say what it took and how right it is."""
    parser = argparse.ArgumentParser(
        prog="python -m arrayconv.examples.larger_than_memory",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument("--size", type=int, default=40_000, help="pixels in each direction")
    parser.add_argument(
        "--chunk",
        type=int,
        nargs=2,
        default=(500, 4_000),
        metavar=("ROWS", "COLUMNS"),
        help="pixels of a chunk",
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of this process")
    parser.add_argument("--workers", type=int, default=0, help="processes, instead of threads")
    parser.add_argument("--lose-a-worker", action="store_true", help="kill one on the way")
    parser.add_argument("--memory", type=int, default=2_000, help="megabytes, of all together")
    parser.add_argument(
        "--folder", type=Path, help="where the store is kept; by default it is temporary"
    )
    given = parser.parse_args(arguments)
    if given.size < 256 or given.size % 2 or min(given.chunk) < 16:
        print("--size must be even and at least 256, --chunk at least 16 16", file=sys.stderr)
        return 1
    try:
        import zarr

        lazy = network(picture(given.size, given.chunk))
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            store = Path(folder) / "result.zarr"
            megabytes, start = given.memory * 1_000_000, time.perf_counter()
            whole, chunk = (f"{n:,} x {m:,}" for n, m in ((given.size,) * 2, given.chunk))
            gigabytes = given.size**2 * 4 / 1e9
            print(f"{whole} pixels of float32, {gigabytes:.2f} GB, in chunks of {chunk}")
            if given.workers:
                held = on_workers(lazy, store, given.workers, megabytes, given.lose_a_worker)
            else:
                held = on_threads(lazy, store, given.threads, megabytes)
            seconds = time.perf_counter() - start
            result = zarr.open_array(str(store), mode="r")
            worst = largest_difference(result, given.size)
            if given.folder is not None:
                (given.folder / "result.zarr").unlink(missing_ok=True)
                store.rename(given.folder / "result.zarr")
    except ImportError as missing:
        print(f"{missing}: python -m pip install 'arrayconv[dask]'", file=sys.stderr)
        return 1
    print(f"\n{' x '.join(map(str, result.shape))} in {seconds:.1f} s; {held}")
    print(f"largest difference from direct computation, in 44 windows: {worst:.1e}")
    return 0 if worst < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
