"""A tap behind every value of every function of a module: places are named by the source, nobody names them.

A place is ``FRAME: SITE``. The frame is the path of the module that is ``self``, and the functions entered below it:
``model.layers.3.self_attn/Attention.__call__``. The site is ``x#2`` for the third assignment to ``x`` in source order,
``param x``, ``return``, or an expression's own text in backquotes.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any

from parity.errors import BackendUnavailable
from parity.learning.edited import TAPPED, renamed
from parity.learning.listening import Listener
from parity.site import Edit
from parity.weave import compiled, innermost, swapped

TAP, FRAME = "__parity_tap__", "__parity_frame__"
LONGEST = 60
"""Characters of an expression's text: sites are read by people, and a number tells apart those that begin alike."""
BUILT_IN = frozenset({
    "dict", "enumerate", "float", "getattr", "hasattr", "int", "isinstance", "len", "list", "print", "range", "super",
    "tuple", "zip",
})  # fmt: skip
"""Functions whose results are no tensors, or hold those of others."""
UNTOUCHED = frozenset({"__init__", "__post_init__", "__repr__", "extra_repr", "from_dict"})
"""Functions that make a module or describe it: they run before anything is computed."""


@dataclass(frozen=True)
class Unwoven:
    """A function that no tap can stand in, and why."""

    function: str
    reason: str

    def __str__(self) -> str:
        return f"{self.function}: {self.reason}"


@contextmanager
def weave_everywhere(
    modules: Sequence[ModuleType], listener: Listener, edits: Sequence[Edit] = ()
) -> Iterator[tuple[Unwoven, ...]]:
    """Run the body with `listener` told every value in the functions of `modules`, and with `edits` in force.

    Yields:
        What could not be woven.

    Raises:
        BackendUnavailable: for an edit of a function that these modules do not have, or whose text is another. Edits of
            functions that make a module are for who loads it.
    """
    woven, missing = [], []
    for name, function in functions_of(modules).items():
        found = _woven(name, function, function.__code__, tuple(edit for edit in edits if edit.function == name))
        if isinstance(found, Unwoven):
            missing.append(found)
        else:
            woven.append((function, found))
    running = {edit.function for edit in edits if edit.function.rpartition(".")[2] not in UNTOUCHED}
    if strange := running - functions_of(modules).keys():
        raise BackendUnavailable(f"there is no function {min(strange)} to edit")
    with swapped(woven, {TAP: listener.tap, FRAME: listener.frame}):
        yield tuple(missing)


def functions_of(modules: Sequence[ModuleType]) -> Mapping[str, FunctionType]:
    """The functions that modules define, with those of their classes, by ``module:Class.function``."""
    found: dict[str, FunctionType] = {}
    for module in modules:
        for value in _defined(module):
            for function in _within(value):
                if function.__code__.co_filename == module.__file__:
                    found[f"{module.__name__}:{function.__qualname__}"] = function
    return found


def _defined(module: ModuleType) -> Iterator[Any]:
    """What may be functions, in the order of definition: of the module, and of the classes that it makes."""
    for value in vars(module).values():
        if not inspect.isclass(value):
            yield value
        elif value.__module__ == module.__name__:
            yield from (
                held for name, held in vars(value).items() if name not in UNTOUCHED and not isinstance(held, property)
            )


def _within(value: Any) -> Iterator[FunctionType]:
    """The function inside a wrapper, and those that a wrapper holds which does not say what it wrapped."""
    if not callable(value) and not hasattr(value, "__func__"):
        return
    held = [cell.cell_contents for cell in getattr(value, "__closure__", None) or () if _is_filled(cell)]
    yield from (function for function in map(innermost, (*held, value)) if type(function) is FunctionType)


def _is_filled(cell: Any) -> bool:
    try:
        return callable(cell.cell_contents)
    except ValueError:  # a variable that was not assigned yet
        return False


@functools.cache
def _woven(name: str, function: FunctionType, code: CodeType, edits: tuple[Edit, ...]) -> CodeType | Unwoven:
    """The function's code with taps; `code` is what it has now, for a function may have been changed."""
    if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
        return Unwoven(name, "it gives its values one by one, and its frame outlives the call")
    try:
        source = source_of(function)
        tree = ast.parse(functools.reduce(lambda text, edit: edit.apply(text), edits, source)).body[0]
        texts = dict(renamed(ast.parse(source).body[0], tree)) if edits else {}
    except (OSError, SyntaxError, TypeError) as error:
        return Unwoven(name, f"its source cannot be read ({error})")
    if not isinstance(tree, ast.FunctionDef):
        return Unwoven(name, "it is no function with a name of its own")
    ast.increment_lineno(tree, code.co_firstlineno - 1)
    found = compiled(_Weaver(name.partition(":")[2], texts).whole(tree), function)
    if found.co_freevars != code.co_freevars:
        return Unwoven(name, "its closure would be another")
    return found


def source_of(function: FunctionType) -> str:
    """Its source, from the first column on."""
    return textwrap.dedent(inspect.getsource(function))


