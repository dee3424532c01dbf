"""Arrays that do not fit together, or are none: refused by name and shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from tests.malformed import (
    CONVOLUTIONS,
    CROPPED,
    OPERATIONS,
    WITH_ARRAYS,
    arguments,
    call,
    refused,
)

# --- groups, channels, ranks ------------------------------------------------------------------


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_groups(name):
    for small in (0, -1, -(10**30)):
        with refused(ValueError, "groups", str(small)):
            call(name, groups=small)
    for value in (1.0, 2.5, True, np.True_, None, "2", (2,), [2], np.asarray([2])):
        with refused(TypeError, "groups", repr(value)):
            call(name, groups=value)
    for value in (3, 4, 6, 5, 2**40, 2**63, 10**30):
        with refused(ValueError, "groups", str(value)):
            call(name, groups=value)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_channels(name):
    shapes = OPERATIONS[name].arrays
    _, _, *sizes = shapes["input"]
    for wrong in (1, 3, 5, 0):
        shape = (2, wrong, *sizes)
        with refused(ValueError, "input", str(shape), str(shapes["weight"])):
            call(name, input=np.ones(shape))
        with refused(ValueError, "input", str(shapes["weight"])):
            call(name, input=np.ones(shape[1:]))
    outputs, inputs, *kernel = shapes["weight"]
    for weight in (
        (outputs + 1, inputs, *kernel),
        (0, inputs, *kernel),
        (outputs, 0, *kernel),
        (outputs, inputs, *kernel[:-1], 0),
    ):
        with refused(ValueError, "weight", str(weight), str(shapes["input"])):
            call(name, weight=np.ones(weight), bias=None)
    for bias in ((), (1,), (5,), (7,), (6, 1), (1, 6), (0,)):
        with refused(ValueError, "bias", str(bias), "(6,)"):
            call(name, bias=np.ones(bias))


@pytest.mark.parametrize("name", [*CONVOLUTIONS, "unfold", "fold"])
def test_ranks(name):
    operation = OPERATIONS[name]
    right = len(operation.arrays["input"])
    for rank in {0, 1, 2, 3, 4, 5, 6, 7} - {right, right - 1}:
        if name == "unfold" and rank > right:
            continue  # an int is the kernel of any number of dimensions
        shape = (4,) * rank
        with refused(ValueError, "input", str(shape)):
            call(name, input=np.ones(shape))
    if "weight" in operation.arrays:
        for rank in {0, 1, 2, 3, 4, 5, 6} - {right}:
            shape = (4,) * rank
            with refused(ValueError, "weight", str(shape), str(operation.arrays["input"])):
                call(name, weight=np.ones(shape))


@pytest.mark.parametrize("name", [*CONVOLUTIONS, "unfold"])
def test_no_cells(name):
    batch, channels, *sizes = OPERATIONS[name].arrays["input"]
    for dim in range(len(sizes)):
        empty = (*sizes[:dim], 0, *sizes[dim + 1 :])
        with refused(ValueError, "input", str(empty)):
            call(name, input=np.ones((batch, channels, *empty)), padding=3)


def test_unfold_without_channels():
    with refused(ValueError, "input", "(2, 0, 6, 6)", "channel"):
        call("unfold", input=np.ones((2, 0, 6, 6)))
    with refused(ValueError, "input", "(2, 0, 16)"):
        call("fold", input=np.ones((2, 0, 16)))


@pytest.mark.parametrize("name", [*[n for n in CONVOLUTIONS if n not in CROPPED], "unfold"])
def test_a_kernel_that_does_not_fit(name):
    batch, channels, *_ = OPERATIONS[name].arrays["input"]
    dims = OPERATIONS[name].dims
    small = (batch, channels, *[2] * dims)
    with refused(ValueError, "kernel_size", str((3,) * dims), str((2,) * dims)):
        call(name, input=np.ones(small))
    with refused(ValueError, "dilation", "spans 7"):
        call(name, dilation=3)


def test_columns_that_do_not_fit():
    for shape in ((2, 35, 16), (2, 36, 15), (2, 36, 17), (36, 4), (2, 36, 0), (2, 8, 16)):
        with refused(ValueError, "input", str(shape), "kernel_size (3, 3)"):
            call("fold", input=np.ones(shape))
    with refused(ValueError, "output_size (7, 7)", "(2, 36, 16)"):
        call("fold", output_size=7)
    with refused(ValueError, "stride (2, 2)", "(2, 36, 16)"):
        call("fold", stride=2)
    with refused(ValueError, "kernel_size (7, 7)", "spans 7"):
        call("fold", kernel_size=7)


@pytest.mark.parametrize("name", CROPPED)
def test_transposed_sizes(name):
    for value, changes in ((1, {}), (2, {"stride": 2}), (3, {"stride": 2, "dilation": 3})):
        with refused(ValueError, "output_padding", str(value)):
            call(name, output_padding=value, **changes)
    with refused(ValueError, "padding", "crops the output to"):
        call(name, padding=4)


# --- arrays that are none, or of the wrong kind -----------------------------------------------

ARRAYS = [(name, each) for name in WITH_ARRAYS for each in OPERATIONS[name].arrays]
NOT_ARRAYS = {
    "a list": [[1.0]],
    "a tuple": (1.0,),
    "a float": 1.0,
    "an int": 1,
    "a string": "input",
    "bytes": b"1",
    "a dict": {},
    "a set": {1.0},
    "a generator": (i for i in (1.0,)),
    "a range": range(6),
    "a memory view": memoryview(b"1234"),
    "an object": object(),
    "NumPy": np,
    "a type": np.ndarray,
    "a matrix": np.ones((4, 4)).view(np.matrix),
    "a masked array": np.ma.ones((2, 4, 6, 6)),
}
NO_DTYPES = {
    "object": np.full(3, None),
    "str": np.full(3, "a"),
    "bytes": np.full(3, b"a"),
    "datetime64": np.zeros(3, "M8[s]"),
    "timedelta64": np.zeros(3, "m8[s]"),
    "void": np.zeros(3, [("a", int)]),
}


@pytest.mark.parametrize("junk", NOT_ARRAYS)
@pytest.mark.parametrize(("name", "argument"), ARRAYS)
def test_not_an_array(name, argument, junk):
    value = NOT_ARRAYS[junk]
    with refused(TypeError, argument, type(value).__qualname__):
        call(name, **{argument: value})


@pytest.mark.parametrize(("name", "argument"), ARRAYS)
def test_none_is_a_bias_only(name, argument):
    if argument == "bias":
        call(name, bias=None)
    else:
        with refused(TypeError, argument, "None"):
            call(name, **{argument: None})


@pytest.mark.parametrize("dtype", NO_DTYPES)
@pytest.mark.parametrize(("name", "argument"), ARRAYS)
def test_a_dtype_that_is_no_number(name, argument, dtype):
    array = np.resize(NO_DTYPES[dtype], OPERATIONS[name].arrays[argument])
    with refused(TypeError, argument, dtype):
        call(name, **{argument: array})


PRODUCTS = [*CONVOLUTIONS, "linear"]


@pytest.mark.parametrize("name", PRODUCTS)
def test_bools_have_no_products(name):
    shapes = OPERATIONS[name].arrays
    with refused(TypeError, "input", "bool"):
        call(name, **{each: np.ones(shape, bool) for each, shape in shapes.items()})


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("argument", ["weight", "bias"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8", "bool", "complex128"])
def test_mixed_dtypes(name, argument, dtype):
    shape = OPERATIONS[name].arrays[argument]
    with refused(TypeError, "input", argument, "float64", dtype):
        call(name, **{argument: np.ones(shape, dtype)})


@pytest.mark.parametrize("name", PRODUCTS)
def test_integers_with_a_floating_bias(name):
    shapes = OPERATIONS[name].arrays
    whole = {each: np.ones(shape, int) for each, shape in shapes.items()}
    with refused(TypeError, "input", "bias", "int64", "float64"):
        call(name, **{**whole, "bias": np.ones(shapes["bias"])})


@pytest.mark.parametrize("module", ["array_api_strict", "torch"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_mixed_libraries(name, module):
    other = pytest.importorskip(module)
    shapes = OPERATIONS[name].arrays
    foreign = {each: other.ones(shape, dtype=other.float64) for each, shape in shapes.items()}
    for argument in ("weight", "bias"):
        with refused(TypeError, "input", argument, "numpy", module):
            call(name, **{argument: foreign[argument]})
        with refused(TypeError, "input", argument, "numpy", module):
            call(name, **{**foreign, argument: np.ones(shapes[argument])})
    with refused(TypeError, "input", "weight", "numpy", module):
        call(name, input=foreign["input"])


@pytest.mark.parametrize("name", PRODUCTS)
def test_mixed_devices(name):
    strict = pytest.importorskip("array_api_strict")
    here, there = strict.Device("CPU_DEVICE"), strict.Device("device1")
    shapes = OPERATIONS[name].arrays
    arrays = {each: strict.ones(shape, device=there) for each, shape in shapes.items()}
    for argument in ("weight", "bias"):
        with refused(TypeError, "input", argument, "device1", "CPU_DEVICE"):
            call(name, **{**arrays, argument: strict.ones(shapes[argument], device=here)})
    torch = pytest.importorskip("torch")
    tensors = {each: torch.ones(shape) for each, shape in shapes.items()}
    for argument in ("weight", "bias"):
        with refused(TypeError, "input", argument, "meta", "cpu"):
            call(name, **{**tensors, argument: torch.ones(shapes[argument], device="meta")})


# --- algorithm, vjp, explain ------------------------------------------------------------------


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_algorithms(library, name):
    arrays = {
        each: library.asarray(np.ones(shape)) for each, shape in OPERATIONS[name].arrays.items()
    }
    for word in ("", "Auto", "fastest", "im2col "):
        with refused(ValueError, "algorithm", repr(word), "auto", "generic"):
            call(name, **arrays, algorithm=word)
    strings: tuple[Any, ...] = (["generic"], ("auto",), {}, b"auto", np.asarray(["auto", "b"]))
    for value in (None, 1, True, *strings):
        with refused(TypeError, "algorithm", repr(value)):
            call(name, **arrays, algorithm=value)


@pytest.mark.parametrize("name", WITH_ARRAYS)
def test_vjp_of_a_malformed_call(name):
    operation = OPERATIONS[name]
    arrays = [np.ones(shape) for shape in operation.arrays.values()]
    with refused(TypeError, name, "strides"):
        ac.vjp(operation.function, *arrays, **operation.params, strides=1)
    with refused(TypeError, "input"):
        ac.vjp(operation.function, **operation.params)
    with refused(TypeError, name, "by name"):
        ac.vjp(operation.function, *arrays, 1, **operation.params)
    with refused(TypeError, "input"):
        ac.vjp(operation.function, *arrays, **operation.params, input=arrays[0])
    for number, argument in enumerate(operation.arrays):
        for junk in ([1.0], 1.0, "x", np.ma.ones(3)):
            spoiled = [*arrays[:number], junk, *arrays[number + 1 :]]
            with refused(TypeError, argument, type(junk).__name__):
                ac.vjp(operation.function, *spoiled, **operation.params)
        for dtype in ("int64", "bool", "uint8"):
            spoiled = [array.astype(dtype) for array in arrays[: number + 1]]
            with refused(TypeError, dtype, "gradients"):
                ac.vjp(operation.function, *spoiled, *arrays[number + 1 :], **operation.params)


@pytest.mark.parametrize("name", WITH_ARRAYS)
def test_cotangents(name):
    operation = OPERATIONS[name]
    arrays = [np.ones(shape) for shape in operation.arrays.values()]
    output, pullback = ac.vjp(operation.function, *arrays, **operation.params)
    shape = output.shape
    for wrong in ((), shape[1:], (1, *shape), (*shape[:-1], shape[-1] + 1), (1,) * len(shape)):
        with refused(ValueError, "cotangent", str(shape), str(wrong)):
            pullback(np.ones(wrong))
    for dtype in ("float32", "int64", "bool", "complex128"):
        with refused(TypeError, "cotangent", "float64", dtype):
            pullback(np.ones(shape, dtype))
    for junk in (None, 1.0, [1.0], "x", np.ma.ones(shape), object()):
        with refused(TypeError, "cotangent", type(junk).__qualname__):
            pullback(junk)
    with refused(TypeError, "cotangent", "object"):
        pullback(np.full(shape, None))
    strict = pytest.importorskip("array_api_strict")
    with refused(TypeError, "cotangent", "numpy", "array_api_strict"):
        pullback(strict.ones(shape))
    there = strict.Device("device1")
    images = [strict.ones(each, device=there) for each in operation.arrays.values()]
    _, pullback = ac.vjp(operation.function, *images, **operation.params)
    with refused(TypeError, "cotangent", "device1", "CPU_DEVICE"):
        pullback(strict.ones(shape))


@pytest.mark.parametrize("what", [ac.vjp, ac.explain])
@pytest.mark.parametrize(
    "function", [None, "conv2d", 3, [], {}, np.sum, len, ac.get_device, ac.vjp, object(), int]
)
def test_not_a_function_of_ours(what, function):
    with refused(TypeError, what.__name__, "conv2d", repr(function)):
        what(function, np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3)))


@pytest.mark.parametrize("name", [name for name in WITH_ARRAYS if name != "linear"])
def test_explain_refuses_what_the_call_does(name):
    function = OPERATIONS[name].function
    with refused(TypeError, "strides"):
        ac.explain(function, **arguments(name), strides=1)
    with refused(TypeError, "input", "list"):
        ac.explain(function, **arguments(name, input=[1.0]))
    if name in CONVOLUTIONS:
        with refused(ValueError, "algorithm", "'fastest'"):
            ac.explain(function, **arguments(name), algorithm="fastest")


def test_linear_shapes():
    for changes in (
        {"input": (2, 3, 6)},
        {"input": (2, 5, 3)},
        {"input": ()},
        {"weight": (4, 6)},
        {"weight": (5, 4)},
        {"weight": ()},
        {"weight": (1, 4, 5)},
        {"bias": (5,)},
        {"bias": (1,)},
        {"bias": ()},
        {"bias": (3, 4)},
    ):
        ((argument, shape),) = changes.items()
        with refused(ValueError, argument, str(shape)):
            call("linear", **{argument: np.ones(shape)})
