"""Tensors that wait on the disk for their file."""

from __future__ import annotations

import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from parity.errors import UsageError
from parity.safetensors_header import read_header
from parity.traces import spool
from parity.traces.spool import Spool
from tests.toy import Toy
from tests.traces.test_trace import write

DTYPES = ("float64", "float32", "float16", "int64", "int32", "uint8", "bool", ml_dtypes.bfloat16)


def drawn():
    """Tensors of every dtype, some without axes or elements, and one of the other byte order."""
    rng = np.random.default_rng(1)
    pairs = zip([(3, 5), (), (0, 4), (7,), (2, 1, 9), (1,), (11,), (4, 4)], DTYPES, strict=True)
    found = {f"t{at}": rng.normal(size=shape).astype(dtype) for at, (shape, dtype) in enumerate(pairs)}
    return {**found, "big": rng.normal(size=(3, 2)).astype(">f4")}


@pytest.mark.parametrize("buffer", [0, 40, 200, spool.BUFFER])
def test_what_was_added_is_in_the_file(buffer, tmp_path, monkeypatch):
    """Whatever waited on the disk; twice, for a spool is used phase after phase."""
    monkeypatch.setattr(spool, "BUFFER", buffer)
    tensors, file = Spool(tmp_path), tmp_path / "found.safetensors"
    for _ in range(2):
        assert not tensors
        for name, array in drawn().items():
            tensors.add(name, array)
        assert tensors
        tensors.write(file)
        found = load_file(file)
        assert found.keys() == drawn().keys()
        for name, array in drawn().items():
            assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype.newbyteorder("="))
            assert np.array_equal(found[name], array)
    assert [*tmp_path.iterdir()] == [file]


def test_each_lies_at_a_multiple_of_its_size(tmp_path, monkeypatch):
    """A reader may map it as it is."""
    monkeypatch.setattr(spool, "BUFFER", 0)
    tensors, file = Spool(tmp_path), tmp_path / "found.safetensors"
    for name, array in drawn().items():
        tensors.add(name, array)
    tensors.write(file)
    for name, entry in read_header(file).items():
        assert entry["data_offsets"][0] % drawn()[name].itemsize == 0


def test_a_trace_is_the_same_however_it_came(tmp_path, monkeypatch):
    """Each tensor that a spooled trace holds has the digest of its record."""
    whole = write(tmp_path, "whole", Toy())
    monkeypatch.setattr(spool, "BUFFER", 0)
    spooled = write(tmp_path, "spooled", Toy())
    assert [*whole.records] == [*spooled.records]
    for key in whole.records:
        assert np.array_equal(whole.tensor(key), spooled.tensor(key))


def test_memory_holds_a_buffer(tmp_path, monkeypatch):
    """Of 64 MB in 64 tensors, 4 MB and the tensor that comes."""
    monkeypatch.setattr(spool, "BUFFER", 4 * 2**20)
    tensors = Spool(tmp_path)
    tracemalloc.start()
    for number in range(64):
        tensors.add(f"{number}", np.full(2**17, number, np.float64))
    tensors.write(tmp_path / "found.safetensors")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 2**20
    found = load_file(tmp_path / "found.safetensors")
    assert all(np.array_equal(found[f"{number}"], np.full(2**17, number)) for number in range(64))


def test_a_disk_that_fills_up_while_tensors_come(tmp_path, monkeypatch):
    """One line, and no half-written trace."""

    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool, "BUFFER", 0)
    monkeypatch.setattr(spool.tempfile, "TemporaryFile", full)
    with pytest.raises(UsageError, match=r"cannot write a trace to .*: No space left on device"):
        write(tmp_path, "t", Toy())
    assert not list(tmp_path.iterdir())
