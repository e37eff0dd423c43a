"""Choosing the next token: greedy, and drawn with temperature, top-k, top-p and a seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from implementations.gemma3n.sampling import Chooser, probabilities
from parity.errors import UsageError
from parity.generation import Sampling

LOGITS = np.log(np.array([0.5, 0.25, 0.15, 0.1]))
some_logits = arrays(np.float32, st.integers(1, 40), elements=st.floats(-60, 60, width=32))


def test_temperature_one_is_the_softmax():
    assert probabilities(LOGITS, Sampling(temperature=1)) == pytest.approx([0.5, 0.25, 0.15, 0.1])


def test_temperature_sharpens_and_flattens():
    squares = np.array([0.25, 0.0625, 0.0225, 0.01])
    assert probabilities(LOGITS, Sampling(temperature=0.5)) == pytest.approx(squares / squares.sum())


@pytest.mark.parametrize(
    ("top_k", "expected"), [(1, [1, 0, 0, 0]), (2, [2 / 3, 1 / 3, 0, 0]), (9, [0.5, 0.25, 0.15, 0.1])]
)
def test_top_k(top_k, expected):
    assert probabilities(LOGITS, Sampling(temperature=1, top_k=top_k)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.1, 1), (0.49, 1), (0.51, 2), (0.8, 3), (0.95, 4), (1.0, 4)]
)  # the token that crosses the bound stays
def test_top_p(top_p, kept):
    found = probabilities(LOGITS, Sampling(temperature=1, top_p=top_p))
    assert np.count_nonzero(found) == kept
    assert found[:kept] == pytest.approx(np.exp(LOGITS[:kept]) / np.exp(LOGITS[:kept]).sum())


@given(some_logits, st.floats(0.05, 5), st.integers(0, 50), st.floats(0.01, 1))
def test_chances_sum_to_one_and_the_best_token_has_the_largest(logits, temperature, top_k, top_p):
    found = probabilities(logits, Sampling(temperature=temperature, top_k=top_k, top_p=top_p))
    assert found.sum() == pytest.approx(1)
    assert found[np.argmax(logits)] == found.max() > 0
    assert not top_k or np.count_nonzero(found) <= top_k


@given(some_logits, st.integers(0, 100))
def test_a_seed_repeats_its_draws(logits, seed):
    sampling = Sampling(temperature=1.5, seed=seed)
    first, second = Chooser(sampling), Chooser(sampling)
    assert [first(logits) for _ in range(5)] == [second(logits) for _ in range(5)]


def test_draws_follow_the_chances():
    choose = Chooser(Sampling(temperature=1))
    counts = np.bincount([choose(LOGITS) for _ in range(4000)], minlength=4) / 4000
    assert counts == pytest.approx([0.5, 0.25, 0.15, 0.1], abs=0.03)  # 4 standard deviations


def test_greedy_takes_the_first_of_equals():
    assert Chooser(Sampling())(np.array([0, 3, 3, 1], np.float16)) == 1


@pytest.mark.parametrize(
    "wrong", [{"max_tokens": -1}, {"temperature": -0.1}, {"temperature": float("nan")}, {"top_k": -1}, {"top_p": 0},
              {"top_p": 1.1}, {"seed": -1}]
)  # fmt: skip
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Sampling(**wrong)
