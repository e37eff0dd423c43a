"""Places, parts and channels: what the contract says of axes, and that an error in one of them alone is seen there."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.axes import LOOKS, USUAL, Axes, said
from parity.contract import Contract
from parity.errors import UsageError
from parity.judging.floors import SAMPLE, Floor
from parity.traces.measure import Error, Scale, View, exact
from tests.toy import CONTRACT

LAYOUTS = (
    (("batch", "token", "hidden"), (2, 6, 16)),
    (("batch", "token", "head", "head_dim"), (2, 5, 3, 8)),
    (("batch", "kv_head", "key", "head_dim"), (2, 3, 5, 8)),
    (("stream", "batch", "token", "hidden"), (3, 2, 4, 8)),
    (("clip", "channel", "frame", "mel"), (2, 4, 6, 3)),
    (("clip", "head", "block", "query", "key"), (2, 3, 2, 4, 9)),
    (("image", "channel", "height", "width"), (2, 9, 3, 4)),
    (("distance", "head", "head_dim"), (5, 2, 8)),
)


def looked(error):
    """Views by what they are of."""
    return {view.look: view for view in error.views}


@pytest.mark.parametrize(
    ("names", "shape", "places", "parts", "samples"),
    [
        (("batch", "token", "head", "head_dim"), (2, 3, 4, 5), (0, 1), (2,), 6),
        (("batch", "kv_head", "key", "head_dim"), (2, 3, 4, 5), (0, 2), (1,), 8),
        (("clip", "head", "block", "query", "key"), (2, 3, 4, 5, 6), (0, 2, 3), (1,), 40),
        (("image", "channel", "height", "width"), (1, 9, 3, 4), (0, 2, 3), (), 12),
        (("clip", "frame", "hidden"), (1, 1, 96), (0, 1), (), 1),
        (("one", "one", "hidden"), (1, 1, 7), (0, 1), (), 1),
        (("frequency",), (16,), (), (), 16),
        (("image", "token"), (2, 3, 4), (), (), 24),
    ],
)
def test_what_axes_are(names, shape, places, parts, samples):
    """One frame of 96 channels is one sample; keys are places where nothing queries them; unknown axes are none."""
    layout = USUAL.layout(names, shape)
    assert (layout.places, layout.parts, layout.samples) == (places, parts, samples)
    assert layout.samples * layout.width == math.prod(shape)


def test_places_in_words():
    """As people say them; where there is but one of something, it is not told."""
    layout = USUAL.layout(("image", "height", "width", "one"), (2, 4, 6, 1))
    assert said(layout.where((0, 1, 2, 3), 24 + 3 * 6 + 5)) == "image 1, row 3, column 5"
    assert said((("batch", 0), ("token", 2))) == "row 0, token 2"


@given(st.sampled_from(LAYOUTS), st.sampled_from(LOOKS[1:]), st.data())
def test_a_fault_in_one_alone_is_seen_whole_and_told_where(form, look, data):
    """A factor of 1.02 on one place, part or channel is an error of 2 % there, and less in the whole tensor."""
    names, shape = form
    layout, true = USUAL.layout(*form), np.random.default_rng(0).normal(size=shape)
    kept = layout.kept(look)
    if not kept:
        return
    group = data.draw(st.integers(0, layout.groups(kept) - 1))
    at = dict(layout.where(kept, group))
    made, index = true.copy(), tuple(at.get(name, slice(None)) for name in names)
    made[index] *= 1.02
    error = exact(oracle=true, candidate=made, scale=Scale.made(true, layout, coarse=True))
    view = looked(error)[look]
    power = layout.energy(true, kept)
    assert dict(view.where) == at
    assert view.error == pytest.approx(0.02 * math.sqrt(min(1.0, power.flat[group] / power.mean())))
    assert error.relative == pytest.approx(0.02 * math.sqrt(power.flat[group] / power.sum()))


@given(st.sampled_from(LAYOUTS), st.integers(0, 99))
def test_laws_of_views(form, seed):
    """No look exceeds the worst elements'; the order of axes and a common factor make no difference."""
    names, shape = form
    draw = np.random.default_rng(seed)
    true, noise = draw.normal(size=shape), 1e-3 * draw.normal(size=shape)
    whole = looked(exact(oracle=true, candidate=true + noise, scale=Scale.made(true, USUAL.layout(*form), coarse=True)))
    order = draw.permutation(len(shape))
    turned, moved = true.transpose(order), (true + noise).transpose(order)
    layout = USUAL.layout([names[axis] for axis in order], turned.shape)
    again = looked(exact(oracle=8 * turned, candidate=8 * moved, scale=Scale.made(8 * turned, layout, coarse=True)))
    assert whole.keys() == again.keys()
    for look, view in whole.items():
        assert again[look].error == pytest.approx(view.error)
        assert dict(again[look].where) == dict(view.where)
        assert view.error <= math.sqrt((noise**2).max() / (true**2).mean() * true.size)


