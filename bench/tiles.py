"""Which tile is the fastest for which product of the CUDA kernels: ``python -m bench.tiles``.

The kernels choose a tile by an estimate, which only measurements on a GPU can put right; and how
many stages the ring of a tile has, nothing tells but these.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
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
STAGES = (2, 3, 4)
"""How many stages the ring in shared memory of each tile is given, where there is room."""


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


def staged(kind: str, tensor: bool, stages: Iterable[int]) -> list[Tile]:
    """Return all tiles that a type may have, with each of these numbers of stages.

    Without numbers, the tiles as they are.
    """
    as_they_are, numbers = list(tiles_of(kind, tensor)), tuple(stages)
    made = [each._replace(stages=number) for each in as_they_are for number in numbers]
    return [each for each in made if each.fits(kind)] if numbers else as_they_are


def measured(
    case: Case,
    asarray: Callable[[Any], Any],
    seconds: Callable[[Call], float],
    stages: Sequence[int] = STAGES,
) -> Iterator[Measured]:
    """Yield the time of every tile and number of stages, forward and to both gradients."""
    arrays, cotangent = tuple(map(asarray, case.arrays())), asarray(case.cotangent())
    for direction in (FORWARD, TO_INPUT, TO_WEIGHT):
        call = primitive_call(replace(case, direction=direction), arrays, cotangent)
        for algorithm, tensor in (("cuda-implicit", False), ("cuda-tensor", True)):
            kind = summand_name(case.dtype)
            chosen, each_alone = tiles_of(kind, tensor), staged(kind, tensor, stages)
            names = [(each.argument, (each,)) for each in each_alone]
            run = partial(call.primitive, *call.arguments, algorithm=algorithm)
            for name, candidates in [(CHOSEN, chosen), *names]:
                with only(candidates), ac.options(allow_unverified=True, allow_tf32=True):
                    run()
                    yield Measured(case.name, direction, algorithm, name, seconds(run))


def main() -> int:
    """Measure the layers of ResNet-50 on the current GPU: first all tiles, then all stages.

    Tiles as they are have been compiled by an earlier stage of ``bench/gpu.sh``, others have not.
    """
    device = ac.get_device("cuda")
    clock = CudaClock(device.xp)
    for stages, dtype in (((), "float32"), ((), "float16"), (STAGES, "float32")):
        print(f"{dtype}, {'stages ' + str(stages) if stages else 'tiles as they are'}")
        for layer in batched(RESNET50, 32):
            case = replace(layer, dtype=dtype)
            run = partial(clock.seconds, calls=ROUNDS)
            for each in measured(case, device.asarray, run, stages):
                *words, seconds = each
                print(f"{', '.join(words):80s} {seconds * 1e6:9.1f} us", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
