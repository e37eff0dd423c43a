"""A job that streams is stopped: where its text is left, and from another thread."""

from __future__ import annotations

import json
import socket

import pytest

from parity.checkpoint import Checkpoint
from parity.errors import BackendUnavailable, ContextExceeded, UsageError
from parity.generation import Finish, Message, Sampling
from parity.media import Part
from parity.running.single import writer
from parity.running.worker import Lines
from tests.running.test_process import eventually


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """A backend that writes what it is told to."""
    checkpoint = Checkpoint(tmp_path_factory.mktemp("toy"), "toy", "weights")
    with writer(checkpoint=checkpoint, backend="tests.serving.speaking:Speaking", dtype="float32") as found:
        yield found


def said(write, text, **sampling):
    """The pieces, and how they ended."""
    pieces = []

    def all_of(generator):
        pieces.append((yield from generator))

    told = [*all_of(write([Message("user", (Part("text", text),))], Sampling(**sampling)))]
    return "".join(told), pieces[0]


def test_how_it_ended(write):
    assert said(write, "one two three") == ("one two three ", Finish(1, 3, "stop"))
    assert said(write, "one two three", max_tokens=2) == ("one two ", Finish(1, 2, "length"))
    assert said(write, "one two three", stop=("o t",)) == ("one tw", Finish(1, 3, "stop"))


def test_text_that_is_left_is_stopped(write, tmp_path):
    """The same process goes on with the next job, and nothing of the last one is in its answer."""
    for number in range(3):
        pieces = write([Message("user", (Part("text", f"wait {tmp_path}"),))], Sampling())
        assert [next(pieces) for _ in range(number + 1)] == ["on "] * (number + 1)
        pieces.close()
        eventually((tmp_path / "ended").exists)
        (tmp_path / "ended").unlink()
        assert said(write, "next") == ("next ", Finish(1, 1, "stop"))


def test_it_is_told_to_stop(write, tmp_path):
    """However early; it has then no count. To stop what has ended does nothing."""
    pieces = write([Message("user", (Part("text", f"read {tmp_path}"),))], Sampling())
    write.stop()
    with pytest.raises(StopIteration) as end:
        next(pieces)
    assert end.value.value is None
    write.stop()
    write.stop()
    assert said(write, "next") == ("next ", Finish(1, 1, "stop"))


def test_a_failure_has_its_name(write):
    with pytest.raises(ContextExceeded, match="the context is 8"):
        said(write, "exceed")
    with pytest.raises(UsageError, match="it cannot be") as refused:
        said(write, "refuse this")
    assert not isinstance(refused.value, ContextExceeded)


def test_who_cannot_write_is_refused_at_once(tmp_path):
    checkpoint = Checkpoint(tmp_path, "toy", "weights")
    with (
        pytest.raises(BackendUnavailable, match=r"backend tests\.toy:Port cannot generate text"),
        writer(checkpoint=checkpoint, backend="tests.toy:Port", dtype="float32"),
    ):
        pass


def test_lines_come_whole_and_are_seen_waiting():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        lines = Lines(theirs)
        heard = iter(lines)
        assert not lines.waiting()
        ours.sendall(b'{"a": 1}\n{"b"')
        assert lines.waiting()
        assert json.loads(next(heard)) == {"a": 1}
        assert lines.waiting()
        ours.sendall(b": 2}\n")
        assert json.loads(next(heard)) == {"b": 2}
        assert not lines.waiting()
        ours.close()
        assert lines.waiting()
        assert next(heard, None) is None
