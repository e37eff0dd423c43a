"""What docs/third-party.md says of a package's faults."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from parity.report.audit_faults import places

PAGE = Path(__file__).parents[1] / "docs" / "third-party.md"
COMMAND = "parity audit mlx-lm mlx-vlm --dtype float32,bfloat16 --markdown docs/third-party.md"


def section(page, package, number):
    """The chapter of that version of a package; empty where there is none."""
    return page.partition(f"\n## {package} {number} ")[2].partition("\n## ")[0]


def stale(page, package, number, subject):
    """What of a package's declared faults is not on the page, or not as it is declared."""
    text = section(page, package, number)
    if not text:
        return [f"not of {package} {number}; {COMMAND}"]
    named = {line.split("`")[1] for line in text.splitlines() if line.startswith("#### `")}
    other = [] if f"`{subject.digest}`" in text else ["the faults are declared otherwise"]
    return other + sorted(named ^ {fault.name for fault in subject.faults})


def require_documented(backend, package=""):
    """The page is of the installed version and of these faults, with the lines that each changes.

    `package` is what the backend's is called, where that is another name.
    """
    page, number, subject = PAGE.read_text(), version(package or backend.name), backend.subject()
    assert stale(page, backend.name, number, subject) == []
    for fault in subject.faults:
        assert not fault.where() or f"where: {places(fault.where())}\n" in section(page, backend.name, number)
