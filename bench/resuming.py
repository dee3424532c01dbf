"""How a run goes on behind one that was cut off, and without what broke the device under it.

An error on a GPU can end all work of its process, and a kernel can hang. So what a run is at is
written down, and one with ``--go-on`` begins where that ended: without the provider that was being
checked, or behind the case that was being timed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.cases import Case
from bench.records import Record, read_records
from bench.timing import END_TO_END

FILE = "unfinished.json"


class BrokenDeviceError(Exception):
    """The device answers nothing any more: only another process can go on."""


@dataclass
class Unfinished:
    """What a run is at, and what it leaves out because of what ended those before it."""

    path: Path
    case: str = ""
    provider: str = ""
    """Which is being checked; none, where all are being timed."""
    without: list[str] = field(default_factory=list)
    """Providers."""
    behind: list[str] = field(default_factory=list)
    """Cases."""
    works: Callable[[], object] = lambda: None
    """Raises where the device does not work any more."""

    def survives(self, failure: str) -> None:
        """Raise where the device has not survived a failure."""
        try:
            self.works()
        except Exception as problem:
            raise BrokenDeviceError(f"{failure}; then {problem}") from problem

    def at(self, case: str, provider: str = "") -> None:
        """Write down what comes next."""
        self.case, self.provider = case, provider
        what = {name: getattr(self, name) for name in ("case", "provider", "without", "behind")}
        self.path.write_text(json.dumps(what) + "\n", encoding="utf-8")

    def ends(self) -> None:
        """Leave nothing behind: the run has come to its end."""
        self.path.unlink(missing_ok=True)


def begin(folder: Path, go_on: bool, works: Callable[[], object]) -> Unfinished:
    """Return what a run into a folder begins with; to go on, what ended the one before is gone."""
    path = folder / FILE
    if not (go_on and path.exists()):
        return Unfinished(path, works=works)
    found = Unfinished(path, works=works, **json.loads(path.read_text(encoding="utf-8")))
    if found.provider:
        found.without.append(found.provider)
    elif found.case:
        found.behind.append(found.case)
    return found


def recorded(path: Path, go_on: bool) -> list[Record]:
    """Return what an earlier run has measured, where this one goes on."""
    return read_records(path) if go_on and path.exists() else []


def to_come(
    cases: Iterable[Case], found: Sequence[Record], libraries: Sequence[str], skipped: Sequence[str]
) -> list[Case]:
    """Return the cases that none of these libraries has been measured at, and that broke none."""
    done = {
        each.case.removesuffix(END_TO_END)
        for each in found
        if not libraries or each.library in libraries
    }
    return [case for case in cases if case.name not in done and case.name not in skipped]
