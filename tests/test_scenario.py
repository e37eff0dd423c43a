"""Scenarios: schedules, padding and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.errors import UsageError
from parity.scenario import Chunk, Scenario
from reference.scenarios import BUILDERS, Facts, build

FACTS = Facts(window=16, context=512, text_ids=512, ids=768)
PROMPT = [2, 375, 20]


@pytest.mark.parametrize("name", BUILDERS)
def test_json_round_trip(name):
    """Every scenario survives manifests and jobs."""
    scenario = build(name, PROMPT, FACTS)
    assert Scenario.from_json(scenario.to_json()) == scenario


@pytest.mark.parametrize("name", BUILDERS)
def test_prompt_comes_first(name):
    """Filling up never changes the prompt itself."""
    first = build(name, PROMPT, FACTS).chunks[0].tokens[0]
    assert first[::2][:2] == (2, 375) if name == "outside" else first[:3] == (2, 375, 20)


def test_chunked_has_a_chunk_longer_than_the_window():
    """Uneven chunks, one longer than the window, one of a single token."""
    lengths = [chunk.length for chunk in build("chunked", PROMPT, FACTS).chunks]
    assert max(lengths) > FACTS.window
    assert 1 in lengths
    assert len(set(lengths)) == len(lengths)


def test_chunked_keeps_a_long_prompt_whole():
    """No token of a prompt longer than the schedule is lost."""
    prompt = list(range(4, 60))
    chunks = build("chunked", prompt, FACTS).chunks
    assert [token for chunk in chunks for token in chunk.tokens[0]] == prompt


def test_square_has_as_many_rows_as_tokens():
    """Swapped axes keep the shape."""
    scenario = build("square", PROMPT, FACTS)
    assert scenario.batch == scenario.chunks[0].length


def test_outside_reaches_both_modalities():
    """First and last id outside the per-layer table are among the tokens."""
    tokens = build("outside", PROMPT, FACTS).chunks[0].tokens[0]
    assert {512, 767} <= set(tokens)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.integers(6, 12))
def test_valid_marks_padding(padding, length):
    """Padding comes first; the token and the key axis agree on what is real."""
    chunk = Chunk("prefill", ((5,) * length,) * len(padding))
    scenario = Scenario("s", (chunk, Chunk("decode.1", None)), tuple(padding))
    valid = scenario.valid("prefill", length)
    assert valid.sum(axis=1).tolist() == [length - each for each in padding]
    assert (np.sort(valid, axis=1) == valid).all()
    assert scenario.valid("decode.1", 1).all()
    assert (scenario.valid("decode.1", length + 1)[:, :-1] == valid).all()


def test_resolving_a_decode_step():
    """The oracle's choice is put where it was awaited."""
    scenario = build("decode", PROMPT, FACTS)
    assert not scenario.resolved
    for n in range(1, 9):
        scenario = scenario.with_tokens(f"decode.{n}", np.array([[n]]))
    assert scenario.resolved
    assert scenario.chunks[8].tokens == ((8,),)


@pytest.mark.parametrize(
    ("name", "prompt", "said"),
    [
        ("nope", PROMPT, "unknown scenario"),
        ("one-shot", [], "prompt is empty"),
        ("one-shot", [5] * 513, "context is 512"),
        ("decode", [5] * 508, "context is 512"),
    ],
)
def test_refusals(name, prompt, said):
    """One line that says what is wrong."""
    with pytest.raises(UsageError, match=said):
        build(name, prompt, FACTS)


def test_inconsistent_scenarios_are_refused():
    """No tokens, ragged rows, or several chunks without a cache."""
    for chunks, padding, cache in [
        ((), (0,), True),
        ((Chunk("a", ((),)),), (0,), True),
        ((Chunk("a", ((1, 2), (3,))),), (0, 0), True),
        ((Chunk("a", ((1,),)), Chunk("b", ((1,),))), (0,), False),
    ]:
        with pytest.raises(UsageError):
            Scenario("s", chunks, padding, cache)
    with pytest.raises(UsageError, match="cannot be read"):
        Scenario.from_json({"name": "s"})
