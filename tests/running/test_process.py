"""Workers end, whatever a backend does, and however the harness ends; what they import is what they should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parity.checkpoint import Checkpoint
from parity.compare import Request, compare
from parity.errors import ExitCode, UsageError
from parity.running.party import Crash, Party
from parity.running.process import patience
from parity.running.progress import Silent
from tests.marks import quick
from tests.toy import Toy, write

TOY = "tests.toy:Toy"


@pytest.fixture
def noted(tmp_path, monkeypatch):
    """The process that a misbehaving backend tells of, as soon as it does."""
    file = tmp_path / "pid"
    monkeypatch.setenv("NOTED", str(file))

    def read():
        return int(eventually(lambda: file.exists() and file.read_text()))

    return read


def eventually(ask):
    """What `ask` says when it says something; a machine may be slow."""
    for _ in range(1200):
        if found := ask():
            return found
        time.sleep(0.05)
    raise AssertionError("never")


def is_alive(pid):
    """Whether a process runs; one that only waits to be read of has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def verdicts(tmp_path, *candidates, **fields):
    """The candidates' crashes, beside a good one that is judged all the same."""
    request = Request(
        Checkpoint(tmp_path, "toy", "weights"), (*candidates, TOY), "float32", ("toy",), None, reference=TOY, **fields
    )
    *crashed, good = compare(request, progress=Silent()).judgements
    assert {judgement.exit_code for judgement in crashed} == {ExitCode.UNAVAILABLE}
    assert good.exit_code is ExitCode.PARITY
    return [judgement.crash for judgement in crashed]


def verdict(tmp_path, candidate, **fields):
    """The crash of one."""
    (crash,) = verdicts(tmp_path, candidate, **fields)
    return crash


def test_there_is_nothing_to_read(tmp_path):
    assert verdict(tmp_path, "tests.misbehaving:Reading").endswith(
        "RuntimeError: there was nothing to read; PARITY_DEBUG=1 shows its traceback"
    )


def test_what_is_stuck_is_ended(tmp_path, noted):
    """With the step that it reached. Only its forward pass is hurried: a slow machine may take long to import."""
    oracle = write(tmp_path, "oracle", Toy())
    with Party("it", "tests.misbehaving:Sleeping", progress=Silent()) as party:
        party.load(Checkpoint(tmp_path, "toy", "weights"), "float32")
        party._process._patience = 2
        with pytest.raises(Crash, match="it is stuck at ids: it said nothing for 2 s, so it was ended"):
            party.run(tmp_path / "out", oracle=oracle)
    assert not is_alive(noted())


def test_a_comparisons_timeout_is_its_parties(tmp_path, noted):
    """Of a step that does not come; on a slow machine already of an import."""
    given = Checkpoint(tmp_path, "toy", "weights"), ("tests.misbehaving:Sleeping",), "float32", ("toy",), None
    try:
        (judgement,) = compare(Request(*given, reference=TOY, timeout=1.5), progress=Silent()).judgements
        said = judgement.crash
    except Crash as crash:
        said = str(crash)
    assert "said nothing for 1.5 s" in said


@pytest.mark.parametrize("kind", ["Forking", "ForkingInC"])
def test_a_child_of_a_backend_holds_nobody(tmp_path, noted, kind):
    """The worker's end is seen at once, and the child ends with it."""
    assert "exit code 9" in verdict(tmp_path, f"tests.misbehaving:{kind}")
    eventually(lambda: not is_alive(noted()))


