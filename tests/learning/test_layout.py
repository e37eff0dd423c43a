"""Layouts are found by content, written as patterns, and undone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.errors import UsageError
from parity.learning.guessing import guesses
from parity.learning.layout import Rearrangement, distance, distinct, find_layout
from tests.learning.pair import SIZES

NAMES = {size: name for name, size in reversed(SIZES.items())}
TRUE = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
"""Batch, head, token, head_dim."""


def name(size):
    """Of an axis."""
    return NAMES.get(size, f"axis_{size}")


FORMS = [
    ("batch head token head_dim", lambda x: x),
    ("batch token head head_dim -> batch head token head_dim", lambda x: x.transpose(0, 2, 1, 3)),
    ("batch token (head head_dim) -> batch head token head_dim", lambda x: x.transpose(0, 2, 1, 3).reshape(2, 5, 12)),
    ("(token batch) head_dim head -> batch head token head_dim", lambda x: x.transpose(2, 0, 3, 1).reshape(10, 4, 3)),
    ("batch head (token head_dim) -> batch head token head_dim", lambda x: x.reshape(2, 3, 20)),
    ("batch () head token head_dim -> batch head token head_dim", lambda x: x[:, None]),
]


@pytest.mark.parametrize(("pattern", "form"), FORMS)
def test_a_layout_is_found_by_content(pattern, form):
    """With the noise of float32; the pattern reads back, and leads there and back."""
    shown = form(TRUE).astype(np.float32)
    found = find_layout(oracle=TRUE, candidate=shown, within=1e-6, name=name)
    assert str(found) == pattern
    bound = Rearrangement.parse(pattern).bound(shown.shape, SIZES)
    np.testing.assert_array_equal(bound.out(shown), TRUE.astype(np.float32))
    np.testing.assert_array_equal(bound.back(TRUE.astype(np.float32)), shown)


@pytest.mark.parametrize(("pattern", "form"), [FORMS[at] for at in (0, 1, 4, 5)])
def test_a_layout_is_guessed_by_shapes(pattern, form):
    """Where the numbers are wrong: the right one is among those that the shapes allow, with its error."""
    guessed = {str(guess): error for error, guess in guesses(TRUE, form(TRUE) * 1.5, name)}
    assert guessed[pattern] == pytest.approx(0.5)


def test_a_pattern_is_of_other_sizes_too():
    """Batch and token are the chunk's, heads the configuration's."""
    layout = Rearrangement.parse("batch token (head head_dim) -> batch head token head_dim")
    assert layout.bound((1, 7, 32), {"head": 8}).merged == (1, 8, 7, 4)
    assert layout.axes == ("batch", "head", "token", "head_dim")


@pytest.mark.parametrize("change", [lambda x: x * 1.01, lambda x: x[:, ::-1], np.zeros_like, lambda x: x + np.nan])
def test_other_numbers_have_none(change):
    """Another scale, heads in reverse, no numbers at all."""
    assert find_layout(oracle=TRUE, candidate=change(TRUE), within=1e-6, name=name) is None


def test_distance_is_relative_and_infinite_for_what_is_not_finite():
    """The error that floors are told in."""
    assert distance(oracle=np.ones(4), candidate=np.full(4, 1.5)) == 0.5
    assert distance(oracle=np.ones(4), candidate=np.array([1, 1, 1, np.inf])) == float("inf")
    assert distance(oracle=np.zeros(4), candidate=np.zeros(4)) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch token -> batch", "both sides must have the same axes"),
        ("batch batch", "both sides must have the same axes"),
        ("batch (token", "is no pattern"),
        ("", "is no pattern"),
    ],
)
def test_nonsense_is_refused(text, message):
    """A table is edited by hand."""
    with pytest.raises(UsageError, match=message):
        Rearrangement.parse(text)


def test_a_tensor_of_other_axes_is_refused():
    """Too many axes, and one that does not divide."""
    layout = Rearrangement.parse("batch (head head_dim) -> batch head head_dim")
    with pytest.raises(UsageError, match="has not the axes"):
        layout.bound((2, 3, 4), SIZES)
    with pytest.raises(UsageError, match=r"an axis of 13 cannot be split into \(head head_dim\)"):
        layout.bound((2, 13), {"head": 3})


def test_rows_and_tokens_are_set_apart_where_the_reference_has_them_in_one():
    """Each other axis stays as it is, and one that holds only one of them."""
    flat = Rearrangement.parse("batch token (head head_dim) -> (batch token head) head_dim")
    assert str(flat.with_apart(("batch", "token"))) == "batch token (head head_dim) -> batch token head head_dim"
    for kept in ("batch token x -> (batch x) token", "batch token (head x)"):
        assert str(Rearrangement.parse(kept).with_apart(("batch", "token"))) == kept


def test_axes_of_one_size_have_names_of_their_own():
    assert distinct(["token", "head", "token", "token", "head", "head"]) == [
        "token", "head", "key", "token_2", "head_2", "head_3",
    ]  # fmt: skip


@given(st.lists(st.sampled_from(["token", "key", "axis_2", "axis_2_2", "axis_3", "axis_4"]), max_size=8))
def test_each_name_is_there_once(names):
    """Also where a name is one that another would be given."""
    found = distinct(names)
    assert len(found) == len(names) == len(set(found))
