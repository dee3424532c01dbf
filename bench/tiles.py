"""Which tile is the fastest for which product of the CUDA kernels: ``python -m bench.tiles``.

The kernels choose a tile by an estimate, which only measurements on a GPU can put right.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import arrayconv as ac
from arrayconv.backends.cupy import implicit, tiles
from arrayconv.backends.cupy.launch import summand_name
from arrayconv.backends.cupy.tiles import Tile, tiles_of
from bench.cases import FORWARD, TO_INPUT, TO_WEIGHT, Case
from bench.clocks import Call, CudaClock
from bench.providers import primitive_call
from bench.suites import RESNET50, batched

ROUNDS = 5


CHOSEN = "the chosen one"


class Measured(NamedTuple):
    """The time of a product with one tile, or with the one that the kernels choose."""

    case: str
    direction: str
    algorithm: str
    tile: str
    seconds: float


@contextmanager
def only(candidates: Iterable[Tile]) -> Iterator[None]:
    """Let products have these tiles alone."""
    before, tiles.TILES = tiles.TILES, tuple(candidates)
    implicit.forget_plans()
    try:
        yield
    finally:
        tiles.TILES = before
        implicit.forget_plans()


def measured(
    case: Case, asarray: Callable[[Any], Any], seconds: Callable[[Call], float]
) -> Iterator[Measured]:
    """Yield the time of every tile, forward and to both gradients."""
    arrays, cotangent = tuple(map(asarray, case.arrays())), asarray(case.cotangent())
    for direction in (FORWARD, TO_INPUT, TO_WEIGHT):
        call = primitive_call(replace(case, direction=direction), arrays, cotangent)
        for algorithm, tensor in (("cuda-implicit", False), ("cuda-tensor", True)):
            fit = tiles_of(summand_name(case.dtype), tensor)
            run = partial(call.primitive, *call.arguments, algorithm=algorithm)
            for name, candidates in [(CHOSEN, fit), *((each.argument, (each,)) for each in fit)]:
                with only(candidates), ac.options(allow_unverified=True, allow_tf32=True):
                    run()
                    yield Measured(case.name, direction, algorithm, name, seconds(run))


def main() -> int:
    """Measure the layers of ResNet-50 on the current GPU."""
    device = ac.get_device("cuda")
    clock = CudaClock(device.xp)
    for case in batched(RESNET50, 32):
        for each in measured(case, device.asarray, lambda run: clock.seconds(run, ROUNDS)):
            *words, seconds = each
            print(f"{', '.join(words):80s} {seconds * 1e6:9.1f} us", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
