"""The queue and the model's process: crashes, places, and clients that go away."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from tests.running.test_process import eventually, is_alive
from tests.serving.wire import HEAD, asking, received, wire

openai = pytest.importorskip("openai")


@pytest.fixture
def folder(tmp_path):
    """Where a model says how far it is; there is no blank in its name."""
    assert " " not in str(tmp_path)
    return tmp_path


def is_there(file):
    return eventually(file.exists)


def test_a_crash_is_its_requests_alone(serve):
    served = serve()
    for text, said in (("crash", "exit code 9"), ("memory", "MemoryError: no room for 9 GB")):
        with pytest.raises(openai.InternalServerError, match=said) as crashed:
            served.say(text)
        error = crashed.value
        assert (error.status_code, error.type, error.code) == (500, "server_error", "model_crashed")
        assert error.response.headers["x-should-retry"] == "false"
        assert served.say("well again").choices[0].message.content == "well again "


def test_a_model_that_died_meanwhile_is_nobodys_fault(serve):
    served = serve()
    for _ in range(2):
        served.model.kill()
        served.model.wait()
        assert served.say("Hi").choices[0].message.content == "Hi "
    assert len(served.told) == 2
    assert all("killed, most likely for want of memory" in line for line in served.told)


def test_a_model_that_cannot_be_loaded_again(serve, folder, monkeypatch):
    """Whoever asks is told so, and so is whoever asks how it is; it comes back when it can."""
    gone = folder / "gone"
    monkeypatch.setenv("FAILING", str(gone))
    served = serve("Failing")
    gone.touch()
    with pytest.raises(openai.InternalServerError):
        served.say("crash")
    with pytest.raises(openai.InternalServerError, match="its weights are gone") as missing:
        served.say("Hi")
    assert (missing.value.status_code, missing.value.code) == (503, "unavailable")
    status, _, health = served.ask("GET", "/health")
    assert (status, health["status"], health["reason"]) == (503, "unavailable", "its weights are gone")
    gone.unlink()
    assert served.say("Hi").choices[0].message.content == "Hi "
    assert served.ask("GET", "/health")[::2] == (200, {"status": "ok", "model": "toy", "waiting": 0})


@pytest.mark.parametrize(("act", "stream"), [("wait", True), ("wait", False), ("read", True)])
def test_a_client_that_goes_away_stops_the_model(serve, folder, act, stream):
    """While it writes, and while it reads and has nothing to say; the process is the same."""
    served = serve()
    connection = wire(served.port, f"{act} {folder}", stream=stream, max_tokens=9)
    is_there(folder / "begun")
    process = served.desk._writer
    connection.close()
    is_there(folder / "ended")
    assert served.say("next").choices[0].message.content == "next "
    assert served.desk._writer is process


def test_who_waits_and_goes_away_loses_the_place(serve, folder):
    served = serve()
    first = wire(served.port, f"hold {folder}")
    is_there(folder / "begun")
    second = wire(served.port, f"crash {folder}")
    eventually(lambda: served.desk.waiting == 1)
    assert served.ask("GET", "/health")[2]["waiting"] == 1
    second.close()
    eventually(lambda: served.desk.waiting == 0)
    (folder / "go").touch()
    with first:
        assert b'"content":"held"' in received(first)


def test_beyond_the_places_it_is_too_many(serve, folder):
    served = serve(places=2)
    holding = [wire(served.port, f"hold {folder}") for _ in range(2)]
    eventually(lambda: served.desk.waiting == 1)
    with pytest.raises(openai.RateLimitError) as refused:
        served.say("Hi")
    assert (refused.value.status_code, refused.value.code) == (429, "rate_limit_exceeded")
    assert refused.value.response.headers["retry-after"] == "1"
    (folder / "go").touch()
    for connection in holding:
        with connection:
            assert b'"content":"held"' in received(connection)
    eventually(
        lambda: served.ask("POST", "/v1/chat/completions", b"{}", {"Content-Type": "application/json"})[0] == 400
    )
    assert served.say("Hi").choices[0].message.content == "Hi "


def test_a_client_asks_again(serve, folder):
    """As OpenAI's does when it is told that it is too early."""
    served = serve(places=1)
    holding = wire(served.port, f"hold {folder}")
    is_there(folder / "begun")
    said = []
    patient = served.client.with_options(max_retries=9)
    asked = {"model": "toy", "messages": [{"role": "user", "content": "Hi"}]}
    thread = threading.Thread(target=lambda: said.append(patient.chat.completions.create(**asked)))
    thread.start()
    (folder / "go").touch()
    thread.join()
    holding.close()
    assert said[0].choices[0].message.content == "Hi "


