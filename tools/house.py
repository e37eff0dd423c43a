"""What the house looks like: `make figures` says how its rooms depend on each other, and what is large or small in it.

A room is a package below `parity/`, `reference/` or `implementations/`, or a module in the root of one. An arrow goes
from a room to another that it imports from; it climbs where that one leads back, so that neither can be understood
without the other.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import chain, pairwise
from pathlib import Path
from statistics import median
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
PACKAGES = ("parity", "reference", "implementations")
SHORT, LONG = 40, 300
"""Lines of a file: below the first it may be a part of another, beyond the second it may be two."""
SLOWEST = 20

Trees = Mapping[str, ast.Module]


def trees(root: Path, packages: tuple[str, ...]) -> dict[str, ast.Module]:
    """Every module by its dotted name."""
    files = chain.from_iterable((root / package).rglob("*.py") for package in packages)
    return {_name(file.relative_to(root)): ast.parse(file.read_text()) for file in sorted(files)}


def _name(file: Path) -> str:
    return ".".join(file.with_suffix("").parts).removesuffix(".__init__")


def room(module: str, modules: Trees) -> str:
    """The package that a module is in; itself where it is a package or in the root of one of the three."""
    words = module.split(".")
    is_package = any(other.startswith(f"{module}.") for other in modules)
    return module if len(words) <= 2 or is_package else ".".join(words[:-1])


def imported(tree: ast.Module) -> Iterator[str]:
    """Dotted names that are imported anywhere in a module, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows(modules: Trees) -> dict[str, set[str]]:
    """The rooms that each room imports from."""
    found: dict[str, set[str]] = {room(module, modules): set() for module in modules}
    for module, tree in modules.items():
        rooms = {room(there, modules) for name in imported(tree) if (there := _module(name, modules))}
        found[room(module, modules)] |= rooms - {room(module, modules)}
    return found


def _module(name: str, modules: Trees) -> str:
    """The module that a dotted name is of; empty for one of another package."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """Rooms each of which imports from the one before, the first again at the end; empty where none leads back."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [*error.args[1]]
    return []


def climbs(graph: Mapping[str, set[str]]) -> Iterator[tuple[str, str]]:
    """Arrows without which no room leads back to itself: of each cycle the one to the room that fewest others need."""
    left = {room: set(others) for room, others in graph.items()}
    while found := cycle(left):
        steps = [(here, there) for there, here in pairwise(found)]
        here, there = min(steps, key=lambda arrow: sum(arrow[1] in others for others in left.values()))
        left[here].discard(there)
        yield here, there


def classes(modules: Trees) -> dict[str, list[str]]:
    """Modules that have a class of a name which another module has too; private ones are their module's own."""
    found: dict[str, list[str]] = defaultdict(list)
    for module, tree in modules.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(module)
    return {name: where for name, where in sorted(found.items()) if len(where) > 1}


def functions(modules: Trees) -> list[int]:
    """Lines of every function."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = chain.from_iterable(map(ast.walk, modules.values()))
    return [(node.end_lineno or node.lineno) - node.lineno + 1 for node in nodes if isinstance(node, kinds)]


def lines(root: Path, modules: Trees) -> dict[str, int]:
    """Lines of every module that is no package's own."""
    paths = {module: (root / Path(*module.split("."))).with_suffix(".py") for module in modules}
    return {module: len(path.read_text().splitlines()) for module, path in paths.items() if path.exists()}


def slowest(junit: Path) -> Iterator[tuple[float, str]]:
    """Seconds and names of the tests that took longest, of a report that pytest wrote with ``--junitxml``."""
    cases = ElementTree.parse(junit).iter("testcase")
    found = sorted((float(case.get("time", 0)), f"{case.get('classname')}::{case.get('name')}") for case in cases)
    return reversed(found[-SLOWEST:])


def main(junit: str | None = None) -> None:
    """Print the figures, with those of a run of the tests where its report is given."""
    for package in PACKAGES:
        print("\n".join(figures(package)))
    twice = classes(trees(ROOT, PACKAGES[:1]))
    names = "; ".join(f"{name} ({', '.join(where)})" for name, where in twice.items())
    print(f"classes of one name in {PACKAGES[0]}: {names or 'none'}")
    if junit:
        print("slowest tests:", *(f"  {seconds:6.1f} s  {name}" for seconds, name in slowest(Path(junit))), sep="\n")


def figures(package: str) -> Iterator[str]:
    """Lines on one package."""
    modules = trees(ROOT, (package,))
    graph, sizes, longs = arrows(modules), lines(ROOT, modules), functions(modules)
    climbing = ", ".join(f"{here} -> {there}" for here, there in climbs(graph))
    short, long = sum(size < SHORT for size in sizes.values()), sum(size > LONG for size in sizes.values())
    yield f"{package}: {len(modules)} modules, {len(graph)} rooms, {sum(map(len, graph.values()))} arrows"
    yield f"  climbing: {climbing or 'none'}"
    yield f"  functions: median {median(longs):g} lines, longest {max(longs)}"
    yield f"  files: {short} under {SHORT} lines, {long} over {LONG}"


if __name__ == "__main__":
    main(*sys.argv[1:])
