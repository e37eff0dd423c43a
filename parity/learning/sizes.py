"""What the axes of a model are called: by the sizes in its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

ROW, TOKEN, KEY, VOCABULARY = "batch", "token", "key", "vocabulary"
"""Axes that mean something: rows of a batch, tokens of a call, tokens that are looked at, tokens to choose from."""
NAMES = {
    "vocab_size": VOCABULARY,
    "hidden_size": "hidden",
    "intermediate_size": "intermediate",
    "num_attention_heads": "head",
    "num_key_value_heads": "kv_head",
    "head_dim": "head_dim",
    "num_hidden_layers": "layer",
}
"""What everybody calls these; another size is called as its key in the configuration."""
LARGEST = 2**24


def sizes_of(config: Mapping[str, Any]) -> dict[str, int]:
    """Sizes of axes by name, from a ``config.json``; of a model of several modalities, those of its text.

    A head's size that is not said is the hidden size, cut into heads.
    """
    text = config.get("text_config")
    config = {**config, **text} if isinstance(text, dict) else config
    numbers = {key: value for key, value in config.items() if type(value) is int and 1 < value < LARGEST}
    hidden, heads = numbers.get("hidden_size", 0), numbers.get("num_attention_heads", 0)
    if heads and hidden % heads == 0:
        numbers.setdefault("head_dim", hidden // heads)
    known = {name: numbers[key] for key, name in NAMES.items() if key in numbers}
    return known | {key: value for key, value in numbers.items() if key not in NAMES and not key.endswith("_id")}


def of_call(rows: int, tokens: int) -> dict[str, int]:
    """Sizes of the axes that each call has its own of."""
    return {ROW: rows, TOKEN: tokens}


def name_of(sizes: Mapping[str, int]) -> Callable[[int], str]:
    """What an axis of a size is called; one that is the product of two has the names of both."""
    called = {size: name for name, size in reversed([*sizes.items()]) if size > 1}

    def name(size: int) -> str:
        if size in called:
            return called[size]
        pairs = (f"{first}_{called[size // one]}" for one, first in called.items() if _cuts(one, size, called))
        return next(pairs, f"axis_{size}")

    return name


def _cuts(one: int, size: int, called: Mapping[int, str]) -> bool:
    return size % one == 0 and size // one in called
