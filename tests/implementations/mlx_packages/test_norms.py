"""The packages' norms in 16 bits: `mlx.nn`'s rounds twice, mended once; no other norm of theirs is less exact."""

from __future__ import annotations

import numpy as np
import pytest

mx = pytest.importorskip("mlx.core")
pytest.importorskip("mlx_lm")
pytest.importorskip("mlx_vlm")

from mlx import nn  # noqa: E402  # behind importorskip

from implementations import mlx_lm, mlx_vlm  # noqa: E402
from implementations.mlx_packages.common_patches import NORM_GAIN_ROUNDED  # noqa: E402
from implementations.mlx_packages.patch import edits_of  # noqa: E402
from implementations.mlx_vlm.imports import Model  # noqa: E402, F401  # before any of the package
from parity.weave import weave  # noqa: E402
from reference.tiny import path  # noqa: E402

SIXTEEN = ("bfloat16", "float16")


def mended():
    """In this context the norms round once."""
    return weave((), lambda heard: heard.value, edits_of([NORM_GAIN_ROUNDED]))


def drawn(*shape, dtype="bfloat16"):
    """Normal values."""
    return mx.array(np.random.default_rng(0).normal(size=shape).astype(np.float32)).astype(getattr(mx, dtype))


def wide(array):
    """In float64."""
    return np.array(array.astype(mx.float32)).astype(np.float64)


def excess(norm, x):
    """A norm's error, told in that of rounding the true value once to the dtype of `x`."""
    true = wide(x) / np.sqrt((wide(x) ** 2).mean(-1, keepdims=True) + norm.eps) * wide(norm.weight)
    once = wide(mx.array(true.astype(np.float32)).astype(x.dtype))
    return np.linalg.norm(wide(norm(x)) - true) / np.linalg.norm(once - true)


@pytest.fixture
def norm():
    """Makes a norm of `mlx.nn` with a drawn gain."""

    def make(dtype):
        made = nn.RMSNorm(256, eps=1e-6)
        made.weight = drawn(256, dtype=dtype)
        return made

    return make


@pytest.mark.parametrize("dtype", SIXTEEN)
def test_norm_with_a_gain_of_16_bits_rounds_twice(dtype, norm):
    """Two roundings err by sqrt(2) times what one costs; mended it is one, and behind the context two again."""
    made, x = norm(dtype), drawn(64, 256, dtype=dtype)
    twice = excess(made, x)
    assert twice == pytest.approx(2**0.5, rel=0.05)
    with mended():
        assert made(x).dtype == x.dtype
        assert excess(made, x) == pytest.approx(1, rel=1e-3)
    assert excess(made, x) == twice


def test_in_float32_the_cure_changes_no_bit(norm):
    """There the gain is of 32 bits as it is."""
    made, x = norm("float32"), drawn(64, 256, dtype="float32")
    before = np.array(made(x))
    with mended():
        np.testing.assert_array_equal(np.array(made(x)), before)


OTHERS = ("vision_tower.", ".subsample_conv_projection.")
"""A picture's norms multiply a rounded value in the reference as well; a sound's group norms are of another kind."""


@pytest.mark.parametrize("package", [mlx_lm, mlx_vlm], ids=lambda package: package.Backend.name)
def test_every_norm_of_a_package_rounds_once(package):
    """All that have a gain, wherever their class is from; as installed those of text do not."""
    modules = package.Backend.load(path(), "bfloat16", patch="all")._model.named_modules()
    norms = {name: module for name, module in modules if "weight" in module and hasattr(module, "eps")}

    def twice():
        return {
            name
            for name, norm in norms.items()
            if not any(other in name for other in OTHERS) and excess(norm, drawn(8, norm.weight.size)) > 1.01
        }

    assert twice() == {name for name in norms if "language_model" in name}
    with mended():
        assert twice() == set()
