"""Connections by hand, which may be cut."""

from __future__ import annotations

import json
import socket

HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
)


def wire(port, text, **fields):
    """A connection that has sent a request."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(asking(text, **fields))
    return connection


def asking(text, **fields):
    """A request's bytes."""
    body = json.dumps({"model": "toy", "messages": [{"role": "user", "content": text}], **fields}).encode()
    return HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def received(connection):
    """All that comes until the other end closes."""
    parts = []
    while part := connection.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)
