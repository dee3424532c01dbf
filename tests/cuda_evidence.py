"""What the tests of the CUDA kernels show of each implementation, kept up to date test by test.

A plugin of pytest. The record holds at every moment what has been shown right: an implementation
whose checks have all passed, and that no test ran which failed, or which has not ended. So it needs
no orderly end: neither what is wrong, nor what hangs or crashes, takes the others' lines with it.

With a journal, a run goes on behind one that was cut off. A test that did not end has failed.
"""

from __future__ import annotations

import faulthandler
import json
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from arrayconv import primitives
from arrayconv._registry import Primitive
from arrayconv.backends.cupy import launch
from tests import cuda_record
from tests.cuda_record import FILES, Name

EVIDENCE = pytest.StashKey["Evidence"]()
SECONDS = 60.0
"""What a test may take before its process is ended: a kernel that hangs cannot be interrupted."""
CUT_OFF = "cut off"
"""The outcome of a test that was interrupted: it says nothing, and is run again."""
IN_ALL = "RECORDED"
"""A module's number of checks, by the name of the test that has them all: fewer are no record."""


def _running(evidence: Evidence, name: Name, run: Callable[..., Any], *arguments: Any) -> Any:
    evidence.ran(name)
    return run(*arguments)


@contextmanager
def noted(like: Any, evidence: Evidence) -> Iterator[None]:
    """Let the evidence know of each implementation before it runs, and of each launch.

    On arrays of the type of one array.
    """
    executor = launch.executor_of(like)
    run = executor.launch

    def launching(kernel: launch.Kernel, *arguments: Any) -> None:
        evidence.functions.add(kernel.function)
        run(kernel, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor, "launch", launching)
        for each in [e for e in vars(primitives).values() if isinstance(e, Primitive)]:
            noting = tuple(
                replace(found, run=partial(_running, evidence, (each.name, found.name), found.run))
                for found in each.implementations(like)
            )
            patch.setitem(each._by_type, type(like), noting)
        yield


