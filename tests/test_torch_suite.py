"""PyTorch's own sample and error inputs (``op_db``), through a thin adapter."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import pytest

import arrayconv as ac
from tests.cases import assert_close

PAD_VARIANTS = ("constant", "reflect", "replicate", "replicate_negative", "circular")
POOLS = (
    *(f"{name}{dims}d" for name in ("max_pool", "avg_pool") for dims in (1, 2, 3)),
    *(f"adaptive_{name}_pool{dims}d" for name in ("max", "avg") for dims in (1, 2, 3)),
    *(f"max_unpool{dims}d" for dims in (1, 2, 3)),
)
COPYING = ("unfold", "pad", "max_pool", "adaptive_max", "max_unpool")
# Entries of the table: the function, and the variant that the table has of it.
FUNCTIONS = (
    *(f"conv{dims}d" for dims in (1, 2, 3)),
    *(f"conv_transpose{dims}d" for dims in (1, 2, 3)),
    *("unfold", "linear"),
    *(f"pad {mode}" for mode in PAD_VARIANTS),
    *POOLS,
)
DTYPES = ("float32", "float64", "complex128", "int64")


@pytest.fixture(scope="module")
def entries(torch, left_out) -> dict[str, Any]:
    """Return the entries of PyTorch's table that are for our functions."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torch.testing._internal.common_methods_invocations import op_db
    except ImportError as problem:
        reason = f"PyTorch's own sample and error inputs: {problem}"
        left_out(reason)
        pytest.skip(reason)
    found = {}
    for name in FUNCTIONS:
        function, _, variant = name.partition(" ")
        full = f"nn.functional.{function}"
        (found[name],) = (
            each for each in op_db if (each.name, each.variant_test_name) == (full, variant)
        )
    return found


def samples(torch: Any, entry: Any, dtype: str, most: int) -> list[Any]:
    """Return at most that many samples, at equal distances.

    By what ``entry.sample_inputs`` asks itself: that begins torch's generators anew for each
    sample, which looks at the whole stack each time and takes longer than all that is tested.
    """
    torch.manual_seed(0)
    kind = getattr(torch, dtype)
    return spread(entry.sample_inputs_func(entry, "cpu", kind, requires_grad=False), most)


