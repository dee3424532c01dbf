"""Layers against torch.nn: outputs, gradients, state dicts, optimizers, whole networks."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from arrayconv import nn
from tests.cases import draw
from tests.lecture import FILTERS, LECTURE, MAPS

LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("Conv1d", (4, 6, 3), {"stride": 2, "padding": 1, "groups": 2}, (2, 4, 9)),
    ("Conv2d", (3, 4, (3, 2)), {"dilation": 2, "bias": False}, (2, 3, 8, 7)),
    ("Conv2d", (2, 4, 3), {"padding": "same", "padding_mode": "reflect"}, (2, 2, 6, 5)),
    ("Conv3d", (2, 3, 2), {"stride": (1, 2, 1), "padding": 1}, (1, 2, 4, 5, 3)),
    ("ConvTranspose1d", (3, 4, 3), {"stride": 2, "output_padding": 1}, (2, 3, 5)),
    ("ConvTranspose2d", (4, 2, 3), {"groups": 2, "padding": 1, "bias": False}, (2, 4, 5, 4)),
    ("ConvTranspose3d", (2, 3, 2), {"stride": 2}, (1, 2, 3, 2, 3)),
    ("Linear", (5, 3), {}, (4, 5)),
    ("Linear", (5, 3), {"bias": False}, (2, 4, 5)),
    ("MaxPool1d", (3, 2, 1), {}, (2, 3, 9)),
    ("MaxPool2d", (2,), {"ceil_mode": True}, (2, 3, 7, 5)),
    ("MaxPool3d", (2,), {"stride": 1}, (1, 2, 4, 3, 4)),
    ("AvgPool1d", (2,), {}, (2, 3, 9)),
    ("AvgPool2d", (3, 2, 1), {"count_include_pad": False}, (2, 3, 7, 5)),
    ("AvgPool3d", (2,), {"divisor_override": 3}, (1, 2, 4, 3, 4)),
    ("AdaptiveAvgPool1d", (4,), {}, (2, 3, 9)),
    ("AdaptiveAvgPool2d", ((None, 2),), {}, (2, 3, 7, 5)),
    ("AdaptiveAvgPool3d", (1,), {}, (1, 2, 4, 3, 4)),
    ("ReLU", (), {}, (2, 3, 4)),
    ("Flatten", (), {}, (2, 3, 4, 2)),
    ("Flatten", (0, 1), {}, (2, 3, 4, 2)),
    ("BatchNorm1d", (3,), {}, (6, 3)),
    ("BatchNorm1d", (3,), {"affine": False}, (2, 3, 5)),
    ("BatchNorm2d", (3,), {"momentum": 0.3, "eps": 1e-3}, (2, 3, 4, 5)),
    ("BatchNorm3d", (2,), {}, (2, 2, 3, 2, 4)),
]


def pair(torch: Any, name: str, args: Any, params: Any) -> tuple[Any, Any]:
    """Return torch's layer and ours, in float64, with the same weights."""
    theirs = getattr(torch.nn, name)(*args, **params).double()
    weighted = name.startswith(("Conv", "Linear", "Batch"))
    ours = getattr(nn, name)(*args, **params, **({"dtype": "float64"} if weighted else {}))
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def assert_same(got: Any, wanted: Any) -> None:
    np.testing.assert_allclose(ac.to_numpy(got), wanted.detach().numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("name", "args", "params", "shape"), LAYERS, ids=str)
@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
def test_layers_are_torchs(torch, name, args, params, shape):
    theirs, ours = pair(torch, name, args, params)
    rng = np.random.default_rng(0)
    for training in (True, True, False):
        theirs.train(training)
        ours.train(training)
        x = draw(rng, shape, "float64")
        tensor = torch.from_numpy(x).requires_grad_()
        wanted, got = theirs(tensor), ours(x)
        assert_same(got, wanted)
        if not training:
            continue
        cotangent = draw(rng, tuple(wanted.shape), "float64")
        theirs.zero_grad()
        ours.zero_grad()
        wanted.backward(torch.from_numpy(cotangent))
        assert_same(ours.backward(cotangent), tensor.grad)
        for key, parameter in theirs.named_parameters():
            assert_same(dict(ours.named_parameters())[key].grad, parameter.grad)
    for key, value in theirs.state_dict().items():
        assert_same(ours.state_dict()[key], value)


