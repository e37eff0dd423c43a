"""What holds for every test: neither the caller's settings nor a slow machine decide it; no skip passes unlisted."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from parity import cli
from tests.skips import Skips

# Runners share their cores, so an example's time says nothing about the code. And the same examples on every machine: a
# change is judged by its own doing, not by what was drawn. `--hypothesis-profile=explore` draws others.
settings.register_profile("parity", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("parity")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Skips())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, and their children, ignore it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and what `nohup` starts ignores this one
    for name in [name for name in os.environ if name.startswith("PARITY_")]:
        del os.environ[name]
    # Tests of the embedded checkpoint ask for the same runs of the reference again and again, in many processes. A line
    # that is changed, of ours or of a library, makes them anew. In 2 GB, long runs were gone before they were asked for
    # again.
    os.environ["PARITY_CACHE"], os.environ["PARITY_CACHE_SIZE"] = str(config.rootpath / ".pytest_cache/runs"), "8"


SHARED = {
    **dict.fromkeys(("test_parity", "test_ane_parity", "test_deviations"), "text"),
    **dict.fromkeys(("test_coreml_parity", "test_coreml_media", "test_coreml_command", "test_port_to_ane"), "coreml"),
}
"""Files that are judged by the same baselines, or of the same conversions: one process makes those once."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadfile`` each file goes to one process, and those of `SHARED` to the same.

    xdist's own groups need an attribute that pytest 9.2 has no more: ``--dist loadgroup`` groups nothing, silently.
    """
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return SHARED.get(Path(file).stem, file)

    return Together(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def harness(tmp_path_factory):
    """Oracle and baselines of the embedded checkpoint."""
    from tests.harness import Harness  # imports torch, which most tests do without

    return Harness(tmp_path_factory.mktemp("traces"))


@pytest.fixture
def parity(capfd, monkeypatch):
    """Runs the command in this process: its exit code, standard output and standard error."""
    monkeypatch.setattr("signal.signal", lambda number, handler: None)

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            cli.main([str(argument) for argument in arguments])
        return (left.value.code, *capfd.readouterr())

    return run


@pytest.fixture
def deviant(harness):
    """Makes a candidate around the baseline's model: with known bugs, by name, or with a wrong tap of `deviations`."""
    from reference.gemma3n.huggingface import Reference
    from tests import deviations

    def make(*names):
        kind = getattr(deviations, names[0], Reference)
        candidate = kind(harness.baseline("float32")._model, harness.checkpoint, "float32")
        candidate.vary([(name, "") for name in names if kind is Reference])
        return candidate

    return make
