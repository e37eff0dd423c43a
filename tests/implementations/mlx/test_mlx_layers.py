"""MLX's linear layer: exact where the BLAS is not, never with an old weight, and plain where the BLAS is good."""

import numpy as np
import pytest

mx = pytest.importorskip("mlx.core")

from mlx.nn.layers.linear import Linear as Plain  # noqa: E402  # behind importorskip

from implementations.mlx.operations import layers  # noqa: E402
from implementations.mlx.operations.layers import Linear, blocks_of, in_blocks  # noqa: E402
from parity.dtypes import unit_roundoff  # noqa: E402

TERMS, OUTPUTS = 2048, 64


@pytest.fixture(autouse=True)
def in_order(monkeypatch):
    """A BLAS that adds one term after the other, whichever is loaded."""
    monkeypatch.setattr(layers, "IN_ORDER", True)


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def layer_of(weight, kind=Linear, **options):
    """A layer with that weight, ``[out, in]``."""
    layer = kind(weight.shape[1], len(weight), **{"bias": False, **options})
    layer.weight = mx.array(weight)
    return layer


def roundoffs(x, weight, found):
    """The error of a product, in units of float32's roundoff."""
    true = x.astype(np.float64) @ weight.astype(np.float64).T
    return np.linalg.norm(np.array(found) - true) / np.linalg.norm(true) / unit_roundoff("float32")


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (7,), ()])
def test_long_sums_lose_a_few_units_of_roundoff(shape):
    """One after the other, 2,048 terms lose 13."""
    x, weight = drawn(1, *shape, TERMS), drawn(2, OUTPUTS, TERMS)
    found = layer_of(weight)(mx.array(x))
    assert found.shape == (*shape, OUTPUTS)
    assert roundoffs(x, weight, found) < 5


@pytest.mark.parametrize(("terms", "blocks"), [(2048, (64, 32)), (48, (12, 4)), (256, (16, 16)), (7, (7, 1))])
def test_every_term_is_in_one_block(terms, blocks):
    """Whatever their number: exact, for whole numbers are."""
    x, weight = np.rint(3 * drawn(1, 5, terms)), np.rint(3 * drawn(2, OUTPUTS, terms))
    parts = blocks_of(mx.array(weight))
    assert parts.shape == (*blocks, OUTPUTS)
    np.testing.assert_array_equal(np.array(in_blocks(mx.array(x), parts)), x @ weight.T)


def test_blocks_are_made_once_for_a_weight(monkeypatch):
    """Copying takes longer than a token's product; they are no parameter."""
    made = []
    monkeypatch.setattr(layers, "blocks_of", lambda weight: made.append(weight) or blocks_of(weight))
    layer = layer_of(drawn(1, OUTPUTS, TERMS))
    for _ in range(3):
        layer(mx.array(drawn(2, 1, TERMS)))
    assert len(made) == 1
    assert list(layer.parameters()) == ["weight"]


def test_another_weight_has_other_blocks():
    x = mx.array(drawn(1, 2, TERMS))
    layer = layer_of(drawn(2, OUTPUTS, TERMS))
    before, other = layer(x), drawn(3, OUTPUTS, TERMS)
    layer.weight = mx.array(other)
    assert not mx.array_equal(layer(x), before)
    assert mx.array_equal(layer(x), layer_of(other)(x))


@pytest.mark.parametrize(
    ("in_order", "dtype", "bias", "blocks"),
    [
        (True, mx.float32, False, True),
        (False, mx.float32, False, False),
        (True, mx.bfloat16, False, False),
        (True, mx.float32, True, False),
    ],
)
def test_blocks_are_for_a_blas_that_adds_in_order(in_order, dtype, bias, blocks, monkeypatch):
    """Elsewhere, in other dtypes and with a bias it is MLX's own layer, bit for bit."""
    monkeypatch.setattr(layers, "IN_ORDER", in_order)
    monkeypatch.setattr(layers, "in_blocks", lambda x, parts: "in blocks")
    x, weight = mx.array(drawn(1, 2, TERMS)).astype(dtype), drawn(2, OUTPUTS, TERMS)
    layer, plain = (layer_of(weight, kind, bias=bias) for kind in (Linear, Plain))
    for each in (layer, plain):
        each.set_dtype(dtype)
    if bias:
        plain.bias = layer.bias
    found = layer(x)
    assert (found == "in blocks") if blocks else mx.array_equal(found, plain(x))
