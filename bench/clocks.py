"""How a call is timed where it runs: by the host's clock, or by the GPU's own events."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol

Call = Callable[[], Any]


class Clock(Protocol):
    """Times calls, one after the other."""

    def seconds(self, call: Call, calls: int) -> float:
        """Return the seconds of one call, of several in a row."""


class HostClock:
    """From the first call to the end of all the work that they gave: what the caller waits for."""

    def __init__(self, finish: Callable[[Any], object] | None = None) -> None:
        self._finish = finish

    def seconds(self, call: Call, calls: int) -> float:
        """Return the seconds of one call; ``finish`` waits for the last one's result."""
        start = perf_counter()
        result = None
        for _ in range(calls):
            result = call()
        if self._finish is not None:
            self._finish(result)
        return (perf_counter() - start) / calls


HOST: Clock = HostClock()
"""For what has returned only when it is done."""


FILLS = 2
"""How many times the cache is emptied: once would do, if a call came at once."""


class CudaClock:
    """The GPU's own time between two events around each call, with a cold second-level cache.

    What a layer reads was written long before it in a network, so before each call as much is
    written as twice the cache holds. The events lie on CuPy's current stream: the default one,
    which is PyTorch's too. They are made, and the cache is emptied for long enough, that the GPU is
    still at it when the call arrives: else its time would hold a part of the host's.
    """

    def __init__(self, cupy: Any) -> None:
        self._cuda = cupy.cuda
        attributes = cupy.cuda.Device().attributes
        self._flushed = cupy.zeros(2 * int(attributes["L2CacheSize"]), dtype=cupy.uint8)

    def seconds(self, call: Call, calls: int) -> float:
        """Return the seconds of one call on the GPU."""
        events = []
        for _ in range(calls):
            before, after = self._cuda.Event(), self._cuda.Event()
            for value in range(FILLS):
                self._flushed.fill(value)
            before.record()
            call()
            after.record()
            events.append((before, after))
        events[-1][1].synchronize()
        milliseconds = sum(float(self._cuda.get_elapsed_time(*pair)) for pair in events)
        return milliseconds / 1e3 / calls
