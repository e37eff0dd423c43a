"""Text to token ids and back, with the checkpoint's tokenizer.json."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity.checkpoint import object_of, text_of
from parity.errors import BackendUnavailable, UsageError
from parity.native import Panic, quiet, tamed

if TYPE_CHECKING:
    import tokenizers

BOS = "<bos>"
UNFINISHED = "\ufffd"
"""What a decoder puts where bytes make no character yet."""
LONGEST = 4
"""Bytes of the longest UTF-8 character: so many tokens at most are held back for one."""


class Tokenizer:
    """A checkpoint's tokenizer.

    Raises:
        UsageError: when it has no token for the beginning of a sequence.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer
        bos = tokenizer.token_to_id(BOS)
        if bos is None:
            raise UsageError(f"tokenizer.json has no {BOS} token; is this a Gemma checkpoint?")
        self.bos: int = bos

    @classmethod
    def from_directory(cls, checkpoint: Path) -> Tokenizer:
        """Read ``tokenizer.json``.

        Raises:
            BackendUnavailable: where the tokenizers library is not installed.
            UsageError: when the file is missing or cannot be read.
        """
        try:
            import tokenizers
        except ImportError as error:
            raise BackendUnavailable(f"tokenizers is not installed: pip install tokenizers ({error})") from error
        file = checkpoint / "tokenizer.json"
        try:
            with quiet(), tamed():
                return cls(tokenizers.Tokenizer.from_str(text_of(file)))
        except FileNotFoundError as error:
            raise UsageError(f"checkpoint {checkpoint}: {file.name} is not there; fetch it again") from error
        except UsageError:
            raise
        except Exception as error:  # the library raises plain Exception
            raise UsageError(
                f"checkpoint {checkpoint}: {file.name} cannot be read ({error}); fetch it again"
            ) from error

    def encode(self, text: str) -> list[int]:
        """Token ids of `text` behind exactly one beginning-of-sequence token, whether or not the text writes it.

        Raises:
            UsageError: where the library cannot do what tokenizer.json says.
        """
        try:
            with quiet(), tamed():
                ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        except Exception as error:  # the library raises plain Exception
            raise UsageError(f"tokenizer.json cannot cut the text into tokens ({error}); fetch it again") from error
        return ids if ids[:1] == [self.bos] else [self.bos, *ids]

    def definition(self) -> dict[str, Any]:
        """What tokenizer.json says, as the library spells it, whoever wrote the file."""
        told: dict[str, Any] = json.loads(self._tokenizer.to_str())
        return told

    def token_id(self, token: str) -> int | None:
        """The id of one token of the vocabulary; None where it has none."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids; control tokens have none.

        Raises:
            UsageError: where the library cannot do what tokenizer.json says.
        """
        try:
            with tamed():
                text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        except Panic as error:
            raise UsageError(f"tokenizer.json cannot make text of tokens ({error}); fetch it again") from error
        return text

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Text of token ids piece by piece, none of which ends within a character.

        The tokens of the last piece are decoded again before the next: some decoders drop a leading space.
        """
        shown: list[int] = []
        held: list[int] = []
        for token in ids:
            held.append(token)
            piece = self._following(shown, held)
            if piece.endswith(UNFINISHED) and len(held) < LONGEST:
                continue
            if piece:
                yield piece
            shown, held = held, []
        if rest := self._following(shown, held):
            yield rest

    def _following(self, shown: list[int], held: list[int]) -> str:
        return self.decode([*shown, *held])[len(self.decode(shown)) :]


def stop_ids(checkpoint: Path) -> frozenset[int]:
    """Ids that end generation: `eos_token_id` of generation_config.json, an id or a list, or else of config.json.

    Raises:
        UsageError: when a file cannot be read or the ids are no integers.
    """
    for name in ("generation_config.json", "config.json"):
        file = checkpoint / name
        found = object_of(file).get("eos_token_id") if os.path.lexists(file) else None
        if found is None:
            continue
        ids = found if isinstance(found, list) else [found]
        if not all(type(token) is int for token in ids):
            raise UsageError(
                f"checkpoint {checkpoint}: eos_token_id of {name} is {found!r}, not an id or a list; fetch it again"
            )
        return frozenset(ids)
    return frozenset()
