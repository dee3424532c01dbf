"""The benchmark's arithmetic, its checks before timing, its turns; nothing here is timed."""

from __future__ import annotations

import importlib.util
import itertools
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

import arrayconv as ac
import bench.expected
from bench import clocks, environment, providers, timing
from bench.cases import FORWARD, TO_INPUT, TO_WEIGHT, Case
from bench.clocks import CudaClock, HostClock
from bench.expected import compare, right_results
from bench.loops import UnableError, nested
from bench.peers import jax_peer, ndimage_peer, torch_peer
from bench.photograph import photograph, photograph_cases
from bench.places import NUMPY, jax_place, scipy_place, torch_place, traced_peak
from bench.providers import Provider, Ready, arrayconv, loops, primitive_call
from bench.suites import SUITES, batched, suite
from bench.timing import Effort, Result, check, take_turns

TINY = Effort(rounds=2, seconds=0.0, least=1, sample=0.0)
EVERY = {case.name: case for case in suite("all", on_gpu=True)}
CPU = {case.name: case for case in suite("all", on_gpu=False)}
# One case of each operation, direction and kind; the rest differ in their sizes.
KINDS = list(
    {
        (c.op, c.direction, c.groups > 1, "return_indices" in c.params, c.dtype): name
        for name, c in CPU.items()
    }.values()
)


def small_photo(rows=23, columns=19):
    """Return a small noisy picture in grey and RGB."""
    rgb = np.random.default_rng(0).random((1, 3, rows, columns), dtype=np.float32)
    return rgb[:, :1].copy(), rgb


@pytest.fixture(scope="module")
def case():
    return next(each for each in photograph_cases(*small_photo()) if each.name == "sobel")


@pytest.fixture(scope="module")
def expected(case):
    return right_results(case)


def made_up(compute, name="arrayconv made up", **more):
    """Return a provider that computes a case by a function of it."""
    return Provider(
        name, "numpy", lambda case: Ready(partial(compute, case), "made up"), np.asarray, **more
    )


def right(case):
    return getattr(ac, case.op)(*case.arrays(), **case.params)


# --- cases ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_sizes_flops_and_bytes_are_those_of_the_loops(name):
    case = CPU[name].small()
    arrays = case.arrays()
    forward = replace(case, direction=FORWARD)
    outputs = nested(forward, arrays, None)
    output = outputs[0] if isinstance(outputs, tuple) else outputs
    assert case.output == output.shape
    gives = nested(case, arrays, None if case.direction == FORWARD else case.cotangent())
    gives = gives if isinstance(gives, tuple) else (gives,)
    moved = {
        FORWARD: [*arrays, *gives],
        TO_INPUT: [*arrays[1:], case.cotangent(), *gives],
        TO_WEIGHT: [arrays[0], case.cotangent(), *gives],
    }[case.direction]
    indices = 8 * output.size if case.direction == TO_INPUT and "max" in case.family else 0
    assert case.bytes_min == sum(array.nbytes for array in moved) + indices


@pytest.mark.parametrize("name", KINDS)
def test_multiply_adds_are_those_that_all_ones_count(name):
    case = replace(CPU[name].small(), direction=FORWARD)
    if not case.convolves:
        # A window of ones sums to the cells that it sees, of the padding too.
        kernel = int(np.prod(case.kernel_size))
        count = {"unfold": np.prod(case.output), "fold": np.prod(case.input)}
        assert case.work == count.get(case.family, np.prod(case.output) * kernel)
        return
    params = dict(case.params)
    ones = np.ones(case.input)
    if case.family == "conv" and "padding" in params and params["padding"] != "same":
        pairs = [(0, 0), (0, 0), *[(p, p) for p in [params.pop("padding")] * case.dims]]
        ones = np.pad(ones, pairs, constant_values=1)
    if case.family == "conv_transpose":
        params.pop("padding", None)
    if params.get("padding") == "same":
        return
    assert case.weight is not None
    counted = getattr(ac, case.op)(ones, np.ones(case.weight), **params)
    assert case.work == counted.sum()


