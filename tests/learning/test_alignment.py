"""A toy port is paired with its reference by content, and past its faults."""

from __future__ import annotations

from dataclasses import replace

import pytest

from parity.learning.alignment import Alignment
from parity.learning.learn import rows_of
from parity.learning.table import LearnedTable, Origin
from parity.learning.values import steady
from parity.site import Edit
from tests.learning import pair, recorded

PORT = "tests.learning.ported_source"
ORIGIN = Origin(backend="toy", versions={}, sources={})


def aligned(folder, edits=()):
    """All pairs: the port's place and how it is known, by the reference's."""
    true = recorded.truth(folder / "true")
    other = recorded.truth(folder / "other", seed=1)
    hear = recorded.hearing(folder, true, edits)
    again = recorded.hearing(folder / "again", true, edits, seed=1)
    still = steady(true.oracle, other.oracle), steady(hear(), again())
    return Alignment(true, hear, pair.SIZES, still).solved()


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Pairs of the right port."""
    return aligned(tmp_path_factory.mktemp("clean"))


WANTED = {
    "layers.{}/Layer.forward/normed: return": ("blocks.{}/Block.norm: return", "batch token hidden"),
    "layers.{}/Layer.forward: seen#0": ("", "batch token (head head_dim) -> batch head token head_dim"),
    "layers.{}/Layer.forward: x#0": ("blocks.{}/Block.__call__: h#0", "batch token hidden"),
    "layers.{}/Layer.forward: x#1": ("blocks.{}/Block.__call__: return", "batch token hidden"),
    "layers.{}/Layer.forward/scores: `np.exp(raw - raw.max(-1, keepdims=True))`": ("", ""),
}


def test_every_value_of_a_right_port_has_its_partner(clean):
    """In both layers, by content alone, within the floors."""
    found = {one.reference: one for one in clean}
    assert {one.confidence for one in clean} == {"content"}
    assert max(one.error for one in clean) < 4
    for place, (port, layout) in list(WANTED.items())[:4]:
        for layer in range(2):
            one = found[place.format(layer)]
            assert one.candidate[0] == port.format(layer) or not port
            assert str(one.layout) == layout or not port


def test_no_partner_is_of_another_layer_and_none_twice(clean):
    """Each place of the port is one of the reference's."""
    ports = [one.candidate[0] for one in clean]
    assert len(ports) == len(set(ports))
    for one in clean:
        numbers = [place.partition("/")[0].rpartition(".")[2] for place in (one.reference, one.candidate[0])]
        assert len(set(numbers)) == 1 or "" in numbers


def test_rows_hold_both_layers(clean):
    """A row a family, its layers and its own name."""
    rows = rows_of(clean)
    assert len({row.name for row in rows}) == len(rows)
    by_place = {row.reference: row for row in rows}
    assert by_place["layers.{layer}/Layer.forward: x#0"].layers == (0, 1)
    assert by_place["layers.{layer}/Layer.forward: x#0"].candidate == ("blocks.{layer}/Block.__call__: h#0",)
    assert by_place["layers.{layer}/Layer.forward/normed: return"].name == "layers.{layer}.normed"


def test_rows_of_a_layer_keep_its_order_where_it_differs_from_the_others(clean):
    """A norm that is known otherwise in the second layer stands in front of what follows it, and the end is last."""
    places = [f"layers.{layer}/Layer.forward: {name}#0" for layer in range(3) for name in ("norm", "act", "sum")]
    pairs = [replace(clean[0], reference=place, candidate=(place,)) for place in (*places, "/Model.forward: out#0")]
    pairs[3] = replace(pairs[3], confidence="bridged (9)")
    pairs[8] = replace(pairs[8], confidence="bridged (9)")
    rows = rows_of(pairs)
    assert [(row.reference.partition(": ")[2], row.layers) for row in rows] == [
        ("norm#0", (0, 2)), ("norm#0", (1,)), ("act#0", (0, 1, 2)), ("sum#0", (0, 1)), ("sum#0", (2,)), ("out#0", ()),
    ]  # fmt: skip
    table = LearnedTable("toy", ORIGIN, ORIGIN, rows)
    assert [row.reference for row in table.members()] == [one.reference for one in pairs]


def test_what_is_inside_of_a_function_whose_result_is_right_is_no_guess(clean, tmp_path):
    """In no layer, for all run the same code; a result itself may be wrong in another one."""
    alignment = Alignment(recorded.truth(tmp_path), lambda pairs: None, pair.SIZES, (set(), set()))
    (norm,) = (one for one in clean if one.reference == "layers.0/Layer.forward/normed: return")
    alignment._pairs = {norm.reference: norm}
    inside = alignment._inside()
    assert {place.partition(": ")[0] for place in inside} == {f"layers.{at}/Layer.forward/normed" for at in range(2)}
    assert not {place for place in inside if place.endswith("return")}
    alignment._pairs = {norm.reference: replace(norm, confidence="by likeness")}
    assert alignment._inside() == set()


FAULTS = {
    "epsilon": (f"{PORT}:Block.norm", "1e-6", "1e-2", "layers.0/Layer.forward/normed: "),
    "residual": (f"{PORT}:Block.__call__", "h = h + self", "h = 0.9 * h + self", "layers.0/Layer.forward: x#0"),
    "gate": (f"{PORT}:Block.__call__", "np.tanh(h @", "np.sin(h @", "layers.0/Layer.forward: `np.tanh("),
    "rounded": (
        f"{PORT}:Block.__call__",
        "h = h + self.attend(self.norm(h))",
        "h = (h + self.attend(self.norm(h))).astype(np.float16).astype(np.float32)",
        "layers.0/Layer.forward: x#0",
    ),
    "heads": (
        f"{PORT}:Block.attend",
        '"bqhd,bkhd->bqhk", q, k)',
        '"bqhd,bkhd->bqhk", q, k[:, ::-1])',
        "layers.0/Layer.forward/scores",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_bridged_and_what_follows_is_paired(name, clean, tmp_path):
    """The first value that is not by content is the fault's own, and in the end both layers are paired again."""
    function, old, new, place = FAULTS[name]
    found = aligned(tmp_path, [Edit(function, old, new)])
    bridged = [one for one in found if one.confidence != "content"]
    assert bridged[0].reference.startswith(place)
    assert len(found) >= 0.8 * len(clean)