def test_an_answer_that_takes_too_long(serve, folder):
    """It is stopped; in a stream, which has begun, that is its last event."""
    served = serve(seconds=1)
    with pytest.raises(openai.InternalServerError, match="took too long") as late:
        served.say(f"read {folder}")
    assert (late.value.status_code, late.value.code) == (504, "timeout")
    is_there(folder / "ended")
    with pytest.raises(openai.APIError, match="took too long"):
        list(served.say(f"wait {folder}", stream=True))


def test_a_client_that_does_not_read(serve, monkeypatch):
    """It holds its place for a while, and no longer."""
    monkeypatch.setattr("parity.serving.replies.SENDING", 0.1)
    served = serve(places=1, seconds=1)
    with wire(served.port, "flood", stream=True):
        patient = served.client.with_options(max_retries=20)
        asked = {"model": "toy", "messages": [{"role": "user", "content": "Hi"}]}
        assert patient.chat.completions.create(**asked).choices[0].message.content == "Hi "


def test_a_model_that_does_not_stop_is_ended(serve, folder):
    served = serve(grace=0.1)
    connection = wire(served.port, f"deaf {folder}")
    process = int(eventually(lambda: (folder / "begun").exists() and (folder / "begun").read_text()))
    connection.close()
    assert served.say("next").choices[0].message.content == "next "
    assert not is_alive(process)
    assert served.told == ["the model did not stop within 0.1 s and was ended; it is started again"]


def test_an_end_waits_for_nobody_who_does_not_read(toy, folder, monkeypatch):
    """There is no telling them: the answer before fills the connection. Leaving the context waits for the server."""
    from tests.serving.conftest import serving

    monkeypatch.setattr("parity.serving.server.LAST", 0.1)
    with serving("tests.serving.speaking:Speaking", toy) as served:
        connection = socket.create_connection(("127.0.0.1", served.port))
        connection.sendall(asking("clog").replace(b"Connection: close\r\n", b"") + asking(f"read {folder}"))
        is_there(folder / "begun")
        with wire(served.port, "waits") as waiting:
            eventually(lambda: served.desk.waiting == 1)
            served.runs.should_exit = served.runs.force_exit = True
            assert b"the server is ending" in received(waiting)
    connection.close()


def test_who_still_sends_a_body_is_told_of_the_end(toy):
    from tests.serving.conftest import serving

    with (
        serving("tests.serving.speaking:Speaking", toy) as served,
        socket.create_connection(("127.0.0.1", served.port)) as sending,
    ):
        sending.sendall(HEAD + b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n{")
        assert sending.recv(1 << 16).startswith(b"HTTP/1.1 100 ")  # it is being read
        served.runs.should_exit = served.runs.force_exit = True
        said = received(sending)
    assert said.startswith(b"HTTP/1.1 503 ")
    assert b"the server is ending" in said


def test_an_end_leaves_nothing(serve, toy, folder):
    """Of a server whose model hangs: neither a process nor a file."""
    from tests.serving.conftest import serving

    with serving("tests.serving.speaking:Speaking", toy) as served:
        connection = wire(served.port, f"deaf {folder}")
        process = int(eventually(lambda: (folder / "begun").exists() and (folder / "begun").read_text()))
    connection.close()
    assert not is_alive(process)
    assert not served.home.exists()
    assert not Path(f"/proc/{os.getpid()}/task").joinpath(str(served.desk._thread.native_id)).exists()
