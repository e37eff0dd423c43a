"""Backends that do in their worker what no backend should."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path

from parity.tap import SILENT
from tests.toy import Port


class Misbehaving(Port):
    """Does it in its forward pass."""

    def forward(self, token_ids, *, prompts=(), tap=SILENT):
        """Behind the first step."""
        tap("ids", token_ids)
        self.misbehave()
        return super().forward(token_ids, prompts=prompts, tap=lambda name, value: value)


class Reading(Misbehaving):
    """Reads what is not there, and goes on."""

    def misbehave(self):
        """Standard input ends at once."""
        assert sys.stdin.read() == ""
        raise RuntimeError("there was nothing to read")


class Sleeping(Misbehaving):
    """Waits for ever; tells a file who it is, before the first step, behind which it may be ended."""

    def start(self, *, padding, cache):
        """Tell it."""
        note(os.getpid())

    def misbehave(self):
        """As a deadlock does."""
        time.sleep(600)


class Forking(Misbehaving):
    """Leaves a child behind that holds all that it has open; `fork` is Python's."""

    fork = staticmethod(os.fork)

    def misbehave(self):
        """And ends itself at once."""
        child = self.fork()
        if child == 0:
            time.sleep(600)
            os._exit(0)
        note(child)
        os._exit(9)


class ForkingInC(Forking):
    """The same behind Python's back, so that nothing is closed in the child."""

    fork = staticmethod(lambda: ctypes.CDLL(None).fork())


class Asking(Misbehaving):
    """Asks for an environment, and says what it got."""

    @classmethod
    def environment(cls):
        """Two variables."""
        return {"ASKED": "for", "GIVEN": "by the backend"}

    def misbehave(self):
        """What the process was started with, whatever it has set since."""
        variables = Path("/proc/self/environ").read_text().split("\0")
        raise RuntimeError(sorted(variable for variable in variables if variable.startswith(("ASKED", "GIVEN"))))


def note(pid):
    """Where the test looks for it."""
    Path(os.environ["NOTED"]).write_text(str(pid))