@pytest.mark.parametrize(
    "number", quick([signal.SIGKILL, signal.SIGHUP, signal.SIGTERM, signal.SIGINT], signal.SIGKILL, signal.SIGINT)
)
def test_a_worker_ends_with_its_harness(tmp_path, noted, number):
    """However that ends, and whatever the worker waits for."""
    command = ["compare", "--candidates", "tests.misbehaving:Sleeping", "--reference", TOY, "--scenario", "toy"]
    with subprocess.Popen(
        [sys.executable, "-m", "parity", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as harness:
        worker = noted()
        harness.send_signal(number)
        _, said = harness.communicate()
    eventually(lambda: not is_alive(worker))
    if number == signal.SIGINT:
        assert (harness.returncode, said.splitlines()[-1]) == (130, "parity: interrupted")


def test_what_has_ended_is_not_killed_again(monkeypatch):
    """Its number may be another process's by then."""
    party = Party("it", TOY, progress=Silent())
    party.close()
    killed = []
    monkeypatch.setattr("os.killpg", lambda *who: killed.append(who))
    party.close()
    party.kill()
    assert not killed


def test_a_worker_has_the_environment_that_its_backend_asks_for(tmp_path):
    """From its start, for the linker reads some then alone; what the harness gives is on top of it."""
    oracle = write(tmp_path, "oracle", Toy())
    for given, found in (({}, "by the backend"), ({"GIVEN": "by hand"}, "by hand")):
        with Party("it", "tests.misbehaving:Asking", progress=Silent(), environment=given) as party:
            party.load(Checkpoint(tmp_path, "toy", "weights"), "float32")
            with pytest.raises(Crash, match=f"'ASKED=for', 'GIVEN={found}'"):
                party.run(tmp_path / f"out-{found}", oracle=oracle)


MODULES = {
    "leaves": ("import sys; sys.exit(0)", "exit code 0"),
    "leaves_at_once": ("import os; os._exit(0)", "exit code 0"),
    "broken": ("def (", "SyntaxError: invalid syntax (broken.py, line 1)"),
    "unknown": ("undefined", "NameError: name 'undefined' is not defined"),
}
"""Modules of candidates, and what is said of each."""


def test_a_module_that_cannot_be_imported_is_its_candidates_verdict(tmp_path, monkeypatch):
    for module, (text, _) in MODULES.items():
        (tmp_path / f"{module}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    crashes = verdicts(tmp_path, *(f"{module}:Backend" for module in MODULES))
    for crash, (_, said) in zip(crashes, MODULES.values(), strict=True):
        assert f"crashed before its first step: {said}" in crash


@pytest.mark.parametrize("module", ["leaves", "leaves_at_once"])
@pytest.mark.parametrize(
    "command", ["golden check --backend tests.toy:Port --set {}:goldens", "steps --reference {}:Backend"]
)
def test_no_module_of_a_users_ends_the_command(tmp_path, module, command):
    """With its own exit code, which may be 0: what is imported by the harness itself is tried before."""
    (tmp_path / f"{module}.py").write_text(MODULES[module][0])
    done = subprocess.run(
        [sys.executable, "-P", "-m", "parity", *command.format(module).split()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert f"cannot be imported: {module} ends Python (exit code 0)" in done.stderr


SHADOWS = (
    "xxhash",
    "random",
    "numpy",
    "json",
    "safetensors",
    "torch",
    "mlx",
    "typer",
    "rich",
    "parity",
    "sitecustomize",
)


def test_a_users_folder_hides_nothing(tmp_path):
    """A port in the folder that one is in is found there; what else is in it, of whatever name, is not run."""
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text("print('shadowed')\nraise SystemExit(0)\n")
    (tmp_path / "my_port.py").write_text("import helper\nfrom tests.toy import Port\nclass Mine(Port):\n    pass\n")
    (tmp_path / "helper.py").write_text("")
    command = ["compare", "--candidates", "my_port:Mine", "--reference", TOY, "--scenario", "toy"]
    here = os.getcwd()
    done = subprocess.run(
        [sys.executable, "-P", "-m", "parity", *command],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": here},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "shadowed" not in done.stdout + done.stderr
    assert done.returncode == ExitCode.PARITY, done.stderr


@pytest.mark.parametrize("text", ["0", "soon", "-3", "inf", "nan"])
def test_a_timeout_that_cannot_be(monkeypatch, text):
    monkeypatch.setenv("PARITY_TIMEOUT", text)
    with pytest.raises(UsageError, match="is no number of seconds; give one of 1 or more"):
        patience()