def spread(found: Iterable[Any], most: int) -> list[Any]:
    everything = list(found)
    taken = min(most, len(everything))
    return [everything[n * len(everything) // taken] for n in range(taken)]


@pytest.fixture
def most(request: pytest.FixtureRequest, library: Any, left_out: Callable[[str], None]) -> int:
    """Return how many samples are tested: some functions have hundreds."""
    if request.config.getoption("--full"):
        return 10**6
    taken = 6
    left_out(f"PyTorch's samples on {library.name} arrays, all but {taken} of a function: --full")
    return taken


def in_arrays(torch: Any, values: Any, convert: Callable[[Any], Any]) -> Any:
    """Return a sample's arguments with its tensors as another library's arrays."""
    if isinstance(values, torch.Tensor):
        return convert(values)
    if isinstance(values, dict):
        return {name: in_arrays(torch, value, convert) for name, value in values.items()}
    if isinstance(values, tuple) and any(isinstance(each, torch.Tensor) for each in values):
        return tuple(in_arrays(torch, value, convert) for value in values)
    return values


def ours(function: str) -> Callable[..., Any]:
    """Return our function for an entry of the table."""
    found: Callable[..., Any] = getattr(ac, function.partition(" ")[0])
    return found


def is_index(tensor: Any) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex())


def called(function: str, sample: Any) -> str:
    return f"{function}({sample.input.shape}, {sample.args}, {sample.kwargs})"[:600]


@pytest.mark.parametrize("algorithm", ["auto", "generic"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
def test_samples(torch, entries, library, most, function, dtype, algorithm, request, left_out):
    """What torch returns for its own samples, on every library."""
    full = request.config.getoption("--full")
    if not entries[function].supports_dtype(getattr(torch, dtype), "cpu"):
        pytest.skip(f"torch's {function} has no {dtype}")
    if algorithm == "generic" and library.name == "strict":
        pytest.skip("that is what auto is where a library has nothing else")
    if algorithm == "generic" and library.name != "numpy" and not full:
        left_out("PyTorch's samples by the generic bodies but on numpy and strict arrays: --full")
        pytest.skip("in a plain run the generic bodies run on NumPy and strict arrays: --full")
    tested = 0
    for sample in samples(torch, entries[function], dtype, most):
        wanted = entries[function].op(sample.input, *sample.args, **sample.kwargs)

        def convert(tensor: Any) -> Any:
            return library.frozen(tensor.detach().resolve_conj().numpy())

        first = convert(sample.input)
        args = tuple(in_arrays(torch, each, convert) for each in sample.args)
        named = in_arrays(torch, sample.kwargs, convert)
        with ac.options(algorithm=algorithm):
            got = ours(function)(first, *args, **named)
        exact = "int64" if function.startswith(COPYING) else dtype
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        got = got if isinstance(got, tuple) else (got,)
        assert got[0].dtype == first.dtype, called(function, sample)
        for ours_of_it, theirs in zip(got, wanted, strict=True):
            assert_close(library.to_numpy(ours_of_it), theirs.resolve_conj().numpy(), exact)
        tested += 1
    # In torch 2.13 unfold has no samples of integers; all other functions have samples of each.
    assert tested >= min(most, 3) or (function, dtype) == ("unfold", "int64")


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
def test_gradients_of_samples(torch, entries, library, most, function, dtype, request, left_out):
    """What torch.autograd returns for its own samples, by `vjp` on every library."""
    if dtype == "complex128" and library.name != "numpy" and not request.config.getoption("--full"):
        left_out("gradients of PyTorch's complex samples but on numpy arrays: --full")
        pytest.skip("in a plain run complex gradients are NumPy's: --full runs all")
    if not entries[function].supports_dtype(getattr(torch, dtype), "cpu"):
        pytest.skip(f"torch's {function} has no {dtype}")
    for sample in samples(torch, entries[function], dtype, most):
        operands = [sample.input]
        rest = list(sample.args)
        while rest and (
            rest[0] is None or (isinstance(rest[0], torch.Tensor) and not is_index(rest[0]))
        ):
            operands.append(rest.pop(0))
        extra = {
            k: v
            for k, v in sample.kwargs.items()
            if isinstance(v, torch.Tensor) and not is_index(v)
        }
        operands += extra.values()
        parameters = list(inspect.signature(ours(function)).parameters)
        named = dict(zip(parameters[len(sample.args) - len(rest) + 1 :], rest, strict=False))
        named |= {k: v for k, v in sample.kwargs.items() if k not in extra}
        leaves = [t.detach().clone().requires_grad_() for t in operands if t is not None]
        refill = iter(leaves)
        inputs = [None if each is None else next(refill) for each in operands]
        wanted = entries[function].op(*inputs, **named)
        wanted = wanted[0] if isinstance(wanted, tuple) else wanted
        cotangent = torch.randn_like(wanted)
        right = iter(torch.autograd.grad(wanted, leaves, cotangent))
        arrays = [
            None if each is None else library.frozen(each.detach().resolve_conj().numpy())
            for each in operands
        ]
        given = in_arrays(torch, named, lambda tensor: library.frozen(tensor.numpy()))
        _, pullback = ac.vjp(ours(function), *arrays, **given)
        gradients = pullback(library.frozen(cotangent.resolve_conj().numpy()))
        for gradient, operand in zip(gradients, operands, strict=False):
            if operand is None:
                assert gradient is None
            else:
                expected = next(right).resolve_conj().numpy()
                assert_close(library.to_numpy(gradient), expected, dtype, factor=10)


@pytest.mark.parametrize("function", ["conv1d", "conv2d", "conv3d", *POOLS])
def test_error_inputs(torch, entries, library, most, function):
    """What torch refuses, we refuse: with ValueError or TypeError."""
    tested, entry = 0, entries[function]
    for case in spread(entry.error_inputs_func(entry, "cpu"), most):
        sample = case.sample_input

        def convert(tensor: Any) -> Any:
            return library.frozen(tensor.detach().resolve_conj().numpy())

        first = in_arrays(torch, sample.input, convert)
        args = tuple(in_arrays(torch, each, convert) for each in sample.args)
        named = in_arrays(torch, sample.kwargs, convert)
        with pytest.raises((ValueError, TypeError)):
            ours(function)(first, *args, **named)
        tested += 1
    assert tested >= 1
