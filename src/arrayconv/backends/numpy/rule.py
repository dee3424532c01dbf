"""One written rule: "auto" takes the algorithm whose estimated time is the lowest. See `costs`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from arrayconv._options import current
from arrayconv._registry import Implementation, never
from arrayconv._window import Window
from arrayconv.backends.numpy.costs import Shape


class Algorithm(NamedTuple):
    """One of several ways to the same result."""

    name: str
    run: Callable[..., Any]
    unfit: Callable[[Shape], str | None]
    nanoseconds: Callable[..., float]
    """Of a shape; with ``prepared=True`` without what `prepare` does, if there is such."""
    workspace: Callable[[Shape], int] | None = None
    """Of a shape, the bytes that it holds beyond input, weight and output."""
    prepare: Callable[..., Callable[..., Any]] | None = None
    adds_bias: bool = False
    rounds: Callable[[Shape], str | None] = never
    """Of a shape, why it is less exact than the definition."""


class Judged(NamedTuple):
    """What is known of the algorithms of a primitive for one call."""

    unfit: dict[str, str]
    """Why some cannot serve it."""
    nanoseconds: dict[str, float]
    """The estimates, of those that can serve it as exactly as they have to."""
    slow: dict[str, str]
    """Why all of these but one would be passed by."""
    best: str
    """The one with the lowest."""


class Rule:
    """Compares the algorithms of a primitive for a call, and remembers.

    ``shape`` makes the primitive's arguments into the shape of a convolution; ``more`` are
    algorithms that run those of the rule.
    """

    def __init__(
        self,
        shape: Callable[..., Shape],
        algorithms: Sequence[Algorithm],
        more: Callable[[Rule], Sequence[Algorithm]],
    ) -> None:
        self.algorithms = (*algorithms, *more(self))
        self._shape = shape
        self._known: dict[Any, Judged] = {}

    def _judged(
        self,
        a: Any,
        b: Any,
        window: Window,
        groups: int,
        prepared: bool = False,
        reduced: bool | None = None,
    ) -> Judged:
        """Return what is known of each algorithm for a call.

        ``reduced`` says whether it may round more than the definition does, if it is not for the
        options to say.
        """
        if reduced is None:
            reduced = current().allow_reduced_precision
        key = (window, a.shape, b.shape, groups, a.dtype, prepared, reduced)
        found = self._known.get(key)
        if found is None:
            shape = self._shape(a, b, window, groups)
            reasons: dict[str, str] = {}
            times: dict[str, float] = {}
            for each in self.algorithms:
                reason = each.unfit(shape)
                if reason is not None:
                    reasons[each.name] = reason
                    continue
                if not reduced and each.rounds(shape) is not None:
                    continue
                ready = {"prepared": True} if prepared and each.prepare else {}
                times[each.name] = each.nanoseconds(shape, **ready)
            best = min(times, key=times.__getitem__)
            found = Judged(reasons, times, _slow(times, best), best)
            if len(self._known) >= 1024:
                self._known.clear()
            self._known[key] = found
        return found

    def estimates(
        self, a: Any, b: Any, window: Window, groups: int
    ) -> tuple[Shape, dict[str, float]]:
        """Return the shape of a call, and the nanoseconds of each algorithm that may serve it."""
        times = self._judged(a, b, window, groups).nanoseconds
        return self._shape(a, b, window, groups), times

    def best(self, prepared: bool, a: Any, b: Any, window: Window, groups: int) -> str:
        """Return the name of the algorithm with the lowest estimate for a call."""
        return self._judged(a, b, window, groups, prepared).best

    def chosen(self, a: Any, b: Any, window: Any, groups: int, reduced: bool) -> Algorithm:
        """Return the algorithm with the lowest estimate for a call."""
        name = self._judged(a, b, window, groups, reduced=reduced).best
        return next(each for each in self.algorithms if each.name == name)

    def least(self, shape: Shape, reduced: bool) -> float:
        """Return the lowest estimate for a shape."""
        fit = (each for each in self.algorithms if each.unfit(shape) is None)
        return min(each.nanoseconds(shape) for each in fit if reduced or each.rounds(shape) is None)

    def forget(self) -> None:
        """Forget what is known, as where numba comes or goes."""
        self._known.clear()

    def implementations(self) -> tuple[Implementation, ...]:
        """Return the entries of the registry."""
        return tuple(
            Implementation(
                each.name,
                each.run,
                never if each.unfit is never else self._unfit(each.name),
                self._slow(each.name),
                prepare=each.prepare,
                workspace=self._workspace(each),
                rounds=never if each.rounds is never else self._rounds(each),
                adds_bias=each.adds_bias,
            )
            for each in self.algorithms
        )

    def _workspace(self, algorithm: Algorithm) -> Callable[..., int] | None:
        of_shape = algorithm.workspace
        if of_shape is None:
            return None

        def workspace(a: Any, b: Any, window: Window, groups: int) -> int:
            # No output needs nothing, and cannot be cut into blocks.
            empty = 0 in a.shape or 0 in b.shape
            return 0 if empty else of_shape(self._shape(a, b, window, groups))

        return workspace

    def _unfit(self, name: str) -> Callable[..., str | None]:
        def reason(a: Any, b: Any, window: Window, groups: int) -> str | None:
            return self._judged(a, b, window, groups).unfit.get(name)

        return reason

    def _rounds(self, algorithm: Algorithm) -> Callable[..., str | None]:
        def reason(a: Any, b: Any, window: Window, groups: int) -> str | None:
            return algorithm.rounds(self._shape(a, b, window, groups))

        return reason

    def _slow(self, name: str) -> Callable[..., str | None]:
        def reason(a: Any, b: Any, window: Window, groups: int) -> str | None:
            return self._judged(a, b, window, groups).slow.get(name)

        return reason


def _slow(times: dict[str, float], best: str) -> dict[str, str]:
    """Return why each but the one with the lowest estimate would be passed by."""
    return {
        name: f"estimated at {time / max(1.0, times[best]):.3g} times the time of {best}"
        for name, time in times.items()
        if name != best
    }
