"""What a server says when it cannot answer: one JSON object, as OpenAI's clients read it, and never a traceback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parity.errors import ContextExceeded, ParityError, UsageError, cut
from parity.report.console import plain
from parity.running.party import Crash

INVALID, SERVER = "invalid_request_error", "server_error"
NO_RETRY = {"x-should-retry": "false"}
"""OpenAI's clients ask again after most errors, twice: not where that would only crash the model again."""


class Refusal(Exception):
    """A request is not answered.

    Attributes:
        status: of HTTP.
        message: one line: what, where, and the cure.
        code: for programs; None where the status says all.
        param: the place in the request, such as ``messages[0].content``; None for the whole.
        headers: of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, cut(plain(cut(message))), code, param
        self.headers = dict(headers or {})

    def to_json(self) -> dict[str, Any]:
        """The response's body."""
        kind = INVALID if self.status < 500 else SERVER
        param = None if self.param is None else plain(cut(self.param))
        return {"error": {"message": self.message, "type": kind, "param": param, "code": self.code}}


def refusal_of(error: Refusal | ParityError | TimeoutError) -> Refusal:
    """What clients are told of a failure: the model's refusal of what they sent, or that it is not there."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, ContextExceeded):
        return Refusal(400, str(error), code="context_length_exceeded", param="messages")
    if isinstance(error, UsageError):
        return Refusal(400, str(error), code="invalid_value", param="messages")
    if isinstance(error, Crash):
        return Refusal(500, f"{error}; the model is started again", code="model_crashed", headers=NO_RETRY)
    if isinstance(error, TimeoutError):
        return Refusal(504, "the answer took too long; ask for less", code="timeout", headers=NO_RETRY)
    return unavailable(str(error))


def ending() -> Refusal:
    """The server was told to end, and the time of answers is over."""
    return Refusal(503, "the server is ending; ask again later", code="unavailable", headers={"Retry-After": "5"})


def unavailable(reason: str) -> Refusal:
    """The model is not there."""
    return Refusal(503, f"the model is not available: {reason}", code="unavailable", headers={"Retry-After": "5"})
