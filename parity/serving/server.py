"""A server from its socket to its end."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from parity.errors import UsageError
from parity.running.single import Writer
from parity.scratch import scratch
from parity.serving.desk import Desk
from parity.serving.routes import application
from parity.serving.settings import KEY, Settings

MOMENT = 10
"""Seconds that running answers have when the server is told to end."""
LAST = 1.0
"""Seconds that the others then have to read that it ends."""
HEAD_SECONDS = 10.0
"""For a request's line and headers, from where the connection begins or the last answer has ended."""


class Connection(H11Protocol):
    """One that ends where the head of a request does not come in time: uvicorn bounds only wholly silent ones."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Wait for the first request."""
        super().connection_made(transport)
        self._await_head()

    def on_response_complete(self) -> None:
        """Wait for the next one, which may be there already."""
        self._await_head()
        super().on_response_complete()

    def _await_head(self) -> None:
        self.loop.call_later(HEAD_SECONDS, self._end_after, self.cycle)

    def _end_after(self, last: RequestResponseCycle | None) -> None:
        if self.cycle is last:
            self.timeout_keep_alive_handler()


class Server(uvicorn.Server):
    """One that tells those who wait that it ends."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End within `MOMENT` and `LAST`, whether clients read or not; after a second SIGINT, within `LAST`."""
        await super().shutdown(sockets)
        for task in self.server_state.tasks:
            task.cancel()
        loop = asyncio.get_running_loop()
        end = loop.time() + LAST
        while self.server_state.connections and loop.time() < end:
            await asyncio.sleep(0.02)
        for connection in self.server_state.connections:
            connection.transport.abort()


def bound(host: str, port: int, key: str | None) -> socket.socket:
    """A socket at an address of this machine; clients may connect, and wait until somebody answers.

    Raises:
        UsageError: for a port in use, an address that this machine does not have, or one that others reach, without a
            key.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {host}: no address of this machine ({error})") from error
    if key is None and not ipaddress.ip_address(address[0]).is_loopback:
        raise UsageError(f"--host {host} lets other machines ask: set {KEY} to a key, or leave --host out")
    try:
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} of {host} is in use; --port takes another, 0 one that is free") from error
        raise UsageError(f"--host {host} --port {port}: {error.strerror}") from error


def serve(
    settings: Settings,
    listening: socket.socket,
    opened: Callable[[], AbstractContextManager[Writer]],
    ready: Callable[[], None],
    told: Callable[[str], None],
) -> None:
    """Answer until a signal comes, which is raised again when running answers have ended, or had their moment.

    Args:
        settings: the server's.
        listening: where clients connect.
        opened: loads the model in a process of its own.
        ready: called when it is loaded.
        told: hears of each crash, in one line.
    """
    with listening, scratch() as home, Desk(opened, told=told) as desk:
        ready()
        server(application(settings, desk, home)).run(sockets=[listening])


def server(app: object) -> Server:
    """An application's server, which says nothing by itself."""
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]  # uvicorn's own name for the same interface
        http=Connection,
        lifespan="off",
        ws="none",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=MOMENT,
    )
    return Server(config)
