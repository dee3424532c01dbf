"""The launch of the CUDA kernels: what CuPy is asked for, what no kernel serves, and packing."""

from __future__ import annotations

import importlib.util
import types
from typing import Any

import numpy as np
import pytest

from arrayconv import primitives
from arrayconv._window import Axis, Table, Window, index_table, sight, sliding_window
from arrayconv.backends.cupy import geometry, implementations, launch
from arrayconv.backends.cupy.geometry import divided_by, packed_window, special, structs
from tests.cuda_on_host.executor import HostExecutor, on_host

FOLD = launch.Kernel("fold", "fold", ("float", "int", "2", "3", "1", "4", "true"))


class Function:
    """A kernel as CuPy gives it."""

    def __init__(self) -> None:
        self.launches: list[Any] = []
        self.shared: list[int] = []
        self.asked: list[int] = []

    def __call__(self, *launched: Any, shared_mem: int) -> None:
        self.launches.append(launched)
        self.shared.append(shared_mem)

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        return self.asked[-1]

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, shared: int) -> None:
        self.asked.append(shared)


@pytest.fixture
def fake_cupy(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A CuPy that notes what it is asked for; device 1 is current."""
    module = types.SimpleNamespace(modules=[], function=Function())

    def raw_module(**asked: Any) -> Any:
        module.modules.append(asked)
        return types.SimpleNamespace(get_function=lambda expression: module.function)

    module.RawModule = raw_module
    module.by_value = []

    def by_value(array: Any) -> Any:
        module.by_value.append(array)
        return "passed", array

    module.cuda = types.SimpleNamespace(
        runtime=types.SimpleNamespace(getDevice=lambda: 1),
        function=types.SimpleNamespace(CNumpyArray=by_value),
    )
    monkeypatch.setattr(launch.importlib, "import_module", lambda name: module)  # type: ignore[attr-defined]
    launch.compiled.cache_clear()
    yield module
    launch.compiled.cache_clear()
    launch._seconds.clear()


def test_a_kernel_is_compiled_once_and_launched(fake_cupy):
    executor = launch.CupyExecutor()
    for _ in range(2):
        executor.launch(FOLD, 7, 256, (np.int32(3),))
    (asked,) = fake_cupy.modules
    assert asked["name_expressions"] == ("fold<float, int, 2, 3, 1, 4, true>",)
    assert asked["options"] == ("-std=c++17",)
    # The text is whole: no header is looked for where it runs.
    assert "struct Divisor" in asked["code"]
    assert "#include" not in asked["code"]
    assert fake_cupy.function.launches == [((7,), (256,), (np.int32(3),))] * 2
    assert list(launch.compiled_kernels()) == [FOLD.expression]


def test_what_is_passed_by_value_is_made_once(fake_cupy):
    """CuPy takes 15 us to make it of a struct, in each launch."""
    executor = launch.CupyExecutor()
    struct = packed_window(WINDOW, 32)
    made = launch.plan(FOLD, 32, (1,), (struct,), 9, 300)
    array = object()
    for _ in range(2):
        arguments = (array, *made.structs, *made.numbers)
        executor.launch(made.kernel, made.blocks, made.threads, arguments)
    assert [each.tobytes() for each in fake_cupy.by_value] == [
        each.tobytes() for each in (struct, np.int32(9), np.int32(300))
    ]
    first, second = (launched[2] for launched in fake_cupy.function.launches)
    assert first[0] is array
    assert first == second
    assert first[1] == ("passed", struct)


def test_more_shared_memory_is_asked_for_on_each_device(fake_cupy):
    executor = launch.CupyExecutor()
    for device, shared in ((1, 100), (1, 90_000), (1, 90_000), (0, 90_000)):
        executor.current_device = lambda device=device: device
        executor.launch(FOLD, 7, 256, (), shared)
    assert fake_cupy.function.shared == [100, 90_000, 90_000, 90_000]
    assert fake_cupy.function.asked == [90_000, 90_000]


def test_an_array_on_another_device(fake_cupy):
    executor = launch.CupyExecutor()
    here, there = (types.SimpleNamespace(device=types.SimpleNamespace(id=n)) for n in (1, 0))
    assert executor.objection((here, here)) is None
    said = executor.objection((here, there))
    assert said == "an array is on device 0, and the current device is 1"


def test_cupy_takes_what_it_is_given():
    """As far as CuPy goes without a device."""
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("cupy is not installed")
    import cupy

    launch_options = {"options": launch.OPTIONS, "name_expressions": (FOLD.expression,)}
    assert cupy.RawModule(code=launch.source("fold"), **launch_options) is not None
    assert hasattr(cupy.RawKernel, "max_dynamic_shared_size_bytes")
    executor = launch.CupyExecutor()
    for held in (packed_window(WINDOW, 64), np.asarray(np.int32(3))):
        assert isinstance(executor.by_value(held), cupy.cuda.function.CPointer)


@pytest.fixture
def host(tmp_path: Any) -> HostExecutor:
    return HostExecutor(tmp_path)


def unfit(name: str, *arguments: Any) -> str | None:
    return implementations[name][0].unfit(*arguments)


WINDOW = sliding_window((5, 5), (3, 3), (1, 1), ((0, 0),) * 2, (1, 1))
PART = Table(5, 2, 2, ((0, 1), (4, -1)))


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("unfold", (np.zeros((1, 1, 5, 5)), WINDOW), None),
        ("unfold", (np.zeros((1, 1, 5, 5), "longdouble"), WINDOW), "no type for"),
        ("unfold", (np.zeros((1, 1, 5, 5, 5, 5)), WINDOW * 2), "not 4"),
        ("max_pool", (np.zeros((1, 1, 5, 5), complex), WINDOW), "no order"),
        ("max_pool", (np.zeros((1, 1, 5)), (PART,)), "follow no rule"),
        ("conv", (np.zeros((1, 4, 5, 5)), np.zeros((4, 2, 3, 3)), WINDOW, 2), "a group has 2"),
        ("conv", (np.zeros((1, 2, 5, 5), bool), np.zeros((2, 1, 3, 3), bool), WINDOW, 2), "bools"),
        ("place", (np.zeros((1, 1, 5)), np.zeros((1, 1, 5), np.int32), 9), "must be int64"),
        ("gather", (np.zeros((1, 1, 5)), np.zeros((1, 1, 5), np.int32)), "must be int64"),
        (
            "scatter_add",
            (np.broadcast_to(0.0, (1, 1, 2**23)), np.broadcast_to(0, (1, 1, 2**23)), 9),
            "adds at most",
        ),
        ("pad", (np.zeros((5,) * 7), ((1, 1),) * 7, "constant", 0), "up to 3 axes"),
        ("pad", (np.zeros(()), (), "constant", 0), "without axes"),
        ("pad", (np.zeros((3, 0)), ((1, 1), (1, 1)), "constant", 0), "no cells"),
        ("pad_adjoint", (np.zeros((1, 1, 5, 5)), ((0, 0),) * 3 + ((1, 1),), "reflect"), None),
    ],
)
def test_what_no_kernel_serves(host, name, arguments, reason):
    with on_host(host):
        said = unfit(name, *arguments)
    assert said is None if reason is None else reason in str(said)


def test_an_array_between_two_addresses(host):
    """A view of bytes may begin where no element of its dtype can."""
    x = np.zeros(8 * 25 + 1, np.uint8)[1:].view(np.float64).reshape(1, 1, 5, 5)
    with on_host(host):
        assert "multiples of 8 bytes" in str(unfit("unfold", x, WINDOW))


def test_long_windows_are_left_to_others(host):
    x = np.zeros((1, 1, 64, 64), np.float32)
    window = sliding_window((64, 64), (64, 64), (1, 1), ((0, 0),) * 2, (1, 1))
    assert "4096 cells" in str(implementations["sum_pool"][0].slow(x, window))
    assert implementations["sum_pool"][0].slow(x, WINDOW) is None


def test_nothing_to_do_is_no_launch(host):
    with on_host(host):
        columns = primitives.unfold(np.zeros((0, 2, 5, 5), np.float32), WINDOW)
    assert columns.shape == (0, 18, 9)
    assert host.launched == []


# --- packing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [32, 64])
def test_division_by_a_product(bits):
    """As a kernel does it: high((multiplier * n)) + n, shifted."""
    rng = np.random.default_rng(0)
    top = 2 ** (bits - 1) - 1
    divisors = [1, 2, 3, 5, 7, 10, 641, 2**16, top // 2, top - 1, top]
    for divisor in [*divisors, *map(int, rng.integers(1, top, 200))]:
        multiplier, shift = divided_by(divisor, bits)
        multiplier %= 2**bits
        edges = [
            0,
            1,
            divisor - 1,
            divisor,
            2 * divisor - 1,
            top - 1,
            top,
            top // divisor * divisor,
        ]
        for n in [*edges, *map(int, rng.integers(0, top, 20))]:
            if 0 <= n <= top:
                total = (multiplier * n >> bits) + n
                assert total < 2**bits
                assert total >> shift == n // divisor


def test_structs_carry_the_names_of_python():
    axis = structs(32)["Window"]["axes"].base.names
    assert axis is not None
    assert set(Axis._fields) - {"after"} <= set(axis)
    assert set(sight(WINDOW[0])._fields) <= set(axis)
    packed = packed_window(WINDOW, 64)["axes"][0]
    assert packed["size"].tolist() == [1, 5, 5]
    assert packed["kernel"].tolist() == [1, 3, 3]


@pytest.mark.parametrize(
    ("window", "known"),
    [
        (WINDOW, (3, 1)),
        (sliding_window((9, 9), (3, 3), (2, 2), ((0, 0),) * 2, (1, 1)), (3, 2)),
        (sliding_window((9, 9), (3, 3), (2, 1), ((0, 0),) * 2, (1, 1)), (0, 0)),
        (sliding_window((9, 9), (3, 3), (1, 1), ((0, 0),) * 2, (2, 1)), (0, 0)),
        (sliding_window((9, 9), (3, 2), (1, 1), ((0, 0),) * 2, (1, 1)), (0, 0)),
        (sliding_window((9,) * 3, (5,) * 3, (1,) * 3, ((0, 0),) * 3, (1,) * 3), (0, 0)),
        ((PART,), (geometry.PARTS, 0)),
    ],
)
def test_what_the_compiler_may_know(window: Window, known):
    assert special(window) == known


@pytest.mark.parametrize("stride", range(1, 7))
@pytest.mark.parametrize("dilation", range(1, 7))
def test_who_sees_a_cell(stride, dilation):
    """The taps that the numbers of `sight` list are those of the table."""
    axis = Axis(40, 5, stride, dilation, 3, 0, 6)
    seen = sight(axis)
    seers: dict[int, set[tuple[int, int]]] = {cell: set() for cell in range(axis.size)}
    for position, row in enumerate(index_table(axis)):
        for tap, cell in enumerate(row):
            if cell >= 0:
                seers[cell].add((tap, position))
    for cell, wanted in seers.items():
        reach = cell + axis.before
        found = set()
        if reach % seen.common == 0:
            tap = reach // seen.common * seen.inverse % seen.tap_step
            position = (reach - tap * dilation) // stride
            for _ in range(seen.rounds):
                if tap < axis.kernel and 0 <= position < axis.out:
                    found.add((tap, position))
                tap, position = tap + seen.tap_step, position - seen.position_step
        assert found == wanted


def test_a_bias_is_in_a_row_and_between_no_two_elements(tmp_path):
    numbers = np.arange(3, dtype=np.float32)
    odd = np.zeros(13, np.uint8)[1:].view(np.float32)
    odd[:] = numbers
    with on_host(HostExecutor(tmp_path)):
        assert launch.pointer(None) is launch.NOWHERE
        assert launch.pointer(numbers) is numbers
        for bias in (odd, np.repeat(numbers, 2)[::2], np.broadcast_to(numbers[:1], 3)):
            passed = launch.pointer(bias)
            assert passed.flags.c_contiguous
            assert passed.ctypes.data % 4 == 0
            np.testing.assert_array_equal(passed, bias)
