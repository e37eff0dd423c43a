"""Text of token ids, read from a checkpoint's ``tokenizer.json`` without a tokenizer: labels need no more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from parity.json_file import read_json

TOKENIZER = "tokenizer.json"


def read_vocabulary(folder: Path) -> dict[int, str]:
    """Every id's piece of text; empty where the file is missing or is of another form, for labels can do without."""
    try:
        data = read_json(folder / TOKENIZER)
        pieces = {int(number): str(piece) for piece, number in data["model"]["vocab"].items()}
        added = {int(token["id"]): str(token["content"]) for token in data.get("added_tokens", ())}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {number: piece.replace("▁", " ") for number, piece in {**pieces, **added}.items()}


def label(position: int, token: int | None, pieces: Mapping[int, str], *, row: int | None = None) -> str:
    """What a token is called: ``3: ' world'``, with its row in a batch of several; its id where the text is unknown."""
    place = f"{position}" if row is None else f"{row}/{position}"
    if token is None:
        return place
    return f"{place}: {pieces[token]}" if token in pieces else f"{place}: #{token}"
