"""The tokenizer in a file's header: its tokens, and which two of them are merged first.

llama.cpp merges those two neighbours whose union has the highest score; tokenizer.json lists pairs, the first of which
goes first. Both choose alike where a token's score falls with the place of the first pair that makes it, if every two
tokens whose union is a token are a pair.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, TokenType

from implementations.gemma3n.preprocessing.settings_reader import special_tokens
from implementations.gemma3n.preprocessing.template_files import template_of
from implementations.gemma3n.preprocessing.tokenizer import Tokenizer
from implementations.gguf.convert.tokenizer_limits import BLANK, BYTES, require_known, require_plain
from parity.checkpoint import object_of
from parity.errors import UsageError

MODEL = "llama"
"""What llama.cpp calls a tokenizer of scores."""


@dataclass(frozen=True)
class Vocabulary:
    """A checkpoint's tokens, in the order of their ids.

    Attributes:
        tokens: their texts.
        types: what each of them is.
        scores: the higher, the sooner its parts are merged.
        open: pairs whose union is a token, and which no merge makes one.
        special: ids by role, as ``bos``.
        template: of chats; None where the checkpoint has none.
    """

    tokens: Sequence[str]
    types: Sequence[TokenType]
    scores: Sequence[float]
    open: Sequence[tuple[str, str]]
    special: Mapping[str, int]
    template: str | None

    @classmethod
    def of(cls, checkpoint: Path, size: int) -> Vocabulary:
        """Read a checkpoint's tokenizer.

        Args:
            checkpoint: its folder.
            size: how many ids the model has.

        Raises:
            UsageError: for a file that is missing or malformed, or a tokenizer that llama.cpp does not have.
        """
        written = object_of(checkpoint / "tokenizer.json")
        require_plain(checkpoint, written)
        told = Tokenizer.from_directory(checkpoint).definition()
        require_known(checkpoint, written, told)
        model, added = told["model"], {entry["id"]: entry for entry in told["added_tokens"]}
        ids: dict[str, int] = model["vocab"] | {entry["content"]: key for key, entry in added.items()}
        tokens = _in_order(checkpoint, ids, size)
        ranks = _ranks(model["merges"])
        types = [_type(token, added.get(number), model["unk_token"]) for number, token in enumerate(tokens)]
        last = -float(len(model["merges"]))
        special = {role: ids[text] for role, text in _roles(checkpoint).items() if text in ids}
        return cls(
            tokens=tokens,
            types=[kind if token in ids else TokenType.UNUSED for kind, token in zip(types, tokens, strict=True)],
            scores=[-float(ranks[token]) if token in ranks else last for token in tokens],
            open=_open(model["vocab"], {tuple(pair) for pair in model["merges"]}),
            special=special,
            template=template_of(checkpoint, _optional(checkpoint / "processor_config.json")),
        )

    def describe(self, writer: GGUFWriter) -> None:
        """Add it to a header."""
        writer.add_tokenizer_model(MODEL)
        writer.add_tokenizer_pre("default")
        writer.add_token_list(self.tokens)
        writer.add_token_scores(self.scores)
        writer.add_token_types(self.types)
        for role, number in self.special.items():
            getattr(writer, f"add_{role}_token_id")(number)
        writer.add_add_bos_token(True)
        writer.add_add_eos_token(False)
        writer.add_add_space_prefix(False)
        if self.template:
            writer.add_chat_template(self.template)


def _in_order(checkpoint: Path, ids: Mapping[str, int], size: int) -> list[str]:
    """Texts of all ids of the model; those that the tokenizer does not have are told as such."""
    if (most := max(ids.values(), default=0)) >= size:
        raise UsageError(f"checkpoint {checkpoint}: tokenizer.json has a token {most}; config.json has {size} ids")
    texts = {number: text for text, number in ids.items()}
    return [texts.get(number, f"[PAD{number}]") for number in range(size)]


def _ranks(merges: Sequence[Sequence[str]]) -> dict[str, int]:
    """The place of the first pair that makes a token."""
    return {left + right: place for place, (left, right) in reversed(list(enumerate(merges)))}


def _open(vocabulary: Mapping[str, int], pairs: set[tuple[str, ...]]) -> list[tuple[str, str]]:
    splits = ((token[:at], token[at:]) for token in vocabulary for at in range(1, len(token)))
    return [pair for pair in splits if pair[0] in vocabulary and pair[1] in vocabulary and pair not in pairs]


def _type(token: str, added: Mapping[str, Any] | None, unknown: str | None) -> TokenType:
    """What llama.cpp makes of a token: which it looks for in a text before it splits it, and which it shows."""
    if token == unknown:
        return TokenType.UNKNOWN
    if added is not None and added["special"]:
        return TokenType.CONTROL
    # Blanks of a text are not yet BLANK where added tokens are looked for, so one that has it is an ordinary one.
    if added is not None and BLANK not in token:
        return TokenType.USER_DEFINED
    return TokenType.BYTE if token in BYTES else TokenType.NORMAL


def _roles(checkpoint: Path) -> dict[str, str]:
    """Texts of the tokens that a header names."""
    named = special_tokens(checkpoint)
    roles = {role: named.get(f"{role}_token") for role in ("bos", "eos", "unk", "pad", "mask")}
    return {role: text for role, text in roles.items() if text is not None}


def _optional(file: Path) -> Mapping[str, Any]:
    return object_of(file) if os.path.lexists(file) else {}