def test_flops_by_hand():
    conv = Case("c", "conv2d", (1, 2, 4, 4), {}, (3, 2, 3, 3))
    assert conv.output == (1, 3, 2, 2)
    assert (conv.work, conv.flops) == (216, 432)
    assert replace(conv, dtype="complex64").flops == 4 * 432
    assert conv.bytes_min == 4 * (32 + 54 + 12)
    assert replace(conv, bias=True).bytes_min == conv.bytes_min + 12
    pool = Case("p", "max_pool2d", (1, 2, 4, 4), {"kernel_size": 2})
    assert (pool.flops, pool.bytes_min) == (32, 4 * (32 + 8))
    assert replace(pool, direction=TO_INPUT).bytes_min == 4 * (32 + 8) + 8 * 8
    unfold = Case("u", "unfold", (1, 2, 4, 4), {"kernel_size": (3, 3)})
    assert unfold.output == (1, 18, 4)
    assert (unfold.flops, unfold.bytes_min) == (0, 4 * (32 + 72))
    assert replace(unfold, direction=TO_INPUT).flops == 72


def test_names_are_unique_and_suites_are_what_they_say():
    assert len(EVERY) == len(suite("all", on_gpu=True))
    for name in SUITES:
        cases = suite(name, on_gpu=True)
        assert cases
        assert len({case.name for case in cases}) == len(cases)
        halves = [c for c in suite(name, on_gpu=False) if c.dtype in ("float16", "bfloat16")]
        assert bool(halves) == (name == "dtypes")
    assert all(case.name.startswith("resnet50") for case in suite("resnet50", True)[:11])
    assert {case.direction for case in suite("grad", True)} == {TO_INPUT, TO_WEIGHT}
    assert {case.dtype for case in EVERY.values()} >= {"float16", "bfloat16", "complex64"}
    first, *_, last = batched(suite("conv", True), 32)
    assert first.input == (32, 3, 224, 224)
    assert last.output[0] == 32
    assert batched(suite("small", True), 32) == suite("small", True)


def test_a_small_case_keeps_what_is_particular():
    case = EVERY["mobilenet 3x3/2 depthwise 144 @56"].small()
    assert case.params == {"groups": 2, "stride": 2, "padding": 1}
    assert case.weight == (2, 1, 3, 3)
    dilated = EVERY["dilated 3x3d2 256-256 @28"].small()
    assert dilated.params["dilation"] == 2
    assert dilated.work < 100_000


def test_the_lecture_filters_give_the_lecture_numbers():
    rows = ("768513", "865355", "911535", "455926", "953122", "448898")
    picture = np.asarray([[[list(map(int, row)) for row in rows]]], dtype=np.float32)
    case = photograph_cases(picture, np.repeat(picture, 3, axis=1))[0]
    assert right(case)[0, 0].tolist() == [
        [5, 5, -1, -4],
        [-4, -7, -1, -6],
        [-1, -10, 6, -8],
        [-9, -8, -6, -6],
    ]
    assert right(case)[0, 1, 0].tolist() == [-3, 5, 3, -6]


def test_the_blur_and_the_sharpening_keep_a_flat_picture():
    flat = np.full((1, 3, 9, 9), 0.5, dtype=np.float32)
    for case in photograph_cases(flat[:, :1].copy(), flat):
        if case.groups == 3:
            np.testing.assert_allclose(right(case)[..., 2:-2, 2:-2], 0.5, rtol=1e-6)


def test_a_crop_is_the_middle_of_a_picture_under_the_same_filters(case):
    crop = case.cropped(7)
    assert crop.input == (1, 1, 7, 7)
    np.testing.assert_array_equal(crop.arrays()[0], case.arrays()[0][:, :, 8:15, 6:13])
    np.testing.assert_array_equal(crop.arrays()[1], case.arrays()[1])
    assert EVERY["vgg16 3x3 64-64 @224"].cropped(64).input == (1, 64, 64, 64)


