"""The instances of all templates: what is compiled before it is asked for, and in the tests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import product
from typing import NamedTuple

from arrayconv._window import PADDING_MODES
from arrayconv.backends.cupy import implicit
from arrayconv.backends.cupy.geometry import PARTS
from arrayconv.backends.cupy.launch import INDICES, TYPES, WORDS, Kernel, summand_name
from arrayconv.backends.cupy.tiles import COPY, tiles_of
from arrayconv.backends.cupy.windows import RUNS, SEVERAL


class Template(NamedTuple):
    """A template: its file, function and types, and the kernels and strides it may know."""

    file: str
    function: str
    types: tuple[str, ...]
    known: tuple[tuple[int, int], ...] = ()
    """Empty for a template without a window's kernel and stride."""
    by_dims: bool = True
    dims: tuple[int, ...] = (1, 2, 3)
    more: tuple[tuple[str, ...], ...] = ((),)
    """The arguments behind those, each time."""
    runs: bool = False
    """Whether a thread may take several results of a row, where the kernel and stride are known."""
    planes: bool = True
    """Whether a thread may work on several planes."""


def is_for(kernel: Kernel, architecture: str) -> bool:
    """Whether an instance is for an architecture, as ``sm_90``: tensor cores are not for all."""
    number = int(architecture.removeprefix("sm_"))
    on_tensor_cores = kernel.arguments[-1].startswith("TensorCores")
    return number >= implicit.TENSOR_ARCHITECTURE or not on_tensor_cores


_MOVED = tuple(WORDS.values())
_SUMMANDS = tuple(dict.fromkeys(map(summand_name, TYPES)))
_PRODUCTS = tuple(name for name in _SUMMANDS if name != "Bool")
_ORDERED = tuple(name for name in TYPES.values() if name != "Bool" and "Complex" not in name)
_REGULAR = ((0, 0), (2, 2), (3, 1), (3, 2))
_MODES = tuple((str(number),) for number in range(len(PADDING_MODES)))
_BOTH = (("false",), ("true",))
_POOLED = (*_REGULAR, (PARTS, 0))


def _implicit() -> Iterator[Template]:
    """Yield the products, for the types that have the same tiles."""
    for function, file in implicit.FILES.items():
        by_tiles: dict[tuple[tuple[str, ...], ...], list[str]] = {}
        for kind, tensor in product(_PRODUCTS, (False, True)):
            most = 1 if function == "implicit_conv_transpose" else COPY
            tiles: tuple[tuple[str, ...], ...] = tuple(
                (str(run), tile.argument)
                for tile in tiles_of(kind, tensor)
                for run in sorted({tile.run(kind, most), 1})
            )
            by_tiles.setdefault(tiles, []).append(kind)
        for tiles, kinds in by_tiles.items():
            if tiles:
                yield Template(file, function, tuple(kinds), more=tiles)


TEMPLATES = (
    Template("unfold", "unfold", _MOVED, (*_REGULAR, (7, 2)), runs=True),
    Template("fold", "fold", _SUMMANDS, (*_REGULAR, (7, 2))),
    Template("max_pool", "max_pool", _ORDERED, _POOLED, more=_BOTH),
    Template("max_pool_grad", "max_pool_grad", _SUMMANDS, _POOLED, runs=True),
    Template("sum_pool", "sum_pool", _SUMMANDS, _POOLED),
    Template("spread", "spread", _SUMMANDS, _POOLED, runs=True),
    Template("place", "place", _MOVED, by_dims=False),
    Template("gather", "gather", _MOVED, by_dims=False, more=((str(SEVERAL),), ("1",))),
    Template("scatter_add", "scatter_add", _SUMMANDS, by_dims=False),
    Template("pad", "pad", _MOVED, ((1, 1),), more=_MODES, runs=True),
    Template("pad", "pad_adjoint", _SUMMANDS, ((1, 1),), more=_MODES[1:]),
    Template("depthwise", "depthwise", _PRODUCTS, (*_REGULAR, (5, 1))),
    Template("depthwise", "depthwise_transpose", _PRODUCTS, (*_REGULAR, (5, 1)), runs=True),
    Template(
        "depthwise_rows",
        "depthwise_rows",
        _PRODUCTS,
        ((3, 1), (3, 2), (5, 1)),
        dims=(2,),
        more=_BOTH,
    ),
    Template("depthwise_weight", "depthwise_weight", _PRODUCTS),
    Template(
        "depthwise_weight",
        "depthwise_weight_taps",
        _PRODUCTS,
        ((3, 1), (3, 2), (5, 1)),
        runs=True,
        planes=False,
    ),
    Template("depthwise_weight", "depthwise_weight_sum", _PRODUCTS, by_dims=False),
    *_implicit(),
    Template("implicit", "implicit_conv_weight_sum", _PRODUCTS, by_dims=False),
)


def instances(
    template: Template, types: Iterable[str] | None = None, bits: Iterable[int] = (32, 64)
) -> Iterator[Kernel]:
    """Yield a template's instances: in two dimensions all it may know, in others the general one.

    ``types`` are names of dtypes, or all.
    """
    wanted = None if types is None else _type_names(types, template.types == _MOVED)
    for kind, width, more in product(template.types, bits, template.more):
        if wanted is not None and kind not in wanted:
            continue
        start = (kind, INDICES[width])
        if not template.by_dims:
            yield Kernel(template.file, template.function, (*start, *more))
            continue
        for dims in template.dims:
            known = template.known if dims == 2 else template.known[:1]
            if not known:
                yield Kernel(template.file, template.function, (*start, str(dims), *more))
            for pair in known:
                shared = [(SEVERAL, "true", 1), (1, "false", 1)]
                if template.runs and pair[0] > 0:
                    longer = ((cells, planes) for cells, planes in RUNS.items() if cells > 1)
                    shared += [(planes, "true", cells) for cells, planes in longer]
                for planes, dense, cells in shared:
                    several = (str(planes),) if template.planes else ()
                    words = (*map(str, (dims, *pair)), *several, dense)
                    run = (str(cells),) if template.runs else ()
                    yield Kernel(template.file, template.function, (*start, *words, *run, *more))


def _type_names(dtypes: Iterable[str], moved: bool) -> set[str]:
    """Return the C++ types that kernels know arrays of these dtypes by, or their words."""
    sizes = {"bool": 1, "bfloat16": 2}
    found = set()
    for name in dtypes:
        bits = re.search(r"\d+$", name)
        size = sizes.get(name) or int(bits[0] if bits else 0) // 8
        # The order of bools is that of their bytes.
        computed = {TYPES[name], summand_name(name), *(["Byte"] if name == "bool" else [])}
        found |= {WORDS[size]} if moved else computed
    return found