def networks(torch: Any) -> tuple[Any, Any]:
    def build(kit: Any, **how: Any) -> Any:
        return kit.Sequential(
            kit.Conv2d(2, 6, 3, padding=1, **how),
            kit.BatchNorm2d(6, **how),
            kit.ReLU(),
            kit.MaxPool2d(2),
            kit.Sequential(kit.Conv2d(6, 8, 3, bias=False, **how), kit.ReLU()),
            kit.AdaptiveAvgPool2d(2),
            kit.Flatten(),
            kit.Linear(32, 5, **how),
        )

    return build(torch.nn).double(), build(nn, dtype="float64")


OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1, "eps": 1e-6}),
]


@pytest.mark.parametrize(("name", "params"), OPTIMIZERS, ids=str)
def test_a_network_learns_as_torchs(torch, library, name, params):
    """Ten steps of training, on every library, end in the same weights."""
    theirs, ours = networks(torch)
    ours.load_state_dict(theirs.state_dict())
    place = ours._place

    class Place:
        name, xp = library.name, library.xp

        def asarray(self, array: Any, dtype: Any = None) -> Any:
            return library.asarray(ac.to_numpy(array) if hasattr(array, "dtype") else array, dtype)

    assert place.name == "cpu"
    ours._replace(lambda key, array: Place().asarray(array))
    rng = np.random.default_rng(0)
    their_optimizer = getattr(torch.optim, name)(theirs.parameters(), **params)
    our_optimizer = getattr(nn, name)(ours.parameters(), **params)
    loss = nn.CrossEntropyLoss()
    for _ in range(10 if library.name == "numpy" else 3):
        x, target = draw(rng, (4, 2, 8, 8), "float64"), rng.integers(0, 5, 4)
        their_optimizer.zero_grad()
        wanted = torch.nn.functional.cross_entropy(
            theirs(torch.from_numpy(x)), torch.from_numpy(target)
        )
        wanted.backward()
        their_optimizer.step()
        our_optimizer.zero_grad()
        got = loss(ours(library.asarray(x)), library.asarray(target, "int64"))
        ours.backward(loss.backward())
        our_optimizer.step()
        np.testing.assert_allclose(library.to_numpy(got), wanted.item(), rtol=1e-9)
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(
            library.to_numpy(ours.state_dict()[key]), value.numpy(), rtol=1e-7, atol=1e-10
        )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 6), (2, 4, 3, 5)])
def test_cross_entropy_is_torchs(torch, library, shape, reduction):
    rng = np.random.default_rng(0)
    x, target = 30 * draw(rng, shape, "float64"), rng.integers(0, shape[1], (shape[0], *shape[2:]))
    tensor = torch.from_numpy(x).requires_grad_()
    wanted = torch.nn.functional.cross_entropy(
        tensor, torch.from_numpy(target), reduction=reduction
    )
    cotangent = draw(rng, tuple(wanted.shape), "float64")
    (slope,) = torch.autograd.grad(wanted, tensor, torch.from_numpy(np.asarray(cotangent)))
    output, pullback = ac.vjp(
        ac.cross_entropy,
        library.frozen(x),
        target=library.frozen(target, "int64"),
        reduction=reduction,
    )
    np.testing.assert_allclose(library.to_numpy(output), wanted.detach().numpy(), rtol=1e-12)
    (gradient,) = pullback(library.frozen(cotangent, "float64"))
    np.testing.assert_allclose(library.to_numpy(gradient), slope.numpy(), atol=1e-12)


