"""``python -m arrayconv info | shape | explain | compile``: what is here, and what would run."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from math import prod
from typing import Any

import arrayconv
from arrayconv import _first_calls
from arrayconv._arrays import namespace_named
from arrayconv._capabilities import COMPILED_FOR, DTYPES, LIBRARIES
from arrayconv._integers import PADDING_WORDS, crop_argument, integers, padding_argument
from arrayconv._window import (
    Axis,
    Window,
    needed_after,
    output_sizes,
    sliding_window,
    transposed_window,
)
from arrayconv.backends.cupy import compilation, templates
from arrayconv.backends.numpy.compiler import missing

SLIDING = ("conv", "unfold", "max_pool", "avg_pool", "lp_pool")
SPREADING = ("conv_transpose", "max_unpool")
FAMILIES = (*SLIDING, *SPREADING)
EXPLAINED = (
    *(f"conv{dims}d" for dims in (1, 2, 3)),
    *(f"conv_transpose{dims}d" for dims in (1, 2, 3)),
    *(f"{name}_pool{dims}d" for name in ("max", "avg") for dims in (1, 2, 3)),
    *(f"adaptive_{name}_pool{dims}d" for name in ("max", "avg") for dims in (1, 2, 3)),
    *("unfold", "fold", "pad", "correlate", "convolve"),
)


def sizes(text: str) -> tuple[int, ...]:
    """Return 224x224 as (224, 224)."""
    if not re.fullmatch(r"\d+(x\d+)*", text):
        raise argparse.ArgumentTypeError(f"numbers with x between are meant, as 3 or 3x5: {text!r}")
    return tuple(int(number) for number in text.split("x"))


def padding(text: str) -> Any:
    """Return a word, numbers as 3 or 3x5, or pairs as 1:2x0:3."""
    if text in PADDING_WORDS:
        return text
    if ":" not in text:
        return sizes(text)
    if not re.fullmatch(r"\d+:\d+(x\d+:\d+)*", text):
        raise argparse.ArgumentTypeError(f"pairs as 1:2x0:3 are meant: {text!r}")
    return tuple(tuple(int(n) for n in pair.split(":")) for pair in text.split("x"))


def _by(numbers: Sequence[int]) -> str:
    return "x".join(map(str, numbers))


def _sliding_formula(axis: Axis, ceil_mode: bool) -> str:
    """Return the formula of one dimension of a sliding window, with its numbers."""
    size, kernel, stride, dilation, before, after, out = axis
    rounding = "ceil" if ceil_mode else "floor"
    span = dilation * (kernel - 1) + 1
    room = size + before + after - span
    rounded = -(-room // stride) if ceil_mode else room // stride
    line = (
        f"{rounding}(({size} + {before} + {after} - {dilation} * ({kernel} - 1) - 1) / {stride})"
        f" + 1 = {rounding}({room} / {stride}) + 1 = {rounded + 1}"
    )
    if out != rounded + 1:
        line += f", less the last window, which would start beyond the input: {out}"
    unseen = after - needed_after(axis)
    if unseen > 0:
        line += f"  (the last {unseen} of the padded cells are in no window)"
    return line


def _transposed_formula(axis: Axis, extra: int) -> str:
    """Return the formula of one dimension of a transposed convolution, with its numbers."""
    size, kernel, stride, dilation, before, after, out = axis
    return (
        f"({out} - 1) * {stride} - {before} - {after} + {dilation} * ({kernel} - 1) + {extra} + 1"
        f" = {size}"
    )


def _report(family: str, given: Sequence[int], made: Sequence[int], lines: list[str]) -> str:
    width = len(str(len(lines) - 1))
    return "\n".join(
        [
            f"{family}: {_by(given)} -> {_by(made)}",
            *(f"  dimension {dim:>{width}}: {line}" for dim, line in enumerate(lines)),
        ]
    )


def shape(arguments: argparse.Namespace) -> str:
    """Return the output's size, and the formula with its numbers."""
    given, dims = arguments.size, len(arguments.size)
    kernel = integers("--kernel-size", arguments.kernel_size, dims)
    pooled = arguments.family.endswith("pool")
    by_kernel = pooled or arguments.family == "max_unpool"
    unset = kernel if by_kernel else (1,)
    stride = integers("--stride", arguments.stride or unset, dims)
    dilation = integers("--dilation", arguments.dilation, dims)
    if arguments.family in SPREADING:
        if arguments.ceil_mode:
            raise ValueError(f"--ceil-mode is for pools, not for {arguments.family}")
        if arguments.family == "max_unpool" and (
            max(dilation) > 1 or any(arguments.output_padding)
        ):
            raise ValueError("max_unpool has neither --dilation nor --output-padding")
        extra = integers("--output-padding", arguments.output_padding, dims, 0)
        crop = crop_argument(arguments.padding, dims)
        window: Window = transposed_window(given, kernel, stride, crop, extra, dilation)
        made = tuple(axis.size for axis in window)
        lines = [_transposed_formula(*each) for each in zip(window, extra, strict=True)]
        return _report(arguments.family, given, made, lines)
    if any(arguments.output_padding):
        raise ValueError("--output-padding is for conv_transpose")
    if arguments.ceil_mode and not pooled:
        raise ValueError("--ceil-mode is for pools")
    pairs = padding_argument(arguments.padding, dims)
    window = sliding_window(given, kernel, stride, pairs, dilation, arguments.ceil_mode)
    made = output_sizes(window)
    lines = [_sliding_formula(axis, arguments.ceil_mode) for axis in window]
    report = _report(arguments.family, given, made, lines)
    if arguments.family == "unfold":
        report += f"\n  columns: (N, C * {prod(kernel)}, {prod(made)})"
    return report


