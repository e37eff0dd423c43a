"""Values that a lazy backend has not computed yet: they are read in the order of their coming, before they are many."""

from __future__ import annotations

import numpy as np
import pytest

from parity.running import recorder
from parity.running.recorder import Recorder
from tests.toy import CONTRACT, ToyTensors

SIZE = 1000


class Later:
    """A value that is computed when it is read."""

    def __init__(self, number, log):
        self.number, self.log, self.nbytes, self.shape = number, log, SIZE, (1, 1)

    def read(self):
        """Now."""
        self.log.append(self.number)
        return np.full((1, 1), float(self.number))


class LazyTensors(ToyTensors):
    """Of such values."""

    lazy = True

    def to_numpy(self, value, step):
        """Computed."""
        return value.read()


class Collected:
    """Takes what is recorded."""

    def __init__(self):
        self.said = []

    def begin(self, phase):
        """Of one phase."""

    def add(self, step, occurrence, axes, array):
        """Name and number."""
        self.said.append((step, occurrence, int(array[0, 0])))

    def end(self):
        """Nothing is left."""


@pytest.mark.parametrize(("room", "waiting"), [(0, 0), (SIZE, 1), (4 * SIZE, 4), (2**28, 9)])
def test_so_many_wait(room, waiting, monkeypatch):
    """No more than there is room for; all are recorded, in order, each occurrence with its number."""
    monkeypatch.setattr(recorder, "WAITING", room)
    log, sink = [], Collected()
    listener = Recorder(contract=CONTRACT, tensors=LazyTensors(), sink=sink)
    listener.begin("prefill")
    most = 0
    for number in range(9):
        listener.tap("logits", Later(number, log))
        most = max(most, number + 1 - len(log))
    assert most == waiting
    listener.end()
    assert log == [*range(9)]
    assert sink.said == [("logits", number, number) for number in range(9)]


class Broken(Later):
    """A value that cannot be computed."""

    def read(self):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("room", "said", "told"),
    [
        (2**28, [Later(0, []), Later(1, [])], []),
        (0, [Later(0, []), Broken(1, [])], ["layers.0.out", "norm"]),
        (2**28, [], []),
    ],
    ids=["of its own", "of what is read", "before its first step"],
)
def test_an_error_is_placed(room, said, told, monkeypatch):
    """A pass that fails by itself did so behind what it said last, which nobody has read yet."""
    monkeypatch.setattr(recorder, "WAITING", room)
    heard = []
    listener = Recorder(contract=CONTRACT, tensors=LazyTensors(), sink=Collected(), notify=heard.append)
    listener.begin("prefill")
    names = ["layers.0.out", "norm"][: len(said)]

    def run():
        with listener.running():
            for name, value in zip(names, said, strict=True):
                listener.tap(name, value)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run()
    assert heard == (told or names[-1:])