def test_the_photograph():
    for package in ("matplotlib", "PIL"):
        pytest.importorskip(package, reason=f"the photograph comes with {package}")
    grey, rgb = photograph(reduce=4)
    assert grey.shape == (1, 1, 150, 128)
    assert rgb.shape == (1, 3, 150, 128)
    assert grey.dtype == rgb.dtype == np.float32
    assert 0 <= rgb.min() < 0.1 < 0.9 < rgb.max() <= 1
    # The flag's stripes and the sky: a picture with its colours in the right order.
    assert rgb[0, 2, 5, 120] > rgb[0, 0, 5, 120]


# --- providers --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_every_provider_is_right_and_says_what_it_cannot(name):
    small = CPU[name].small()
    expected = right_results(small)
    found = [loops, arrayconv(NUMPY)]
    if importlib.util.find_spec("torch"):
        found += [arrayconv(torch_place("cpu")), torch_peer(torch_place("cpu"))]
    if importlib.util.find_spec("scipy"):
        found.append(ndimage_peer(scipy_place(), "scipy.ndimage"))
    offered = [each for source in found for each in source(small)]
    results = [result for each in offered for result in check(each, small, expected)]
    assert [f"{each.name}: {each.wrong}" for each in results if each.wrong] == []
    able = {each.name for each in results if each.unable is None}
    assert {"nested loops", "arrayconv numpy generic", "arrayconv numpy auto"} <= able
    assert all(each.call is None for each in results if each.unable)


@pytest.mark.parametrize("name", [n for n in KINDS if CPU[n].dims == 2 or CPU[n].direction])
def test_jax_is_right(name):
    pytest.importorskip("jax", reason="the peer is JAX")
    if hash_of(name) % 3:
        pytest.skip("JAX compiles for a second: one case of three")
    small = CPU[name].small()
    place = jax_place("cpu")
    for provider in (*jax_peer(place)(small), *arrayconv(place, "auto")(small)):
        [result] = check(provider, small, right_results(small))
        assert result.wrong is None


def hash_of(name):
    return sum(map(ord, name))


def test_an_implementation_is_forced_and_named(case):
    by_name = {each.name: each for each in arrayconv(NUMPY)(case)}
    assert by_name["arrayconv numpy generic"].prepare(case).algorithm == "generic"
    ready = by_name["arrayconv numpy auto"].prepare(case)
    explained = ac.explain(ac.conv2d, *case.arrays(), **case.params)
    assert ready.algorithm == explained.chosen
    integers = replace(case, op="conv2d", values=tuple(a.astype(int) for a in case.arrays()))
    with pytest.raises(UnableError, match="there is none of that name"):
        providers.bound(integers, integers.arrays(), None, "made up")


@pytest.mark.parametrize("name", [name for name in KINDS if CPU[name].direction != FORWARD])
def test_a_gradient_is_that_of_vjp(name):
    case = CPU[name].small()
    arrays = case.arrays()
    call = primitive_call(case, arrays, case.cotangent())
    _, pullback = ac.vjp(getattr(ac, case.op), *arrays, **case.params)
    mine = providers.bound(case, arrays, case.cotangent(), "auto").call()
    there = pullback(case.cotangent())[0 if case.direction == TO_INPUT else 1]
    np.testing.assert_allclose(mine, there, rtol=1e-5, atol=1e-5)
    assert call.primitive.name in (
        *("conv", "conv_transpose", "conv_weight", "fold", "unfold", "max_pool_grad", "spread"),
    )