def test_relu_and_flatten_are_torchs(torch, library):
    x = np.asarray([[-1.0, 0.0, 2.0], [np.nan, np.inf, -np.inf]])
    tensor = torch.from_numpy(x).requires_grad_()
    torch.relu(tensor).sum().backward()
    output, pullback = ac.vjp(ac.relu, library.frozen(x))
    np.testing.assert_array_equal(library.to_numpy(output), torch.relu(tensor).detach().numpy())
    (gradient,) = pullback(library.frozen(np.ones((2, 3))))
    wanted = tensor.grad.numpy()
    finite = ~np.isnan(x)
    np.testing.assert_array_equal(library.to_numpy(gradient)[finite], wanted[finite])
    # What is given to an element that is 0 or less is lost, even if it is no number.
    odd = np.asarray([[np.inf, np.nan, 3.0], [1.0, -np.inf, np.nan]])
    (gradient,) = pullback(library.frozen(odd))
    np.testing.assert_array_equal(library.to_numpy(gradient)[finite], [0, 0, 3, -np.inf, 0])
    y = library.frozen(np.arange(24).reshape(2, 3, 4))
    assert tuple(ac.flatten(y).shape) == (24,)
    assert tuple(ac.flatten(y, 1).shape) == (2, 12)
    assert tuple(ac.flatten(y, 0, -2).shape) == (6, 4)


def test_dropout(library):
    nn.manual_seed(1)
    x = library.frozen(np.ones(10_000), "float32")
    output, pullback = ac.vjp(ac.dropout, x, p=0.3)
    got = library.to_numpy(output)
    assert set(np.unique(got)) == {0, np.float32(1 / 0.7)}
    assert abs((got == 0).mean() - 0.3) < 0.02
    (gradient,) = pullback(x)
    np.testing.assert_array_equal(library.to_numpy(gradient), got)
    nn.manual_seed(1)
    np.testing.assert_array_equal(library.to_numpy(ac.dropout(x, 0.3)), got)
    assert ac.dropout(x, 0.3, training=False) is x
    assert library.to_numpy(ac.dropout(x, 1.0)).max() == 0
    layer = nn.Dropout(0.9)
    assert (library.to_numpy(layer(x)) == 0).any()
    assert (library.to_numpy(layer.eval()(x)) == 1).all()


def test_the_lectures_network():
    """Convolution, max pool, a linear layer of ones: 18, and its gradients."""
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, dtype="float64"),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 1, dtype="float64"),
    )
    net.load_state_dict(
        {
            "0.weight": FILTERS.astype(float),
            "0.bias": np.ones(2),
            "3.weight": np.ones((1, 8)),
            "3.bias": np.ones(1),
        }
    )
    x = LECTURE.astype(float)
    np.testing.assert_array_equal(net[0](x), MAPS)
    assert net(x).item() == 18
    gradient = net.backward(np.ones((1, 1)))
    assert gradient.shape == x.shape
    # Each of the eight maxima adds its filter's sum.
    assert gradient.sum() == 4 * FILTERS[0].sum() + 4 * FILTERS[1].sum()
    np.testing.assert_array_equal(net[0].bias.grad, [4, 4])
    np.testing.assert_array_equal(net[3].weight.grad, [[5, -1, -1, 6, 5, 3, -4, 4]])
    shown = net.summary((1, 1, 6, 6))
    assert re.search(r"0 Conv2d\(1, 2, 3\) +\(1, 2, 4, 4\) +20 +288", shown)
    assert re.search(r"total +29 +296$", shown)
    assert net.training


def test_safetensors(torch, tmp_path):
    """What torch saves, we load; what we save, torch loads."""
    files = pytest.importorskip("safetensors.numpy", reason="the files are its")
    from safetensors.torch import load_file, save_file

    theirs, ours = networks(torch)
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    ours.load_state_dict(files.load_file(tmp_path / "theirs.safetensors"))
    x = draw(np.random.default_rng(0), (2, 2, 8, 8), "float64")
    assert_same(ours.eval()(x), theirs.eval()(torch.from_numpy(x)))
    fresh, _ = networks(torch)
    files.save_file(
        {k: np.ascontiguousarray(v) for k, v in ours.state_dict().items()}, tmp_path / "o"
    )
    fresh.load_state_dict(load_file(tmp_path / "o"))
    assert_same(ours(x), fresh.eval()(torch.from_numpy(x)))


