"""What of a tokenizer.json llama.cpp has no header for: a checkpoint that says otherwise would get other ids there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from parity.errors import UsageError

BLANK = "\u2581"
"""Stands for a blank."""
NORMALIZER = {"type": "Replace", "pattern": {"String": " "}, "content": BLANK}
"""All that llama.cpp changes in a text: it puts this in place of blanks."""
PRE_TOKENIZERS = (
    None,
    {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
)
"""Those that split nothing, as llama.cpp: none, or the published one, for where it works no blanks are left."""
BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))
SETTINGS: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "ignore_merges": ((False,), "there merges make every token"),
    "dropout": ((None, 0.0), "there no merge is left out by chance"),
    "fuse_unk": ((True,), "in Gemma 3n true"),
}
"""What a model's settings may be, and what is said of another."""
AFFIXES = ("continuing_subword_prefix", "end_of_word_suffix")
STRIPPING = ("lstrip", "rstrip", "single_word")
"""Settings by which a token that is added takes blanks beside it, or wants some."""


def require_plain(checkpoint: Path, written: Mapping[str, Any]) -> None:
    """Refuse tokens with prefixes and suffixes, before the tokenizers library crashes on them.

    Args:
        checkpoint: its folder.
        written: what the file says; nothing of it is known to be well formed.

    Raises:
        UsageError: naming the first.
    """
    model = written.get("model")
    settings = model if isinstance(model, Mapping) else {}
    for name in AFFIXES:
        if value := settings.get(name):
            raise _unlike(checkpoint, [f"{name} {_shown(value)}, there a token has none"])


def require_known(checkpoint: Path, written: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    """Refuse another kind of tokenizer.

    Args:
        checkpoint: its folder.
        written: what the file says, of which the library keeps one text for an id, and one id for a text.
        told: the same as the library has it.

    Raises:
        UsageError: naming all of it.
    """
    model = told["model"]
    if model.get("type") != "BPE" or not model.get("byte_fallback") or not model["vocab"].keys() >= BYTES:
        what = f"a {model.get('type')} tokenizer" if model.get("type") != "BPE" else "without tokens of bytes"
        raise UsageError(
            f"checkpoint {checkpoint}: tokenizer.json is {what}; llama.cpp has BPE with bytes for Gemma 3n"
        )
    if found := [*_pieces(told), *_settings(model), *_added(told), *_collision(written)]:
        raise _unlike(checkpoint, found)


def _pieces(told: Mapping[str, Any]) -> Iterator[str]:
    """What is done with a text before it is split into tokens."""
    if told.get("normalizer") != NORMALIZER:
        yield "it normalizes otherwise, there blanks alone are replaced"
    if (found := told.get("pre_tokenizer")) not in PRE_TOKENIZERS:
        yield f"pre_tokenizer {_shown(found.get('type'))} splits otherwise, there a text is whole before it is merged"


def _settings(model: Mapping[str, Any]) -> Iterator[str]:
    for name, (allowed, why) in SETTINGS.items():
        if (value := model.get(name)) not in allowed:
            yield f"{name} {_shown(value)}, {why}"
    if (unknown := model.get("unk_token")) is not None and unknown not in model["vocab"]:
        yield f"unk_token {_shown(unknown)} is no token"


def _added(told: Mapping[str, Any]) -> Iterator[str]:
    for name in STRIPPING:
        if found := [entry["content"] for entry in told["added_tokens"] if entry[name]]:
            yield f"{name} of the added token {_shown(found[0])}, there blanks beside it are left"


def _collision(written: Mapping[str, Any]) -> Iterator[str]:
    """The first two texts with one id, or ids of one text."""
    ids: dict[str, int] = {}
    texts: dict[int, str] = {}
    for text, number in _entries(written):
        if (other := ids.setdefault(text, number)) != number:
            yield f"{_shown(text)} has the ids {other} and {number}, there a token has one"
            return
        if (before := texts.setdefault(number, text)) != text:
            yield f"{_shown(before)} and {_shown(text)} both have the id {number}, there it is one token's"
            return


def _entries(written: Mapping[str, Any]) -> Iterable[tuple[str, int]]:
    yield from written["model"]["vocab"].items()
    yield from ((entry["content"], entry["id"]) for entry in written.get("added_tokens") or ())


def _unlike(checkpoint: Path, found: Iterable[str]) -> UsageError:
    return UsageError(f"checkpoint {checkpoint}: tokenizer.json is none that llama.cpp has: {'; '.join(found)}")


def _shown(value: object) -> str:
    """A value of the file, of a long one the beginning."""
    return f"{value!r:.60}"
