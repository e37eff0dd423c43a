"""Weaving: taps in source that is not ours, and nothing left behind."""

from __future__ import annotations

import pytest

from parity.errors import BackendUnavailable, UsageError
from parity.site import Assigned, Edit, Parameter, Passed, Returned, Site
from parity.weave import locate, weave
from tests.woven_source import Scale, outer

FORWARD = "tests.woven_source:Scale.forward"
OUTER = "tests.woven_source:outer"


def heard(sites, run, answer=lambda site, value: value):
    """Run with taps at `sites`; return what `run` returned and what was heard, as (site, value, used)."""
    said = []

    def handle(found):
        said.append((found.site, found.value, dict(found.used)))
        return answer(found.site, found.value)

    with weave(sites, handle):
        return run(), said


@pytest.mark.parametrize(
    ("target", "value"),
    [(Parameter("x"), 1), (Assigned("y", 0), 1), (Assigned("y", 1), 10), (Assigned("y", 2), 13), (Returned(), 13)],
)
def test_each_kind_of_site_is_heard(target, value):
    """Parameter, plain and augmented assignment, and returned value; decorators and super() go on working."""
    result, said = heard([Site(FORWARD, target)], lambda: Scale().forward(1))
    assert result == 26
    assert [said_value for _, said_value, _ in said] == [value]


def test_tuple_assignment_counts():
    """`y, z = ...` is the fourth assignment to y."""
    _, said = heard([Site(FORWARD, Assigned("y", 3))], lambda: Scale().forward(1, flag=True))
    assert said[0][1] == 113


def test_answer_replaces_the_value():
    """A tap is a two-way port: what the handler returns is what the function goes on with."""
    result, _ = heard([Site(FORWARD, Assigned("y", 0))], lambda: Scale().forward(1), lambda site, value: 5)
    assert result == 2 * (5 * 10 + 3)


def test_loop_locals_and_arguments():
    """A site in a loop hands over the loop's index; an argument of a call is a site; inner scopes are not ours."""
    _, said = heard([Site(OUTER, Assigned("part"), ("i",))], lambda: outer(5))
    assert [(value, used) for _, value, used in said] == [(5, {"i": 0}), (6, {"i": 1}), (7, {"i": 2})]
    _, said = heard([Site(OUTER, Passed("helper", 1))], lambda: outer(5))
    assert [value for _, value, _ in said] == [0, 1, 2]
    assert locate(Site(OUTER, Assigned("total", 2))) is None


def test_owner_is_self():
    """The handler is told whose method it is."""
    owners = []
    scale = Scale()
    with weave([Site(FORWARD, Returned())], lambda found: owners.append(found.owner) or found.value):
        scale.forward(1)
    assert owners == [scale]


def test_nothing_is_left_behind():
    """After the context, even one that an exception ended, code and globals are as before."""
    before = Scale.forward.__wrapped__.__code__
    with pytest.raises(ZeroDivisionError), weave([Site(FORWARD, Returned())], lambda *_: 1 / 0):
        Scale().forward(1)
    assert Scale.forward.__wrapped__.__code__ is before
    assert "__parity_handler__" not in Scale.forward.__globals__
    assert Scale().forward(1) == 26


def test_missing_site_is_named():
    """A site that the source lacks is an error that names it, and nothing is woven."""
    with (
        pytest.raises(BackendUnavailable, match=r"Scale\.forward: nowhere"),
        weave([Site(FORWARD, Assigned("nowhere"))], lambda *_: None),
    ):
        pass
    assert Scale().forward(1) == 26


def test_edit_changes_one_line():
    """An edit is in force inside the context only, together with taps."""
    edit = Edit(FORWARD, "y += 3", "y += 4")
    with weave([], lambda *_: None, [edit]):
        assert Scale().forward(1) == 28
    assert Scale().forward(1) == 26


def test_edit_that_does_not_apply():
    """An edit whose text is not in the source exactly once is refused."""
    with pytest.raises(BackendUnavailable, match="0 times"), weave([], lambda *_: None, [Edit(FORWARD, "nope", "")]):
        pass


def test_unknown_function():
    """A path that leads nowhere is a usage error."""
    with pytest.raises(UsageError, match="no function"), weave([Site("tests.woven_source:Nope.x", Returned())], print):
        pass


def test_locate_gives_the_line():
    """Sites are found at their line; doctor prints it."""
    line = locate(Site(FORWARD, Assigned("y", 2)))
    assert line == Scale.forward.__wrapped__.__code__.co_firstlineno + 5
