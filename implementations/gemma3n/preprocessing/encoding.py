"""A dialogue of text, images and sound to token ids, as `Gemma3nProcessor.apply_chat_template` has it.

The chat template writes one soft token where a message has an image or a clip; each is then written out as its block:
two newlines, begin, as many soft tokens as the model fills, end, two newlines. Only then is the text cut into tokens,
since newlines join with those around them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from implementations.gemma3n.preprocessing.audio_file import Clip
from implementations.gemma3n.preprocessing.chat_template import render
from implementations.gemma3n.preprocessing.image import Image
from implementations.gemma3n.preprocessing.settings import MediaTokens
from implementations.gemma3n.preprocessing.settings_reader import ProcessorSettings
from implementations.gemma3n.preprocessing.tokenizer import Tokenizer
from parity.errors import UsageError

Content = str | Image | Clip
TURNS = ("<start_of_turn>", "<end_of_turn>")
"""What Gemma's chat templates part turns with: a text that holds them would be read as turns of others."""


@dataclass(frozen=True)
class Turn:
    """One turn.

    Attributes:
        role: "system", "user" or "assistant"; which order of them is allowed is the template's to say.
        parts: what the turn says, in order.
    """

    role: str
    parts: tuple[Content, ...]


def images(turns: Iterable[Turn]) -> list[Image]:
    """The images of a dialogue, in the order of their placeholders."""
    return [part for turn in turns for part in turn.parts if isinstance(part, Image)]


def clips(turns: Iterable[Turn]) -> list[Clip]:
    """The clips of a dialogue, in the order of their placeholders."""
    return [part for turn in turns for part in turn.parts if isinstance(part, Clip)]


def encode(
    turns: Sequence[Turn],
    tokenizer: Tokenizer,
    settings: ProcessorSettings,
    *,
    add_generation_prompt: bool = True,
) -> list[int]:
    """Token ids of a dialogue, behind exactly one beginning-of-sequence token.

    Raises:
        UsageError: for a dialogue that is empty or that the template refuses; text that contains a token which stands
            for media; a template that drops an image or a clip; a checkpoint without a template.
    """
    text = prompt_text(turns, settings, add_generation_prompt=add_generation_prompt)
    return encode_text(text, tokenizer, settings, images=len(images(turns)), clips=len(clips(turns)))


def require_own_turns(turns: Iterable[Turn]) -> None:
    """Refuse texts that would be read as turns of others, which `encode` takes, as the reference's processor does.

    Templates write a message's parts one behind the other, some without their outer blanks: a token may lie in two.

    Raises:
        UsageError: for a turn whose text contains one of `TURNS`.
    """
    for turn in turns:
        texts = [part for part in turn.parts if isinstance(part, str)]
        joined = "".join(texts), "".join(map(str.strip, texts))
        for token in TURNS:
            if any(token in text for text in joined):
                raise UsageError(f"a message's text contains {token}, which parts turns; send each turn as a message")


def prompt_text(turns: Sequence[Turn], settings: ProcessorSettings, *, add_generation_prompt: bool = True) -> str:
    """The dialogue in the form that the model was trained on, with one soft token an image or clip.

    Raises:
        UsageError: as `encode`.
    """
    if settings.template is None:
        raise UsageError("this checkpoint has no chat template: it completes text, so give it a prompt instead")
    if not turns:
        raise UsageError("the dialogue has no messages")
    content = [{"role": turn.role, "content": [_content(part, settings) for part in turn.parts]} for turn in turns]
    return render(settings.template, content, settings.special, add_generation_prompt=add_generation_prompt)


def encode_text(
    text: str, tokenizer: Tokenizer, settings: ProcessorSettings, *, images: int = 0, clips: int = 0
) -> list[int]:
    """Token ids of a prompt in which one soft token stands for each image and clip.

    Raises:
        UsageError: when it has more or fewer soft tokens than there are images or clips, or the tokenizer gives them
            other ids than the model's.
    """
    _require_ids(tokenizer, settings)
    return tokenizer.encode(expand(text, settings, images=images, clips=clips))


def expand(text: str, settings: ProcessorSettings, *, images: int = 0, clips: int = 0) -> str:
    """Write out each soft token of a prompt as the block that the model fills.

    Raises:
        UsageError: when it has more or fewer soft tokens than there are images or clips.
    """
    media = settings.media_tokens
    if not media:
        return text
    require_each(text, media, images=images, clips=clips)
    blocks = {tokens.soft: tokens.block for tokens in media}
    # In one pass: a block contains the very token that it replaces.
    return re.sub("|".join(map(re.escape, blocks)), lambda match: blocks[match.group()], text)


def require_each(text: str, media: Sequence[MediaTokens], *, images: int, clips: int) -> None:
    """Refuse a prompt that has more or fewer soft tokens than there are images or clips.

    Raises:
        UsageError: as said.
    """
    for tokens, there in zip(media, (images, clips), strict=True):
        if (found := text.count(tokens.soft)) != there:
            what = "images" if tokens.kind == "image" else "clips of audio"
            raise UsageError(f"the prompt has {found} times {tokens.soft} for {there} {what}; write it once for each")


def _content(part: Content, settings: ProcessorSettings) -> dict[str, Any]:
    """What the template sees of a part: its kind, and text, but no pixels or samples."""
    if isinstance(part, Image):
        return {"type": "image"}
    if isinstance(part, Clip):
        return {"type": "audio"}
    for tokens in settings.media_tokens:
        if tokens.soft in part:
            raise UsageError(f"a message's text contains {tokens.soft}, which stands for media; pass the file instead")
    return {"type": "text", "text": part}


def _require_ids(tokenizer: Tokenizer, settings: ProcessorSettings) -> None:
    for text, expected in settings.ids.items():
        if (found := tokenizer.token_id(text)) != expected:
            raise UsageError(f"the tokenizer gives {text} the id {found}, but config.json says {expected}")
