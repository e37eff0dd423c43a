"""The pytest plugin, in a repository of a port's own: the toy model, and ports of it that are right and wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.marks import every_change

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]

PORTS = """
import numpy as np
from tests.toy import Toy

class Right(Toy):
    name = "right"

class Wrong(Toy):
    name = "wrong"
    def __init__(self, dtype="float64"):
        super().__init__(dtype, {"embed": lambda x: x * np.asarray(1.1, x.dtype)})
"""

TEST = """
import pytest

@pytest.mark.parity(model="checkpoint", candidate="my_port:{port}", scenarios=["toy"], reference="{reference}"{more})
def test_{name}(parity_result):
    parity_result.assert_parity()
"""


@pytest.fixture
def port(pytester, monkeypatch):
    """A repository with a checkpoint and two ports; `port(name, ...)` adds a test, `port.run(...)` runs them."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("CI", raising=False)
    folder = pytester.mkdir("checkpoint")
    (folder / "config.json").write_text('{"model_type": "toy"}')
    save_file({"w": np.zeros(1, np.float32)}, folder / "model.safetensors")
    pytester.makepyfile(my_port=PORTS)

    def add(name, port="Right", reference="tests.toy:Toy", **more):
        arguments = "".join(f", {key}={value!r}" for key, value in more.items())
        text = TEST.format(name=name, port=port, reference=reference, more=arguments)
        pytester.makepyfile(**{f"test_{name}": text})

    add.run = lambda *arguments: pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)
    add.path = pytester.path
    return add


def test_right_and_wrong_port(port):
    """One passes, one prints the verdict, the table and what to type; both are in the JUnit file."""
    port("right")
    port("wrong", "Wrong")
    result = port.run("--junitxml=junit.xml", "--parity-report=reports")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "parity: *numpy*report reports",
            "*my_port:Wrong float32, toy: diverged: first at embed (prefill): *",
            "*First divergence*",
            "*embed (prefill)  introduced*",
            "*lockstep  1.0e-01*",
            "*next       pytest test_wrong.py::test_wrong --parity-report parity-report*",
        ]
    )
    properties = {
        case.get("name"): {each.get("name"): each.get("value") for each in case.iter("property")}
        for case in ElementTree.parse(port.path / "junit.xml").getroot().iter("testcase")
    }
    assert properties["test_right"]["parity_verdict"] == "parity"
    assert float(properties["test_right"]["parity_worst_floors"]) <= 4
    assert properties["test_wrong"]["parity_verdict"] == "diverged"
    assert properties["test_wrong"]["parity_first_divergence"] == "embed (prefill)"
    reports = [json.loads(path.read_text()) for path in sorted((port.path / "reports").glob("*/report.json"))]
    assert [report["verdict"] for report in reports] == ["parity", "diverged"]
    assert "embed" in [detail["step"] for detail in reports[1]["details"]]
    assert len([*(port.path / "reports").glob("*/index.html")]) == 2


@pytest.mark.slow
def test_options_replace_the_markers_arguments(port):
    """Another backend, another arithmetic; an unknown one fails in a line."""
    port("right")
    result = port.run("--parity-backend=my_port:Wrong", "--parity-dtype=float16")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*my_port:Wrong float16, toy: diverged*"])
    result = port.run("--parity-dtype=float8")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["parity: backend my_port:Right has no dtype 'float8'; it has *"])


@pytest.mark.slow
@pytest.mark.parametrize("workers", every_change(["0", "2"], "2"))
def test_goldens_of_its_own(port, workers):
    """Made on request, checked without the reference; what nobody uses is reported; under xdist too."""
    port("one", golden="goldens")
    port("two", golden="goldens", dtype="float16")
    result = port.run("-n", workers)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*golden toy is missing; renew: pytest *test_one*--parity-update-golden*"])

    result = port.run("-n", workers, "--parity-update-golden")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*parity goldens*", "*toy: new*", "*toy: the same*"])

    for name, arithmetic in (("one", "float32"), ("two", "float16")):
        port(name, reference="gone:Gone", golden="goldens", dtype=arithmetic)
    (port.path / "goldens" / "toy").rename(port.path / "goldens" / "other")
    result = port.run("-n", workers)
    result.stdout.fnmatch_lines(["*goldens: no collected test uses other; *"])
    (port.path / "goldens" / "other").rename(port.path / "goldens" / "toy")
    port("three", "Wrong", reference="gone:Gone", golden="goldens")
    result = port.run("-n", workers, "--parity-report=reports")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*my_port:Wrong float32, toy: diverged: first at embed (prefill)*", "*golden *"])
    assert len([*(port.path / "reports").glob("*/report.json")]) == 3
    assert "no collected test uses" not in result.stdout.str()


def test_goldens_are_not_renewed_in_ci(port, monkeypatch):
    """Nobody would look."""
    monkeypatch.setenv("CI", "true")
    port("one", golden="goldens")
    result = port.run("--parity-update-golden")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["parity: goldens are not renewed in CI*"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("candidate='my_port:Right', scenario=['toy']", "the marker parity has no argument 'scenario'; it has *"),
        ("'my_port:Right'", "the marker parity takes names with values: *"),
        ("model='checkpoint'", "nobody is to be judged: *"),
        ("candidate='my_port:Right', scenarios=[]", "the marker parity names no scenario; *"),
        ("candidate='my_port:Right', model='nowhere/'", "checkpoint nowhere/: no such directory*"),
        ("candidate='my_port:Right', golden='nothing'", "golden one-shot is missing; *"),
    ],
)
def test_wrong_marker_is_one_line(port, pytester, arguments, said):
    """What is wrong, and what would be right."""
    pytester.makepyfile(f"import pytest\n@pytest.mark.parity({arguments})\ndef test_it(parity_result): pass")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"parity: {said}"])


def test_other_peoples_tests_are_left_alone(pytester):
    """Without the marker nothing is imported but the plugin, and nothing is printed but its line of the header."""
    pytester.makepyfile(
        "import sys\ndef test_it(): assert not {'numpy', 'pydantic', 'parity.testing'} & set(sys.modules)"
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--strict-markers")
    result.assert_outcomes(passed=1)
    assert "parity goldens" not in result.stdout.str()


def test_marker_is_registered(pytester):
    """`--strict-markers` knows it, and `--markers` explains it."""
    result = pytester.runpytest_inprocess("--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.parity(candidate, model=None, *"])


def test_cost_of_the_plugin():
    """Less than 50 ms of a run: that of importing pytest is ten times as much."""
    code = "import time, pytest; t = time.process_time(); import parity.pytest_plugin; print(time.process_time() - t)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ}, capture_output=True, check=True)
    assert float(done.stdout) < 0.05
