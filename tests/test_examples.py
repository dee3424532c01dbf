"""The examples run, learn what they say they learn, and save their pictures."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import arrayconv as ac
from arrayconv.examples import brain_waves, digits, volume


@pytest.fixture(autouse=True)
def _drawn_by() -> None:
    pytest.importorskip("matplotlib", reason="the examples draw with matplotlib")


def saved(path: Any) -> bool:
    return bool(path.read_bytes().startswith(b"\x89PNG")) and path.stat().st_size > 10_000


def test_digits(request, tmp_path, capsys):
    """A few passes read nine of ten digits; all forty at least 98 of a hundred."""
    pytest.importorskip("sklearn", reason="the digits are scikit-learn's")
    pytest.importorskip("rich", reason="the progress bar is rich's")
    full = request.config.getoption("--full")
    path = tmp_path / "digits.png"
    epochs = [] if full else ["--epochs", "5"]
    assert digits.main(["--device", "cpu", "--output", str(path), *epochs]) == 0
    printed = capsys.readouterr().out
    shares = [float(each) for each in re.findall(r"held out, 449 at .*: (\S+)% right", printed)]
    assert len(shares) == 3
    assert min(shares) >= (98 if full else 85)
    assert shares[0] >= (98 if full else 90)
    assert saved(path)


def test_digits_are_the_same_every_time():
    pytest.importorskip("sklearn", reason="the digits are scikit-learn's")
    images, labels, *_ = digits.digits(0)
    device, losses = ac.get_device("cpu"), []
    for _ in range(2):
        ac.nn.manual_seed(3)
        net = digits.network(device)
        losses.append(list(digits.learn(net, images[:64], labels[:64], 2, 3, device)))
    assert losses[0] == losses[1]


def test_brain_waves(tmp_path, capsys):
    path = tmp_path / "waves.png"
    assert brain_waves.main(["--device", "cpu", "--output", str(path)]) == 0
    assert capsys.readouterr().out.count("channel") == 4
    assert saved(path)


def test_each_filter_passes_its_band():
    """A tone in the middle of a band comes through its filter, and no other."""
    time = np.arange(1600) / brain_waves.RATE
    for number, (low, high) in enumerate(brain_waves.BANDS.values()):
        tone = np.sin(2 * np.pi * (low + high) / 2 * time)[None, None]
        _, power = brain_waves.rhythms(tone, ac.get_device("cpu"))
        inside = power[0, :, 5:-5].mean(-1)
        np.testing.assert_allclose(inside, 0.5 * (np.arange(4) == number), atol=0.03)


def test_volume(tmp_path, capsys):
    pytest.importorskip("nibabel", reason="the volume is nibabel's")
    path = tmp_path / "volume.png"
    assert volume.main(["--device", "cpu", "--output", str(path)]) == 0
    assert "12 x 48 x 64" in capsys.readouterr().out
    assert saved(path)


def test_volume_is_scipys():
    pytest.importorskip("nibabel", reason="the volume is nibabel's")
    ndimage = pytest.importorskip("scipy.ndimage", reason="the comparison is with SciPy")
    head, device = volume.head(), ac.get_device("cpu")
    wanted = np.sqrt(sum(ndimage.sobel(head, axis, mode="nearest") ** 2 for axis in range(3)))
    np.testing.assert_allclose(volume.edges(head, device), wanted, atol=1e-5)
    smooth = ndimage.gaussian_filter(head, 1.0, mode="nearest", radius=3)
    np.testing.assert_allclose(volume.blurred(head, 1.0, device), smooth, atol=1e-6)


@pytest.mark.parametrize("example", [digits, brain_waves, volume])
def test_bad_usage(example, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        example.main(["--speed"])
    assert stopped.value.code == 2
    assert example.main(["--device", "gpu", "--output", str(tmp_path / "x")]) == 1
    assert "device must be" in capsys.readouterr().err
