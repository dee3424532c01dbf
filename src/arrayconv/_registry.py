"""Who runs a primitive: for each array type, an ordered list of named implementations.

This is the only dispatch there is. A primitive is called with its own positional arguments; of
its implementations for the first argument's type, the first that is fit, exact enough, not slow and
verified runs. An implementation is five things with the primitive's own signature: ``run``;
``unfit``, the reason why it cannot serve a call; ``rounds`` and ``slow``, the reasons why "auto"
passes it by; and whether it is verified. Backends are imported when the first array of their
library arrives.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from arrayconv._arrays import Array, library_of
from arrayconv._options import current

_CHUNKS = "it would gather chunks into ever fewer and larger ones"


def never(*arguments: Any) -> str | None:
    """Return no reason: nothing speaks against an implementation."""
    return None


@dataclass(frozen=True, slots=True)
class Implementation:
    """One way to run a primitive, for the arrays of one library."""

    name: str
    run: Callable[..., Array]
    unfit: Callable[..., str | None] = never
    slow: Callable[..., str | None] = never
    verified: bool = True
    prepare: Callable[..., Callable[..., Array]] | None = None
    """From a weight and groups, a function of input and window: what is done once for a weight."""
    best: Callable[..., str] | None = None
    """Of implementations that share this function, all of them verified, the name of the one that
    is fit, exact enough and not slow: one question for all. It takes first whether the weight is
    prepared."""
    workspace: Callable[..., int] | None = None
    """The bytes it holds beyond its arguments and its result, at its peak, where that is known."""
    rounds: Callable[..., str | None] = never
    """Why it is less exact than the definition in the same dtype: "auto" passes it by unless the
    options allow that."""
    adds_bias: bool = False
    """Whether a convolution's ``run``, and what ``prepare`` returns, take a bias (O,) at the end,
    or None, and add it where they sum up: that spares a way through the output."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What `explain` says of one implementation: its name, and why it would not run."""

    name: str
    chosen: bool
    reason: str
    workspace: int | None = None
    """Bytes beyond the arguments and the result; None where they are not known, or it is unfit."""


_BACKENDS: dict[str, str] = {}


def register_backend(library: str, module: str) -> None:
    """Name the module whose ``implementations`` serve a library's arrays; imported when needed."""
    _BACKENDS[library] = module


def offered(library: str) -> dict[str, tuple[Implementation, ...]]:
    """Return what a library's backend has for each primitive, by the primitive's name."""
    module = _BACKENDS.get(library)
    found: dict[str, tuple[Implementation, ...]] = {}
    if module is not None:
        found = importlib.import_module(module).implementations
    return found


def remarks(library: str) -> list[str]:
    """Return what a library's backend says of how it runs on this machine."""
    module = _BACKENDS.get(library)
    found: list[str] = []
    if module is not None:
        found = getattr(importlib.import_module(module), "remarks", list)()
    return found


