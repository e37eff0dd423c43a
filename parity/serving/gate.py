"""Who may ask, and how much: what is looked at before anything of a request is read."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import sys
import traceback
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parity.errors import DEBUG, debugging
from parity.serving.refusal import Refusal, ending
from parity.serving.settings import KEY, Settings

OPEN = ("/", "/health")
"""What needs no key: a page without anything in it, and whether the model is there."""
INTERNAL = f"internal error; {DEBUG}=1 shows where"
BODY_SECONDS = 30.0
"""For a whole body: one that trickles in holds a place."""


class Gate:
    """Lets a request through to the application, with its body read, or refuses it.

    Args:
        app: what is behind the gate.
        settings: the server's.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings, self._taken = app, settings, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong is an answer too."""
        if scope["type"] != "http":
            return
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._through(scope, receive, noted)
        except Refusal as refusal:
            await refuse(refusal, send)
        except asyncio.CancelledError:  # the server ends; an answer that has begun said so itself
            if not begun:
                await refuse(ending(), send)
        except Exception:  # a fault of our own; the client is told that, and no more
            if debugging():
                traceback.print_exc(file=sys.stderr)
            if not begun:
                await refuse(Refusal(500, INTERNAL), send)

    async def _through(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        self._require_host(headers)
        self._require_origin(headers)
        if scope["path"] not in OPEN:
            self._require_key(headers)
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        self._require_json(headers)
        if self._taken >= self._settings.places:
            busy = f"{self._taken} requests are being answered or wait; ask again later"
            raise Refusal(429, busy, code="rate_limit_exceeded", headers={"Retry-After": "1"})
        self._taken += 1
        try:
            await self._app(scope, replayed(await self._body(headers, receive), receive), send)
        finally:
            self._taken -= 1

    def _require_host(self, headers: Mapping[str, str]) -> None:
        """Refuse names that are not ours: a site may have its own name lead here, and its pages would read answers."""
        host = hostname(headers.get("host", ""))
        if not (is_address(host) or host in ("localhost", *self._settings.names)):
            raise Refusal(421, f"this server is not called {host!r}; --allow-host lets it be", code="unknown_host")

    def _require_origin(self, headers: Mapping[str, str]) -> None:
        """Refuse pages of other sites, which may send what they cannot read the answer of."""
        origin = headers.get("origin")
        if origin is None or origin in self._settings.origins:
            return
        if netloc(origin) != headers.get("host"):
            raise Refusal(403, f"pages of {origin} may not ask; --allow-origin lets them", code="unknown_origin")

    def _require_key(self, headers: Mapping[str, str]) -> None:
        if self._settings.key is None:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        equal = hmac.compare_digest(given.strip().encode("latin-1"), self._settings.key.encode())
        if not (scheme.lower() == "bearer" and equal):
            message = f"a key is needed, and this is not it: send the server's {KEY} as a bearer token"
            raise Refusal(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})

    def _require_json(self, headers: Mapping[str, str]) -> None:
        """Refuse what a page's form can send to another site unasked."""
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refusal(415, "send application/json", code="unsupported_media_type")

    async def _body(self, headers: Mapping[str, str], receive: Receive) -> bytes:
        """The whole body.

        Raises:
            Refusal: where it is too large, is cut, or takes too long to come.
        """
        most, body = self._settings.most_bytes, bytearray()
        told = headers.get("content-length", "")
        if told.isdigit() and (len(told) > 18 or int(told) > most):
            raise _too_large(most)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refusal(400, "the body was cut", code="invalid_json")
                    body += message.get("body", b"")
                    if len(body) > most:
                        raise _too_large(most)
                    if not message.get("more_body"):
                        return bytes(body)
        except TimeoutError:
            raise Refusal(408, f"the body did not come within {BODY_SECONDS:g} s", code="timeout") from None


def replayed(body: bytes, receive: Receive) -> Receive:
    """A channel that has the body first, whole, and then what the real one has: that the client is gone."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def following() -> Message:
        return left.pop() if left else await receive()

    return following


async def refuse(refusal: Refusal, send: Send) -> None:
    """Answer with a refusal."""
    body = json.dumps(refusal.to_json()).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **refusal.headers}
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


def hostname(host: str) -> str:
    """The name or address of a ``Host`` header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def netloc(origin: str) -> str | None:
    """The host and port of an ``Origin`` header; None where it is no URL."""
    try:
        return urlsplit(origin).netloc
    except ValueError:  # a bracket without its other one, or what is no address between them
        return None


def is_address(host: str) -> bool:
    """Whether a host is an IP address: no site can have one lead elsewhere."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"the request has more than {most:,} bytes; send less", code="too_large")
