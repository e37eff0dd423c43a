"""A server from its socket to its end."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager

import uvicorn

from parity.errors import UsageError
from parity.running.single import Writer
from parity.scratch import scratch
from parity.serving.desk import Desk
from parity.serving.routes import application
from parity.serving.settings import KEY, Settings

MOMENT = 10
"""Seconds that running answers have when the server is told to end."""


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


def server(app: object) -> uvicorn.Server:
    """An application's server, which says nothing by itself."""
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]  # uvicorn's own name for the same interface
        lifespan="off",
        ws="none",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=MOMENT,
    )
    return uvicorn.Server(config)
