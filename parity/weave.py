"""Taps for Python source that is not ours.

A *site* is a place in an installed function: a named assignment, an argument of a call, a parameter or the returned
value. `weave` compiles the function's own syntax tree with a tap behind each site and swaps the code object, so the
code under test is the installed code; decorators and every reference to the function stay as they are. On leaving the
context the original code is back.
"""

from __future__ import annotations

import ast
import functools
import gc
import importlib
import inspect
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import Any

from parity.errors import BackendUnavailable, UsageError
from parity.site import Assigned, Edit, Handler, Heard, Parameter, Passed, Returned, Site

HANDLER = "__parity_handler__"


def locate(site: Site) -> int | None:
    """Line of the site in its source file, or None when the installed source does not have it."""
    try:
        weaver = _woven(site.function, (site,), ())[1]
    except UsageError:
        return None
    return weaver.lines.get(site)


@contextmanager
def weave(sites: Iterable[Site], handler: Handler, edits: Iterable[Edit] = ()) -> Iterator[None]:
    """Run the body with `handler` called at every site, and with `edits` in force.

    Raises:
        BackendUnavailable: naming each site, or an edit's text, that the installed source does not have.
    """
    by_function: dict[str, tuple[list[Site], list[Edit]]] = {}
    for site in sites:
        by_function.setdefault(site.function, ([], []))[0].append(site)
    for edit in edits:
        by_function.setdefault(edit.function, ([], []))[1].append(edit)
    woven = [(resolve(name), *_woven(name, tuple(taps), tuple(new))) for name, (taps, new) in by_function.items()]
    missing = [str(site) for _, _, weaver in woven for site in weaver.sites if site not in weaver.lines]
    if missing:
        raise BackendUnavailable(f"the installed source lacks {len(missing)} site(s): {'; '.join(missing)}")
    with swapped([(function, code) for function, code, _ in woven], {HANDLER: _dispatch(handler)}):
        yield


@contextmanager
def swapped(codes: Sequence[tuple[FunctionType, CodeType]], names: Mapping[str, Any]) -> Iterator[None]:
    """Run the body with other code in functions, which finds `names` among their globals; then all is as it was."""
    originals = [(function, function.__code__) for function, _ in codes]
    try:
        for function, code in codes:
            function.__globals__.update(names)
            function.__code__ = code
        yield
    finally:
        for function, code in originals:
            function.__code__ = code
            for name in names:
                function.__globals__.pop(name, None)


def resolve(path: str) -> FunctionType:
    """The innermost function behind ``package.module:Class.function``, decorators taken off.

    A wrapper that is not written in Python, as a compiler makes it, is asked for the Python function that it holds.

    Raises:
        UsageError: when there is no such function.
    """
    module, _, qualified = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in qualified.split("."):
            found = inspect.getattr_static(found, part)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"no function {path}: {error}") from error
    found = innermost(found)
    if not isinstance(found, FunctionType):
        raise UsageError(f"{path} is not a Python function")
    return found


def innermost(found: Any) -> Any:
    """The function inside methods and wrappers, where there is one; else what lies innermost."""
    found = inspect.unwrap(getattr(found, "__func__", found))
    if type(found) is not FunctionType:  # some wrappers claim to be one
        found = next((held for held in gc.get_referents(found) if type(held) is FunctionType), found)
    return found


_SITES: dict[int, Site] = {}
"""Sites by the number that woven code knows them by, their `id`; they stay here, so that no other gets it."""


def _dispatch(handler: Handler) -> Callable[..., Any]:
    """What the woven calls call: it tells the handler which site spoke, for whom, and who asked.

    A call that is compiled into a function can hold constants and names alone. So it hands over the site's number in
    `_SITES`, its own `self` where it has one, the value, and the variables that the site uses. A function without a
    `self` (one of a module, as of rotary embeddings) computes for the method that called it: two frames up, behind
    this one and the woven function's, stands that caller, whose `self` and name are read.
    """

    def dispatch(key: int, owner: Any, value: Any, **used: Any) -> Any:
        function = inspect.currentframe().f_back  # type: ignore[union-attr]  # CPython has frames
        caller: Any = function.f_back  # type: ignore[union-attr]
        owner = caller.f_locals.get("self") if owner is None else owner
        return handler(Heard(_SITES[key], value, owner, caller.f_code.co_name, used))

    return dispatch


