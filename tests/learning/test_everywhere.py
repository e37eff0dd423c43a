"""A tap behind every value: places are named by the source, values may be replaced, nothing is left behind."""

from __future__ import annotations

import ast

import numpy as np
import pytest

from parity.errors import BackendUnavailable
from parity.learning.edited import renamed as texts_of
from parity.learning.everywhere import functions_of, weave_everywhere
from parity.learning.listening import Listener
from parity.site import Edit
from tests.learning import pair, true_source

GIVEN = pair.inputs(0, "float64")


def places(edits=(), **how):
    """Run the reference."""
    result, said, missing = pair.run(true_source, pair.reference(), GIVEN, edits=edits, **how)
    return result, dict(said), missing


def test_values_stay_and_every_kind_of_place_is_named():
    """Parameters, assignments, expressions, comprehensions, lambdas, helpers below their caller, items of results."""
    result, said, missing = places()
    np.testing.assert_array_equal(result["last"], pair.reference()[0].forward(GIVEN)["last"])
    assert not missing
    wanted = {
        "/Model.forward: param x",
        "layers.0/Layer.forward: param x",
        "layers.1/Layer.forward/normed: param gain",
        "layers.0/Layer.forward: `self.split(low @ self.weights[name])`",
        "layers.0/Layer.forward: `self.split(low @ self.weights[name])`~2",
        "layers.0/Layer.split@2: return",
        "layers.1/Layer.forward/scores: weights#0",
        "layers.0/Layer.forward: x#0",
        "layers.0/Layer.forward: x#1",
        "/Model.forward: `layer.forward(value)`~1",
        "/Model.forward: `part * 2.0`~1",
        "/Model.forward: return['parts'][0]",
        "/Model.forward: return['last']",
    }
    assert wanted <= said.keys()
    np.testing.assert_array_equal(said["/Model.forward: return['last']"], result["last"])


def test_a_value_is_replaced_where_it_is_heard():
    """In a lambda, and inside of a list inside of a dictionary."""
    zeroed = lambda place: lambda heard, value: value * 0 if heard == place else value  # noqa: E731
    result, _, _ = places(hear=zeroed("/Model.forward: `layer.forward(value)`~1"))
    assert not result["last"].any()
    result, _, _ = places(hear=zeroed("/Model.forward: return['parts'][1]"))
    assert result["parts"][0].any()
    assert not result["parts"][1].any()


def test_the_source_is_as_before_afterwards():
    """Code and globals, also where the body fails."""
    before = {name: function.__code__ for name, function in functions_of([true_source]).items()}
    names = set(vars(true_source))
    with (
        pytest.raises(ZeroDivisionError),
        weave_everywhere([true_source], Listener({}, pair.is_array, lambda _, x: x)),
    ):
        raise ZeroDivisionError
    assert {name: function.__code__ for name, function in functions_of([true_source]).items()} == before
    assert set(vars(true_source)) == names


def test_an_edit_is_in_force_and_one_of_nothing_is_refused():
    """As faults are planted in memory."""
    function = "tests.learning.true_source:normed"
    result, _, _ = places([Edit(function, "1e-6", "1e-1")])
    assert not np.allclose(result["last"], places()[0]["last"])
    with pytest.raises(BackendUnavailable, match="holds '1e-7' 0 times"):
        places([Edit(function, "1e-7", "1")])
    with pytest.raises(BackendUnavailable, match=r"no function .*:gone to edit"):
        places([Edit("tests.learning.true_source:gone", "1", "2")])


@pytest.mark.parametrize(
    ("function", "old", "new", "renamed"),
    [
        ("normed", "(x * x).mean(-1", "(x * x * 1.1).mean(-1", "`new x * x`"),
        ("normed", "np.sqrt(", "np.exp(", ""),
        ("scores", "np.exp(raw - raw.max(-1, keepdims=True))", "raw.clip(0)", ""),
        ("scores", "raw = ", "queries = queries * 2; raw = ", "queries#0"),
    ],
)
def test_an_edit_leaves_other_places_their_names(function, old, new, renamed):
    """What stands where another expression did has that one's name, so that a table of the source as it is holds on."""
    before, after = (
        places(edits)[1].keys() for edits in ((), [Edit(f"tests.learning.true_source:{function}", old, new)])
    )
    assert {place.partition(": ")[2].partition("~")[0] for place in after - before} == {renamed} - {""}
    gone = {place.rpartition("/")[2] for place in before - after}
    assert all(place.startswith(function) for place in gone)
    assert bool(gone) == ("clip" in new)


@pytest.mark.parametrize(
    ("new", "renamed"),
    [
        ("y = f(b(x), a(x))", {("f(b(x), a(x))", "f(a(x), b(x))")}),
        ("y = f(b(x), b(x))", {("b(x)", "a(x)"), ("f(b(x), b(x))", "f(a(x), b(x))")}),
        ("y = f(a(x), b(x)) * 2", {("f(a(x), b(x)) * 2", "f(a(x), b(x))")}),
    ],
)
def test_what_changes_places_stays_what_it_is(new, renamed):
    """And what takes another's place is called like that."""
    found = texts_of(ast.parse("y = f(a(x), b(x))").body[0], ast.parse(new).body[0])
    named = {(ast.unparse(node), text) for node, text in found if not text.startswith("new")}
    assert {(own, text) for own, text in named if own != text} == renamed


def test_what_cannot_be_woven_is_told():
    """A generator's frame outlives the call."""
    from tests.learning import unwoven_source

    with weave_everywhere([unwoven_source], Listener({}, pair.is_array, lambda _, x: x)) as missing:
        assert [str(one) for one in missing] == [
            "tests.learning.unwoven_source:halves: it gives its values one by one, and its frame outlives the call",
            "tests.learning.unwoven_source:<lambda>: it is no function with a name of its own",
        ]
