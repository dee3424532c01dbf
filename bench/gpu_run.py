"""A run on a machine with a GPU: its files, its time, and the commands that it starts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

REPOSITORY = Path(__file__).resolve().parents[1]
FILES = {
    "state": "stages.json",
    "log": "log.txt",
    "kernels": "kernels.jsonl",
    "tests": "tests.xml",
    "sanitizer": "sanitizer.txt",
    "records": "records.jsonl",
    "report": "report.md",
    "plots": "plots.tar.gz",
}
"""All that comes of a run: eight files at the most."""

PATIENCE = 60.0
"""Seconds without a new record after which a benchmark hangs; it may take twice that to begin."""
GRACE = 15.0
"""Seconds between an interrupt and the end."""
OUT_OF_TIME, STALLED = 124, 125


class StageError(Exception):
    """A stage that did not end well; the others go on."""


@dataclass
class Run:
    """A run of all stages: where it writes, and until when."""

    output: Path
    deadline: float
    environment: dict[str, str]
    done: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def left(self) -> float:
        return self.deadline - time.monotonic()

    def path(self, name: str) -> Path:
        return self.output / FILES[name]

    def say(self, line: str) -> None:
        print(line, flush=True)
        with self.path("log").open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    def limit(self, own: float, reserve: float) -> float:
        """Return the seconds of a stage that may take so many, where others are to have some.

        Where there is too little for all, half of what is left.
        """
        left = self.left()
        return min(own, max(left - reserve, left / 2))

    def call(
        self,
        command: Sequence[str],
        seconds: float,
        into: Path | None = None,
        watched: Path | None = None,
    ) -> int:
        """Run a command for at most so many seconds, its output into the log or a file of its own.

        Returns its exit code; or 124 where it ran out of time, or 125 where a file that it is to
        write case by case has not changed for `PATIENCE`. It is interrupted then, and may save what
        it has; a moment later it is killed, with all that it has started.
        """
        path = self.path("log") if into is None else into
        with path.open("a", encoding="utf-8") as file:
            file.write(f"$ {' '.join(command)}\n")
            file.flush()
            process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=self.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                return self._wait(process, max(1.0, min(seconds, self.left())), file, watched)
            finally:
                _end(process, file)

    def _wait(
        self, process: subprocess.Popen[bytes], seconds: float, file: TextIO, watched: Path | None
    ) -> int:
        until = alive_until = time.monotonic() + seconds
        begun, changed = False, 0
        while True:
            if watched is not None:
                now = watched.stat().st_mtime_ns if watched.exists() else 0
                if now != changed or not begun:
                    alive_until = time.monotonic() + (PATIENCE if begun else 2 * PATIENCE)
                    begun, changed = True, now
            left = min(until, alive_until) - time.monotonic()
            if left <= 0:
                over = until <= time.monotonic()
                file.write("ran out of time\n" if over else "nothing happens any more\n")
                return OUT_OF_TIME if over else STALLED
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(left if watched is None else min(1.0, left))

    def ask(self, code: str) -> str:
        """Return what a few lines of Python print; StageError where they fail."""
        done = subprocess.run(
            python("-c", code),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            cwd=REPOSITORY,
            timeout=60,
        )
        if done.returncode != 0:
            raise StageError(done.stderr[-2000:])
        return done.stdout

    def save(self) -> None:
        state = {"done": self.done, "skipped": self.skipped, "machine": self.machine}
        self.path("state").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def _end(process: subprocess.Popen[bytes], file: TextIO) -> None:
    """End a command that is still running, and whatever it started, which might go on for long."""
    for signal_, seconds in ((signal.SIGINT, GRACE), (signal.SIGKILL, 5.0)):
        if process.poll() is not None and signal_ is signal.SIGINT:
            continue
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal_)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            file.write(f"it did not end {seconds:.0f} s after {signal_.name}\n")
