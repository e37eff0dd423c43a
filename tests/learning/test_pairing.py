"""What is the same in two sides, by its numbers, in spite of noise."""

from __future__ import annotations

import numpy as np
import pytest

from parity.learning.layout import find_layout
from parity.learning.pairing import Pairing
from parity.learning.sizes import name_of
from parity.learning.values import HeldValues

SIZES = {"token": 11, "head": 6, "head_dim": 20}
NAME = name_of(SIZES)
NOISE = 3e-2


def turned(array):
    """Heads behind tokens, and axes of 1 between."""
    return array[0].transpose(1, 0, 2)[:, None]


@pytest.fixture
def sides():
    """The same values of two layers in another layout, those of the second with noise."""
    draw = np.random.default_rng(0)
    true = {f"model.layers.{layer}/out": draw.normal(size=(1, 6, 11, 20)) for layer in range(2)}
    first, second = true.values()
    return true, {"a": turned(first), "b": turned(second) + NOISE * draw.normal(size=(11, 1, 6, 20))}


def pairs(true, made):
    """With a floor of the noise."""
    pairing = Pairing(oracle=HeldValues(true), candidate=HeldValues(made), floor=lambda place: NOISE, sizes=SIZES)
    return {pair.reference: pair for pair in pairing.pairs()}


def test_a_layout_that_noise_hides_is_another_layers(sides):
    """Nearest numbers do not tell it, and what is known of the first layer does."""
    true, made = sides
    (first, second), noisy = true.values(), made["b"]
    assert find_layout(oracle=first, candidate=made["a"], within=16 * NOISE, name=NAME) is not None
    assert find_layout(oracle=second, candidate=noisy, within=16 * NOISE, name=NAME) is None
    found = pairs(true, made)
    assert {place: pair.candidate for place, pair in found.items()} == dict(zip(true, (("a",), ("b",)), strict=True))
    assert found["model.layers.1/out"].layout == found["model.layers.0/out"].layout
    assert 0.5 < found["model.layers.1/out"].error < 2


def test_another_value_has_no_layout(sides):
    """That of the first layer is no reason to take what is not the same."""
    true, made = sides
    draw = np.random.default_rng(1)
    assert [*pairs(true, {**made, "b": draw.normal(size=(11, 1, 6, 20))})] == ["model.layers.0/out"]
