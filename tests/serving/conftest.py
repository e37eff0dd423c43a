"""What the tests of the server stand on: a server in a thread of this process, its model in a process of its own."""

from __future__ import annotations

import http.client
import json
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

import pytest

pytest.importorskip("fastapi")

from parity.checkpoint import Checkpoint
from parity.running.single import writer
from parity.scratch import scratch
from parity.serving.desk import GRACE, Desk
from parity.serving.routes import application
from parity.serving.server import bound, server
from parity.serving.settings import Settings

SETTINGS = Settings("toy", "toy-float32-weights", seconds=120)


class Served:
    """A running server."""

    def __init__(self, port, desk, home, told, runs):
        self.port, self.desk, self.home, self.told, self.runs = port, desk, home, told, runs
        self.url = f"http://127.0.0.1:{port}"
        openai = pytest.importorskip("openai")
        self.client = openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    @property
    def model(self):
        """The process that the model is in."""
        return self.desk._writer._party._process._child

    def say(self, text, **fields):
        """Ask for an answer to one message."""
        given = {"model": "toy", "messages": [{"role": "user", "content": text}], **fields}
        return self.client.chat.completions.create(**given)

    def ask(self, method, path, body=None, headers=None):
        """Ask without a client's help: the status, the headers and the body, as JSON if it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            text = reply.read()
            return reply.status, reply.headers, json.loads(text) if "json" in reply.headers["Content-Type"] else text
        finally:
            connection.close()

    def post(self, body, **headers):
        """Send a body, whatever it is: the status, and the error or answer."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, _, said = self.ask(
            "POST", "/v1/chat/completions", sent, {"Content-Type": "application/json", **headers}
        )
        return status, said.get("error", said)


@contextmanager
def serving(backend, checkpoint, grace=GRACE, **changed):
    """A server of a backend, with some settings changed."""
    settings = replace(SETTINGS, **changed)
    opened = partial(writer, checkpoint=checkpoint, backend=backend, dtype="float32")
    told = []
    with ExitStack() as stack:
        listening = stack.enter_context(bound("127.0.0.1", 0, settings.key))
        home = stack.enter_context(scratch())
        desk = stack.enter_context(Desk(opened, told=told.append, grace=grace))
        runs = server(application(settings, desk, home))
        thread = threading.Thread(target=runs.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            served = Served(listening.getsockname()[1], desk, home, told, runs)
            with served.client:
                yield served
        finally:
            runs.should_exit = runs.force_exit = True
            thread.join()


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """What stands for a checkpoint where none is read."""
    return Checkpoint(tmp_path_factory.mktemp("toy"), "toy", "weights")


@pytest.fixture
def serve(toy):
    """Starts a server that the test is alone with."""
    with ExitStack() as stack:

        def start(backend="Speaking", **changed):
            return stack.enter_context(serving(f"tests.serving.speaking:{backend}", toy, **changed))

        yield start


@pytest.fixture(scope="module")
def served(toy):
    """One server for a file's tests, which leave it as it was."""
    with serving("tests.serving.speaking:Speaking", toy) as started:
        yield started
