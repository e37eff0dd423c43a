"""Texts that end a reply: wherever they are cut into pieces, what is said is what stands before the first of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.errors import UsageError
from parity.generation import Sampling, until

LETTERS = st.text("ab", min_size=1, max_size=4)


@given(st.lists(st.text("ab", max_size=5), max_size=8), st.lists(LETTERS, max_size=3))
def test_up_to_the_first(pieces, stop):
    whole = "".join(pieces)
    ends = [(at + len(text), at) for text in stop if (at := whole.find(text)) >= 0]
    end = min(ends)[1] if ends else None
    came = []

    def said():
        came.append((yield from until(iter(pieces), stop)))

    told = [*said()]
    assert "".join(told) == whole[:end]
    assert came == [end is not None]
    assert all(told)


def test_what_is_whole_first_ends_it():
    """Though another one begins before it; in one piece or in two."""
    assert [*until(["baa"], ["a", "baa"])] == [*until(["ba", "a"], ["a", "baa"])] == ["b"]


def test_nothing_is_held_back_without_need():
    """What cannot begin one is said at once."""
    said = until(iter(["one", " tw", "x", "o"]), ["two"])
    assert [next(said), next(said)] == ["one", " "]
    assert [*said] == ["twx", "o"]


def test_behind_it_nothing_is_asked_for():
    asked = iter(["a", "stop", "b"])
    assert [*until(asked, ["stop"])] == ["a"]
    assert [*asked] == ["b"]


def test_an_empty_one_is_none():
    with pytest.raises(UsageError, match=r"stop is .*; it must be texts that are not empty"):
        Sampling(stop=("a", ""))
