"""Scenarios: schedules, padding and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.errors import UsageError
from parity.media import Part
from parity.scenario import Chunk, Scenario
from reference.common.conversation import QUESTION, REPLY, build_conversation
from reference.common.schedules import BLOCK, Facts
from reference.gemma3n.scenarios import BUILDERS, build

FACTS = Facts(window=16, context=1024, text_ids=512, ids=768)
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


def test_grown_decodes_over_the_end_of_a_block():
    """The prompt leaves two places of a block; also one that fills a block by itself."""
    for length in (3, BLOCK - 1):
        prefill, *decoded = build("grown", [5] * length, FACTS).chunks
        assert prefill.length % BLOCK == BLOCK - 2
        assert len(decoded) > 2


def test_faint_scales_by_a_power_of_two():
    """Which costs no rounding; other steps are left alone."""
    scenario = build("faint", PROMPT, FACTS)
    assert scenario.factor("text.altup.unembed.2.projection") == 2.0**-14
    assert scenario.factor("text.altup.embed.2.projection") is None
    assert scenario.to_json()["scaled"]["text.embed_tokens"] == 2.0**-10
    assert "scaled" not in build("decode", PROMPT, FACTS).to_json()


def said(*words):
    """A prompt of text."""
    return tuple(Part("text", word) for word in words)


def encode(turns):
    """A template: 5 begins a turn, 6 ends it, each letter is an id; 7 asks for an answer."""
    spoken = [[5, *(ord(letter) for part in prompt for letter in part.value), 6] for _, prompt in turns]
    return [2, *(token for turn in spoken for token in turn), 7]


def answering(turns):
    """The same, where an answer begins behind the token that asked for it, as in Gemma's."""
    ids = [2]
    for role, prompt in turns:
        ids += [5, 3] if role == "user" else [7]
        ids += [*(ord(letter) for part in prompt for letter in part.value), 6]
    return [*ids, 7]


def test_a_conversation_is_read_on():
    """What is read of each turn, and the reply's tokens one by one, are the whole dialogue's ids in order."""
    scenario = build_conversation(said("ab"), answering, FACTS)
    first, second = scenario.turns
    ids = [token for chunk in scenario.chunks for token in chunk.tokens[0]]
    reply = [ord(letter) for letter in REPLY[0].value]
    assert ids == [*answering([("user", said("ab")), ("assistant", REPLY), ("user", QUESTION)]), reply[0]]
    assert [chunk.tokens[0][0] for chunk in first[1:]] == reply
    assert second[0].tokens[0][0] == 6
    assert (first[0].turn, second[0].turn) == (said("ab"), QUESTION)
    assert Scenario.from_json(scenario.to_json()) == scenario
    assert not any(chunk.prompts for chunk in scenario.chunks)


def test_a_picture_in_a_conversation_is_prepared():
    """Its steps are the processor's; a second turn has none."""
    prompt = (Part("image", "a.png"), *said("ab"))
    held = [chunk.holds for chunk in build_conversation(prompt, lambda turns: answering(bare(turns)), FACTS).chunks]
    assert held[0] == {"prompt", "image"}
    assert not any(held[1:])


def bare(turns):
    """Without pictures."""
    return [(role, tuple(part for part in prompt if part.kind == "text")) for role, prompt in turns]


def test_conversations_that_cannot_be_read_on_are_refused():
    """A template that ends in another token, and a turn too long to be read in one go."""
    with pytest.raises(UsageError, match="cannot be read on"):
        build_conversation(said("ab"), encode, FACTS)
    with pytest.raises(UsageError, match="at most 512"):
        build_conversation(said("a" * 600), answering, FACTS)


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
        ("one-shot", [5] * 1025, "context is 1024"),
        ("decode", [5] * 1020, "context is 1024"),
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
