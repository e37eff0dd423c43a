"""What is in Core ML packages, whoever wrote them: functions, what they take and give, operations, size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from implementations.coreml.interpreter.run import KNOWN
from implementations.coreml.package.compiled import SUFFIXES, read_package
from implementations.coreml.package.folder import size_of
from implementations.coreml.package.program import Function, Typed
from parity.errors import UsageError
from parity.report.console import plain


def packages_of(path: Path) -> list[Path]:
    """A package, or all of a folder by name.

    Raises:
        UsageError: where there is none.
    """
    found = [path] if path.suffix in SUFFIXES else sorted(each for each in path.glob("*") if each.suffix in SUFFIXES)
    if not path.is_dir() or not found:
        raise UsageError(f"{path} is no folder of Core ML packages ({' or '.join(SUFFIXES)})")
    return found


def print_packages(packages: Iterable[Path], console: Console) -> None:
    """Print a line for each function of each package."""
    table = Table("package", "MB", "function", "takes", "keeps", "gives", "operations", box=None, pad_edge=False)
    for package in packages:
        size = f"{size_of(package) / 1e6:,.1f}"
        for name, function in read_package(package).items():
            table.add_row(*map(plain, (package.stem, size, name, *_told(function))))
    console.print(table)


def _told(function: Function) -> Iterator[str]:
    yield _values(function.inputs)
    yield _values(function.states)
    yield ", ".join(function.outputs)
    unknown = sorted({one.kind for one in function.operations} - KNOWN)
    lacking = f", not known: {', '.join(unknown)}" if unknown else ""
    yield f"{len(function.operations):,}{lacking}"


def _values(values: Mapping[str, Typed]) -> str:
    """Each with its format and shape; an axis of any length is `?`."""
    shapes = {name: ", ".join(str(size or "?") for size in typed.shape) for name, typed in values.items()}
    return ", ".join(f"{name} {typed.dtype} [{shapes[name]}]" for name, typed in values.items())
