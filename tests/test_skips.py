"""A test that is skipped for a reason that nobody wrote down fails the session."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.skips import MAY_BE_SKIPPED

ROOT = Path(__file__).parents[1]
CONFTEST = """
from tests.skips import Skips

def pytest_configure(config):
    config.pluginmanager.register(Skips())
"""
ALONE, SHARED = ("-p", "no:xdist"), ("-n", "2")


@pytest.fixture
def session(tmp_path):
    """Runs the tests of a folder in a pytest of its own: its exit code, and what it printed."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")

    def run(*arguments, **files):
        for name, text in files.items():
            (tmp_path / f"test_{name}.py").write_text(f"import pytest\n{text}")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
            cwd=tmp_path, env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    return run


RIGHT = "def test_right(): pass\n"


def skipped(reason):
    """A test that is."""
    return f"def test_skipped(): pytest.skip({reason!r})\n"


@pytest.mark.parametrize("processes", [pytest.param(ALONE, marks=pytest.mark.slow), SHARED], ids=["alone", "shared"])
def test_an_unknown_reason_fails_the_session(session, processes):
    """Of one test, of a mark, and of a file that is never collected: each is a line with its reason."""
    marked = '@pytest.mark.skipif(True, reason="no time")\ndef test_marked(): pass\n'
    imported = 'pytest.importorskip("no_such_package", reason="needs a package")\n' + RIGHT
    code, printed = session(*processes, one=RIGHT + skipped("no wish"), two=marked, three=imported)
    assert code == pytest.ExitCode.TESTS_FAILED, printed
    title, *lines = printed[printed.index("skipped for a reason") :].splitlines()
    assert title.startswith("skipped for a reason that is not in tests/skips.py")
    assert {"test_one.py::test_skipped: no wish", "test_two.py::test_marked: no time",
            "test_three.py: needs a package"} <= set(lines)  # fmt: skip


@pytest.mark.parametrize("processes", [ALONE, pytest.param(SHARED, marks=pytest.mark.slow)], ids=["alone", "shared"])
def test_a_reason_of_the_list_passes(session, processes):
    """So does a failure that is expected, which pytest reports as skipped."""
    expected = "@pytest.mark.xfail\ndef test_expected(): assert False\n"
    code, printed = session(*processes, one=RIGHT + skipped(next(iter(MAY_BE_SKIPPED))) + expected)
    assert (code, "skipped for a reason" in printed) == (pytest.ExitCode.OK, False), printed


@pytest.mark.slow
def test_a_file_alone_that_is_skipped_fails_the_session(session):
    """Where nothing is left to run."""
    assert session(*ALONE, one='pytest.skip("all", allow_module_level=True)\n')[0] == pytest.ExitCode.TESTS_FAILED


@pytest.mark.slow
def test_a_failure_keeps_its_own_status(session):
    """An interrupted session, for instance, is not one that failed."""
    code, _ = session(*ALONE, one=skipped("no wish") + "def test_stopped(): pytest.exit('stop', returncode=9)\n")
    assert code == 9


def test_every_reason_of_the_list_is_a_test_s():
    """A list with reasons that nothing gives would be believed without being true."""
    sources = "".join(file.read_text(encoding="utf-8") for file in Path(__file__).parent.rglob("*.py")
                      if file.name != "skips.py")  # fmt: skip
    assert [reason for reason in MAY_BE_SKIPPED if f'"{reason}"' not in sources] == []
