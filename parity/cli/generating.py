"""The command that lets a backend write: generate."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.options import Audios, Dtype, Images, Model, Prompt, given_prompt, media, one_name
from parity.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from parity.generation import Message
    from parity.media import Part

Reply = Callable[["Sequence[Message]"], Iterator[str]]


def generate(
    *,
    backend: Annotated[str, typer.Option("--backend", metavar="NAME", help="Who writes.")],
    prompt: Prompt = None,
    image: Images = None,
    audio: Audios = None,
    chat: Annotated[bool, typer.Option("--chat", help="Talk: a turn a line, until the input ends.")] = False,
    model: Model = None,
    dtype: Dtype = "float32",
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Where to stop at the latest.")] = 128,
    temperature: Annotated[float, typer.Option("--temperature", help="0 takes the likeliest token.")] = 0.0,
    top_k: Annotated[int, typer.Option("--top-k", help="Draw from so many likeliest tokens; 0 for all.")] = 0,
    top_p: Annotated[float, typer.Option("--top-p", help="Draw from the likeliest with this probability.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the draws.")] = 0,
    stop: Annotated[
        list[str] | None, typer.Option("--stop", metavar="TEXT", help="Ends the answer, unsaid; repeatable.")
    ] = None,
) -> int:
    """Let a backend go on from a text, answer to pictures and sounds, or talk; printed as it is decoded."""
    from parity.checkpoint import find_checkpoint
    from parity.generation import Sampling
    from parity.running.plan import require_admitted
    from parity.running.single import writer

    sampling = Sampling(max_tokens, temperature, top_k, top_p, seed, tuple(stop or ()))
    text, given, arithmetic = given_prompt(prompt), media(image, audio), one_name(dtype, "--dtype")
    if not (text or given or chat):
        raise UsageError("nothing to write about: give --prompt, --image, --audio or --chat")
    checkpoint = find_checkpoint(model)
    require_admitted(checkpoint, None, text, given)
    with writer(checkpoint=checkpoint, backend=backend, dtype=arithmetic) as write:
        _talk(lambda messages: write(messages, sampling), text, given, chat=chat)
    return ExitCode.PARITY


def _talk(reply: Reply, text: str | None, given: tuple[Part, ...], *, chat: bool) -> None:
    """One answer or, in a chat, one to each line; media belong to the first turn."""
    from parity.generation import Message
    from parity.media import Part

    if not chat and not given:
        _say(reply([Message("text", (Part("text", text or ""),))]))
        return
    messages: list[Message] = []
    for line in _turns(text, chat=chat):
        words = (Part("text", line),) if line else ()
        messages.append(Message("user", (*(given if not messages else ()), *words)))
        messages.append(Message("model", (Part("text", _say(reply(messages))),)))


def _turns(text: str | None, *, chat: bool) -> Iterator[str]:
    """What the user says: the prompt, and in a chat what is typed."""
    if text is not None or not chat:
        yield text or ""
    while chat:
        try:
            line = input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return
        if line.strip():
            yield line


def _say(pieces: Iterator[str]) -> str:
    """Print an answer as it comes; returns the whole."""
    said = []
    for piece in pieces:
        said.append(piece)
        sys.stdout.write(_shown(piece))
        sys.stdout.flush()
    print()
    return "".join(said)


def _shown(piece: str) -> str:
    """Generated text: on a terminal without anything that could command it."""
    from parity.report.console import plain

    if not sys.stdout.isatty():
        return piece
    return "".join(char if char in "\n\t" else plain(char) for char in piece)
