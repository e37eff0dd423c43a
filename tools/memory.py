"""How much memory a command takes at most, over all its processes.

python -m tools.memory parity compare --prompt "Hello"

What counts is what the machine cannot drop: anonymous memory, shared memory and pages of files that were written to,
each page once however many processes have it. Pages of mapped files as they are on disk do not count. The command's
exit code is passed on; an interrupt is passed on to it, and its peak is said all the same.
"""

from __future__ import annotations

import argparse
import itertools
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
EVERY: Final = 0.1
"""Seconds between two looks: a party's largest tensors live longer."""
SHARE: Final = 0.05
"""Of a core's time that exact looks may take where nothing grows: the system walks all pages for one, which takes 0.2
seconds of parties that have 10 GB. While its own counters grow, each glance at them is followed by a look."""
SEARCH: Final = 5
"""Glances from one search for children to the next: it reads of every process of the machine, which takes 10 ms."""
Process = tuple[int, str]
"""Its id and when it began, for ids come again."""


@dataclass(frozen=True)
class Peak:
    """The most that was seen at one moment.

    Attributes:
        held: bytes.
        processes: how many there were.
        after: seconds from the start.
    """

    held: int = 0
    processes: int = 0
    after: float = 0.0


def measured(command: Sequence[str], every: float = EVERY) -> tuple[int, Peak]:
    """Run a command to its end; returns its exit code, 128 + a signal's number as shells have it, and its peak."""
    # In a group of its own, an interrupt at the terminal reaches it once: from here.
    with subprocess.Popen(command, process_group=0) as root, _passing_on(root):
        known = {process for process, _ in _processes() if process[0] == root.pid}
        seen, glances = _Seen(), itertools.count()
        while root.poll() is None:
            known = known if next(glances) % SEARCH else _family(known)
            seen.look(known)
            time.sleep(every)
    return root.returncode if root.returncode >= 0 else 128 - root.returncode, seen.peak


class _Seen:
    """The most that was seen of some processes so far."""

    def __init__(self) -> None:
        self.peak, self._begin = Peak(), time.monotonic()
        self._most, self._due = 0, 0.0

    def look(self, processes: set[Process]) -> None:
        """See what they hold, where it may be more than before."""
        glance = sum(map(_counted, processes))
        if glance <= self._most and time.monotonic() < self._due:
            return
        self._most, began = max(self._most, glance), time.thread_time()
        sizes = [size for size in map(held, processes) if size]
        now = time.monotonic()
        self.peak = max(self.peak, Peak(sum(sizes), len(sizes), now - self._begin), key=lambda one: one.held)
        self._due = now + (time.thread_time() - began) / SHARE


@contextmanager
def _passing_on(root: subprocess.Popen[bytes]) -> Iterator[None]:
    """Inside it, what asks this process to end asks the measured one, which has an end of its own to come to."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: root.send_signal(number)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _family(known: set[Process]) -> set[Process]:
    """The processes that are left, and their children; those whose parent is gone stay of the family."""
    all_of_them = dict(_processes())
    found = known & all_of_them.keys()
    ids = {pid for pid, _ in found}
    while more := {process for process, parent in all_of_them.items() if parent in ids} - found:
        found |= more
        ids |= {pid for pid, _ in more}
    return found


def _processes() -> Iterator[tuple[Process, int]]:
    """Every process of the machine, and its parent's id."""
    for folder in PROC.glob("[0-9]*"):
        with suppress(OSError):  # it ended
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            yield (int(folder.name), fields[19]), int(fields[1])


def held(process: Process) -> int:
    """Bytes that a process holds and the machine cannot drop; of shared pages its part."""
    try:
        text = (PROC / str(process[0]) / "smaps_rollup").read_text()
    except OSError:
        return 0
    kilobytes = {name: int(value) for name, value in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
    owned = kilobytes.get("Pss_Anon", 0) + kilobytes.get("Pss_Shmem", 0)
    return 1024 * (max(owned, kilobytes.get("Pss_Dirty", 0)) + kilobytes.get("SwapPss", 0))


def _counted(process: Process) -> int:
    """Kilobytes that the system counts as a process's, known at once; what it shares with a child is each one's."""
    try:
        text = (PROC / str(process[0]) / "status").read_text()
    except OSError:
        return 0
    return sum(map(int, re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+) kB", text, re.MULTILINE)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the measured command's exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.memory", description=__doc__.partition("\n")[0])
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what is run, with its arguments")
    command = parser.parse_args(arguments).command
    if not command:
        parser.error("no command is given")
    if not (PROC / "self" / "smaps_rollup").exists():
        parser.error("this system has no /proc/PID/smaps_rollup; measure on Linux")
    try:
        code, peak = measured(command)
    except OSError as error:
        parser.error(f"{command[0]} cannot be run: {error.strerror}")
    print(f"peak {peak.held / 1e9:.2f} GB in {peak.processes} processes after {peak.after:.0f} s", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
