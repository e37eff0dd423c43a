"""Answers as OpenAI's clients read them: whole, or piece by piece as server-sent events."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from parity.errors import ParityError
from parity.generation import Finish
from parity.serving.attachments import Attachments
from parity.serving.desk import ClientGone, Desk, Ended, Order
from parity.serving.refusal import Refusal, ending, refusal_of
from parity.serving.settings import Settings

UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Of a stream, which a proxy would collect."""


SENDING = 10.0
"""Seconds beyond an answer's end to send what there is: a client that does not read holds a place."""


class Answer:
    """One answer as it comes; `close` gives up its place, stops the model, and removes its files.

    Args:
        order: that is answered.
        attachments: its files.
        desk: where it waits.
        receive: of the request, whose body was read: says when the client is gone.
        seconds: that the answer may take.

    Attributes:
        end: when it must be there, in the event loop's time.
    """

    def __init__(self, order: Order, attachments: Attachments, desk: Desk, receive: Receive, seconds: float) -> None:
        self._order, self._attachments, self._desk = order, attachments, desk
        self.end = asyncio.get_running_loop().time() + seconds
        self._watch = asyncio.create_task(self._watched(receive))
        desk.take(order)

    async def event(self) -> str | Ended:
        """The next piece, or the end.

        Raises:
            Refusal: for what the client is told, also where the server ends, which cancels whoever waits.
            ClientGone: where nobody waits.
        """
        try:
            async with asyncio.timeout_at(self.end):
                return await self._order.event()
        except asyncio.CancelledError as error:
            raise ending() from error
        except (Refusal, ParityError, TimeoutError) as error:
            refusal = refusal_of(error)
            refusal.message = self._attachments.told(refusal.message)
            raise refusal from error

    def close(self) -> None:
        """End it, whether it was done or not."""
        self._watch.cancel()
        self._desk.leave(self._order)
        self._attachments.close()

    async def _watched(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._order.tell(ClientGone())


class Form:
    """What all objects of one answer have in common."""

    def __init__(self, settings: Settings) -> None:
        self._common = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": settings.model,
            "system_fingerprint": settings.fingerprint,
        }

    def whole(self, text: str, finish: Finish | None) -> dict[str, Any]:
        """An answer in one piece."""
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(finish)}
        return {**self._common, "object": "chat.completion", "choices": [choice], "usage": _usage(finish)}

    def piece(self, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        """A part of an answer."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**self._common, "object": "chat.completion.chunk", "choices": [choice], "usage": None}

    def counts(self, finish: Finish | None) -> dict[str, Any]:
        """The event behind the last part, which only says what it took."""
        return {**self.piece({}), "choices": [], "usage": _usage(finish)}


class Stream(Response):
    """A response of server-sent events, one for each piece; closes the answer when it is sent, or cannot be.

    Args:
        answer: whose first event has come: what was refused until then is no stream.
        first: that event.
        form: of its objects.
        with_usage: whether the last event says what it took.
    """

    def __init__(self, answer: Answer, first: str | Ended, form: Form, *, with_usage: bool) -> None:
        super().__init__(media_type="text/event-stream", headers=UNBUFFERED)
        del self.headers["content-length"]
        self._answer, self._first, self._form, self._with_usage = answer, first, form, with_usage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            async with asyncio.timeout_at(self._answer.end + SENDING):
                await self._sent(send)
        except (ClientGone, TimeoutError):
            pass  # the connection is closed, for the response is not whole
        finally:
            self._answer.close()

    async def _sent(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for line in self._lines():
            await send({"type": "http.response.body", "body": f"data: {line}\n\n".encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _lines(self) -> AsyncIterator[str]:
        try:
            async for event in self._events():
                yield json.dumps(event)
        except Refusal as refusal:  # the status was sent: clients look for this object in the stream
            yield json.dumps(refusal.to_json())
        yield "[DONE]"

    async def _events(self) -> AsyncIterator[dict[str, Any]]:
        yield self._form.piece({"role": "assistant", "content": ""})
        event = self._first
        while isinstance(event, str):
            yield self._form.piece({"content": event})
            event = await self._answer.event()
        yield self._form.piece({}, _reason(event.finish))
        if self._with_usage:
            yield self._form.counts(event.finish)


async def gathered(answer: Answer, first: str | Ended) -> tuple[str, Finish | None]:
    """The whole of an answer, behind its first event."""
    said, event = [], first
    while isinstance(event, str):
        said.append(event)
        event = await answer.event()
    return "".join(said), event.finish


def _reason(finish: Finish | None) -> str:
    return finish.reason if finish else "stop"


def _usage(finish: Finish | None) -> dict[str, int] | None:
    if finish is None:
        return None
    total = finish.prompt_tokens + finish.completion_tokens
    return {
        "prompt_tokens": finish.prompt_tokens,
        "completion_tokens": finish.completion_tokens,
        "total_tokens": total,
    }
