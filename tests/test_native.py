"""What libraries in C keep: memory that was freed goes back to the system."""

import re
from pathlib import Path

from parity import native


def test_freed_memory_is_given_back():
    """Small blocks below one that is in use stay with the C library until it is asked for them."""
    if native._trim() is None:  # another C library, which has nothing to be asked
        native.give_back()
        return
    blocks = [bytearray(100_000) for _ in range(2000)]
    last = blocks[-1]
    blocks.clear()
    before = _held()
    native.give_back()
    assert before - _held() > 150_000
    assert len(last) == 100_000


def _held():
    """Kilobytes of this process."""
    found = re.search(r"^RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1])


def test_a_c_library_that_cannot(monkeypatch):
    """Nothing happens there."""
    monkeypatch.setattr(native.ctypes, "CDLL", lambda name: object())
    native._trim.cache_clear()
    assert native._trim() is None
    native.give_back()
    native._trim.cache_clear()
