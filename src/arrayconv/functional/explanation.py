"""explain: which implementation would run a call, and why the others would not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from arrayconv._arrays import Array, library_of
from arrayconv._registry import Candidate
from arrayconv._window import input_sizes, output_sizes
from arrayconv.functional.operations import Call, check_arguments, operation_of


@dataclass(frozen=True)
class Explanation:
    """The implementations for one call, best first; printed as a small table.

    Attributes
    ----------
    title : str
        What the call runs, and on what.
    candidates : tuple
        One for each implementation, with its ``name``, whether it is ``chosen``, the ``reason``,
        and, of NumPy's convolutions, its ``workspace``: the bytes that it holds beyond input,
        weight and output, with the threads that the options allow.
    chosen : str
        The name of the implementation that would run.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> explained = ac.explain(ac.unfold, np.ones((1, 1, 8, 8)), 3)
    >>> [each.name for each in explained.candidates][-1]
    'generic'
    """

    title: str
    candidates: tuple[Candidate, ...]
    flops: int | None = None
    """Multiplications and additions by the definition, of a convolution."""
    bytes: int | None = None
    """Bytes of its arrays, the output's too: what it reads and writes at least."""

    @property
    def chosen(self) -> str:
        """The name of the implementation that would run."""
        return next(each.name for each in self.candidates if each.chosen)

    def __str__(self) -> str:
        """Return the table, with a star at the implementation that would run."""
        width = max(len(each.name) for each in self.candidates)
        rooms = [
            "" if each.workspace is None else f"{each.workspace / 1e6:.3g} MB  "
            for each in self.candidates
        ]
        room = max(map(len, rooms))
        rows = [
            f"{'*' if each.chosen else ' '} {each.name:<{width}}  {size:>{room}}{each.reason}"
            for each, size in zip(self.candidates, rooms, strict=True)
        ]
        if room:
            rows.insert(0, f"  {'':<{width}}  workspace")
        work = []
        if self.flops is not None and self.bytes is not None:
            work = [f"{self.flops / 1e9:.3g} Gflop, {self.bytes / 1e6:.3g} MB in and out"]
        return "\n".join([self.title, *work, *rows])

    __repr__ = __str__


def _work(call: Call) -> tuple[int, int] | None:
    """Return the flops and bytes of a convolution, transposed or not; None for all else."""
    name = call.primitive.name
    if name not in ("conv", "conv_transpose"):
        return None
    first, weight, window, groups = call.arguments
    made = weight.shape[0], *output_sizes(window)
    if name == "conv_transpose":
        made = weight.shape[1] * groups, *input_sizes(window)
    batch, itemsize = first.shape[0], library_of("input", first).dtype(first.dtype).itemsize
    sizes = prod(first.shape), prod(weight.shape), batch * prod(made)
    flops = 2 * batch * prod(output_sizes(window)) * prod(weight.shape)
    return flops, sum(sizes) * itemsize


def explain(fun: Callable[..., Array], *arguments: Any, **params: Any) -> Explanation:
    """Say which implementation a call would use, and why not the others; nothing is computed.

    Parameters
    ----------
    fun : callable
        A function of arrayconv, as ``arrayconv.conv2d``.
    *arguments, **params
        The arguments of the call.

    Returns
    -------
    Explanation
        Print it; or read ``chosen`` and ``candidates``, and of a convolution ``flops`` and
        ``bytes``.

    Raises
    ------
    TypeError, ValueError
        Where the call itself would raise them, or ``fun`` is not a function of arrayconv.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> explained = ac.explain(ac.conv2d, np.ones((1, 3, 8, 8)), np.ones((4, 3, 3, 3)))
    >>> explained.chosen
    'im2col'
    >>> print(str(explained).splitlines()[0])
    conv2d runs the primitive conv on numpy arrays (1, 3, 8, 8), (4, 3, 3, 3)
    """
    operation = operation_of(fun, "explain")
    if operation.call is None:
        raise TypeError(f"{operation.name} runs on no primitive: it has one implementation")
    check_arguments(operation, arguments, params)
    call = operation.call(*arguments, **params)
    arrays = [a for a in call.arguments if hasattr(a, "dtype")]
    shapes = ", ".join(str(tuple(array.shape)) for array in arrays)
    library, primitive = library_of("input", arrays[0]).name, call.primitive.name
    title = f"{operation.name} runs the primitive {primitive} on {library} arrays {shapes}"
    candidates = tuple(call.primitive.candidates(call.algorithm, *call.arguments))
    return Explanation(title, candidates, *(_work(call) or ()))