class Evidence:
    """Which checks of each implementation are to come, which passed, and which speak against it."""

    def __init__(
        self, path: Path | None, journal: Path | None = None, seconds: float = SECONDS
    ) -> None:
        self.path, self.journal, self.seconds = path, journal, seconds
        self.to_come: dict[Name, set[str]] = {}
        self.passed: Counter[Name] = Counter()
        self.against: dict[Name, set[str]] = {}
        """The tests that failed, or have not ended, by the implementation that they ran."""
        self.where: tuple[str, dict[str, str]] | None = None
        self.device_works: Callable[[], object] = lambda: None
        """Raises where an error has ended all work on the device."""
        self._test = ""
        self._kernels: dict[str, frozenset[str]] = {}
        """What each check says that it runs."""
        self._ran: set[Name] = set()
        self.functions: set[str] = set()
        """The kernels that this test has launched."""
        self._written: set[Name] | None = None
        self._replaying = False

    # --- what the tests tell ----------------------------------------------------------------------

    def runs_on(self, device: str, versions: dict[str, str]) -> None:
        """Note the device, and the versions of what compiles and launches."""
        self.where = device, versions
        self._note(device=device, versions=versions)

    def ran(self, name: Name) -> None:
        """Note, before it runs, that this test runs an implementation."""
        if name in FILES and name not in self._ran:
            self._ran.add(name)
            self._note(test=self._test, ran=name)
            self.against.setdefault(name, set()).add(self._test)
            self.write()

    def begin(self, test: str) -> None:
        self._test, self._ran, self.functions = test, set(), set()
        self._note(test=test, begins=True)

    def end(self, outcome: str, blamed: set[Name]) -> None:
        """Note how this test ended, and, if it failed, what is to blame."""
        test = self._test
        self._note(test=test, outcome=outcome, blamed=sorted(blamed))
        if outcome != CUT_OFF:
            for tests in self.to_come.values():
                tests.discard(test)
        if outcome != "failed":
            for name in self._ran:
                self.against[name].discard(test)
                self.passed[name] += outcome == "passed"
        for name in blamed:
            self.against.setdefault(name, set()).add(test)
        self._test = ""
        self.write()

    def blamed(self) -> set[Name]:
        """Return what is to blame if this test fails: what it ran, and what it was to run."""
        missing = self._kernels.get(self._test, frozenset()) - self.functions
        return self._ran | {name for name in FILES if missing & cuda_record.functions(name)}

    # --- the record and the journal ---------------------------------------------------------------

    def right(self) -> set[Name]:
        """Return what is shown right by now."""
        return {
            name
            for name, tests in self.to_come.items()
            if not tests and self.passed[name] and not self.against.get(name)
        }

    def write(self) -> None:
        """Write the record, where another set of implementations is shown right than before.

        Lines of implementations that this session does not check stay.
        """
        right = self.right()
        if self.path is None or self._replaying or not self.to_come or right == self._written:
            return
        kept = cuda_record.read_file(self.path) if self.path.exists() else []
        kept = [e for e in kept if (e["primitive"], e["implementation"]) not in self.to_come]
        if self.where is not None:
            names = [name for name in FILES if name in right]
            kept += [cuda_record.record(e, self.passed[e], *self.where) for e in names]
        cuda_record.write(self.path, kept)
        self._written = right

    def _note(self, **what: Any) -> None:
        if self.journal is not None and not self._replaying:
            with self.journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps(what) + "\n")

    def replay(self) -> set[str]:
        """Take over what an earlier run found, and return the tests that it has done."""
        done: set[str] = set()
        if self.journal is None or not self.journal.exists():
            return done
        lines = cuda_record.read_file(self.journal)
        self._replaying = True
        for line in lines:
            if "device" in line:
                self.where = line["device"], line["versions"]
            elif "begins" in line:
                self._end_what_did_not()
                self.begin(line["test"])
                done.add(line["test"])
            elif "ran" in line:
                self.ran(tuple(line["ran"]))
            else:
                self.end(line["outcome"], set(map(tuple, line["blamed"])))
                if line["outcome"] == CUT_OFF:
                    done.discard(line["test"])
        self._end_what_did_not()
        self._replaying = False
        return done

    def _end_what_did_not(self) -> None:
        if self._test:
            self.end("failed", self._ran or self.blamed())

    # --- pytest -----------------------------------------------------------------------------------

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Note which checks must pass, and leave out what the journal has."""
        found: dict[tuple[Any, str], list[tuple[str, frozenset[str]]]] = {}
        for item in items:
            call, module = getattr(item, "callspec", None), getattr(item, "module", None)
            if call is not None and "check" in call.params:
                self._kernels[item.nodeid] = kernels = call.params["check"].kernels
                name = getattr(item, "originalname", "")
                if name in getattr(module, IN_ALL, {}):
                    found.setdefault((module, name), []).append((item.nodeid, kernels))
        for (module, test), checks in found.items():
            if len(checks) < getattr(module, IN_ALL)[test]:
                continue
            for name in FILES:
                wanted = cuda_record.functions(name)
                tests = {nodeid for nodeid, kernels in checks if kernels & wanted}
                if tests:
                    self.to_come.setdefault(name, set()).update(tests)
        done = self.replay()
        without = [item for item in items if item.nodeid in done]
        if without:
            items[:] = [item for item in items if item.nodeid not in done]
            config.hook.pytest_deselected(items=without)
        self.write()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Note that a test begins; it ends when its report comes."""
        self.begin(item.nodeid)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """End the process where a test hangs; not one in which somebody looks for an error."""
        if self.path is None:
            return (yield)
        faulthandler.dump_traceback_later(self.seconds, exit=True, file=sys.__stderr__)
        try:
            return (yield)
        finally:
            faulthandler.cancel_dump_traceback_later()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a test ended: with its teardown, or with what failed before."""
        if report.nodeid != self._test:
            return
        if report.failed:
            self.end("failed", self.blamed())
            if self.journal is not None:
                # At once: pytest itself shows failures at its end, which may not come.
                print(
                    f"\n{report.nodeid} failed: {report.longreprtext[-500:]}", file=sys.__stderr__
                )
        elif report.skipped:
            self.end("skipped", set())
        elif report.when == "teardown":
            self.end("passed", set())

    def pytest_keyboard_interrupt(self) -> None:
        """Let nothing speak against what an interrupted test ran."""
        if self._test:
            self.end(CUT_OFF, set())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Stop the session where the device does not work any more: every test would fail."""
        report = yield
        if report.failed:
            try:
                self.device_works()
            except Exception as problem:
                item.session.shouldstop = f"the device does not work any more: {problem}"
        return report

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the record once more, with the final numbers of checks; close the journal."""
        self._written = None
        self.write()
        if not session.shouldstop and exitstatus in (0, 1, 5):
            self._note(ends=True)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what the record holds, and why it does not hold the rest."""
        if self.path is None:
            return
        if not self.to_come:
            terminalreporter.write_line("NO RECORD: these are not all checks of any kernel")
            return
        right = self.right()
        terminalreporter.write_line(
            f"{len(right)} of {len(self.to_come)} implementations are shown right: {self.path}"
        )
        for name in [each for each in self.to_come if each not in right]:
            tests = sorted(self.against.get(name, ()))
            why = f"{len(self.to_come[name])} checks are still to come, {self.passed[name]} passed"
            if tests:
                why += f"; {len(tests)} tests failed or did not end, the first of them {tests[0]}"
            terminalreporter.write_line(f"NOT SHOWN RIGHT: {name[0]} by {name[1]}: {why}")
