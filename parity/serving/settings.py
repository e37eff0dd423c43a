"""What a server is told when it is started: what it is called, who may ask, and how much."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

KEY = "PARITY_API_KEY"
"""The variable of the environment that holds the key; on a command line every user of the machine could read it."""


@dataclass(frozen=True)
class Settings:
    """A server's settings.

    Attributes:
        model: what clients call it.
        fingerprint: of backend, arithmetic and weights: with the same one, a seed gives the same answer.
        key: what clients must show; None where none is asked for.
        names: hosts by which the server is reached, besides addresses and ``localhost``.
        origins: other sites whose pages may ask.
        files: the folder that pictures may be named in; None for none.
        most_tokens: of an answer, and what it may have where a request does not say.
        places: requests that are taken in at a time: one is answered, the others wait.
        seconds: that a request may take, its waiting included.
        most_bytes: of a request.
        most_messages: of a conversation.
        most_characters: of all texts of a conversation.
        most_attachments: pictures and sounds of a conversation.
    """

    model: str
    fingerprint: str
    key: str | None = None
    names: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    files: Path | None = None
    most_tokens: int = 1024
    places: int = 17
    seconds: float = 600.0
    most_bytes: int = 20 << 20
    most_messages: int = 256
    most_characters: int = 1 << 20
    most_attachments: int = 16
