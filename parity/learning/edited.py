"""What the expressions of an edited source are called: as those in whose place they stand, so that a table holds on."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

TAPPED = (ast.BinOp, ast.Call, ast.Compare, ast.IfExp, ast.Subscript, ast.UnaryOp)
"""Expressions that have taps of their own."""


def renamed(before: ast.stmt, after: ast.stmt) -> Iterator[tuple[ast.AST, str]]:
    """What of an edited source is called otherwise than by its own text.

    What only changed places, as two arguments that were exchanged, stays what it is.
    """
    was, now = (
        Counter(ast.unparse(node) for node in ast.walk(tree) if isinstance(node, TAPPED)) for tree in (before, after)
    )
    for node, text in _texts(before, after):
        own = ast.unparse(node)
        has_moved = was[text] == now[text] > 0 and was[own] == now[own]
        if not has_moved:
            yield node, text


def _texts(before: object, after: object) -> Iterator[tuple[ast.AST, str]]:
    """How expressions of an edited source are called: as those that stood in their place, so that a table holds on.

    What stands inside of another expression than before has a name apart, for else those behind it of the same text
    would be counted otherwise. Where a list has more or fewer members, nothing tells which was which.
    """
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for pair in zip(before, after, strict=True):
            yield from _texts(*pair)
    if not (isinstance(before, ast.AST) and isinstance(after, ast.AST)):
        return
    if type(before) is type(after):
        for field, value in ast.iter_fields(after):
            yield from _texts(getattr(before, field, None), value)
    else:
        yield from ((node, f"new {ast.unparse(node)}") for node in ast.walk(after) if isinstance(node, TAPPED))
    if isinstance(before, TAPPED) and isinstance(after, TAPPED):
        yield after, ast.unparse(before)