class Primitive:
    """An N-d operation with normalised arguments, and its implementations."""

    def __init__(self, name: str, generic: Callable[..., Array]) -> None:
        self.name = name
        self.__doc__ = generic.__doc__
        self.generic = Implementation("generic", generic)
        self.shared: tuple[Implementation, ...] = ()
        """Other ways that are pure Array API too; a library's own of the same name stands first."""
        self._by_type: dict[type, tuple[Implementation, ...]] = {}

    def implementations(self, array: Array) -> tuple[Implementation, ...]:
        """Return the implementations for an array's type, best first, ``generic`` last."""
        found = self._by_type.get(type(array))
        if found is None:
            library = library_of("input", array)
            generic = self.generic
            if library.lazy:
                generic = replace(generic, unfit=lambda *arguments: _CHUNKS)
            own = offered(library.name).get(self.name, ())
            names = {each.name for each in own}
            found = (*own, *(each for each in self.shared if each.name not in names), generic)
            self._by_type[type(array)] = found
        return found

    def __call__(self, *arguments: Any, algorithm: str = "auto") -> Array:
        """Run the implementation that ``algorithm`` and the options choose."""
        return self.choose(algorithm, *arguments).run(*arguments)

    def choose(self, algorithm: str, *arguments: Any, prepared: bool = False) -> Implementation:
        """Return the implementation for a call; ValueError where a forced one cannot serve it.

        ``prepared`` says that the call will be repeated with the same weight.
        """
        implementations = self.implementations(arguments[0])
        options = current()
        if not isinstance(algorithm, str):
            raise TypeError(f"algorithm must be a name, got {algorithm!r}")
        if algorithm != "auto":
            return self._forced(algorithm, implementations, arguments)
        if options.algorithm != "auto":
            for implementation in implementations:
                named = implementation.name == options.algorithm
                allowed = implementation.verified or options.allow_unverified
                if named and allowed and implementation.unfit(*arguments) is None:
                    return implementation
        asked: Any = None
        name = ""
        for implementation in implementations:
            best = implementation.best
            if best is not None:
                if best is not asked:
                    asked, name = best, best(prepared, *arguments)
                if implementation.name == name:
                    return implementation
            elif (
                (implementation.verified or options.allow_unverified)
                and implementation.unfit(*arguments) is None
                and (options.allow_reduced_precision or implementation.rounds(*arguments) is None)
                and implementation.slow(*arguments) is None
            ):
                return implementation
        return self._last(implementations, arguments)

    def _last(self, implementations: tuple[Implementation, ...], arguments: Any) -> Implementation:
        """Return the one that serves where no other does; ValueError where it does not either."""
        if implementations[-1].unfit(*arguments) is None:
            return implementations[-1]
        reasons = (f"{each.name}: {each.unfit(*arguments)}" for each in implementations)
        raise ValueError(f"no implementation can serve this {self.name}: {'; '.join(reasons)}")

    def _forced(
        self, algorithm: str, implementations: tuple[Implementation, ...], arguments: Any
    ) -> Implementation:
        library = library_of("input", arguments[0]).name
        for implementation in implementations:
            if implementation.name == algorithm:
                break
        else:
            names = ", ".join(["auto", *(each.name for each in implementations)])
            raise ValueError(
                f"algorithm {algorithm!r} is none of those that {self.name} has for "
                f"{library} arrays: {names}"
            )
        reason = implementation.unfit(*arguments)
        if reason is None and not implementation.verified and not current().allow_unverified:
            reason = _UNVERIFIED
        if reason is not None:
            raise ValueError(f"algorithm {algorithm!r} cannot serve this {self.name}: {reason}")
        return implementation

    def candidates(self, algorithm: str, *arguments: Any) -> list[Candidate]:
        """Return every implementation for a call, with why it would run or would not."""
        chosen = self.choose(algorithm, *arguments)
        reduced, listed = current().allow_reduced_precision, []
        for implementation in self.implementations(arguments[0]):
            reason, workspace = implementation.unfit(*arguments), None
            if reason is None and implementation.workspace is not None:
                workspace = implementation.workspace(*arguments)
            if reason is not None:
                reason = f"unfit: {reason}"
            elif not implementation.verified:
                reason = f"unverified: {_UNVERIFIED}"
            elif not reduced and (rounds := implementation.rounds(*arguments)) is not None:
                reason = f"reduced precision: {rounds}; {_REDUCED}"
            else:
                slow = implementation.slow(*arguments)
                reason = "fit" if slow is None else f"slow: {slow}"
            found = Candidate(implementation.name, implementation is chosen, reason, workspace)
            listed.append(found)
        return listed


_REDUCED = "options(allow_reduced_precision=True) allows it"
_UNVERIFIED = "no committed record shows it right; options(allow_unverified=True) lets it run"


def primitive(name: str) -> Callable[[Callable[..., Array]], Primitive]:
    """Make a generic body, pure Array API, into the primitive of that name."""
    return lambda generic: Primitive(name, generic)
