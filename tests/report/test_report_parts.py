"""Parts of reports: numbers, folded names, tables, records of a trace, the contract, the doctor's findings."""

from __future__ import annotations

import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.contract import Contract, Step
from parity.errors import UsageError
from parity.report import numbers
from parity.report.console import console
from parity.report.contract import contract_json, fold_steps, print_steps, select
from parity.report.fold import fold, phases, split
from parity.report.records import print_findings, print_records
from parity.report.table import Table
from parity.traces.trace import Record
from tests import report_samples as samples


def printed(show, *arguments, width=80, **options):
    """What a function prints."""
    file = io.StringIO()
    show(*arguments, console(file, width=width), **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (0.0123, "0.012"),
        (0.994, "0.99"),
        (0.999, "1.0"),
        (1.7272, "1.7"),
        (9.949, "9.9"),
        (9.96, "10"),
        (812.4, "812"),
        (12345.0, "12,345"),
        (2.5e8, "2.5e+08"),
        (math.inf, "infinite"),
        (math.nan, "-"),
    ],
)
def test_ratio(value, text):
    """At least two significant digits, and no more than are read."""
    assert numbers.ratio(value) == text


def test_other_numbers():
    """Errors have an exponent, counts their noun, indices are ranges."""
    assert numbers.error(1.234e-7) == "1.2e-07"
    assert numbers.error(0.0) == "0"
    assert numbers.floors(1.0) == "1.0 floor"
    assert numbers.floors(math.inf) == "infinitely many floors"
    assert numbers.count(1, "step") == "1 step"
    assert numbers.count(1293, "step") == "1,293 steps"
    assert numbers.ranges([3, 0, 1, 2, 7, 5, 5]) == "0-3,5,7"


@given(st.sets(st.integers(0, 60), min_size=1))
def test_ranges_name_exactly_their_members(indices):
    """Ranges read back are the set."""
    read = set()
    for part in numbers.ranges(indices).split(","):
        first, _, last = part.partition("-")
        read |= set(range(int(first), int(last or first) + 1))
    assert read == indices


def test_fold():
    """Names that differ in their first number are one; a single one keeps its own; others stay."""
    names = ["ids", "layers.0.a.1.out", "layers.0.b", "layers.1.a.1.out", "layers.2.a.1.out", "layers.2.a.2.out"]
    assert fold(names) == ["ids", "layers.{0-2}.a.1.out", "layers.0.b", "layers.2.a.2.out"]
    assert phases(["prefill", "decode.1", "decode.2", "prefill"]) == "prefill, decode.{1-2}"


@given(st.lists(st.sampled_from(["a", "0", "12", "007", "²", "", "b"]), min_size=1).map(".".join))
def test_split_loses_nothing(name):
    """The parts of any name, foreign ones included, are the name."""
    before, index, after = split(name)
    assert name == f"{before}{'' if index is None else index}{after}"


def test_table_breaks_only_what_may_be():
    """A column that wraps takes what is left; the others run over the edge rather than be cut."""
    grid = Table("step", "note", right=("step",), wraps="note")
    grid.add("a.long.name", "words that do not fit in here")
    text = printed(grid.print, width=24)
    assert text == "         step  note\n  a.long.name  words\n               that do\n               not fit\n" + (
        "               in here\n"
    )
    assert "a.long.name" in printed(grid.print, width=3)


def layered():
    """Layer 0 lacks a step that layers 1 and 2 have in the middle."""
    names = ["ids", "t.layers.0.a", "t.layers.0.z"]
    names += [f"t.layers.{layer}.{name}" for layer in (1, 2) for name in "amz"] + ["out"]
    return Contract("toy", tuple(Step(name, ("batch",), "float", "a thing", "F.f: x") for name in names), "out")


def test_folded_steps_are_in_execution_order():
    """A step that the first layer lacks stands where the others have it."""
    names = [step.name for step in fold_steps(layered())]
    assert names == ["ids", "t.layers.{0-2}.a", "t.layers.{1-2}.m", "t.layers.{0-2}.z", "out"]


def test_steps_that_differ_in_meaning_are_not_folded():
    """Only what is documented alike is one entry."""
    steps = [Step(f"t.layers.{n}.a", ("batch",), "float", f"meaning {n}", "F.f") for n in (0, 1)]
    assert [step.name for step in fold_steps(steps)] == ["t.layers.0.a", "t.layers.1.a"]


def test_select():
    """By layer, by text, or a clear refusal."""
    contract = layered()
    assert [step.name for step in select(contract, layer=2)] == ["t.layers.2.a", "t.layers.2.m", "t.layers.2.z"]
    assert [step.name for step in select(contract, text="LAYERS.1.M")] == ["t.layers.1.m"]
    assert len(contract_json(contract, select(contract, layer=2))["steps"]) == 3
    with pytest.raises(UsageError, match="no step of layer 9 with 'q'"):
        select(contract, layer=9, text="q")


@pytest.mark.parametrize("width", [80, 160])
def test_steps_page(width, snapshot):
    """The contract as documentation reads as it was reviewed."""
    contract = samples.contract()
    assert printed(lambda out: print_steps(contract, contract.steps, out, folded=True), width=width) == snapshot


def record(**fields):
    """A record of a long name."""
    given = {"step": "text.layers.10.altup.correct.router_input", "phase": "prefill", "axes": ["batch", "token"]}
    numbers = {"mean": -1.5, "std": 2.25, "min": -3.0, "max": 7.125, "abs_max": 7.125}
    return Record(**{**given, "shape": [1, 14], "dtype": "float32", **numbers, **fields})


@pytest.mark.parametrize("width", [80, 160])
def test_records(width, snapshot):
    """A line per record where there is room; of a single one everything."""
    records = [record(), record(phase="decode.1", occurrence=1, nan_count=3, zero_fraction=0.125)]
    assert printed(print_records, records, width=width) == snapshot
    assert printed(print_records, records[:1], width=width) == snapshot


def test_records_take_two_lines_on_a_narrow_terminal(monkeypatch, snapshot):
    """On a terminal nothing runs over the edge."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    text = printed(print_records, [record(), record(nan_count=3, zero_fraction=0.125)])
    assert text == snapshot
    assert max(len(line) for line in text.splitlines()) <= 80


def test_findings(snapshot):
    """Sections with what is good and what is not; nothing examined is not good."""
    findings = [("hf", True, "torch", "2.15.0"), ("hf", True, "timm", "1.0"), ("mlx", False, "mlx\x1b", "pip install")]
    assert printed(print_findings, findings) == snapshot
    out = console(io.StringIO())
    assert print_findings(findings[:2], out)
    assert not print_findings(findings, out)
    assert not print_findings([], out)
