"""Who computes: the loops, im2col, arrayconv's best implementation, and torch as a peer."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import arrayconv as ac
from arrayconv import reference
from bench.cases import Convolution

Call = Callable[[], Any]


def nothing_to_wait_for() -> None:
    """Synchronize with the CPU: a call has returned when it is done."""


@dataclass(frozen=True)
class Provider:
    """One way to compute a convolution."""

    name: str
    library: str
    algorithm: Callable[[Convolution], str]
    """What runs, in a word."""
    prepare: Callable[[Convolution], Call]
    """Move a case to where it is computed, and return the call that is timed."""
    to_numpy: Callable[[Any], Any] = ac.to_numpy
    synchronize: Callable[[], None] = nothing_to_wait_for
    device: str = "cpu"
    cropped: bool = False
    """Whether it is too slow for the photograph: timed on a crop, and extrapolated from that."""
    memory: bool = False
    """Whether to measure what it allocates; a Python loop would take many times as long for it."""


def loop(name: str, convolve: Callable[..., Any], cropped: bool) -> Provider:
    """Return a provider that runs one of the definitions of `arrayconv.reference`."""

    def prepare(case: Convolution) -> Call:
        arrays = (case.input, case.weight, case.bias)
        return partial(convolve, *arrays, padding=case.padding, groups=case.groups)

    return Provider(name, "numpy", lambda case: name, prepare, cropped=cropped)


def im2col(
    xp: Any, input: Any, weight: Any, bias: Any | None = None, padding: int = 0, groups: int = 1
) -> Any:
    """Convolve by the lecture's im2col: columns, one product of matrices, and a reshape.

    Written for any library of the Array API standard, whose namespace is ``xp``.
    """
    batch, outputs, kernel_size = input.shape[0], weight.shape[0], weight.shape[2:]
    columns = ac.unfold(input, kernel_size, padding=padding)
    columns = xp.reshape(columns, (batch, groups, -1, columns.shape[-1]))
    rows = xp.reshape(weight, (groups, outputs // groups, -1))
    output = xp.matmul(rows, columns)
    sizes: Any = ac.output_size(input.shape[2:], kernel_size, padding=padding)
    output = xp.reshape(output, (batch, outputs, *sizes))
    return output if bias is None else output + xp.reshape(bias, (1, outputs, 1, 1))


def arrayconv_providers(device: ac.Device) -> list[Provider]:
    """Return im2col on the Array API, and `arrayconv.conv2d`, both on a device's arrays."""

    def arguments(case: Convolution) -> dict[str, Any]:
        bias = None if case.bias is None else device.asarray(case.bias)
        return {
            "input": device.asarray(case.input),
            "weight": device.asarray(case.weight),
            "bias": bias,
            "padding": case.padding,
            "groups": case.groups,
        }

    def prepare_im2col(case: Convolution) -> Call:
        return partial(im2col, device.xp, **arguments(case))

    def prepare_conv2d(case: Convolution) -> Call:
        return partial(ac.conv2d, **arguments(case))

    def chosen(case: Convolution) -> str:
        return ac.explain(ac.conv2d, **arguments(case)).chosen

    on_cpu = device.name == "cpu"
    library = "numpy" if on_cpu else "cupy"
    where: dict[str, Any] = {
        "synchronize": device.synchronize,
        "device": device.name,
        "memory": on_cpu,
    }
    return [
        Provider(
            "arrayconv im2col (array api)", library, lambda case: "im2col", prepare_im2col, **where
        ),
        Provider("arrayconv conv2d", library, chosen, prepare_conv2d, **where),
    ]


def torch_providers(device: str) -> list[Provider]:
    """Return torch's conv2d in both of its memory layouts; ImportError says why there is none."""
    if importlib.util.find_spec("torch") is None:
        raise ImportError("torch is not installed: python -m pip install torch")
    torch = importlib.import_module("torch")
    synchronize = nothing_to_wait_for
    if device != "cpu":
        if not torch.cuda.is_available():
            raise ImportError(f"torch {torch.__version__} sees no CUDA device")
        # As everybody else here: sums in float32.
        torch.backends.cudnn.allow_tf32 = False
        synchronize = partial(torch.cuda.synchronize, device)

    def prepare(case: Convolution, layout: Any) -> Call:
        x, w = (
            torch.tensor(array, device=device).to(memory_format=layout)
            for array in (case.input, case.weight)
        )
        bias = None if case.bias is None else torch.tensor(case.bias, device=device)
        conv2d = torch.nn.functional.conv2d
        return partial(conv2d, x, w, bias, padding=case.padding, groups=case.groups)

    layouts = {
        "torch conv2d": torch.contiguous_format,
        "torch conv2d (channels last)": torch.channels_last,
    }
    return [
        Provider(
            name,
            "torch",
            lambda case: "native",
            partial(prepare, layout=layout),
            lambda tensor: tensor.cpu().numpy(),
            synchronize,
            device,
        )
        for name, layout in layouts.items()
    ]


def providers(device: ac.Device, asked: str) -> tuple[list[Provider], list[str]]:
    """Return who can compute here, and what was left out with the reason.

    ``asked`` is the device in the caller's word: "auto" also says why it found no CUDA.
    """
    cpu = ac.get_device("cpu")
    found = [
        loop("nested loops", reference.conv, cropped=True),
        loop("position loop", reference.conv_by_position, cropped=False),
        *arrayconv_providers(cpu),
    ]
    left_out = []
    devices = ["cpu"]
    if device.name != "cpu":
        found += arrayconv_providers(device)
        devices.append(device.name)
    elif asked == "auto":
        try:
            ac.get_device("cuda")
        except RuntimeError as error:
            left_out.append(f"arrayconv on CUDA: {error}")
    for name in devices:
        try:
            found += torch_providers(name)
        except ImportError as error:
            left_out.append(f"torch conv2d on {name}: {error}")
    return found, left_out


def machine_calls(device: ac.Device, elements: int, size: int) -> list[tuple[Call, Any]]:
    """Return the calls that copy an array and multiply two matrices, each with its right result."""
    xp = device.xp
    random = np.random.default_rng(0)
    source = device.asarray(np.arange(elements, dtype=np.float32))
    target = xp.zeros_like(source)
    a, b = (device.asarray(random.random((size, size), dtype=np.float32)) for _ in range(2))

    def copy() -> Any:
        target[...] = source
        return target

    in_double = xp.matmul(xp.astype(a, xp.float64), xp.astype(b, xp.float64))
    return [
        (copy, ac.to_numpy(source)),
        (partial(xp.matmul, a, b), ac.to_numpy(in_double)),
    ]
