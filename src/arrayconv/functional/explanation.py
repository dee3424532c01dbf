"""explain: which implementation would run a call, and why the others would not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from arrayconv._arrays import Array, library_of
from arrayconv._registry import Candidate
from arrayconv.functional.operations import check_arguments, operation_of


@dataclass(frozen=True)
class Explanation:
    """The implementations for one call, best first; printed as a small table."""

    title: str
    candidates: tuple[Candidate, ...]

    @property
    def chosen(self) -> str:
        """The name of the implementation that would run."""
        return next(each.name for each in self.candidates if each.chosen)

    def __str__(self) -> str:
        """Return the table, with a star at the implementation that would run."""
        width = max(len(each.name) for each in self.candidates)
        rows = (
            f"{'*' if each.chosen else ' '} {each.name:<{width}}  {each.reason}"
            for each in self.candidates
        )
        return "\n".join([self.title, *rows])

    __repr__ = __str__


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
        Print it; or read ``chosen`` and ``candidates``.

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
    return Explanation(title, tuple(call.primitive.candidates(call.algorithm, *call.arguments)))
