"""Who may ask, and how much: keys, names, other sites' pages, and bodies of every kind."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from functools import partial

import pytest

from tests.running.test_process import eventually
from tests.serving.wire import HEAD, received, wire

openai = pytest.importorskip("openai")

ASK = {"model": "toy", "messages": [{"role": "user", "content": "Hi"}]}


def code(answer):
    """Of an error's status and body."""
    return answer[0], answer[-1]["error"]["code"]


def test_a_key(serve):
    served = serve(key="correct horse")
    for wrong in ("none", "correct hors", "correct horse!"):
        with pytest.raises(openai.AuthenticationError, match="a key is needed"):
            served.client.with_options(api_key=wrong).models.list()
    assert code(served.ask("GET", "/v1/models", headers={"Authorization": "Bearer \xe9"}))[0] == 401
    assert code(served.ask("GET", "/v1/models")) == (401, "invalid_api_key")
    assert code(served.ask("GET", "/v1/models", headers={"Authorization": "Basic correct horse"}))[0] == 401
    assert code(served.ask("POST", "/v1/chat/completions", b"no JSON"))[0] == 401
    assert served.client.with_options(api_key="correct horse").models.list().data[0].id == "toy"
    assert [served.ask("GET", path)[0] for path in ("/", "/health")] == [200, 200]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "localhost.evil"])
def test_another_name_is_not_ours(served, host):
    """A site may have its name lead to this machine, and its pages would read what we answer."""
    assert code(served.ask("GET", "/v1/models", headers={"Host": host})) == (421, "unknown_host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:80", "10.1.2.3"])
def test_names_that_are(served, host):
    assert served.ask("GET", "/v1/models", headers={"Host": host})[0] == 200


def test_a_name_that_is_allowed(serve):
    served = serve(names=("model.example",))
    assert served.ask("GET", "/v1/models", headers={"Host": "model.example:80"})[0] == 200


