"""Tensors that are emitted in parts, and what a missing or doubled part looks like."""

from dataclasses import dataclass

import numpy as np
import pytest

from parity.backend import Tensors
from parity.discovery import Choice, find
from parity.errors import UsageError
from parity.running.pieces import Pieces
from parity.running.recorder import Recorder
from parity.traces.trace import Key
from tests.toy import CONTRACT, HIDDEN, Toy, write

WHOLE = np.arange(12.0).reshape(3, 4)


def parts(*ranges):
    return [(slice(None), slice(start, stop)) for start, stop in ranges]


def test_parts_make_the_whole():
    pieces = Pieces()
    for place in parts((0, 3), (3, 4)):
        pieces.add("x", WHOLE[place], WHOLE.shape, place)
    ((name, found),) = pieces.assembled()
    assert name == "x"
    assert np.array_equal(found, WHOLE)
    assert not list(pieces.assembled())


@pytest.mark.parametrize(("dtype", "blank"), [("float32", np.nan), ("int64", np.iinfo("int64").min), ("bool", False)])
def test_a_missing_part_is_no_value(dtype, blank):
    pieces = Pieces()
    place = (slice(None), slice(0, 3))
    pieces.add("x", np.ones((3, 3), dtype), (3, 4), place)
    ((_, found),) = pieces.assembled()
    assert np.array_equal(found[:, 3].astype(float), np.full(3, blank, float), equal_nan=True)


def test_a_part_of_another_shape_shows():
    pieces = Pieces()
    pieces.add("x", np.ones((3, 2)), (3, 4), (slice(None), slice(0, 3)))
    assert next(pieces.assembled())[1].shape == (3, 2)


def test_a_part_that_comes_twice_shows_and_what_has_no_parts_does_not():
    pieces = Pieces()
    left, right = parts((0, 2), (2, 4))
    assert [pieces.again("x", (3, 4), place) for place in (left, right, left)] == [0, 0, 1]
    assert [pieces.again("y", (3, 4), (slice(None), slice(0, 4))) for _ in range(3)] == [0, 0, 0]


def test_options_of_a_backend():
    assert Choice.parse("mlx") == Choice("mlx")
    assert Choice.parse("ane@alpha=0.125:context=256") == Choice("ane", (("alpha", "0.125"), ("context", "256")))
    assert Choice.parse("my.port:Backend@a=b").name == "my.port:Backend"


@pytest.mark.parametrize("spec", ["mlx@fast", "mlx@=1", "mlx@a=", "mlx@a=1:a=2", "mlx@unknown=1"])
def test_wrong_options_are_refused(spec):
    with pytest.raises(UsageError, match="option"):
        find(spec)


@dataclass(frozen=True)
class Half:
    """A value of a framework of its own."""

    array: np.ndarray


class Halves(Tensors):
    """Of a chunk of so many tokens: its first two, or the rest."""

    def __init__(self, tokens):
        self.tokens = tokens

    def to_numpy(self, value, step):
        """As it is."""
        return value.array

    def fits(self, value, shape, step):
        """By the array."""
        return value.array.shape == shape

    def from_numpy(self, array, like, step):
        """Of a copy."""
        return Half(array)

    def whole(self, step, shape):
        """As many tokens as the chunk has."""
        return (shape[0], self.tokens, *shape[2:])

    def place(self, step, shape):
        """All of the other axes."""
        raise NotImplementedError


class Collected:
    """Takes what is recorded."""

    def begin(self, phase):
        """Of one phase."""

    def add(self, step, occurrence, axes, array):
        """The last one."""
        self.array = array

    def end(self):
        """Nothing is left."""


@pytest.mark.parametrize("tokens", [3, 4, 5])
def test_parts_of_a_chunk_of_another_length(tmp_path, tokens, monkeypatch):
    """They are put together as long as they are; the oracle's values take their places where there are as many."""
    oracle, sink = write(tmp_path, "oracle", Toy()), Collected()
    true, own = oracle.tensor(Key("prefill", "embed")), np.ones((1, tokens, HIDDEN))
    parts, tensors = (slice(0, 2), slice(2, tokens)), Halves(tokens)
    listener = Recorder(contract=CONTRACT, tensors=tensors, sink=sink, oracle=oracle, lockstep=True)
    listener.begin("prefill")
    answers = []
    for part in parts:
        monkeypatch.setattr(tensors, "place", lambda step, shape, part=part: (slice(None), part, slice(None)))
        answers.append(listener.tap("embed", Half(own[:, part])).array)
    listener.end()
    assert np.array_equal(sink.array, own)
    assert np.array_equal(np.concatenate(answers, 1), true if tokens == true.shape[1] else own)
