"""What a reader may take of the machine, whatever a file says."""

from __future__ import annotations

import faulthandler
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bad_input.table import PATIENCE

MEMORY = 4 << 30
"""Bytes that a reader may ask for: the largest picture that is decoded has half a gigabyte, in some three copies."""


@contextmanager
def frugal() -> Iterator[None]:
    """Whoever asks for more memory is refused, on Linux; and whoever waits too long ends the tests."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    faulthandler.dump_traceback_later(PATIENCE, exit=True)  # a library's loop hears no signal
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        faulthandler.cancel_dump_traceback_later()
