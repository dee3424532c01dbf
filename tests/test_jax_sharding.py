"""JAX arrays that are spread over devices: four virtual ones of a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import arrayconv

PROGRAM = """
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import arrayconv as ac

assert len(jax.devices()) == 4
rng = np.random.default_rng(0)
x = rng.standard_normal((4, 3, 32, 20), dtype=np.float32)
w = rng.standard_normal((5, 3, 3, 3), dtype=np.float32)
# No axis of a mesh is idle: there XLA's own gradient of a weight comes out doubled.
layouts = {
    "batch": ((4,), ("batch",), PartitionSpec("batch")),
    "height": ((4,), ("height",), PartitionSpec(None, None, "height")),
    "both": ((2, 2), ("batch", "height"), PartitionSpec("batch", None, "height")),
}

def check(stride, mesh, layout):
    def network(x, w):
        y = ac.conv2d(x, w, stride=stride, padding=1)
        return ac.max_pool2d(y, 3, stride=1, padding=1)

    def loss(x, w):
        return (network(x, w) ** 2).sum()

    def gradients(x, w, cotangent):
        return ac.vjp(ac.conv2d, x, w, stride=stride, padding=1)[1](cotangent)

    spread = jax.device_put(x, NamedSharding(mesh, layout))
    whole = jax.device_put(w, NamedSharding(mesh, PartitionSpec()))
    output = jax.jit(network)(spread, whole)
    assert len(output.sharding.device_set) == 4, output.sharding
    np.testing.assert_allclose(output, network(x, w), rtol=1e-4, atol=1e-4)
    alone = jax.numpy.asarray(x), jax.numpy.asarray(w)
    slope = jax.grad(loss, (0, 1))
    for got, wanted in zip(jax.jit(slope)(spread, whole), slope(*alone)):
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-2)
    cotangent = ac.conv2d(x, w, stride=stride, padding=1)
    given = jax.device_put(cotangent, NamedSharding(mesh, layout))
    for got, wanted in zip(jax.jit(gradients)(spread, whole, given), gradients(x, w, cotangent)):
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-2)

for stride in (1, 2):
    for name, (shape, axes, layout) in layouts.items():
        check(stride, Mesh(np.array(jax.devices()).reshape(shape), axes), layout)
        print(name, stride)
"""


def test_batch_and_height_may_be_spread_over_devices():
    pytest.importorskip("jax", reason="the arrays are JAX's")
    path = [str(Path(arrayconv.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
            "PYTHONPATH": os.pathsep.join(path),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6
