"""A table is written, read back and edited; what is no table is refused in a line."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from parity.errors import StaleTrace, UsageError
from parity.learning.layout import Rearrangement
from parity.learning.learn import Learned
from parity.learning.places import family, in_layers, layer_of, step_name
from parity.learning.table import LearnedTable, Origin, TableRow, ranges, read_ranges
from parity.learning.taps import Taps
from parity.report.console import console
from parity.report.learned import print_learned

ORIGIN = Origin(backend="toy", versions={"numpy": "2.0"}, sources={"toy.model": "0123"})
LAYERED = TableRow(
    "layers.{layer}.q_proj",
    'layers.{layer}/Layer.forward: `self.q_proj("x")`',
    ("blocks.{layer}/Block.__call__: q#0", "blocks.{layer}/Block.__call__: q#1"),
    Rearrangement.parse("batch token (head head_dim) -> batch head token head_dim"),
    (0, 1, 3),
    "content",
)
NORM = replace(LAYERED, name="layers.{layer}.norm", reference="layers.{layer}/Layer.forward: y#0", candidate=("b",))
FIRST = TableRow("embed", "/Model.forward: h#0", ("/Net: h#0",), Rearrangement.parse("batch token"), (), "by hand")
LAST = TableRow("logits", "/Model.forward: o#0", ("/Net: o#0",), Rearrangement.parse("batch vocabulary"), (), "content")
UNSHOWN = replace(FIRST, name="kept", reference="/Model.forward: k#0", candidate=(), confidence="not shown")
TABLE = LearnedTable("toy", ORIGIN, ORIGIN, (FIRST, UNSHOWN, LAYERED, NORM, LAST))


def test_what_is_written_reads_back(tmp_path):
    """Every field, and bytes that do not depend on when."""
    TABLE.write(tmp_path / "toy.toml")
    assert LearnedTable.read(tmp_path / "toy.toml") == TABLE
    assert [path.name for path in tmp_path.iterdir()] == ["toy.toml"]


def test_what_could_not_be_woven_is_printed():
    """With the pairs that did not hold: the first of them, and how many more there are."""
    learned = Learned(TABLE, (9, 8), 7, (), tuple(f"toy:f{number}: it is a generator" for number in range(7)))
    with (out := console(io.StringIO())).capture() as captured:
        print_learned(learned, Path("toy.toml"), out)
    lines = captured.get().splitlines()
    assert [line for line in lines if "f0" in line] == ["not woven  toy:f0: it is a generator"]
    assert "           and 2 more" in lines
    assert "dropped" not in captured.get()


def test_the_contract_is_in_execution_order():
    """Layer by layer; the last step with a vocabulary is what tokens are chosen from."""
    contract = TABLE.contract()
    layers = [f"layers.{layer}.{name}" for layer in (0, 1, 3) for name in ("q_proj", "norm")]
    assert [step.name for step in contract] == ["embed", "kept", *layers, "logits"]
    assert contract.logits == "logits"
    step = contract.get("layers.3.q_proj")
    assert step.axes == ("batch", "head", "token", "head_dim")
    assert step.source == 'layers.3/Layer.forward: `self.q_proj("x")`'


ROUTED = replace(
    FIRST,
    name="router",
    reference="/Router.forward: y#0",
    layout=Rearrangement.parse("batch token x -> (batch token) x"),
)


@pytest.mark.parametrize(
    ("side", "draft", "made", "shown"),
    [
        ("reference", False, (6, 4), (2, 3, 4)),
        ("candidate", False, (2, 3, 4), (2, 3, 4)),
        ("candidate", True, (2, 3, 4), (6, 4)),
        ("reference", False, (5, 4), (5, 4)),
    ],
)
def test_rows_that_the_reference_lays_behind_each_other_are_apart_in_the_step(side, draft, made, shown, tmp_path):
    """So that padding is known as a row's; while it is learned, a step has the reference's own axes."""
    origin = ORIGIN.model_copy(update={"sources": {}})
    table = LearnedTable("toy", origin, origin, (ROUTED,))
    table.write(tmp_path / "toy.toml")
    assert table.contract().get("router").axes == ("batch", "token", "x")
    heard = []

    def tap(name, value):
        heard.append((name, value.shape))
        return value + 1

    value = np.arange(np.prod(made)).reshape(made)
    hear = Taps(str(tmp_path / "toy.toml"), side, [], draft=draft).hear(tap, {"batch": 2, "token": 3})
    place = ROUTED.reference if side == "reference" else ROUTED.candidate[0]
    np.testing.assert_array_equal(hear(place, value), value + (2 if draft else 1))
    assert heard[-1] == ("router", shown)


def test_another_source_says_learn_it_again():
    """Which file changed, or is new, or is gone."""
    ORIGIN.require({"toy.model": "0123"}, "toy.toml")
    for sources, name in (({"toy.model": "9"}, "model"), ({"toy.model": "0123", "toy.b": "1"}, "b"), ({}, "model")):
        with pytest.raises(StaleTrace, match=rf"table toy.toml: the source of toy\.{name} changed; learn it again"):
            ORIGIN.require(sources, "toy.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format = 1", "format = 2", "format 2 is not 1; learn it again"),
        ('model = "toy"', "", "model: Field required; mend it, or learn it again"),
        ("[candidate]", "[candidate", "Expected ']'"),
        ('layers = "0-1, 3"', 'layers = "0-x"', "layers '0-x' are no numbers such as 0-3, 5"),
        ('layers = "0-1, 3"', "", "have {layer} where there are layers, and only there"),
        ("batch token (head", "batch (head", "both sides must have the same axes"),
        ('name = "logits"', 'name = "embed"', "names a step twice: embed"),
        ('confidence = "by hand"', "confidence = 3", "step.0.confidence"),
    ],
)
def test_nonsense_is_one_line(old, new, message, tmp_path):
    """What an editor may leave behind."""
    path = tmp_path / "toy.toml"
    TABLE.write(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError) as refused:
        LearnedTable.read(path)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_no_file_is_one_line(tmp_path):
    """With the command that writes one."""
    with pytest.raises(UsageError, match="there is no such file; write one with parity learn"):
        LearnedTable.read(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="cannot be written"):
        TABLE.write(tmp_path / "none" / "toy.toml")


def test_ranges():
    """As people write them."""
    assert ranges((3, 0, 1, 2, 5)) == "0-3, 5"
    assert read_ranges("0-3, 5") == (0, 1, 2, 3, 5)
    assert ranges(()) == ""
    assert read_ranges("") == ()


PLACES = [
    ("model.layers.3.attn/Attention.forward: `self.q_proj(x)`", "model.layers.3.attn.q_proj"),
    ("model.layers.3.norm/Norm.forward: return", "model.layers.3.norm"),
    ("model.layers.3/Block.forward/rope@1: q#1", "model.layers.3.rope.1.q.1"),
    ("model.layers.3/Block.forward: `f(x) * g(y)`", "model.layers.3.f_x_g_y"),
    ("/Model.forward: param x", "x"),
    ("model/Model.forward: out#0~2['last'][1]", "model.out.2.last.1"),
]


@pytest.mark.parametrize(("place", "name"), PLACES)
def test_a_place_has_a_step_s_name(place, name):
    """The checkpoint's own names, where it has some."""
    assert step_name(place) == name


def test_a_place_is_in_a_layer():
    """The first index of its module's path."""
    place = "model.layers.3.experts.7/Expert.forward@2: x#0~1"
    assert layer_of(place) == "3"
    assert in_layers(place) == "model.layers.{layer}.experts.7/Expert.forward@2: x#0~1"
    assert family(place) == "model.layers.*.experts.*/Expert.forward: x#0"
    assert layer_of("model/Model.forward: x#0[3]") == ""