def test_padding_and_infinities_are_in_no_view():
    """What does not count is in no group; what is infinite on one side only is counted."""
    layout, true = USUAL.layout(("batch", "token", "hidden"), (2, 3, 8)), np.ones((2, 3, 8))
    valid = np.array([[False, True, True], [True, True, True]])[..., None]
    made = true.copy()
    made[0, 0] = 5.0
    made[1, 2, 3] = math.inf
    error = exact(oracle=true, candidate=made, scale=Scale.made(true, layout, valid, 8.0, coarse=True))
    assert {view.error for view in error.views} == {0.0}
    assert error.nonfinite == 1


def test_a_channel_near_zero_is_held_to_a_typical_one():
    """Relative to itself any arithmetic errs there without bound."""
    layout, true = USUAL.layout(("batch", "token", "hidden"), (1, 4, 8)), np.ones((1, 4, 8))
    true[..., 3] = 1e-9
    made = true + 1e-4 * (np.arange(8) == 3)
    view = looked(exact(oracle=true, candidate=made, scale=Scale.made(true, layout, typical=8.0, coarse=True)))
    assert view["channel"].error == pytest.approx(1e-4)
    assert view["channel"].where == (("hidden", 3),)


def test_all_zero_and_empty():
    """Right where all is zero is no error, wrong there is beyond any floor; nothing at all is right."""
    layout, zero = USUAL.layout(("batch", "token", "hidden"), (1, 2, 8)), np.zeros((1, 2, 8))
    assert exact(oracle=zero, candidate=zero, scale=Scale.made(zero, layout)).relative == 0.0
    assert exact(oracle=zero, candidate=zero + 1, scale=Scale.made(zero, layout)).relative == math.inf
    layout, nothing = USUAL.layout(("batch", "token", "hidden"), (1, 0, 8)), np.zeros((1, 0, 8))
    assert exact(oracle=nothing, candidate=nothing, scale=Scale.made(nothing, layout)).relative == 0.0


floors = st.builds(Floor, st.dictionaries(st.sampled_from(LOOKS), st.floats(0, 1)), st.integers(0, 2 * SAMPLE))


@given(floors, floors, st.floats(1, 8), st.floats(1e-8, 1e-2))
def test_floors_treat_each_look_alike(one, other, factor, roundoff):
    """The larger of both, several times as much, at least the roundoff: of the tensor as of any other."""
    both = one | other
    least = both.at_least(roundoff)
    for look in LOOKS:
        assert both.at(look) == max(one.at(look), other.at(look))
        assert both.times(factor).at(look) == both.at(look) * factor
        assert least.at(look) == max(both.at(look), roundoff if both.samples >= SAMPLE else 2 * roundoff)
    assert both.samples == one.samples + other.samples
    assert Floor.of(Error((View("tensor", 0.1), View("part", 0.2, (("head", 1),))), samples=3)).at("part") == 0.2


def test_the_contract_says_what_axes_are():
    """Other names than the usual ones, kept beside a trace; the digest is of the steps alone."""
    axes = Axes(places=("position",), parts=("lobe",), sequence=("position",))
    contract = dataclasses.replace(CONTRACT, axes=axes)
    assert contract.digest == CONTRACT.digest
    assert Contract.from_json(json.loads(json.dumps(contract.to_json()))) == contract
    assert axes.layout(("position", "lobe", "x"), (3, 2, 8)).parts == (1,)


@pytest.mark.parametrize("given", [{}, {"axes": {}}, {"axes": {"parts": ["lobe"]}}])
def test_a_contract_that_does_not_say_it_has_the_usual_names(given):
    """An older trace's, or one that another program wrote."""
    data = {name: value for name, value in CONTRACT.to_json().items() if name != "axes"}
    read = Contract.from_json({**data, **given})
    assert read.axes == dataclasses.replace(USUAL, **{name: tuple(it) for name, it in given.get("axes", {}).items()})


@pytest.mark.parametrize("axes", [{"places": "token"}, {"places": [1]}, {"rooms": ["token"]}, ["token"]])
def test_axes_that_cannot_be_read_are_refused(axes):
    with pytest.raises(UsageError, match="the contract cannot be read"):
        Contract.from_json({**CONTRACT.to_json(), "axes": axes})