def explain(arguments: argparse.Namespace) -> str:
    """Return which implementation would run a call of arrays of the given shapes."""
    try:
        xp = namespace_named(arguments.library)
    except ImportError as problem:
        raise ValueError(f"--library {arguments.library} cannot be imported: {problem}") from None
    dtype = getattr(xp, arguments.dtype, None)
    if dtype is None:
        raise ValueError(f"{arguments.library} has no dtype {arguments.dtype}")
    arrays = [xp.empty(each, dtype=dtype) for each in arguments.shapes]
    names = ("kernel_size", "output_size", "stride", "padding", "dilation", "groups", "pad")
    params = {name: getattr(arguments, name) for name in names}
    given = {name: value for name, value in params.items() if value is not None}
    if len(given.get("kernel_size", (0, 0))) == 1:
        # One number is for all dimensions, which a tuple would not be.
        dims = len(given.get("output_size", arguments.shapes[0][2:]))
        given["kernel_size"] *= dims
    return str(arrayconv.explain(getattr(arrayconv, arguments.function), *arrays, **given))


def compile_loops(arguments: argparse.Namespace) -> str:
    """Return what first calls of common layers took; what they compiled is then kept on disk."""
    if arguments.kernel or arguments.architecture or arguments.wide:
        raise ValueError(f"--kernel, --architecture and --wide are for --library {COMPILED_FOR[0]}")
    others = [each for each in arguments.dtype if each not in _first_calls.DTYPES]
    if others:
        known = ", ".join(_first_calls.DTYPES)
        raise ValueError(f"--dtype of these layers is one of {known}, got {', '.join(others)}")
    if missing() is not None:
        raise ValueError(missing())
    total, count = 0.0, 0
    for dtype in arguments.dtype:
        for layer, seconds in _first_calls.first_calls(namespace_named(arguments.library), dtype):
            # It takes a while: so each is shown when it is done.
            print(f"{seconds:6.2f} s  {dtype}  {layer}", flush=True)
            total, count = total + seconds, count + 1
    return f"{count} layers and their gradients in {total:.1f} s"


def compile_kernels(arguments: argparse.Namespace) -> str:
    """Return what the compiler says of each CUDA kernel; on a GPU they are then in CuPy's cache."""
    reason = compilation.why_no_compilation()
    if arguments.architecture:
        reason = compilation.why_no_compiler()
    if reason is not None:
        raise ValueError(reason)
    kernels = compilation.selected(arguments.kernel, arguments.dtype, arguments.wide)
    if not kernels:
        asked, dtypes = ", ".join(arguments.kernel), ", ".join(arguments.dtype)
        raise ValueError(f"there is no instance of {asked} for arrays of {dtypes}")
    # It takes a while.
    print(f"compiling {len(kernels)} kernels", file=sys.stderr, flush=True)
    results = compilation.compile_all(kernels, arguments.architecture)
    spilled = sum(each.spill_bytes + each.stack_bytes > 0 for each in results)
    seconds = sum(each.seconds for each in results)
    return (
        f"{compilation.table(results)}\n"
        f"{len(results)} kernels in {seconds:.1f} s, {spilled} of them with local memory"
    )


def compile_code(arguments: argparse.Namespace) -> str:
    """Return what was compiled for a library's arrays."""
    is_cuda = arguments.library == COMPILED_FOR[0]
    return (compile_kernels if is_cuda else compile_loops)(arguments)


