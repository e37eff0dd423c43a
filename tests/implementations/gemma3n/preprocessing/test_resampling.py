"""Loops in machine code: kept for other processes where there is a folder to write to, compiled without one too."""

import pytest

numba = pytest.importorskip("numba", reason="needs the [media] extra")

from implementations.gemma3n.preprocessing.resampling import compiled  # noqa: E402  # behind importorskip


def twice(number):
    return 2 * number


def test_what_can_be_kept_is_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert compiled(twice)(3) == 6
    assert list(tmp_path.rglob("*.nbi"))


def test_what_cannot_be_kept_is_compiled_all_the_same():
    """Numba finds no folder for a function without a file, as for one in a folder that cannot be written to."""
    found = {}
    exec("def twice(number):\n    return 2 * number", found)
    with pytest.raises(RuntimeError, match="cannot cache"):
        numba.njit(cache=True)(found["twice"])
    loop = compiled(found["twice"])
    assert loop(3) == 6
    assert loop.nopython_signatures
    assert loop.targetoptions["nogil"]
