"""Every place of a port's source where a rule applies, and which of them are drawn."""

from __future__ import annotations

import ast
import random
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

from parity.learning.everywhere import functions_of, source_of
from parity.site import Edit
from tools.heldout.rules import MAKING, RULES, SHAPING, last_name, own

SIMPLE = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Expr)
"""Statements whose expressions are changed; tests of branches and the heads of loops compute no values."""
MAKER = "__init__"


@dataclass(frozen=True)
class Plant:
    """A fault of one line.

    Attributes:
        rule: the one that it is drawn by.
        edit: of the source.
        line: of the statement, in the installed file.
        old, new: the statement as it is, and as it becomes.
    """

    rule: str
    edit: Edit
    line: int
    old: str
    new: str


def plants(module: ModuleType, ran: Collection[str]) -> list[Plant]:
    """Each change of each rule, in the order of the source.

    Args:
        module: the model's own.
        ran: the functions of it that a run calls, by ``Class.function``; their classes' constructors belong to them.
    """
    makers = {f"{name.rpartition('.')[0]}.{MAKER}" for name in ran if "." in name}
    found: list[Plant] = []
    for name, function in functions_of([module]).items():
        if name.partition(":")[2] in ran:
            found += _of(name, function, RULES)
    for maker in sorted(makers):
        made: Any = vars(vars(module)[maker.partition(".")[0]]).get(MAKER)
        if made is not None:
            found += _of(f"{module.__name__}:{maker}", made, MAKING)
    return found


def drawn(found: Iterable[Plant], seed: str) -> Iterator[Plant]:
    """All of them in an order by chance: a rule after the other, of each one place in turn."""
    draw = random.Random(seed)
    by_rule: dict[str, list[Plant]] = {}
    for plant in found:
        by_rule.setdefault(plant.rule, []).append(plant)
    while by_rule:
        for rule in draw.sample(sorted(by_rule), len(by_rule)):
            yield by_rule[rule].pop(draw.randrange(len(by_rule[rule])))
            if not by_rule[rule]:
                del by_rule[rule]


def _of(name: str, function: FunctionType, rules: Mapping[str, Any]) -> Iterator[Plant]:
    """The changes of one function, each as an edit of the lines of its statement."""
    source = source_of(function)
    tree = ast.parse(source).body[0]
    calls = (own(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call))
    called = [*dict.fromkeys(filter(None, calls))]
    first = function.__code__.co_firstlineno
    for statement in ast.walk(tree):
        if not isinstance(statement, SIMPLE):
            continue
        for node in computed(statement):
            for rule, changes in rules.items():
                for new in changes(node, called):
                    text = ast.unparse(ast.fix_missing_locations(replaced(statement, node, new)))
                    edit = Edit(name, *_lines(source, statement, text))
                    yield Plant(rule, edit, first + statement.lineno - 1, ast.unparse(statement), text)


def computed(statement: ast.AST) -> Iterator[ast.expr]:
    """The expressions of a statement that may hold tensors: not its targets, indices, sizes and axes."""
    left: list[ast.AST] = [statement]
    while left:
        node = left.pop(0)
        if isinstance(node, ast.expr):
            yield node
        left += _parts(node)


def _parts(node: ast.AST) -> list[ast.AST]:
    if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
        return [node.value] if node.value else []
    if isinstance(node, ast.Subscript):
        return [node.value]
    if isinstance(node, ast.Call) and last_name(node.func) in SHAPING:
        of_package = isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "mx"
        return [*node.args[:1]] if of_package else [node.func]
    return [one for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr | ast.keyword)]


def replaced(tree: Any, old: ast.expr, new: ast.expr) -> Any:
    """A copy of a tree with another expression in the place of one."""
    if tree is old:
        return new
    if isinstance(tree, list):
        return [replaced(one, old, new) for one in tree]
    if not isinstance(tree, ast.AST):
        return tree
    return type(tree)(**{field: replaced(value, old, new) for field, value in ast.iter_fields(tree)})


def _lines(source: str, statement: ast.stmt, text: str) -> tuple[str, str]:
    """A statement's lines, with as many before them as make them stand once, and the same with another statement."""
    lines = source.splitlines()
    start, end = statement.lineno - 1, statement.end_lineno or statement.lineno
    begin = start
    while source.count("\n".join(lines[begin:end])) > 1 and begin:
        begin -= 1
    before = lines[begin:start]
    return "\n".join(lines[begin:end]), "\n".join([*before, " " * statement.col_offset + text])