def _window_options(parser: argparse.ArgumentParser, kernel_needed: bool) -> None:
    parser.add_argument(
        "-k", "--kernel-size", type=sizes, required=kernel_needed, metavar="K", help="7 or 7x5"
    )
    parser.add_argument("-s", "--stride", type=sizes, metavar="S", help="2 or 2x1")
    parser.add_argument(
        "-p",
        "--padding",
        type=padding,
        default=(0,) if kernel_needed else None,
        metavar="P",
        help=f"3, 3x5, pairs before:after as 1:2x0:3, or one of {', '.join(PADDING_WORDS)}",
    )
    parser.add_argument(
        "-d",
        "--dilation",
        type=sizes,
        default=(1,) if kernel_needed else None,
        metavar="D",
        help="2 or 2x1",
    )


_REPORTS = {"shape": shape, "explain": explain, "compile": compile_code}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m arrayconv",
        description="Convolution, pooling and im2col for every Python array library.",
    )
    made.add_argument("--version", action="version", version=f"arrayconv {arrayconv.__version__}")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "info",
        help="versions, devices, and the implementations that each library has",
        description="Show versions, devices, options, and who runs each primitive.",
    )
    calculator = commands.add_parser(
        "shape",
        help="how large an output is, and the formula with its numbers",
        description="Calculate an output's size: python -m arrayconv shape conv 224x224 -k 7 -s 2 "
        "-p 3",
    )
    calculator.add_argument(
        "family", choices=FAMILIES, help="a stride not given is 1, or a pool's kernel size"
    )
    calculator.add_argument("size", type=sizes, metavar="SIZE", help="spatial sizes, as 224x224")
    _window_options(calculator, kernel_needed=True)
    calculator.add_argument("--output-padding", type=sizes, default=(0,), metavar="O")
    calculator.add_argument("--ceil-mode", action="store_true", help="round up, for pools")
    explaining = commands.add_parser(
        "explain",
        help="which implementation would run a call, and why the others would not",
        description="Explain a call without running it: python -m arrayconv explain conv2d "
        "1x64x56x56 64x64x3x3 -p 1",
    )
    explaining.add_argument(
        "function", choices=EXPLAINED, metavar="FUNCTION", help=", ".join(EXPLAINED)
    )
    explaining.add_argument(
        "shapes",
        type=sizes,
        nargs="+",
        metavar="SHAPE",
        help="of the input, the weight and the bias, as 1x64x56x56",
    )
    _window_options(explaining, kernel_needed=False)
    explaining.add_argument("-g", "--groups", type=int, metavar="G")
    explaining.add_argument("--output-size", type=sizes, metavar="SIZE", help="of fold")
    explaining.add_argument("--pad", type=sizes, metavar="P", help="of pad, as 1x1x2x2")
    explaining.add_argument(
        "--library",
        choices=LIBRARIES,
        default=LIBRARIES[0],
        help="whose arrays (default: %(default)s)",
    )
    explaining.add_argument(
        "--dtype", choices=DTYPES, default="float32", metavar="DTYPE", help="default: %(default)s"
    )
    compiling = commands.add_parser(
        "compile",
        help="compile the CUDA kernels, or what numba compiles for NumPy arrays, before it is used",
        description="Compile the CUDA kernels, and print the time, registers and memory of each. "
        "With a GPU they are compiled into CuPy's cache; without one, or for the architectures "
        "that are named, by NVRTC alone. With --library numpy: call common layers and their "
        "gradients, so that numba compiles what they need and keeps it on disk; the first call of "
        "a program then does not wait.",
    )
    compiling.add_argument(
        "--library",
        choices=COMPILED_FOR,
        default=COMPILED_FOR[0],
        help="whose arrays (default: %(default)s)",
    )
    functions = sorted({template.function for template in templates.TEMPLATES})
    compiling.add_argument(
        "--kernel", nargs="+", choices=functions, default=(), metavar="K", help=", ".join(functions)
    )
    compiling.add_argument(
        "--dtype",
        nargs="+",
        choices=DTYPES,
        default=("float32",),
        metavar="DTYPE",
        help="default: float32",
    )
    compiling.add_argument(
        "--architecture",
        nargs="+",
        choices=compilation.ARCHITECTURES,
        default=(),
        metavar="A",
        help=f"{', '.join(compilation.ARCHITECTURES)}; default: the GPU's, else "
        f"{compilation.LIKELIEST}",
    )
    compiling.add_argument("--wide", action="store_true", help="also with indices of 64 bits")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 where it did, 1 where what was asked cannot be, 2 for bad usage."""
    given = parser().parse_args(arguments)
    try:
        if given.command == "info":
            arrayconv.show_config()
        else:
            print(_REPORTS[given.command](given))
    except (ValueError, TypeError) as problem:
        print(f"python -m arrayconv {given.command}: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
