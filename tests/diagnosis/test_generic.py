"""Generic causes, on tensors made by hand: each is named with its coefficient, and noise never is."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.diagnosis.attention import Attention, _layouts
from parity.diagnosis.constants import CURVES, constants
from parity.diagnosis.earlier import Value
from parity.diagnosis.gains import gains
from parity.diagnosis.generic import generic
from parity.diagnosis.hypothesis import choose, fit
from parity.diagnosis.norms import _epsilon, norms
from parity.diagnosis.numerals import span
from parity.diagnosis.rotations import PAIRS, rotations
from parity.diagnosis.softmax import softmax
from tests.evidence import AXES, EPSILON, evidence, mask, named, noisy, true

seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=8)
@given(seeds, st.floats(-3, 3).filter(lambda k: abs(k - 1) > 1e-3 and abs(k + 1) > 1e-3))
def test_a_factor_is_named_with_its_value(seed, factor):
    x = true(seed)
    name, alpha = named(evidence((x, noisy(seed, factor * x))))
    assert name == "factor"
    assert 1 + alpha == pytest.approx(factor, abs=1e-6)


@settings(max_examples=8)
@given(seeds, st.floats(0.01, 10), st.sampled_from([-1, 1]))
def test_an_offset_is_named_with_its_value(seed, size, sign):
    x = true(seed)
    name, alpha = named(evidence((x, noisy(seed, x + sign * size))))
    assert name == "offset"
    assert alpha == pytest.approx(sign * size, rel=1e-4)


class Before:
    """A step before it of four axes, 6 x 4 x 32 in one phase and 1 x 4 x 32 in the next, and keys of 3 channels."""

    names = ("keys", "queries")
    same = ()

    def shape(self, name):
        return (3, 3, 4, 32) if name == "keys" else (3, 6, 4, 32)

    def masks(self, shape):
        return []


def test_an_axis_that_differs_between_phases_has_no_heads_in_it():
    """Six tokens are no two heads of three channels: in the next phase there is one."""
    found = evidence(*[(true(1, (3, n, 4, 32)), true(2, (3, n, 4, 32))) for n in (6, 1)], axes=("a", "b", "c", "d"))
    assert [reader.layout.width for reader in _layouts(found, Before())] == [0]
    alike = evidence(*[(true(1, (3, 6, 4, 32)), true(2, (3, 6, 4, 32)))] * 2, axes=("a", "b", "c", "d"))
    assert [reader.layout.width for reader in _layouts(alike, Before())] == [0, 3]


@settings(max_examples=5)
@given(seeds)
def test_a_sign_is_named(seed):
    x = true(seed)
    assert named(evidence((x, noisy(seed, -x))))[0] == "sign"


@settings(max_examples=5)
@given(seeds, st.sampled_from(["token", "hidden"]))
def test_an_order_is_named(seed, axis):
    """Any order of an axis is found; those that ports mistake for the right one have names."""
    x, at = true(seed), AXES.index(axis)
    order = np.random.default_rng(seed).permutation(x.shape[at])
    found = named(evidence((x, noisy(seed, x.take(order, at))))) if (order != np.sort(order)).any() else None
    assert found is None or found[0].endswith(axis)
    assert named(evidence((x, noisy(seed, np.flip(x, at)))))[0] == f"reversed-{axis}"


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (lambda x: np.roll(x, 32, 2), "halves-hidden"),
        (lambda x: x.reshape(1, 9, 4, 16).swapaxes(2, 3).reshape(x.shape), "interleaved-4-hidden"),
        (lambda x: np.concatenate([x[:, :1], x[:, :-1]], 1), "shifted-before-token"),
        (lambda x: np.concatenate([x[:, 1:], x[:, -1:] * 0], 1), "shifted-after-token"),
        (lambda x: x.swapaxes(1, 2).reshape(x.shape), "transposed-token-hidden"),
        (lambda x: np.clip(x, -1.5, 1.5), "clipped"),
        (lambda x: x.astype(ml_dtypes.bfloat16).astype(float), "rounded-bfloat16"),
        (lambda x: x.astype(np.float16).astype(float), "rounded-float16"),
        (lambda x: x * np.linspace(0.5, 2, 64), "gain-hidden"),
        (lambda x: x * np.linspace(0.5, 2, 9)[:, None], "gain-token"),
        (lambda x: x + np.linspace(0.5, 2, 64), "bias-hidden"),
    ],
)
def test_what_ports_do_to_tensors_is_named(wrong, name):
    x = true(0)
    assert named(evidence((x, noisy(0, wrong(x)))))[0] == name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x[..., 32:].__imul__(0), "at hidden 32 to 63 of 64 it is multiplied by 0"),
        (lambda x: x[:, 3].__imul__(-1), "at token 3 of 9 it is multiplied by -1"),
        (lambda x: x[..., :3].__iadd__(2), "at hidden 0 to 2 of 64 it is off by 2"),
        (lambda x: x.__setitem__((slice(None), 8), true(0)[:, 3]),
         "the token axis is made of 8 of its 9 indices, 1 of which stand where others should: 8 has the value of 3"),
    ],
)  # fmt: skip
def test_what_is_wrong_at_some_indices_is_told_with_them(change, said):
    wrong = true(0)
    change(wrong)
    found = evidence((true(0), noisy(0, wrong)))
    chosen, _ = choose(found, [fit(found, each) for each in generic(found)])
    assert chosen.causes()[0].meaning == said


def test_a_shift_along_any_axis_is_named():
    """As of a map whose convolution is padded on the other side."""
    x = true(0, (1, 6, 12, 12))
    rolled = np.roll(x, (1, 1), (2, 3))
    rolled[:, :, 0], rolled[..., 0] = 0.0, 0.0
    axes = ("image", "channel", "height", "width")
    assert named(evidence((x, rolled), axes=axes))[0] == "shifted-before-height-before-width"
    assert named(evidence((x, np.roll(x, -1, 3)), axes=axes))[0] == "shifted-after-width"


def test_a_factor_of_each_token_and_head_is_named():
    x = true(0, (1, 9, 4, 32))
    factors = 1 + np.arange(36.0).reshape(1, 9, 4, 1)
    found = named(evidence((x, noisy(0, x * factors)), axes=("batch", "token", "head", "head_dim")))
    assert found[0] == "gain-token-head"


@pytest.mark.parametrize(("times", "said"), [(0.5, "0.5"), (64**-0.5, "1/8")])
def test_a_softmax_of_other_scores_is_named(times, said):
    x = true(0, (1, 9, 64))
    x, wrong = softmax(x, -1), softmax(times * x, -1)
    found = evidence((x, noisy(0, wrong)))
    chosen, _ = choose(found, [fit(found, each) for each in generic(found)])
    assert chosen.causes()[0].meaning == f"the scores are multiplied by {said}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda seen: seen | np.eye(8, k=1, dtype=bool), "true for 1 key more at tokens 0 to 6"),
        (lambda seen: seen & ~np.eye(8, k=-2, dtype=bool), "true for 1 key fewer at tokens 2 to 7"),
        (lambda seen: ~seen, "true where it should be false, and false where it should be true"),
        (lambda seen: seen & (np.arange(8) != 0), "false for key 0 where it should be true"),
        (lambda seen: seen | (np.arange(8) > 5), "true for keys 6 to 7 where it should be false"),
        (
            lambda seen: seen | ((np.arange(8) == 5) & (np.arange(8)[:, None] == 3)),
            "true for key 5 where it should be false at token 3",
        ),
    ],
)
def test_what_is_wrong_with_a_mask_is_told(change, said):
    seen = np.tri(8, dtype=bool)[None]
    found = mask((seen, change(seen)))
    chosen, _ = choose(found, [fit(found, each) for each in generic(found)])
    assert chosen.causes()[0].meaning == said


def test_exchanged_axes_of_one_length_are_named():
    x = true(0, (3, 3, 64))
    assert named(evidence((x, x.swapaxes(0, 1))))[0] == "transposed-batch-token"


def test_evidence_of_several_phases_is_one():
    """The same factor in all of them, or it is not the cause."""
    x, y = true(0), true(1, (1, 1, 64))
    assert named(evidence((x, 2 * x), (y, 2 * y)))[0] == "factor"
    assert named(evidence((x, 2 * x), (y, 3 * y)))[0] != "factor"


@settings(max_examples=15)
@given(seeds, st.floats(0.5, 30))
def test_noise_is_never_named(seed, floors):
    """Whether it is at the floor or far above: an error in no direction has no cause."""
    x = true(seed)
    noise = np.random.default_rng(seed + 1).normal(size=x.shape)
    assert named(evidence((x, x + floors * EPSILON * noise * np.abs(x)), floor=EPSILON)) is None


class Steps:
    """Steps before the one that errs, and those of other layers, by name."""

    step = "norm.1"

    def __init__(self, *same, others=None):
        self.same = tuple(Value(f"x.{index}", tensors) for index, tensors in enumerate(same, 1))
        self._others = others or {}

    def like(self, name):
        return [other for other in self._others if other.split(".")[0] == name.split(".")[0] and other != name]

    def tensors(self, name):
        return self._others.get(name)


def meaning(search, given, right, wrong, *, axes=AXES, steps=None):
    """The cause that a search finds where a step makes `wrong` instead of `right` of the given tensors."""
    found = evidence(*((right(at, x), noisy(at, wrong(at, x))) for at, x in enumerate(given)), axes=axes)
    chosen = choose(found, [fit(found, each) for each in search(found, steps or Steps(tuple(given)))])
    return chosen and chosen[0].causes()[0].meaning


def turned(pairing=PAIRS[0], *, base=1e4, off=0, times=1.0, way=1, width=16):
    """Rotary embedding of 9 tokens from position 0, and of one behind them."""

    def rotate(at, x):
        velocity = base ** (-np.arange(width // 2) / (width // 2))
        positions = (np.arange(x.shape[1]) + 9 * at + off) * times
        turns = np.exp(way * 1j * positions[:, None] * velocity)[None, :, None]
        return np.concatenate([pairing.channels(pairing.pairs(x[..., :width]) * turns), x[..., width:]], axis=-1)

    return rotate


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"off": 1}, "it is rotated by positions that are 1 too high"),
        ({"off": -3}, "it is rotated by positions that are 3 too low"),
        ({"off": 1, "width": 8}, "it is rotated by positions that are 1 too high"),
        ({"base": 1e6}, "its base is 1e6 instead of 10000"),
        ({"times": 0.125}, "its positions are multiplied by 1/8"),
        ({"times": 2.0}, "it is rotated twice"),
        ({"way": -1}, "it is rotated the other way round"),
        ({"pairing": PAIRS[1]}, "neighbouring channels are rotated together, where the halves of a head should be"),
    ],
)
def test_another_rotation_is_named(wrong, said):
    given = [true(0, (2, 9, 4, 16)), true(1, (2, 1, 4, 16))]
    right = turned(width=wrong.get("width", 16))
    axes = ("batch", "token", "head", "head_dim")
    assert meaning(rotations, given, right, turned(**wrong), axes=axes) == said


def test_what_is_no_rotation_is_called_none():
    given = [true(0, (2, 9, 4, 16))]
    axes = ("batch", "token", "head", "head_dim")
    assert meaning(rotations, given, lambda at, x: 2 * x, lambda at, x: 3 * x, axes=axes) is None


@pytest.mark.parametrize(
    ("index", "right", "wrong", "said"),
    [
        (0, 30.0, 50.0, "values are capped at 50 instead of 30"),
        (1, 1.702, 1.5, "the GELU's slope is 1.5 instead of 1.702"),
        (2, 1.0, 1.702, "the SiLU's slope is 1.702 instead of 1"),
        (3, 0.044715, 0.04, "the GELU's cubic term is 0.04 instead of 0.04471"),
        (4, 0.01, 0.2, "the leaky ReLU's slope is 0.2 instead of 0.01"),
    ],
)
def test_another_constant_of_a_function_is_named(index, right, wrong, said):
    function = CURVES[index].function
    given = [3 * true(0), 3 * true(1)]
    assert meaning(constants, given, lambda at, x: function(x, right), lambda at, x: function(x, wrong)) == said


def normed(gain):
    """An RMS norm with a gain for each index of its last axis."""
    return lambda at, x: gain * x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-6)


def gains_of_norms(found, earlier):
    return gains(found, earlier, norms(found, earlier))


GAIN, OTHER = 1 + 0.2 * true(7, (2, 64))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (OTHER, "the norm's gain is that of norm.2"),
        (np.ones(64), "the norm has no gain"),
        (GAIN - 1, "the norm's gain is 1 too small: 1 is to be added to the weight"),
        (GAIN + 1, "the norm's gain is 1 too large: 1 is added to the weight, or twice"),
        (1.5 * GAIN, None),
    ],
)
def test_another_gain_of_a_norm_is_named(wrong, said):
    given, elsewhere = [true(0), true(1)], [true(2), true(3)]
    others = {
        "x.1": tuple(given),
        "norm.1": tuple(normed(GAIN)(0, x) for x in given),
        "x.2": tuple(elsewhere),
        "norm.2": tuple(normed(OTHER)(0, x) for x in elsewhere),
    }
    steps = Steps(tuple(given), others=others)
    assert meaning(gains_of_norms, given, normed(GAIN), normed(wrong), steps=steps) == said


def test_weights_that_do_not_sum_to_one_are_told():
    """As with a score of zero beside the others, which is then left out."""
    scores = true(0, (1, 9, 64))
    weights = softmax(scores, -1)
    total = np.exp(scores).sum(-1, keepdims=True)
    found = evidence((weights, weights * total / (1 + total)))
    chosen, _ = choose(found, [fit(found, each) for each in generic(found) if each.name == "sums"])
    assert chosen.causes()[0].meaning == f"its weights sum to {span((total / (1 + total)).ravel())} instead of 1"


def test_heads_share_keys_in_one_of_two_orders():
    """Neighbours, or those that are as far apart as there are key heads."""
    queries, keys, values = (true(seed, shape) for seed, shape in enumerate([(1, 5, 4, 8), (1, 2, 5, 8), (1, 2, 5, 8)]))
    for tiled, order in ((False, [0, 0, 1, 1]), (True, [0, 1, 0, 1])):
        alone = Attention(queries, keys[:, order], values[:, order], None, math.sqrt(1 / 8)).context()
        assert np.allclose(Attention(queries, keys, values, None, math.sqrt(1 / 8), tiled=tiled).context(), alone)


def test_a_product_with_a_constant_is_no_norm():
    """As an embedding that is scaled: an epsilon of millions would explain it, and what it is called."""
    x = np.random.default_rng(0).normal(size=(12, 40)) * np.linspace(0.5, 2, 12)[:, None]
    power = np.square(x).mean(1)
    assert _epsilon(x, x * 11.0, power) is None
    assert _epsilon(x, x / np.sqrt(power + 1e-3)[:, None], power) == pytest.approx(1e-3)
