"""What is the MLX model's own: a GPU's operations, steps that come whole, 16 bits; `test_ports` has the rest."""

import ml_dtypes
import numpy as np
import pytest

mx = pytest.importorskip("mlx.core")

from implementations.mlx import Backend  # noqa: E402  # behind importorskip
from implementations.mlx.tensors import MlxTensors  # noqa: E402
from reference.tiny import path  # noqa: E402
from tests.ports import WINDOW, collecting, distance, ids, logits  # noqa: E402


@pytest.fixture(scope="module")
def backend():
    """The embedded checkpoint in float32."""
    return Backend.load(path(), "float32")


def test_the_gpus_operations_say_the_same(backend, monkeypatch):
    """Off the CPU, norms and means are left to MLX's own kernels; here those run as their CPU fallbacks."""
    from implementations.mlx import attention
    from implementations.mlx.operations import layers

    tokens = ids(2, 20)
    here = logits(backend, [tokens], padding=(0, 4))
    monkeypatch.setattr(layers, "ON_CPU", False)
    monkeypatch.setattr(attention, "ON_CPU", False)
    there = logits(backend, [tokens], padding=(0, 4))
    assert not np.array_equal(here, there)
    assert distance(there, here) < 2e-5


def test_every_step_of_the_contract_once_a_chunk(backend, harness):
    """Names, axes' count and kinds, in prefill and in decode."""
    backend.start(padding=(0, 2), cache=True)
    contract = harness.baseline("float32").contract()
    for chunk in (ids(2, WINDOW + 4), ids(2, 1)):
        tap, steps = collecting()
        backend.forward(chunk, tap=tap)
        assert sorted(name for name, _ in steps) == sorted(step.name for step in contract.expected(()))
        for name, value in steps:
            step = contract.get(name)
            assert value.ndim == len(step.axes), name
            kinds = {"b": "mask", "i": "integer", "f": "float"}
            assert kinds[backend.tensors.to_numpy(value, step).dtype.kind] == step.kind, name


def test_injecting_what_was_recorded_changes_nothing(backend):
    """Through NumPy and back, as lockstep does, from float64."""
    tokens = ids(1, 9)
    tap, steps = collecting()
    plain = logits(backend, [tokens], tap=tap)
    told = {name: backend.tensors.to_numpy(value, None) for name, value in steps}

    def answer(name, value):
        array = told[name]
        return backend.tensors.from_numpy(array.astype(np.float64) if array.dtype.kind == "f" else array, value, None)

    tap, _ = collecting(answer)
    assert np.array_equal(logits(backend, [tokens], tap=tap), plain)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits(dtype, backend):
    """Logits have the dtype, and the error of 25 layers in it."""
    narrow = Backend.load(path(), dtype)
    narrow.start(padding=(0,), cache=True)
    tokens = ids(1, 20)
    found = narrow.forward(tokens)
    assert found.dtype == np.dtype(getattr(ml_dtypes, dtype, dtype))
    bound = {"bfloat16": 0.2, "float16": 0.03}[dtype]
    assert distance(found[0].astype(np.float64), logits(backend, [tokens])) < bound


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "bool_"])
def test_tensors_round_trip(dtype):
    like = mx.array([[0, 1, 1], [1, 0, 0]]).astype(getattr(mx, dtype))
    tensors = MlxTensors()
    array = tensors.to_numpy(like, None)
    again = tensors.from_numpy(array.astype(np.float64), like, None)
    assert again.dtype == like.dtype
    assert mx.array_equal(again, like)
    assert str(array.dtype) == dtype.rstrip("_")