def test_weights_are_drawn_as_torch_draws_them(torch):
    nn.manual_seed(0)
    ours, theirs = nn.Conv2d(8, 64, 3, groups=2), torch.nn.Conv2d(8, 64, 3, groups=2)
    bound = 1 / np.sqrt(4 * 9)
    for parameter in (ours.weight, ours.bias):
        assert parameter is not None
        assert np.abs(parameter.value).max() <= bound
        assert parameter.value.dtype == np.float32
    assert ours.weight is not None
    assert np.isclose(ours.weight.value.std(), theirs.weight.detach().numpy().std(), rtol=0.1)


def test_moving(monkeypatch):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    assert net.to("cpu") is net
    assert net.to(ac.get_device("cpu")) is net
    assert isinstance(net[0].weight.value, np.ndarray)
    with pytest.raises(ValueError, match="device must be"):
        net.to("gpu")


def test_state_dicts_that_do_not_fit():
    net = nn.Sequential(nn.Linear(2, 3))
    before = {name: value.copy() for name, value in net.state_dict().items()}
    with pytest.raises(ValueError, match=re.escape("lacks ['0.bias'] and has ['1.bias']")):
        net.load_state_dict({"0.weight": np.ones((3, 2)), "1.bias": np.ones(3)})
    with pytest.raises(ValueError, match=re.escape("0.bias has the shape (3,)")):
        net.load_state_dict({"0.weight": np.ones((3, 2)), "0.bias": np.ones(2)})
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_loaded_state_is_a_copy():
    net, weight = nn.Linear(2, 3, bias=False), np.ones((3, 2), np.float32)
    net.load_state_dict({"weight": weight})
    weight[:] = 7
    np.testing.assert_array_equal(net.state_dict()["weight"], np.ones((3, 2)))


def test_how_a_network_is_shown():
    net = nn.Sequential(nn.Conv2d(1, 4, (3, 2), stride=2), nn.Sequential(nn.ReLU(), nn.Flatten()))
    assert repr(net).splitlines() == [
        "Sequential(",
        "  (0): Conv2d(1, 4, (3, 2), stride=2)",
        "  (1): Sequential(",
        "    (0): ReLU",
        "    (1): Flatten",
        "  )",
        ")",
    ]


@pytest.mark.parametrize(
    ("error", "said", "make"),
    [
        (RuntimeError, "needs a call in training", lambda: nn.ReLU().backward(np.ones(1))),
        (RuntimeError, "needs a call before it", lambda: nn.CrossEntropyLoss().backward()),
        (ValueError, "divisible by groups 2", lambda: nn.Conv2d(3, 4, 3, groups=2)),
        (ValueError, "in_channels", lambda: nn.Conv2d(0, 4, 3)),
        (TypeError, "kernel_size", lambda: nn.Conv2d(1, 4, 3.0)),
        (TypeError, "bias", lambda: nn.Linear(1, 4, bias=1)),
        (TypeError, "layer 1 must be a Module", lambda: nn.Sequential(nn.ReLU(), ac.relu)),
        (ValueError, "takes arrays of", lambda: nn.BatchNorm2d(3)(np.ones((1, 3)))),
        (ValueError, "more than one value", lambda: nn.BatchNorm1d(3)(np.ones((1, 3), "f4"))),
        (ValueError, "at least one parameter", lambda: nn.SGD([])),
        (ValueError, "lr", lambda: nn.SGD(nn.Linear(1, 1).parameters(), lr=-1)),
        (ValueError, "betas", lambda: nn.Adam(nn.Linear(1, 1).parameters(), betas=(1.0, 0.5))),
        (ValueError, "reduction", lambda: nn.CrossEntropyLoss("none")),
        (ValueError, "p must be", lambda: ac.dropout(np.ones(2), 1.5)),
        (TypeError, "floating", lambda: ac.dropout(np.ones(2, int))),
        (ValueError, "start_dim", lambda: ac.flatten(np.ones((2, 2)), 1, 0)),
        (TypeError, "integers", lambda: ac.cross_entropy(np.ones((2, 2)), np.ones(2))),
        (ValueError, "(N, ...)", lambda: ac.cross_entropy(np.ones((2, 2)), np.ones(3, int))),
        (TypeError, "seed", lambda: nn.manual_seed(None)),
    ],
)
def test_refusals(error, said, make):
    with pytest.raises(error, match=re.escape(said)):
        make()