# --- checks before timing ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compute", "reason"),
    [
        (lambda case: right(case) + np.float32(1e-3), "at the small case, its error is"),
        (lambda case: right(case)[..., 1:], "at the small case, its shape is"),
        (lambda case: right(case).astype(np.float64), "its dtype is float64"),
        (lambda case: right(case) * np.float32("nan"), "not finite"),
        (lambda case: (right(case), right(case)), "it has 2 arrays, and should have 1"),
        (lambda case: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_wrong_provider_is_caught_and_not_timed(case, expected, compute, reason):
    calls = []

    def counted(given):
        calls.append(given)
        return compute(given)

    [wrong] = check(made_up(counted), case, expected)
    assert wrong.wrong is not None
    assert reason in wrong.wrong
    made = len(calls)
    assert list(take_turns([wrong], TINY)) == [0, 1]
    assert len(calls) == made
    assert wrong.samples == []
    assert wrong.seconds() is None


def test_one_that_is_wrong_at_the_whole_case_only_is_caught(case, expected):
    def wrong_at_the_border(given):
        output = right(given)
        if given is case:
            output[..., -1, -1] += 1
        return output

    assert check(made_up(right), case, expected)[0].wrong is None
    [result] = check(made_up(wrong_at_the_border), case, expected)
    assert result.wrong is not None
    assert result.wrong.startswith("at the whole case, its error is")


def test_other_indices_are_wrong():
    case = EVERY["max 3x3/2 64 @112, indices"].small()
    expected = right_results(case)

    def shifted(given):
        values, index = right(given)
        return values, index + 1

    assert check(made_up(right), case, expected)[0].wrong is None
    [result] = check(made_up(shifted), case, expected)
    assert result.wrong == "at the small case, it has other indices"


def test_a_wrong_generic_body_ends_the_benchmark(case, monkeypatch):
    monkeypatch.setattr(bench.expected, "by_loops", lambda small: (np.zeros(small.output),))
    with pytest.raises(AssertionError, match="the generic body is wrong at sobel"):
        right_results(case)


def test_one_that_cannot_is_listed_with_its_reason(case, expected):
    def unable(given):
        raise UnableError("it is Tuesday")

    [result] = check(Provider("torch", "torch", unable), case, expected)
    assert (result.unable, result.wrong, result.call) == ("it is Tuesday", None, None)


def test_one_that_serves_the_whole_case_only_is_timed(case, expected):
    def prepare(given):
        if given is not case:
            raise UnableError("too small")
        return Ready(partial(right, given), "for large ones")

    [result] = check(Provider("arrayconv made up", "numpy", prepare), case, expected)
    assert result.call is not None
    assert result.algorithm == "for large ones"


def test_a_right_provider_is_ready_to_be_timed(case, expected):
    [result] = check(made_up(right, peak=traced_peak), case, expected)
    assert result.call is not None
    assert result.max_error is not None
    assert 0 <= result.max_error < 1e-6
    assert result.factor == 1
    assert result.extrapolated_from is None
    assert result.peak_extra_bytes is not None
    assert result.peak_extra_bytes < 10 * case.bytes_min


def test_another_precision_has_another_tolerance(case, expected):
    def rough(given):
        return right(given) * np.float32(1 + 2e-4)

    assert check(made_up(rough), case, expected)[0].wrong is not None
    assert check(made_up(rough, tolerance=100.0), case, expected)[0].wrong is None


def test_peak_memory_is_what_is_held_beyond_the_result():
    def call():
        held = np.ones(1 << 20, dtype=np.uint8)
        return held[: 1 << 10].copy()

    output, extra = traced_peak(call)
    assert output.nbytes == 1 << 10
    assert abs(extra - (1 << 20)) < 1 << 14


def test_what_a_first_call_loads_is_no_peak_memory():
    loaded: list[object] = []

    def call():
        if not loaded:
            loaded.append(np.ones(1 << 20, dtype=np.uint8))
        return np.ones(1 << 10, dtype=np.uint8)

    assert traced_peak(call)[1] < 1 << 14


def test_nested_loops_are_extrapolated_by_the_work(case, expected, monkeypatch):
    [result] = check(loops(case)[0], case, expected)
    small = case.small()
    assert result.extrapolated_from == list(small.input)
    assert result.factor == pytest.approx(case.work / small.work)
    monkeypatch.setattr(clocks, "perf_counter", itertools.count().__next__)
    result.call = lambda: None
    list(take_turns([result], Effort(rounds=1, seconds=1.0)))
    assert result.samples == [result.factor]


def test_threads_of_the_one_before_may_fall_asleep(case, expected, monkeypatch):
    results = [check(loops(case)[0], case, expected)[0] for _ in range(2)]
    for result in results:
        result.call = lambda: None
    happened: list[float] = []
    monkeypatch.setattr("bench.timing.time.sleep", happened.append)
    monkeypatch.setattr(clocks, "perf_counter", itertools.count().__next__)
    list(take_turns(results, Effort(rounds=2, seconds=9.0, rest=0.5)))
    assert happened == [0.5] * 4


def test_each_call_after_a_pause_is_timed_by_itself(case, expected, monkeypatch):
    """Also a fast one, of which many would be one sample, and the first not timed."""
    result = check(loops(case)[0], case, expected)[0]
    happened: list[object] = []
    result.call = partial(happened.append, "call")
    monkeypatch.setattr("bench.timing.time.sleep", happened.append)
    list(take_turns([result], Effort(rounds=3, seconds=9.0, rest=0.5, pause=0.02)))
    assert happened == ["call", *3 * [0.02, "call"]]
    assert len(result.samples) == 3


def test_the_error_is_a_share_of_the_largest_value():
    near, far = np.asarray([1, 4.00002], np.float32), np.asarray([1, 4.0001], np.float32)
    expected = (np.asarray([1.0, 4.0]),)
    error, wrong = compare([near], expected, 1e-5, "float32")
    assert error == pytest.approx(5e-6, rel=0.05)
    assert wrong is None
    assert compare([far], expected, 1e-5, "float32")[1] is not None


# --- rounds and their statistics --------------------------------------------------------------


def test_percentiles(case):
    result = Result(case, "p", "numpy", "a", "cpu", samples=[5.0, 1.0, 3.0, 2.0, 4.0, 6.0])
    assert result.seconds() == 3.5
    assert result.seconds(20) == 2.0
    assert result.seconds(80) == 5.0


def test_effort():
    effort = Effort(rounds=40, seconds=4.0, least=3, sample=0.002)
    assert [effort.samples(each) for each in (1e-6, 0.1, 0.2, 3.0)] == [40, 40, 20, 3]
    assert [effort.calls(each) for each in (0.0005, 0.002, 1.0)] == [4, 1, 1]


def test_providers_take_turns_and_slow_ones_sit_out_evenly(case, monkeypatch):
    now, log = [0.0], []

    def takes(name, seconds):
        def call():
            now[0] += seconds
            log.append(name)

        return Result(case, name, "numpy", "a", "cpu", call=call)

    monkeypatch.setattr(clocks, "perf_counter", lambda: now[0])
    fast, slow = takes("fast", 0.5), takes("slow", 10.0)
    effort = Effort(rounds=6, seconds=20.0, least=2, sample=0.1)
    rounds = []
    for _ in take_turns([fast, slow], effort):
        rounds.append("".join(name[0] for name in log))
        log.clear()
    # Before round 0 come the estimates; a fast one also runs untimed before each of its samples.
    assert rounds == ["ffsffs", "ff", "ff", "sff", "ff", "ff"]
    assert fast.samples == [0.5] * 6
    assert slow.samples == [10.0] * 2


def test_one_that_fails_when_it_is_timed_leaves_the_others_their_turns(case, monkeypatch):
    calls = []

    def fails():
        calls.append("fails")
        if len(calls) > 2:
            raise RuntimeError("no more")

    monkeypatch.setattr(clocks, "perf_counter", itertools.count().__next__)
    bad = Result(case, "bad", "numpy", "a", "cpu", call=fails)
    good = Result(case, "good", "numpy", "a", "cpu", call=lambda: None)
    assert list(take_turns([bad, good], Effort(rounds=4, seconds=100.0))) == [0, 1, 2, 3]
    assert bad.wrong == "when timed, RuntimeError: no more"
    assert bad.samples == []
    assert len(good.samples) == 4


def test_the_host_clock_waits_for_the_last_result(monkeypatch):
    waited: list[int] = []
    monkeypatch.setattr(clocks, "perf_counter", itertools.count(0, 6).__next__)
    numbers = iter(range(3))
    assert HostClock(waited.append).seconds(lambda: next(numbers), 3) == 2
    assert waited == [2]


def fake_cupy(log):
    """Return what `CudaClock` asks of CuPy, with a clock that goes on a millisecond a call."""

    class Event:
        def __init__(self):
            log.append("made")

        def record(self):
            log.append("event")
            self.at = len(log)

        def synchronize(self):
            log.append("wait")

    return SimpleNamespace(
        uint8="uint8",
        zeros=lambda size, dtype: SimpleNamespace(
            size=size, fill=lambda value: log.append(f"flush {size}")
        ),
        cuda=SimpleNamespace(
            Device=lambda: SimpleNamespace(attributes={"L2CacheSize": 100}),
            Event=Event,
            get_elapsed_time=lambda before, after: float(after.at - before.at),
        ),
    )


def test_the_gpu_clock_flushes_the_cache_and_takes_the_time_between_events():
    log: list[str] = []
    clock = CudaClock(fake_cupy(log))
    assert clock.seconds(lambda: log.append("call"), 2) == pytest.approx(2e-3)
    once = ["made", "made", "flush 200", "flush 200", "event", "call", "event"]
    assert log == [*once * 2, "wait"]


def test_a_small_call_on_a_gpu_is_timed_end_to_end_as_well():
    case = EVERY["small max 2x2 8 @16"]
    log: list[str] = []
    gpu = made_up(right, device="cuda:0", clock=CudaClock(fake_cupy(log)))
    by_events, end_to_end = check(gpu, case, right_results(case))
    assert (by_events.task.name, end_to_end.task.name) == (case.name, f"{case.name} · end to end")
    assert isinstance(by_events.clock, CudaClock)
    assert isinstance(end_to_end.clock, HostClock)
    assert len(check(made_up(right), case, right_results(case))) == 1


def test_the_machine_is_measured_by_results_that_are_right():
    copy, product = timing.machine(NUMPY, ac.get_device("cpu").xp)
    assert (copy.task.op, product.task.op) == ("copy", "product")
    assert copy.max_error == 0
    assert copy.wrong is product.wrong is None
    assert product.call is not None


# --- the environment --------------------------------------------------------------------------


def test_a_clean_environment_holds_no_library_back():
    given = {"OPENBLAS_CORETYPE": "Haswell", "HOME": "/", "MALLOC_TRIM_THRESHOLD_": "1"}
    clean, changes = environment.clean_environment(given, system="linux")
    assert clean == {
        "HOME": "/",
        "OPENBLAS_THREAD_TIMEOUT": "4",
        "MALLOC_MMAP_THRESHOLD_": "1073741824",
        "MALLOC_TRIM_THRESHOLD_": "1",
    }
    assert len(changes) == 3
    assert "without OPENBLAS_CORETYPE=Haswell" in changes
    assert environment.clean_environment(clean, system="linux") == (clean, [])
    assert "MALLOC_MMAP_THRESHOLD_" not in environment.clean_environment({}, system="darwin")[0]


def test_the_variables_in_force_are_told(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert "OPENBLAS_CORETYPE=Haswell" in environment.in_force()


def test_threads_come_from_the_variables_else_from_the_cpus():
    assert environment.default_threads({"OMP_NUM_THREADS": "3"}) == 3
    both = {"OMP_NUM_THREADS": "3", "ARRAYCONV_NUM_THREADS": "5"}
    assert environment.default_threads(both) == 5
    assert environment.default_threads({}) >= 1
    for text in ("0", "two", "-1"):
        with pytest.raises(ValueError, match="OMP_NUM_THREADS must be a whole number"):
            environment.default_threads({"OMP_NUM_THREADS": text})
