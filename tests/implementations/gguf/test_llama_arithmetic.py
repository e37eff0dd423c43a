"""Products as ggml computes them: in the reference both operands are rounded, and nothing else is."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("gguf")

import torch
from torch.nn import functional

from implementations.gguf.arithmetic import bf16, f16, q4_0, q8_0
from implementations.gguf.options import KINDS
from parity.arithmetic import available, find

X, WEIGHT = torch.rand(3, 64) + 1, torch.rand(5, 64) + 1
NAME = "model.language_model.layers.3.mlp.up_proj.weight"


def in_integers(rows, most):
    """Rows in blocks of 32, the largest number of a block `most` times its scale, which is rounded to float16."""
    blocks = rows.double().reshape(len(rows), -1, 32)
    scale = blocks.amax(-1, keepdim=True) / most
    return ((blocks / scale).round() * scale.half().double()).reshape(rows.shape)


def halves(dtype):
    return lambda rows: rows.to(dtype).double()


def of_8_bits(rows):
    return in_integers(rows, 127)


def of_4_bits(rows):
    """The largest number of a block is -8 times its scale, and integers go from -8 to 7."""
    blocks = rows.double().reshape(len(rows), -1, 32)
    scale = (blocks.amax(-1, keepdim=True) / -8).half().double()
    integers = ((blocks / (blocks.amax(-1, keepdim=True) / -8)) + 8.5).floor().clamp(max=15) - 8
    return (integers * scale).reshape(rows.shape)


CASES = [
    (bf16, halves(torch.bfloat16), halves(torch.bfloat16)),
    (f16, halves(torch.float16), halves(torch.float16)),
    (q8_0, of_8_bits, of_8_bits),
    (q4_0, of_4_bits, of_8_bits),
]


@pytest.mark.parametrize(("make", "weight", "operand"), CASES)
def test_operands_are_rounded(make, weight, operand):
    """By a hair of a boundary an integer may fall to the other side of it: one of 320, by a 127th of the largest."""
    made = make()
    made.meet([(NAME, WEIGHT)])
    with made.running():
        product, rows = functional.linear(X, WEIGHT), functional.embedding(torch.tensor([2]), WEIGHT)
        with made.suspended():
            assert torch.equal(functional.linear(X, WEIGHT), X @ WEIGHT.T)
        assert torch.equal(X * 3, X + X + X)
    assert torch.allclose(product.double(), operand(X) @ weight(WEIGHT).T, rtol=2e-4, atol=0)
    assert torch.allclose(rows.double(), weight(WEIGHT)[2:3], rtol=1e-6, atol=1e-6)
    assert not torch.allclose(product, X @ WEIGHT.T, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (bf16, "model.language_model.layers.3.altup.prediction_coefs.weight"),
        (bf16, "model.vision_tower.conv_stem.weight"),
        (q8_0, "model.language_model.layers.3.laurel.linear_left.weight"),
        (q4_0, "model.language_model.per_layer_model_projection.weight"),
    ],
)
def test_what_stays_in_float32_in_the_file_is_not_rounded(make, name):
    made = make()
    made.meet([(name, WEIGHT)])
    with made.running():
        assert torch.equal(functional.linear(X, WEIGHT), X @ WEIGHT.T)


def test_rows_that_fill_no_blocks_are_not_rounded():
    made, weight = q8_0(), WEIGHT[:, :48].contiguous()
    made.meet([(NAME, weight)])
    with made.running():
        assert torch.equal(functional.linear(X[:, :48], weight), functional.linear(X[:, :48], weight.clone()))


def test_nothing_but_zeros_is_nothing_but_zeros():
    assert torch.equal(q8_0().operand(torch.zeros(2, 64)), torch.zeros(2, 64))


def test_they_are_found_by_name():
    names = [name for name in KINDS if name != "float32"]
    assert set(names) <= set(available())
    assert all(find(name).storage == "float32" for name in names)
