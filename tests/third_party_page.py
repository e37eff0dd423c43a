"""What docs/third-party.md says of a package's faults."""

from __future__ import annotations

from pathlib import Path

from parity.weave import resolve

PAGE = Path(__file__).parents[1] / "docs" / "third-party.md"


def faults(package):
    """The rows of the table of faults, by patch."""
    section = PAGE.read_text().partition(f"\n## {package}")[2].partition("\n## ")[0]
    table = section.partition("\n| patch | where |")[2]
    return {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")}


def require_documented(package, patches):
    """The table names each patch with the files and lines that it changes, and no other."""
    rows = faults(package)
    assert rows.keys() == {patch.name for patch in patches}
    for patch in patches:
        for edit, line in zip(patch.edits, patch.where, strict=True):
            assert resolve(edit.function).__code__.co_filename.rpartition("/")[2] in rows[patch.name]
            assert str(line) in rows[patch.name]
