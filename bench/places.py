"""Where arrays are made and how calls are timed there: each library on each device.

arrayconv and the peer of the same library share a place, so that they get the same arrays and the
same clock.
"""

from __future__ import annotations

import importlib
import importlib.util
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import arrayconv as ac
from bench.cases import Array
from bench.clocks import HOST, Call, Clock, CudaClock, HostClock
from bench.loops import UnableError

_DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")


@dataclass(frozen=True)
class Place:
    """A library on a device: where arrayconv's arrays are made, and how its calls are timed."""

    library: str
    device: str
    asarray: Callable[[Array, str], Any]
    """Return an array there, of the dtype of that name."""
    to_numpy: Callable[[Any], Any] = ac.to_numpy
    plain: Callable[[Any], Any] = lambda array: array
    """What of an array other libraries can take over: bfloat16 as float32."""
    clock: Clock = HOST
    host_clock: Clock = HOST
    peak: Callable[[Call], tuple[Any, int]] | None = None


def numpy_array(array: Array, dtype: str) -> Any:
    """Return a NumPy array of a dtype that may be written, as most are; bfloat16 is ml_dtypes'.

    Compiled loops take two microseconds more for one that must not be.
    """
    if dtype != "bfloat16":
        return array.copy()
    if importlib.util.find_spec("ml_dtypes") is None:
        raise UnableError("NumPy has bfloat16 from ml_dtypes, which is not installed")
    return array.astype(importlib.import_module("ml_dtypes").bfloat16)


KEPT = 8
"""Arrays: inputs, weights and cotangents of a case and of its small version."""


def kept(asarray: Callable[[Array, str], Any]) -> Callable[[Array, str], Any]:
    """Return what makes arrays and keeps the last ones: the providers of a case share its arrays.

    To a GPU a case's arrays are moved once, not once for each provider.
    """
    made: OrderedDict[tuple[int, str], tuple[Array, Any]] = OrderedDict()

    def asarray_once(array: Array, dtype: str) -> Any:
        key = id(array), dtype
        if key in made and made[key][0] is array:
            return made[key][1]
        # The given array is held as well: no other can then have its number.
        made[key] = array, asarray(array, dtype)
        if len(made) > KEPT:
            made.popitem(last=False)
        return made[key][1]

    return asarray_once


def traced_peak(call: Call) -> tuple[Any, int]:
    """Return a call's result, and what it had allocated at its peak beyond that result.

    Counts what Python and NumPy allocate; not what a BLAS keeps for itself, nor what a first call
    loads and compiles.
    """
    call()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        output = call()
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    results = output if isinstance(output, tuple) else (output,)
    return output, max(0, peak - sum(each.nbytes for each in results))


NUMPY = Place("numpy", "cpu", kept(numpy_array), peak=traced_peak)


def need(module: str, install: str) -> Any:
    """Return a module; ImportError, saying how to get it, where it is not installed."""
    if importlib.util.find_spec(module) is None:
        raise ImportError(f"{module} is not installed: python -m pip install {install}")
    return importlib.import_module(module)


def torch_place(device: str) -> Place:
    """Return torch on the CPU or on a GPU."""
    torch = need("torch", "torch")
    dtypes = {name: getattr(torch, name) for name in _DTYPES}

    def asarray(array: Array, dtype: str) -> Any:
        return torch.tensor(array, device=device).to(dtypes[dtype])

    def plain(tensor: Any) -> Any:
        here = tensor.detach().resolve_conj()
        return here.float() if here.dtype == torch.bfloat16 else here

    def to_numpy(tensor: Any) -> Any:
        return plain(tensor).cpu().numpy()

    if device == "cpu":
        return Place("torch", "cpu", asarray, to_numpy, plain)
    if not torch.cuda.is_available():
        raise ImportError(f"torch {torch.__version__} sees no CUDA device")
    # As everybody else here: sums in float32; and the best of cuDNN's algorithms for each shape.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = True

    def peak(call: Call) -> tuple[Any, int]:
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        output = call()
        torch.cuda.synchronize(device)
        held = torch.cuda.max_memory_allocated(device) - before
        return output, max(0, held - (torch.cuda.memory_allocated(device) - before))

    host = HostClock(lambda result: torch.cuda.synchronize(device))
    clock = _cuda_clock(device) or host
    return Place("torch", device, kept(asarray), to_numpy, plain, clock, host, peak)


def _cuda_clock(device: str) -> Clock | None:
    """Return the clock of CuPy's events, or None where CuPy, which has them, is not there."""
    if importlib.util.find_spec("cupy") is None:
        return None
    cupy = importlib.import_module("cupy")
    return CudaClock(cupy) if cupy.cuda.is_available() else None


def cupy_place(device: ac.Device) -> Place:
    """Return CuPy on a GPU."""
    cupy = importlib.import_module("cupy")

    def asarray(array: Array, dtype: str) -> Any:
        return device.asarray(numpy_array(array, dtype))

    def plain(array: Any) -> Any:
        return array.astype(cupy.float32) if array.dtype.name == "bfloat16" else array

    host = HostClock(lambda result: device.synchronize())
    return Place(
        "cupy",
        device.name,
        kept(asarray),
        ac.to_numpy,
        plain,
        CudaClock(cupy),
        host,
        partial(_cupy_peak, cupy),
    )


def _cupy_peak(cupy: Any, call: Call) -> tuple[Any, int]:
    """Return a call's result, and the most that CuPy's pool handed out beyond that result."""
    most, now = 0, 0

    class Counter(cupy.cuda.memory_hook.MemoryHook):  # type: ignore[misc]
        """Counts the bytes that are held."""

        name = "Counter"

        def malloc_postprocess(self, **how: Any) -> None:
            nonlocal most, now
            now += how["mem_size"]
            most = max(most, now)

        def free_postprocess(self, **how: Any) -> None:
            nonlocal now
            now -= how["mem_size"]

    with Counter():
        output = call()
    cupy.cuda.runtime.deviceSynchronize()
    results = output if isinstance(output, tuple) else (output,)
    return output, max(0, most - sum(each.nbytes for each in results))


def jax_place(device: str) -> Place:
    """Return JAX on the CPU or on a GPU."""
    jax = need("jax", "jax")
    jax.config.update("jax_enable_x64", True)
    kind = "cpu" if device == "cpu" else "gpu"
    try:
        here = jax.devices(kind)[0]
    except RuntimeError as problem:
        raise ImportError(f"JAX {jax.__version__} sees no {kind.upper()}: {problem}") from None

    def asarray(array: Array, dtype: str) -> Any:
        return jax.device_put(jax.numpy.asarray(array, dtype=dtype), here)

    def plain(array: Any) -> Any:
        return array.astype("float32") if str(array.dtype) == "bfloat16" else array

    def to_numpy(array: Any) -> Any:
        return ac.to_numpy(plain(array))

    # JAX hands its work over and returns: whoever uses the result waits for it.
    clock = HostClock(jax.block_until_ready)
    made = asarray if device == "cpu" else kept(asarray)
    return Place("jax", device, made, to_numpy, plain, clock, clock)


def scipy_place() -> Place:
    """Return SciPy, whose arrays are NumPy's."""
    need("scipy", "scipy")

    def asarray(array: Array, dtype: str) -> Any:
        if dtype == "bfloat16":
            raise UnableError("SciPy has no bfloat16")
        return array

    return Place("scipy", "cpu", asarray, peak=traced_peak)
