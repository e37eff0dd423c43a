"""What there is to ask a server for."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from parity.serving.attachments import Attachments
from parity.serving.chat import ChatRequest
from parity.serving.desk import ClientGone, Desk, Order
from parity.serving.gate import INTERNAL, Gate
from parity.serving.page import HEADERS, page
from parity.serving.refusal import Refusal
from parity.serving.replies import Answer, Form, Stream, gathered
from parity.serving.settings import Settings

CLOSED = 499
"""The status, which nobody sees, of an answer that nobody waited for."""


class Routes:
    """The server's answers.

    Args:
        settings: the server's.
        desk: where the model is.
        home: a folder for what requests bring.
    """

    def __init__(self, settings: Settings, desk: Desk, home: Path) -> None:
        self._settings, self._desk, self._home = settings, desk, home
        self._created = int(time.time())

    async def page(self) -> Response:
        """A page to try the model with."""
        return HTMLResponse(page(), headers=HEADERS)

    async def health(self) -> Response:
        """Whether the model is there, and how many wait."""
        ready = self._desk.is_ready
        state = {"status": "ok"} if ready else {"status": "unavailable"}
        if not (ready or self._settings.key):  # where others ask, it is for those who have the key
            state["reason"] = self._desk.reason
        content = {**state, "model": self._settings.model, "waiting": self._desk.waiting}
        return JSONResponse(content, status_code=200 if ready else 503)

    async def models(self) -> dict[str, Any]:
        """The one model that there is."""
        return {"object": "list", "data": [self._model()]}

    async def model(self, name: str) -> dict[str, Any]:
        """What is known of a model."""
        if name != self._settings.model:
            message = f"there is no model {name!r}; this server has {self._settings.model!r}"
            raise Refusal(404, message, code="model_not_found", param="model")
        return self._model()

    async def chat(self, request: Request) -> Any:
        """Answer a conversation."""
        asked = await asyncio.to_thread(ChatRequest.read, await request.body(), self._settings)
        attachments = Attachments(self._home, self._settings.files)
        try:
            messages = await asyncio.to_thread(asked.messages_with, attachments)
            order = Order(messages, asked.sampling(self._settings))
        except BaseException:
            attachments.close()
            raise
        answer = Answer(order, attachments, self._desk, request.receive, self._settings.seconds)
        return await self._replied(answer, asked)

    async def _replied(self, answer: Answer, asked: ChatRequest) -> Any:
        streams = False
        try:
            form = Form(self._settings)
            first = await answer.event()
            if asked.stream:
                streams = True
                return Stream(answer, first, form, with_usage=asked.stream_options.include_usage)
            return JSONResponse(form.whole(*await gathered(answer, first)))
        except ClientGone:
            return Response(status_code=CLOSED)
        finally:
            if not streams:
                answer.close()

    def _model(self) -> dict[str, Any]:
        return {"id": self._settings.model, "object": "model", "created": self._created, "owned_by": "parity"}


def application(settings: Settings, desk: Desk, home: Path) -> ASGIApp:
    """The server behind its gate."""
    routes = Routes(settings, desk, home)
    # The pages of its own would fetch scripts from elsewhere; a redirection says nothing to clients that read JSON.
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.add_api_route("/", routes.page, response_model=None)
    app.add_api_route("/health", routes.health, response_model=None)
    app.add_api_route("/v1/models", routes.models)
    app.add_api_route("/v1/models/{name:path}", routes.model)
    app.add_api_route("/v1/chat/completions", routes.chat, methods=["POST"], response_model=None)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _unknown)
    app.add_exception_handler(Exception, _failed)
    gate = Gate(app, settings)
    if not settings.origins:
        return gate
    return CORSMiddleware(gate, allow_origins=settings.origins, allow_methods=["*"], allow_headers=["*"])


async def _refused(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return JSONResponse(refusal.to_json(), status_code=refusal.status, headers=refusal.headers)


async def _failed(request: Request, error: Exception) -> Response:
    """A fault of our own, which goes on to the gate."""
    return await _refused(request, Refusal(500, INTERNAL))


async def _unknown(request: Request, error: Exception) -> Response:
    """A path or a method that there is not."""
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.scope['path']}"  # a URL would be made with the host, which need not be one
    return await _refused(request, Refusal(error.status_code, f"{what}: {error.detail}", code="not_found"))