@functools.cache
def _woven(path: str, sites: tuple[Site, ...], edits: tuple[Edit, ...]) -> tuple[CodeType, _Weaver]:
    function = resolve(path)
    source = textwrap.dedent(inspect.getsource(function))
    for edit in edits:
        source = edit.apply(source)
    tree = ast.parse(source).body[0]
    assert isinstance(tree, ast.FunctionDef)
    tree.decorator_list = []
    ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)
    weaver = _Weaver(sites, owner="self" if "self" in function.__code__.co_varnames else None)
    tree.body = weaver.entry() + [node for statement in tree.body for node in weaver.statements(statement)]
    return compiled(tree, function), weaver


def compiled(tree: ast.FunctionDef, function: FunctionType) -> CodeType:
    """Compile inside a factory that has the same free variables, so the code object fits the function's closure."""
    cells = ast.arguments([], [ast.arg(name) for name in function.__code__.co_freevars], None, [], [], None, [])
    outer = ast.FunctionDef("factory", cells, [tree], [], None)
    module = ast.fix_missing_locations(ast.Module([outer], []))
    code = compile(module, function.__code__.co_filename, "exec", dont_inherit=True)
    for _ in range(2):  # the module holds the factory, the factory holds the function
        code = next(constant for constant in code.co_consts if isinstance(constant, CodeType))
    return code.replace(co_qualname=function.__code__.co_qualname)


class _Weaver(ast.NodeTransformer):
    """Puts a call of the handler at each site of one function and remembers the line where it found it."""

    def __init__(self, sites: tuple[Site, ...], owner: str | None) -> None:
        self.sites = sites
        self.lines: dict[Site, int] = {}
        self._owner = owner
        self._seen: Counter[str] = Counter()
        self._calls: Counter[Site] = Counter()

    def entry(self) -> list[ast.stmt]:
        return [
            self._assignment(site, site.target.variable, line=1)
            for site in self.sites
            if isinstance(site.target, Parameter)
        ]

    def statements(self, statement: ast.stmt) -> list[ast.stmt]:
        result = self.visit(statement)
        return result if isinstance(result, list) else [result]

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node  # another scope: its names are not this function's

    visit_Lambda = visit_FunctionDef  # type: ignore[assignment]

    def visit_Assign(self, node: ast.Assign) -> Any:
        names = [name.id for target in node.targets for name in _elements(target) if isinstance(name, ast.Name)]
        return self._tapped(node, names)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        return self._tapped(node, [node.target.id] if isinstance(node.target, ast.Name) and node.value else [])

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        base = node.target.value if isinstance(node.target, ast.Subscript) else node.target
        return self._tapped(node, [base.id] if isinstance(base, ast.Name) else [])

    def visit_Return(self, node: ast.Return) -> Any:
        self.generic_visit(node)
        for site in self.sites:
            if isinstance(site.target, Returned) and node.value is not None:
                node.value = self._call(site, node.value, node.lineno)
        return node

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        for site in self.sites:
            match site.target:
                case Passed(callee, position, occurrence) if _calls(node, callee, position):
                    self._calls[site] += 1
                    if self._calls[site] == occurrence + 1:
                        node.args[position] = self._call(site, node.args[position], node.lineno)
        return node

    def _tapped(self, node: ast.stmt, names: list[str]) -> list[ast.stmt]:
        self.generic_visit(node)
        taps: list[ast.stmt] = []
        for name in names:
            occurrence = self._seen[name]
            self._seen[name] += 1
            wanted = Assigned(name, occurrence)
            taps += [self._assignment(site, name, node.lineno) for site in self.sites if site.target == wanted]
        return [node, *taps]

    def _assignment(self, site: Site, variable: str, line: int) -> ast.stmt:
        value = self._call(site, ast.Name(variable, ast.Load()), line)
        return ast.copy_location(ast.Assign([ast.Name(variable, ast.Store())], value, lineno=line), value)

    def _call(self, site: Site, value: ast.expr, line: int) -> ast.expr:
        self.lines.setdefault(site, line)
        _SITES[id(site)] = site
        owner: ast.expr = ast.Name(self._owner, ast.Load()) if self._owner else ast.Constant(None)
        used = [ast.keyword(name, ast.Name(name, ast.Load())) for name in site.uses]
        call = ast.Call(ast.Name(HANDLER, ast.Load()), [ast.Constant(id(site)), owner, value], used)
        return ast.copy_location(call, value) if hasattr(value, "lineno") else call


def _calls(node: ast.Call, callee: str, position: int) -> bool:
    """Whether `node` is a call of `callee` that has a positional argument there."""
    return ast.unparse(node.func) == callee and position < len(node.args)


def _elements(target: ast.expr) -> list[ast.expr]:
    return list(target.elts) if isinstance(target, ast.Tuple) else [target]
