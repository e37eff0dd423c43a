"""What a checkpoint's JSON files say cannot be run, said before anything is loaded: no framework is imported here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from parity.checkpoint import config_of
from parity.errors import UsageError
from parity.json_file import read_json, read_text
from parity.media import Medium, Part
from parity.native import quiet, tamed
from reference.common.clips import Limit
from reference.gemma3n import MODEL_TYPES

TOWERS: Mapping[Medium, str] = {"image": "vision_config", "audio": "audio_config"}
SOFT_TOKENS: Mapping[Medium, tuple[str, str, int]] = {
    "image": ("image_seq_length", "vision_soft_tokens_per_image", 256),
    "audio": ("audio_seq_length", "audio_soft_tokens_per_image", 188),
}
"""Where the processor and the model say how many tokens one becomes, and what the published checkpoints have."""
LONGEST_CHARACTER = 4
"""Bytes, and so tokens at most, of a character."""


def admit(checkpoint: Path, prompt: str | None, media: Sequence[Part]) -> None:
    """Refuse another architecture, a medium without a tower, a clip or a prompt that is too long.

    Raises:
        UsageError: for the first of these.
    """
    config = config_of(checkpoint)
    if (found := config.get("model_type")) not in MODEL_TYPES:
        known = " and ".join(map(repr, MODEL_TYPES))
        raise UsageError(f"checkpoint {checkpoint}: architecture {found!r}; this reference is for {known}")
    tokens = sum(_soft_tokens(checkpoint, config, part.kind) for part in media)
    for part in media:
        if part.kind == "audio":
            _limit(checkpoint, config).require(Path(part.value))
    _require_context(checkpoint, config, tokens, prompt or "")


def _soft_tokens(checkpoint: Path, config: Mapping[str, Any], kind: Medium) -> int:
    """How many tokens a picture or a sound becomes."""
    if kind == "text":
        return 0
    if not isinstance(config.get(TOWERS[kind]), dict):
        raise UsageError(
            f"checkpoint {checkpoint}: config.json has no {TOWERS[kind]}: it takes no {kind}; leave it out"
        )
    written, filled, usual = SOFT_TOKENS[kind]
    one, other = _processor(checkpoint).get(written, usual), config.get(filled, usual)
    for name, value in ((f"processor_config.json: {written}", one), (f"config.json: {filled}", other)):
        if type(value) is not int or value < 1:
            raise UsageError(f"checkpoint {checkpoint}: {name} is {value!r}, not a positive int; fetch it again")
    if one != other:
        raise UsageError(
            f"checkpoint {checkpoint}: processor_config.json writes {one} {kind} tokens, but config.json fills {other}"
        )
    return int(one)


def _processor(checkpoint: Path) -> Mapping[str, Any]:
    try:
        data = read_json(checkpoint / "processor_config.json")
    except (FileNotFoundError, ValueError) as error:
        reason = "it is not there" if isinstance(error, FileNotFoundError) else error
        raise UsageError(
            f"checkpoint {checkpoint}: processor_config.json cannot be read: {reason}; fetch it again"
        ) from error
    return data if isinstance(data, dict) else {}


def _limit(checkpoint: Path, config: Mapping[str, Any]) -> Limit:
    """How long a clip may be."""
    audio, tokens = config["audio_config"], SOFT_TOKENS["audio"][1:]
    try:
        steps = [int(along) for along, _ in audio.get("sscp_conv_stride_size", ((2, 2), (2, 2)))]
        return Limit.of(config.get(*tokens), [*steps, int(audio.get("conf_reduction_factor", 4))])
    except (TypeError, ValueError) as error:
        raise UsageError(f"checkpoint {checkpoint}: config.json: audio_config: {error}; fetch it again") from error


def _require_context(checkpoint: Path, config: Mapping[str, Any], tokens: int, text: str) -> None:
    """Refuse a prompt that the model has no places for; only one that may be too long is cut into tokens for that."""
    inner = config.get("text_config")
    context = (inner if isinstance(inner, dict) else config).get("max_position_embeddings", 32_768)
    if type(context) is not int or context < 1:
        raise UsageError(
            f"checkpoint {checkpoint}: config.json: text_config.max_position_embeddings is {context!r}, not a positive "
            "int; fetch it again"
        )
    if tokens + LONGEST_CHARACTER * len(text) > context:
        tokens += _tokens(checkpoint, text)
    if tokens > context:
        raise UsageError(f"the prompt has {tokens:,} tokens, the context is {context:,}; shorten the prompt")


def _tokens(checkpoint: Path, text: str) -> int:
    """Tokens of a text; none where that cannot be known here, and the model is to say so."""
    # The library raises plain Exception, and panics; a tokenizer of another form is the reference's to read.
    with suppress(Exception), quiet(), tamed():
        import tokenizers

        return len(tokenizers.Tokenizer.from_str(read_text(checkpoint / "tokenizer.json")).encode(text).ids)
    return 0
