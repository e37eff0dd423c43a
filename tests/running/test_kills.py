"""Kills at drawn moments: no half trace has a final name, no process and no folder stays, goldens are whole."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from parity.golden.format import read_golden
from parity.golden.updating import update
from parity.running.progress import Silent
from parity.scratch import PREFIX
from parity.traces.trace import Trace
from tests.killed import SET, golden_set

KILLS, AT_ONCE = 120, 4
TOY = ["--reference", "tests.toy:Toy", "--scenario", "toy"]
COMMANDS = {
    "compare": ["compare", "--candidates", "tests.toy:Port", *TOY, "--keep", "kept"],
    "trace": ["trace", "--backend", "tests.toy:Port", *TOY, "--output", "kept/one/trace"],
    "update": ["golden", "update", "--set", SET, "--allow-ci"],
}
SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LONGEST = 3.0
"""Seconds, as much as a command takes on a busy machine."""


class Case:
    """One command in a folder of its own, killed after a while."""

    def __init__(self, folder: Path, number: int) -> None:
        draw = random.Random(number)
        self.folder, self.mark = folder / str(number), f"kill-{os.getpid()}-{number}"
        self.command, self.number = draw.choice([*COMMANDS]), draw.choice(SIGNALS)
        self.whom, self.after = draw.choice(["harness", "worker", "all"]), draw.uniform(0, LONGEST) ** 1.5
        shutil.copytree(folder / "whole", self.folder)

    def run(self) -> str:
        """What was left that should not be; empty where all is well."""
        with self._begun(COMMANDS[self.command]) as harness:
            with suppress(subprocess.TimeoutExpired):
                harness.wait(self.after)
            for victim in self._victims(harness.pid):
                with suppress(ProcessLookupError):
                    os.kill(victim, self.number)
            code = harness.wait(60)
        again = self._begun(COMMANDS["update"]).wait(60) if self.command == "update" else 0
        wrong = [*self._half(), *self._alive()]
        return f"{self.__dict__} left {code}, {again}: {wrong}" if wrong or again else ""

    def _begun(self, command: list[str]) -> subprocess.Popen[bytes]:
        environment = {"PYTHONPATH": os.getcwd(), "TMPDIR": str(self.folder.parent / "tmp"), "KILLED": self.mark}
        return subprocess.Popen(
            [sys.executable, "-m", "parity", *command],
            cwd=self.folder,
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _victims(self, harness: int) -> list[int]:
        workers = [pid for pid in self._living() if pid != harness]
        return {"harness": [harness], "worker": workers[:1], "all": [harness, *workers]}[self.whom]

    def _living(self) -> list[int]:
        """Processes of this case, by a variable that they inherit."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"KILLED={self.mark}\0".encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    def _alive(self) -> list[int]:
        """Those that do not end by themselves."""
        for _ in range(200):
            if not self._living():
                return []
            time.sleep(0.05)
        return self._living()

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


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes as Linux shows them")
def test_nothing_half_done_is_left(tmp_path, monkeypatch):
    """Of whatever is killed, whenever; the next run finds all in order, and puts the temporary folder in order."""
    whole = tmp_path / "whole"
    (tmp_path / "tmp").mkdir()
    (whole / "checkpoint").mkdir(parents=True)
    (whole / "checkpoint" / "config.json").write_text('{"model_type": "toy"}')
    save_file({"w": np.zeros(1, np.float32)}, whole / "checkpoint" / "model.safetensors")
    monkeypatch.chdir(whole)
    monkeypatch.delenv("CI", raising=False)
    update(golden_set(), allow_ci=True, progress=Silent())
    monkeypatch.undo()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [*pool.map(lambda number: Case(tmp_path, number).run(), range(KILLS))]
    assert not [*filter(None, found)]
    assert Case(tmp_path, KILLS)._begun(COMMANDS["compare"]).wait(60) == 0
    assert not [*(tmp_path / "tmp").glob(f"{PREFIX}*")]