class _Weaver(ast.NodeTransformer):
    """Puts a call of the listener's tap around each value of one function."""

    def __init__(self, function: str, texts: Mapping[ast.AST, str]) -> None:
        self._function, self._texts = function, texts
        self._seen: Counter[str] = Counter()

    def whole(self, tree: ast.FunctionDef) -> ast.FunctionDef:
        """The function with taps at its parameters and inside, all in a frame of their own."""
        tree.decorator_list, tree.returns = [], None
        names = [one.arg for one in (*tree.args.posonlyargs, *tree.args.args, *tree.args.kwonlyargs)]
        owner = ast.Name("self", ast.Load()) if "self" in names else ast.Constant(None)
        self._plain(tree.args)
        entry = [self._again(name, f"param {name}", tree) for name in names if name not in ("self", "cls")]
        frame = ast.Call(ast.Name(FRAME, ast.Load()), [ast.Constant(self._function), owner], [])
        body: list[ast.stmt] = [*entry, *self._block(tree.body)]
        tree.body = [ast.copy_location(ast.With([ast.withitem(frame, None)], body), tree)]
        return tree

    def _plain(self, arguments: ast.arguments) -> None:
        """Without annotations, whose names may be gone, and without defaults: the function keeps its own."""
        for one in ast.walk(arguments):
            if isinstance(one, ast.arg):
                one.annotation = None
        arguments.defaults = [ast.Constant(None) for _ in arguments.defaults]
        arguments.kw_defaults = [default and ast.Constant(None) for default in arguments.kw_defaults]

    def _block(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        visited = [self.visit(statement) for statement in body]
        return [one for found in visited for one in (found if isinstance(found, list) else [found])]

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """A nested function keeps its defaults; its values are those of the frame that it runs in."""
        node.returns = None
        for one in ast.walk(node.args):
            if isinstance(one, ast.arg):
                one.annotation = None
        node.body = self._block(node.body)
        return node

    def visit_Assign(self, node: ast.Assign) -> Any:
        targets = [element for target in node.targets for element in _elements(target)]
        if len(targets) == 1 and isinstance(targets[0], ast.Name):
            node.value = self._named(targets[0].id, node.value)
            return node
        node.value = self.visit(node.value)
        names = [base.id for base in map(_base, targets) if isinstance(base, ast.Name)]
        return [node, *(self._again(name, self._numbered(name), node) for name in names)]

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        node.annotation = ast.Constant(None)
        if node.value is not None and isinstance(node.target, ast.Name):
            node.value = self._named(node.target.id, node.value)
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        node.value, base = self.visit(node.value), _base(node.target)
        return [node, self._again(base.id, self._numbered(base.id), node)] if isinstance(base, ast.Name) else node

    def visit_NamedExpr(self, node: ast.NamedExpr) -> Any:
        node.value = self._named(node.target.id, node.value)
        return node

    def visit_Return(self, node: ast.Return) -> Any:
        if node.value is not None:
            number = self._seen["return"]
            self._seen["return"] += 1
            inside: ast.expr = self._inside(node.value)
            node.value = self._call("return" + (f"#{number}" if number else ""), inside)
        return node

    def _expression(self, node: Any) -> Any:
        """The expression, its parts first, in a tap that is named by its text."""
        text = self._texts.get(node) or ast.unparse(node)
        text = text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
        name = f"`{text}`"
        number = self._seen[name]
        self._seen[name] += 1
        inside: Any = self.generic_visit(node)
        return self._call(f"{name}#{number}" if number else name, inside)

    visit_BinOp = visit_UnaryOp = visit_Compare = visit_IfExp = _expression

    def visit_Call(self, node: ast.Call) -> Any:
        is_built_in = isinstance(node.func, ast.Name) and node.func.id in BUILT_IN
        return self.generic_visit(node) if is_built_in else self._expression(node)

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        return self._expression(node) if isinstance(node.ctx, ast.Load) else self.generic_visit(node)

    def _untouched(self, node: Any) -> Any:
        return node

    visit_JoinedStr = visit_Assert = visit_Raise = visit_Delete = visit_ClassDef = _untouched

    def _inside(self, node: ast.expr) -> Any:
        """An expression whose value gets a name: its parts have taps, itself has the name's."""
        return self.generic_visit(node) if isinstance(node, TAPPED) else self.visit(node)

    def _numbered(self, variable: str) -> str:
        """The next assignment to a variable."""
        number = self._seen[variable]
        self._seen[variable] += 1
        return f"{variable}#{number}"

    def _named(self, variable: str, value: ast.expr) -> ast.expr:
        inside = self._inside(value)
        return self._call(self._numbered(variable), inside)

    def _again(self, variable: str, site: str, where: ast.stmt) -> ast.stmt:
        """``x = tap(x)``."""
        value = self._call(site, ast.copy_location(ast.Name(variable, ast.Load()), where))
        return ast.copy_location(ast.Assign([ast.Name(variable, ast.Store())], value), where)

    def _call(self, site: str, value: ast.expr) -> ast.expr:
        return ast.copy_location(ast.Call(ast.Name(TAP, ast.Load()), [ast.Constant(site), value], []), value)


def _elements(target: ast.expr) -> list[ast.expr]:
    return list(target.elts) if isinstance(target, (ast.List, ast.Tuple)) else [target]


def _base(target: ast.expr) -> ast.expr:
    """What a subscript is of."""
    while isinstance(target, ast.Subscript):
        target = target.value
    return target
