"""Products of 16 bits as ggml computes them: in the reference both operands are rounded, and nothing else is."""

import pytest

pytest.importorskip("torch")

import torch
from torch.nn import functional

from implementations.gguf.arithmetic import bf16, f16
from implementations.gguf.options import KINDS
from parity.arithmetic import available, find

X, WEIGHT = torch.rand(3, 64) + 1, torch.rand(5, 64) + 1


@pytest.mark.parametrize(("made", "dtype"), [(bf16(), torch.bfloat16), (f16(), torch.float16)])
def test_operands_are_rounded(made, dtype):
    exact = X.to(dtype).double() @ WEIGHT.to(dtype).double().T
    with made.running():
        product, rows = functional.linear(X, WEIGHT), functional.embedding(torch.tensor([2]), WEIGHT)
        with made.suspended():
            assert torch.equal(functional.linear(X, WEIGHT), X @ WEIGHT.T)
        assert torch.equal(X * 3, X + X + X)
    assert torch.allclose(product.double(), exact, rtol=1e-6, atol=0)
    assert torch.equal(rows[0], WEIGHT[2].to(dtype).float())
    assert not torch.allclose(product, X @ WEIGHT.T, rtol=1e-6, atol=0)


def test_short_rows_are_left_as_they_are():
    """AltUp's coefficients, which are in float32 in every file."""
    with bf16().running():
        assert torch.equal(functional.linear(X[:, :16], WEIGHT[:, :16]), X[:, :16] @ WEIGHT[:, :16].T)


def test_they_are_found_by_name():
    names = [name for name in KINDS if name != "float32"]
    assert set(names) <= set(available())
    assert all(find(name).storage == "float32" for name in names)
