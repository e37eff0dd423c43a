"""The pytest plugin: tests of a port's own repository that hold it to the reference.

::

    @pytest.mark.parity(model="path/or/hub-id", candidate="my_port:Backend", scenarios=["one-shot", "decode"])
    def test_parity(parity_result):
        parity_result.assert_parity()

It is loaded into every pytest run where parity is installed, so nothing but pytest is imported here, and nothing is
done for tests without the marker. `parity.testing` does the work; docs/port-your-own-model.md shows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from parity.testing.result import ParityResult

MARKER = (
    "parity(candidate, model=None, scenarios=('one-shot',), dtype='float32', prompt=None, reference='transformers', "
    "golden=None): what `parity_result` compares. With `golden`, a folder beside the test or the name of an installed "
    "set, the candidate is judged against goldens, and the reference need not be installed."
)

UNUSED = pytest.StashKey[dict[str, dict[str, list[str]]]]()
"""The goldens of each set that collected tests name: those that tests need, and those that are there."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("parity", "numerical parity of a port with its reference")
    group.addoption("--parity-backend", metavar="NAME", help="judge this backend instead of the marker's candidate")
    group.addoption("--parity-dtype", metavar="NAME", help="in this arithmetic instead of the marker's")
    group.addoption(
        "--parity-update-golden", action="store_true", help="make the goldens of the tests anew, with the reference"
    )
    group.addoption("--parity-report", metavar="DIR", help="write each test's report into a folder of its own in DIR")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", MARKER)
    config.stash[UNUSED] = {}


def pytest_report_header(config: pytest.Config) -> str:
    """The versions that verdicts depend on, and what was asked for."""
    from importlib.metadata import version

    versions = f"{version('gemma3n-parity')}, numpy {version('numpy')}"
    names = ("backend", "dtype", "update_golden", "report")
    given = [f"{name.replace('_', '-')} {value}" for name in names if (value := config.getoption(f"parity_{name}"))]
    return "; ".join((f"parity: {versions}", *given))


@pytest.fixture
def parity_result(request: pytest.FixtureRequest) -> ParityResult:
    """The comparison that the test's ``parity`` marker asks for; it is made when the test begins."""
    from parity.testing.result import run

    return run(request)


@pytest.hookimpl(tryfirst=True)  # before -k and -m deselect: a golden of a deselected test is not unused
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note which goldens the collected tests need."""
    if marked := [item for item in items if item.get_closest_marker("parity")]:
        from parity.testing.request import survey

        config.stash[UNUSED] = survey(marked)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under xdist, tell the controller, which collects nothing itself."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["parity_goldens"] = session.config.stash[UNUSED]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Hear of a worker's collection; all workers collect the same."""
    node.config.stash[UNUSED].update(getattr(node, "workeroutput", {}).get("parity_goldens", {}))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say which goldens were renewed, and which no collected test needs."""
    lines = [*_renewed(terminalreporter), *_unused(config.stash[UNUSED])]
    if lines:
        terminalreporter.section("parity goldens")
        for line in lines:
            terminalreporter.line(line)


def _renewed(reporter: Any) -> Iterator[str]:
    reports = [report for group in ("passed", "failed") for report in reporter.stats.get(group, ())]
    for report in reports:
        for name, value in getattr(report, "user_properties", ()):
            if name == "parity_renewed":
                yield from str(value).splitlines()


def _unused(surveyed: dict[str, dict[str, list[str]]]) -> Iterator[str]:
    for folder, goldens in sorted(surveyed.items()):
        if names := sorted(set(goldens["there"]) - set(goldens["needed"])):
            yield f"{folder}: no collected test uses {', '.join(names)}; remove the folder of each that is not needed"
