"""Products of matrices on threads of our own: the same bits as one product, whatever is cut."""

from __future__ import annotations

import numpy as np
import pytest

import arrayconv as ac
from arrayconv.backends.numpy import matrix_products as module
from arrayconv.backends.numpy.blas import Hold, one_thread
from arrayconv.backends.numpy.matrix_products import WHOLE, matrix_product
from tests.test_threads import Meeting

SHAPES = {
    "more columns": ((128, 128), (128, 784)),
    "more rows": ((1568, 64), (64, 128)),
    "a rest of some rows": ((643, 96), (96, 200)),
    "a rest of some columns": ((96, 200), (200, 571)),
    "large matrices": ((2, 128, 96), (2, 96, 1000)),
    "groups": ((8, 32, 40), (8, 40, 1000)),
    "images, and one weight for all": ((64, 32), (5, 32, 784)),
    "images of groups, and one weight for all": ((4, 32, 32), (3, 4, 32, 784)),
    "one term": ((3, 8, 1), (2, 3, 1, 200)),
    "no terms": ((64, 0), (0, 64)),
    "nothing": ((0, 3), (3, 64)),
}


@pytest.fixture(autouse=True)
def held():
    """Go on only where a BLAS is there whose threads can be held: else nothing is cut."""
    if not isinstance(one_thread(), Hold):
        pytest.skip(f"nothing is cut: {one_thread()}")


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "int32"])
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_the_same_bits_on_any_number_of_threads(shapes, dtype, monkeypatch):
    monkeypatch.setattr(module, "PARTS", 3)
    random = np.random.default_rng(0)
    one, other = ((10 * random.random(shape) - 5).astype(dtype) for shape in shapes)
    with ac.options(threads=1):
        alone = matrix_product(one, other)
    assert np.allclose(alone, np.einsum("...ij,...jk->...ik", one, other), rtol=1e-4, atol=1e-2)
    for threads in (2, 3, 5):
        with ac.options(threads=threads):
            made = matrix_product(one, other)
            turned = matrix_product(other.swapaxes(-1, -2), one.swapaxes(-1, -2))
        assert made.dtype == dtype
        assert np.array_equal(made, alone)
        assert np.allclose(turned.swapaxes(-1, -2), alone, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
    ("shapes", "parts"),
    [
        (SHAPES["more rows"], [3, 3, 3]),
        (SHAPES["large matrices"], [2, 2, 2]),
        (SHAPES["groups"], [1, 2, 2]),
        (((16, 128, 64), (16, 64, 784)), [1, 2, 4]),
        (SHAPES["nothing"], []),
    ],
)
def test_what_is_shared(shapes, parts, monkeypatch):
    """Parts of a matrix, the same with any number of threads, or matrices of a stack."""
    asked: list[int] = []
    monkeypatch.setattr(
        module, "run_blocks", lambda work, every, products: asked.append(len(every))
    )
    monkeypatch.setattr(module, "PARTS", 4)
    for threads in (1, 2, 5):
        with ac.options(threads=threads):
            matrix_product(*(np.ones(shape, "float32") for shape in shapes))
    assert asked == parts


@pytest.mark.parametrize("columns", [2 * WHOLE, 8 * WHOLE])
def test_each_thread_has_a_part(columns, monkeypatch):
    """And of few columns no more threads than there are parts."""
    expected = min(4, columns // WHOLE)
    meet, multiply = Meeting(expected), np.matmul

    def matmul(one, other, out):
        assert one.shape[-2] % WHOLE == other.shape[-1] % WHOLE == 0
        meet(0)
        return multiply(one, other, out=out)

    monkeypatch.setattr(np, "matmul", matmul)
    monkeypatch.setattr(module, "ALONE", 0)
    monkeypatch.setattr(module, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(module, "PARTS", 4)
    with ac.options(threads=4):
        made = matrix_product(np.ones((WHOLE, 8)), np.ones((8, columns)))
    assert (made == 8).all()
    assert len(meet.threads) == expected


def test_only_products_that_openblas_would_share_are_held(monkeypatch):
    class Held(Hold):
        def __init__(self):
            self.times = 0

        def __enter__(self):
            self.times += 1

        def __exit__(self, *error):
            pass

    hold = Held()
    monkeypatch.setattr(module, "one_thread", lambda: hold)
    for columns, times in ((256, 0), (257, 1)):
        made = matrix_product(np.ones((32, 32), "float32"), np.ones((32, columns), "float32"))
        assert (made == 32).all()
        assert hold.times == times


def test_a_blas_that_cannot_be_held_shares_products_itself(monkeypatch):
    monkeypatch.setattr(module, "one_thread", lambda: "it is another one")
    monkeypatch.setattr(module, "run_blocks", None)
    monkeypatch.setattr(module, "ALONE", 0)
    monkeypatch.setattr(module, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(module, "PARTS", 4)
    with ac.options(threads=4):
        assert (matrix_product(np.ones((64, 8)), np.ones((8, 64))) == 8).all()
