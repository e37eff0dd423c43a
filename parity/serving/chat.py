"""The body of ``/v1/chat/completions``: what it may say, and the conversation and the sampling that it means."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from parity.generation import Message, Role, Sampling
from parity.json_file import parse_json
from parity.media import Part
from parity.serving.attachments import Attachments
from parity.serving.refusal import Refusal
from parity.serving.settings import Settings

ROLES: Mapping[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "model"}
IGNORED = frozenset(
    ["user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"]
)
"""What says nothing about the answer."""
NEUTRAL: Mapping[str, Sequence[Any]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
}
"""What this server cannot do, and the values that ask for nothing of it."""
OF_REPLIES = frozenset(("annotations", "name", "refusal"))
"""What clients hand back with a message of ours, or say of one, and no turn of a conversation has a place for."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


def _encodable(text: str) -> str:
    text.encode()  # JSON can write half of a pair of UTF-16, which is no character
    return text


class TextPart(_Strict):
    """Text of a message."""

    type: Literal["text"]
    text: Annotated[str, AfterValidator(_encodable)]


class Url(_Strict):
    """Where a picture is; `detail` is ignored, for the model sees every picture in one size."""

    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePart(_Strict):
    """A picture of a message."""

    type: Literal["image_url"]
    image_url: Url


class Sound(_Strict):
    """A sound's content in base64."""

    data: str
    format: Literal["wav", "mp3"]


class AudioPart(_Strict):
    """A sound of a message."""

    type: Literal["input_audio"]
    input_audio: Sound


AnyPart = Annotated[TextPart | ImagePart | AudioPart, Field(discriminator="type")]


def _as_parts(content: Any) -> Any:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise PydanticCustomError("content", "Input should be text or a list of parts")
    return content


class ChatMessage(_Strict):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[list[AnyPart], BeforeValidator(_as_parts), Field(min_length=1)]


class StreamOptions(_Strict):
    """Of a stream; obfuscation, which hides the length of pieces, is not done."""

    include_usage: bool = False
    include_obfuscation: bool = False


class ChatRequest(_Strict):
    """All that is heeded of a body."""

    model: str
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0, le=1 << 31)] = 0
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = None
    stop: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=256)]],
        BeforeValidator(lambda given: [given] if isinstance(given, str) else given),
        Field(max_length=4),
    ] = []

    @classmethod
    def read(cls, body: bytes, settings: Settings) -> ChatRequest:
        """Read a body.

        Raises:
            Refusal: for what is no JSON, no request, or beyond a limit of the server's.
        """
        try:
            found = cls.model_validate(_heeded(_parsed(body)))
        except ValidationError as error:
            raise _first(error) from error
        found._require_within(settings)
        return found

    def messages_with(self, attachments: Attachments) -> list[Message]:
        """The conversation; its pictures and sounds become files."""
        return [
            Message(ROLES[turn.role], tuple(_part(part, place, attachments) for place, part in _parts(number, turn)))
            for number, turn in enumerate(self.messages)
        ]

    def sampling(self, settings: Settings) -> Sampling:
        """How tokens are chosen; without a seed, by a fresh one."""
        seed = secrets.randbits(63) if self.seed is None else self.seed % (1 << 64)
        most = self.max_completion_tokens or self.max_tokens or settings.most_tokens
        return Sampling(most, self.temperature, self.top_k, self.top_p, seed, tuple(self.stop))

    def _require_within(self, settings: Settings) -> None:
        every = [part for turn in self.messages for part in turn.content]
        texts = [part.text for part in every if isinstance(part, TextPart)]
        asked = max(self.max_completion_tokens or 0, self.max_tokens or 0)
        for param, count, most, what in (
            ("messages", len(self.messages), settings.most_messages, "messages"),
            ("messages", sum(map(len, texts)), settings.most_characters, "characters of text"),
            ("messages", len(every) - len(texts), settings.most_attachments, "pictures and sounds"),
            ("max_tokens", asked, settings.most_tokens, "tokens of an answer"),
        ):
            if count > most:
                raise Refusal(400, f"{count:,} {what}; this server takes {most:,}", code="too_many", param=param)
        if self.model != settings.model:
            message = f"there is no model {self.model!r}; this server has {settings.model!r}"
            raise Refusal(404, message, code="model_not_found", param="model")


def _parts(number: int, turn: ChatMessage) -> Iterator[tuple[str, TextPart | ImagePart | AudioPart]]:
    """The parts of a turn, each behind its place in the request."""
    for index, part in enumerate(turn.content):
        yield f"messages[{number}].content[{index}].{part.type}", part


def _part(part: TextPart | ImagePart | AudioPart, place: str, attachments: Attachments) -> Part:
    if isinstance(part, TextPart):
        return Part("text", part.text)
    if isinstance(part, ImagePart):
        return attachments.picture(part.image_url.url, f"{place}.url")
    return attachments.sound(part.input_audio.data, part.input_audio.format, f"{place}.data")


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        found = parse_json(body)
    except ValueError as error:
        raise Refusal(400, f"the body is no JSON: {error}", code="invalid_json") from error
    if not isinstance(found, dict):
        raise Refusal(400, "the body is no JSON object", code="invalid_json")
    return found


def _heeded(given: dict[str, Any]) -> dict[str, Any]:
    """What is heeded of a body: null means absent, and so does what asks for nothing that cannot be done."""
    heeded = {}
    for name, value in given.items():
        if value is None or name in IGNORED:
            continue
        if name not in NEUTRAL:
            heeded[name] = value
        elif value not in NEUTRAL[name]:
            neutral = " or ".join(map(json.dumps, NEUTRAL[name]))
            raise Refusal(400, f"{name} is not supported; leave it out, or {neutral}", code="unsupported", param=name)
    if isinstance(messages := heeded.get("messages"), list):
        heeded["messages"] = [_spoken(message) for message in messages]
    return heeded


def _spoken(message: Any) -> Any:
    """A message without what is null and what clients hand back with it."""
    if not isinstance(message, dict):
        return message
    return {name: value for name, value in message.items() if name == "content" or (value and name not in OF_REPLIES)}


def _first(error: ValidationError) -> Refusal:
    """The first of the faults."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    param = _place(fault["loc"])
    if fault["type"] == "extra_forbidden":
        return Refusal(400, f"{param} is not known here; leave it out", code="unknown_parameter", param=param)
    return Refusal(400, f"{param or 'the body'}: {fault['msg']}", code="invalid_value", param=param)


def _place(location: tuple[str | int, ...]) -> str:
    """Where a fault is, as people write it; behind a part's number, the kind that it was read as is left out."""
    place = ""
    for index, step in enumerate(location):
        if index > 1 and location[index - 2] == "content" and isinstance(location[index - 1], int):
            continue
        place += f"[{step}]" if isinstance(step, int) else f".{step}"
    return place.removeprefix(".")