def test_pages_of_other_sites(served, serve):
    """They may send what they cannot read the answer of; ours may, and those that are allowed."""
    json_ = {"Content-Type": "application/json"}
    body = json.dumps(ASK).encode()
    for origin in ("https://evil.example", "null", "http://localhost:1", "http://[bad", "http://[::1]x", ""):
        refused = code(served.ask("POST", "/v1/chat/completions", body, {**json_, "Origin": origin}))
        assert refused == (403, "unknown_origin")
    assert served.ask("POST", "/v1/chat/completions", body, {**json_, "Origin": served.url})[0] == 200
    plain = {"Content-Type": "text/plain", "Origin": served.url}
    assert code(served.ask("POST", "/v1/chat/completions", body, plain)) == (415, "unsupported_media_type")
    assert "Access-Control-Allow-Origin" not in served.ask("GET", "/v1/models")[1]
    friendly = serve(origins=("https://friend.example",))
    given = {"Origin": "https://friend.example"}
    assert friendly.ask("GET", "/v1/models", headers=given)[1]["Access-Control-Allow-Origin"] == given["Origin"]
    asked = {**given, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    assert friendly.ask("OPTIONS", "/v1/chat/completions", headers=asked)[0] == 200
    assert friendly.ask("GET", "/v1/models", headers={"Origin": "https://evil.example"})[0] == 403


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"[]", 400, "invalid_json"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b"[" * 15_000, 400, "invalid_json"),
        (b'{"a": ' + b"9" * 5000 + b"}", 400, "invalid_json"),
        (b'{"temperature": NaN}', 400, "invalid_json"),
        (b'{"model": "toy", "model": "other"}', 400, "invalid_json"),
        (json.dumps(ASK).encode("utf-16"), 400, "invalid_json"),
        (json.dumps(ASK).encode("utf-16-le"), 400, "invalid_json"),
        (b"{}", 400, "invalid_value"),
        (b" " * 20_001, 413, "too_large"),
    ],
    ids=range(12),
)
def test_bodies_that_are_none(tiny, body, status, error):
    assert code(tiny.ask("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})) == (status, error)


@pytest.fixture(scope="module")
def tiny(toy):
    """A server that takes little."""
    from tests.serving.conftest import serving

    with serving("tests.serving.speaking:Speaking", toy, most_bytes=20_000) as started:
        yield started


def raw(port, *sent, cut=False):
    """What comes back for bytes that no client would send."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for part in sent:
            connection.sendall(part)
        if cut:
            connection.shutdown(socket.SHUT_WR)
        return received(connection)


def test_a_body_in_chunks_is_counted(tiny):
    """It tells no length beforehand, and need never end."""
    chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
    said = raw(tiny.port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 5)
    assert said.startswith(b"HTTP/1.1 413 ")
    assert b'"code": "too_large"' in said


def test_a_body_that_is_cut(tiny):
    """The place is free again."""
    raw(tiny.port, HEAD + b"Content-Length: 100\r\n\r\n{", cut=True)
    for _ in range(20):
        assert tiny.say("Hi").choices[0].message.content == "Hi "


def test_a_body_that_does_not_come(tiny, monkeypatch):
    monkeypatch.setattr("parity.serving.gate.BODY_SECONDS", 0.01)
    assert raw(tiny.port, HEAD + b"Content-Length: 100\r\n\r\n{").startswith(b"HTTP/1.1 408 ")


HEALTH, END = b"GET /health HTTP/1.1\r\nHost: localhost\r\n", b"\r\n"


@pytest.fixture
def deadlines(monkeypatch):
    """What ends each wait for a head, in the order in which they began; called in place of a clock."""
    found = []

    def await_head(connection):
        found.append(partial(connection.loop.call_soon_threadsafe, connection._end_after, connection.cycle))

    monkeypatch.setattr("parity.serving.server.Connection._await_head", await_head)
    return found


def ended(connection, *sent):
    """Without an answer; who has sent what is not read is told so by a reset."""
    with suppress(ConnectionResetError, BrokenPipeError):
        for part in sent:
            connection.sendall(part)
        assert received(connection) == b""


def test_a_head_that_does_not_come(tiny, monkeypatch):
    monkeypatch.setattr("parity.serving.server.HEAD_SECONDS", 0.01)
    for sent in ([HEALTH], []):
        with socket.create_connection(("127.0.0.1", tiny.port), timeout=60) as connection:
            ended(connection, *sent)


def test_the_next_head_does_not_come(tiny, deadlines):
    """The deadlines of those that came end nothing."""
    with socket.create_connection(("127.0.0.1", tiny.port), timeout=60) as connection:
        for number in range(2):
            connection.sendall(HEALTH + END)
            said = b""
            while not said.endswith(b'"waiting":0}'):
                said += (part := connection.recv(1 << 16))
                assert part
            deadlines[number]()
        eventually(lambda: len(deadlines) == 3)
        deadlines[2]()
        ended(connection, HEALTH)


def test_an_answer_may_take_longer_than_its_head(tiny, deadlines, tmp_path):
    with wire(tiny.port, f"hold {tmp_path}") as asked:
        eventually((tmp_path / "begun").exists)
        deadlines[0]()
        with socket.create_connection(("127.0.0.1", tiny.port), timeout=60) as silent:
            eventually(lambda: len(deadlines) == 2)
            deadlines[1]()
            ended(silent)  # one that was made later is ended meanwhile
        (tmp_path / "go").touch()
        assert b'"content":"held"' in received(asked)


def test_a_length_that_is_none(tiny):
    assert raw(tiny.port, HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n").startswith(b"HTTP/1.1 4")
    assert raw(tiny.port, b"\x16\x03\x01 no HTTP\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert tiny.say("Hi").choices[0].message.content == "Hi "


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("POST", "/v1/completions", 404), ("GET", "/v1/chat/completions", 405),
     ("GET", "/docs", 404), ("GET", "/openapi.json", 404), ("GET", "/../../etc/passwd", 404), ("GET", "/%00", 404),
     ("POST", "/v1/chat/completions/", 404), ("GET", "/health/", 404)],
)  # fmt: skip
def test_what_there_is_not(served, method, path, status):
    headers = {"Content-Type": "application/json"}
    assert code(served.ask(method, path, b"{}" if method == "POST" else None, headers)) == (status, "not_found")


def test_what_there_is_not_at_a_host_that_makes_no_url(served):
    assert code(served.ask("GET", "/v1/nothing", headers={"Host": "[::1"})) == (404, "not_found")


def test_an_upgrade_is_none(served):
    """There are no web sockets; the request is what it is without them."""
    socket_ = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "a"}
    assert served.ask("GET", "/v1/models", headers=socket_)[0] == 200
    assert code(served.ask("GET", "/v1/nothing", headers=socket_))[0] == 404


def test_a_fault_of_our_own_is_an_answer(served, monkeypatch, capfd):
    """No traceback: the client is told where the server's owner finds it."""

    def fails(*given):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("parity.serving.routes.Form", fails)
    status, error = served.post(ASK)
    assert (status, error["type"], error["message"]) == (
        500, "server_error", "internal error; PARITY_DEBUG=1 shows where",
    )  # fmt: skip
    monkeypatch.undo()
    monkeypatch.setattr("parity.running.single.Writer.__call__", fails)
    assert served.post(ASK) == (status, error)
    monkeypatch.setattr("parity.serving.routes.Form", fails)
    assert "secret" not in "".join(capfd.readouterr())
    monkeypatch.setenv("PARITY_DEBUG", "1")
    assert served.post(ASK)[0] == 500
    eventually(lambda: "ZeroDivisionError: secret" in capfd.readouterr().err)
