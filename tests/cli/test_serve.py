"""The command serve: what it refuses to start, what it says, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from parity.cli import serving
from tests.running.test_process import eventually, is_alive
from tests.serving.wire import received, wire

pytest.importorskip("fastapi")

BACKEND = ("--backend", "tests.serving.speaking:Speaking")


@contextmanager
def started(*options, **environment):
    """The command, when it says that it answers; its port, and the process."""
    command = [sys.executable, "-m", "parity", "serve", *BACKEND, "--port", "0", "--name", "toy", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    ) as process:
        try:
            said = process.stdout.readline()
            assert re.fullmatch(r"(http://127\.0\.0\.1:\d+)/v1 answers as toy; a page to try it: \1/\n", said)
            yield int(re.search(r":(\d+)/", said).group(1)), process
        finally:
            process.kill()


def refuses(port):
    """Whether nobody listens any more."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize(
    ("number", "code", "line"), [(signal.SIGINT, 130, "parity: interrupted\n"), (signal.SIGTERM, 143, "")]
)
def test_it_ends_when_the_running_answer_has(tmp_path, number, code, line):
    """Nobody new is let in meanwhile; the model's process ends too."""
    with started() as (port, process):
        answer = wire(port, f"hold {tmp_path}")
        eventually((tmp_path / "begun").exists)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(number)
        eventually(lambda: refuses(port))
        (tmp_path / "go").touch()
        with answer:
            assert b'"content":"held"' in received(answer)
        out, err = process.communicate()
        assert (process.returncode, out, err) == (code, "", line)
        assert children
        assert not any(map(is_alive, children))


def test_an_answer_that_does_not_end_has_a_moment(tmp_path):
    """A second signal need not wait for it; each client is told, in a stream by its last event."""
    with started() as (port, process):
        stream = wire(port, f"wait {tmp_path}", stream=True)
        eventually((tmp_path / "begun").exists)
        waiting = [wire(port, "Hi", stream=stream) for stream in (False, True)]
        eventually(lambda: urlopen(f"http://127.0.0.1:{port}/health").read().endswith(b'"waiting":2}'))
        assert stream.recv(9) == b"HTTP/1.1 "
        process.send_signal(signal.SIGINT)
        eventually(lambda: refuses(port))
        process.send_signal(signal.SIGINT)
        told = [received(answer) for answer in (stream, *waiting)]
        for answer in (stream, *waiting):
            answer.close()
        _, err = process.communicate()
        assert process.returncode == 130
        ending = "the server is ending; ask again later"
        error = {"error": {"message": ending, "type": "server_error", "param": None, "code": "unavailable"}}
        assert b"data: " + json.dumps(error).encode() + b"\n\n\r\n" in told[0]
        assert told[0].endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        for whole in told[1:]:
            head, _, body = whole.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert json.loads(body) == error
        assert err == "parity: interrupted\n"


def test_a_crash_is_told_on_the_terminal():
    with started() as (port, process):
        with wire(port, "crash") as answer:
            assert b" 500 Internal Server Error" in received(answer)
        with wire(port, "again") as answer:
            assert b'"content":"again "' in received(answer)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
    assert re.fullmatch(r"parity: \S+ crashed .*: exit code 9; it is started again\n", err)


def test_an_address_of_ipv6_stands_in_brackets():
    assert serving._address("::1", 80) == "http://[::1]:80"
    assert serving._address("127.0.0.1", 80) == "http://127.0.0.1:80"


def test_a_port_in_use(parity):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, out, err = parity("serve", *BACKEND, "--port", port)
    assert (code, out) == (2, "")
    assert err == f"parity: port {port} of 127.0.0.1 is in use; --port takes another, 0 one that is free\n"


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_others_are_let_in_with_a_key_alone(parity, host):
    code, _, err = parity("serve", *BACKEND, "--port", "0", "--host", host)
    assert (code, err) == (
        2, f"parity: --host {host} lets other machines ask: set PARITY_API_KEY to a key, or leave --host out\n",
    )  # fmt: skip


@pytest.mark.parametrize("key", ["", " ", "a\n", "ĉ", "a "])
def test_a_key_that_no_header_holds(parity, key, monkeypatch):
    monkeypatch.setenv("PARITY_API_KEY", key)
    code, _, err = parity("serve", *BACKEND)
    assert (code, err) == (
        2, "parity: PARITY_API_KEY is empty, or no header can hold it; give printable ASCII without outer blanks\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        (("--files", "/nowhere"), 2, "parity: --files /nowhere: no such folder\n"),
        (("--host", "nowhere.invalid"), 2, "parity: --host nowhere.invalid: no address of this machine"),
        (("--backend", "nobody"), 2, "parity: unknown backend 'nobody'"),
        (("--backend", "tests.toy:Port"), 3, "parity: backend tests.toy:Port cannot generate text\n"),
        (("--port", "70000"), 2, "parity: Invalid value for '--port'"),
    ],
)
def test_what_cannot_be_started(parity, options, code, line):
    left, out, err = parity("serve", *BACKEND, "--port", "0", *options)
    assert (left, out) == (code, "")
    assert err.startswith(line)
    assert err.count("\n") == 1


def test_without_its_packages(parity, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "parity.serving.server", raising=False)
    code, _, err = parity("serve", *BACKEND)
    assert code == 3
    assert err.startswith("parity: the server needs fastapi and uvicorn: pip install 'gemma3n-parity[serve]'")
