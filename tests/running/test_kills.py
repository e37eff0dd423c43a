"""Kills at drawn moments: no half trace has a final name, no process and no folder stays, goldens are whole."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import connection
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from parity.golden.format import read_golden
from parity.golden.updating import update
from parity.running.progress import Silent
from parity.scratch import PREFIX
from parity.traces.trace import Trace
from tests.killed import SET, SIGNALS, golden_set, run
from tests.marks import every_change
from tests.running.test_process import eventually

KILLS, AT_ONCE = (100, 300), 4
ALONE = 25
"""Of so many one is a process of its own, with Python's start and all imports: some seconds, for a tenth of one."""
TOY = ["--reference", "tests.toy:Toy", "--scenario", "toy"]
COMMANDS = {
    "compare": ["compare", "--candidates", "tests.toy:Port", *TOY, "--keep", "kept"],
    "trace": ["trace", "--backend", "tests.toy:Port", *TOY, "--output", "kept/one/trace"],
    "update": ["golden", "update", "--set", SET, "--allow-ci"],
}
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["tests.running.warm"])
ONE_READS = threading.Lock()
"""To start a process looks how all others ended. Where two threads read one's exit code, the second finds none: 255."""


class Command:
    """One that runs, forked or alone, in a session of its own."""

    def __init__(self, name: str, folder: Path, *, alone: bool = False) -> None:
        command, temporary = COMMANDS[name], folder.parent / "tmp"
        self._ended: Callable[[float], int | None] = self._waited
        if alone:
            self._process: subprocess.Popen[bytes] | multiprocessing.process.BaseProcess = subprocess.Popen(
                [sys.executable, "-m", "parity", *command],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": os.getcwd(), "TMPDIR": str(temporary)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        else:
            self._process = FORKED.Process(target=run, args=(command, folder, temporary))
            with ONE_READS:
                self._process.start()
            self._ended = self._joined
        self.pid = self._process.pid

    def wait(self, seconds: float = 120) -> int | None:
        """Its exit code; None where it lives on."""
        return self._ended(seconds)

    def living(self) -> list[int]:
        """Its processes and those of its session, itself first."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(session) == self.pid and state != "Z":
                    found.append(int(folder.name))
        return sorted(found, key=lambda pid: pid != self.pid)

    def _waited(self, seconds: float) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def _joined(self, seconds: float) -> int | None:
        if not connection.wait([self._process.sentinel], seconds):
            return None
        with ONE_READS:
            return self._process.exitcode


class Case:
    """One command in a folder of its own, killed after a while."""

    def __init__(self, folder: Path, number: int, lasts: dict[str, float]) -> None:
        draw = random.Random(number)
        self.folder, self.alone = folder / str(number), number % ALONE == 0
        self.command, self.number = draw.choice([*COMMANDS]), draw.choice(SIGNALS)
        self.whom = draw.choice(["harness", "worker", "all"])
        self.after = draw.uniform(0, 3 if self.alone else lasts[self.command])
        shutil.copytree(folder / "whole", self.folder)

    def run(self) -> tuple[bool, str]:
        """Whether the kill ended the command, and what was left that should not be, if anything."""
        command = Command(self.command, self.folder, alone=self.alone)
        command.wait(self.after)
        for victim in self._victims(command):
            with suppress(ProcessLookupError):
                os.kill(victim, self.number)
        code = command.wait()
        again = Command(self.command, self.folder).wait() if self.command == "update" else 0
        eventually(lambda: not command.living())
        wrong = self._half()
        shutil.rmtree(self.folder)
        return code != 0, f"{self.__dict__} left {code}, {again}: {wrong}" if wrong or again or code is None else ""

    def _victims(self, command: Command) -> list[int]:
        living = command.living()
        return {"harness": living[:1], "worker": living[1:2], "all": living}[self.whom]

    def _half(self) -> list[str]:
        """Traces of a final name that cannot be read, and goldens."""
        wrong = []
        for manifest in (self.folder / "kept").rglob("manifest.json"):
            if ".partial" not in str(manifest):
                with suppress(Exception):
                    Trace.read(manifest.parent).records  # noqa: B018 - reading is the check
                    continue
                wrong.append(str(manifest))
        try:
            read_golden(self.folder / "goldens" / "toy")
        except Exception as error:  # whatever it is, the golden is not whole
            wrong.append(repr(error))
        return wrong


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where cases find a whole set of goldens, its checkpoint, and a temporary folder."""
    whole = tmp_path / "whole"
    (tmp_path / "tmp").mkdir()
    (whole / "checkpoint").mkdir(parents=True)
    (whole / "checkpoint" / "config.json").write_text('{"model_type": "toy"}')
    save_file({"w": np.zeros(1, np.float32)}, whole / "checkpoint" / "model.safetensors")
    monkeypatch.chdir(whole)
    monkeypatch.delenv("CI", raising=False)
    update(golden_set(), allow_ci=True, progress=Silent())
    monkeypatch.undo()
    return tmp_path


def lasting(name: str, folder: Path) -> float:
    """Seconds of a command that nobody kills, in processes that are warm."""
    shutil.copytree(folder / "whole", folder / name)
    for _ in range(2):
        shutil.rmtree(folder / name / "kept", ignore_errors=True)
        begun = time.monotonic()
        assert Command(name, folder / name).wait() == 0
    return time.monotonic() - begun


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes as Linux shows them")
@pytest.mark.parametrize("kills", every_change(KILLS, KILLS[0]))
def test_nothing_half_done_is_left(kills, folder):
    """Of whatever is killed, whenever; the next run finds all in order, and puts the temporary folder in order."""
    lasts = {name: lasting(name, folder) for name in COMMANDS}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [*pool.map(lambda number: Case(folder, number, lasts).run(), range(kills))]
    assert not [wrong for _, wrong in found if wrong]
    assert sum(ended for ended, _ in found) > kills / 4  # the others came too late, or were caught
    assert Command("compare", folder / "whole").wait() == 0
    assert not [*(folder / "tmp").glob(f"{PREFIX}*")]
