"""Held-out faults: what each rule makes of a line, which places it has, where a fault is, and what a verdict says."""

from __future__ import annotations

import ast
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from parity.contract import Contract, Step
from parity.errors import ExitCode
from parity.judging.judgement import Judgement
from parity.judging.verdict import Status, StepVerdict
from parity.learning.layout import Rearrangement
from parity.learning.table import LearnedTable, Origin, TableRow
from parity.survey.result import SurveyedRun
from parity.traces.trace import Key
from tests.learning import true_source
from tools.heldout import results as words
from tools.heldout.page import markdown
from tools.heldout.placing import placed
from tools.heldout.plants import drawn, plants
from tools.heldout.results import HeldoutFault, HeldoutHead, HeldoutModel, HeldoutResults, Redrawn
from tools.heldout.rules import MAKING, RULES
from tools.heldout.truth import Truth, stands_behind, truth_of

CALLED = ("q_proj", "k_proj", "q_norm", "o_norm")


@pytest.mark.parametrize(
    ("rule", "text", "wrong"),
    [
        ("minus", "x + r", ["x - r"]),
        ("minus", "[None] + rest", []),
        ("term", "x + r", ["x"]),
        ("term", "1.0 + w", ["w"]),
        ("factor", "x * gate", ["x"]),
        ("factor", "scores / total", ["scores"]),
        ("factor", "x @ w", []),
        ("arguments", "swiglu(gate, up)", ["swiglu(up, gate)"]),
        ("arguments", "attend(q, k, v)", ["attend(k, q, v)", "attend(q, v, k)"]),
        ("arguments", "x.reshape(B, L)", []),
        ("module", "self.q_proj(x)", ["self.k_proj(x)"]),
        ("module", "self.o_norm(x)", ["self.q_norm(x)"]),
        ("module", "self.other(x)", []),
        ("activation", "nn.silu(x)", ["nn.gelu(x)"]),
        ("axis", "mx.softmax(x, axis=-1)", ["mx.softmax(x, axis=-2)"]),
        ("axis", "mx.softmax(x, axis=1)", []),
        ("transposed", "x.transpose(0, 2, 1, 3).reshape(B, L, -1)", ["x.reshape(B, L, -1)"]),
        ("transposed", "x.reshape(B, L, H, -1).transpose(0, 2, 1, 3)", ["x.reshape(B, H, L, -1)"]),
        ("mask", "attend(q, mask=mask)", ["attend(q, mask=None)"]),
        ("mask", "layer(h, mask, c)", ["layer(h, None, c)"]),
        ("offset", "rope(q, offset=cache.offset)", ["rope(q, offset=cache.offset + 1)", "rope(q, offset=0)"]),
        ("offset", "rope(q, offset)", ["rope(q, offset + 1)", "rope(q, 0)"]),
        ("norm", "self.q_norm(x)", ["x"]),
        ("norm", "self.q_proj(x)", []),
        ("bound", "x[..., :k]", ["x[..., 1:k + 1]"]),
        ("bound", "x[:, n:]", ["x[:, n - 1:-1]"]),
        ("bound", "x[..., None]", []),
        ("scale", "attend(q, scale=self.scale)", ["attend(q, scale=self.scale * 1.05)"]),
        ("scale", "self.scale", ["self.scale * 1.05"]),
        ("gain", "mx.fast.rms_norm(x, w, e)", ["mx.fast.rms_norm(x, 1.0 + w, e)", "mx.fast.rms_norm(x, w, e * 10)"]),
        ("gain", "mx.fast.rms_norm(x, 1.0 + w, e)", [
            "mx.fast.rms_norm(x, w, e)", "mx.fast.rms_norm(x, 1.0 + w, e * 10)",
        ]),
        ("number", "0.5", ["0.55"]),
        ("number", "2", []),
        ("rounded", "x + r", ["(x + r).astype(mx.bfloat16).astype(mx.float32)"]),
        ("made_epsilon", "nn.RMSNorm(d, eps=e)", ["nn.RMSNorm(d, eps=e * 10)"]),
        ("made_epsilon", "nn.RMSNorm(d, e)", ["nn.RMSNorm(d, e * 10)"]),
        ("made_rotation", "nn.RoPE(d, base=b, traditional=False)", [
            "nn.RoPE(d, base=b * 1.5, traditional=False)", "nn.RoPE(d, base=b, traditional=True)",
        ]),
        ("made_scale", "d ** -0.5", ["d ** (-0.45)"]),
    ],
)  # fmt: skip
def test_what_a_rule_makes_of_an_expression(rule, text, wrong):
    changes = {**RULES, **MAKING}[rule](ast.parse(text, mode="eval").body, CALLED)
    assert [ast.unparse(ast.fix_missing_locations(new)) for new in changes] == wrong


def test_every_rule_has_an_expression_here():
    """A rule that gives nothing would draw nothing."""
    (mark,) = test_what_a_rule_makes_of_an_expression.pytestmark
    assert {rule for rule, _, wrong in mark.args[1] if wrong} == {*RULES, *MAKING}


def test_places_of_a_source_are_edits_of_its_lines():
    """Each applies to the source once and changes one line; what did not run has none, nor have indices and sizes."""
    found = plants(true_source, {"normed", "Layer.forward"})
    functions = {plant.edit.function.partition(":")[2] for plant in found}
    assert functions == {"normed", "Layer.forward"}
    lines = Path(true_source.__file__).read_text().splitlines()
    for plant in found:
        assert plant.old != plant.new
        assert ast.unparse(ast.parse(lines[plant.line - 1].strip())) == plant.old
        assert plant.edit.apply("\n".join(lines)).count("\n") == len(lines) - 1
    minus = [plant.new for plant in found if plant.rule == "minus"]
    assert "x = x - merged" in minus
    assert not [new for new in minus if "shape" in new]


def test_a_draw_takes_a_rule_after_the_other_and_everything_once():
    found = plants(true_source, {"normed", "scores", "Layer.forward"})
    order = [*drawn(found, "seed")]
    rules = {plant.rule for plant in found}
    assert {plant.rule for plant in order[: len(rules)]} == rules
    assert sorted(map(repr, order)) == sorted(map(repr, found))
    assert order == [*drawn(found, "seed")]
    assert order != [*drawn(found, "other")]


STEPS = ("embed", "layers.0.norm", "layers.0.sum", "logits")
CONTRACT = Contract("toy", tuple(Step(name, ("token",), "float", "", f"ref {name}") for name in STEPS), "logits")


def trace(**wrong):
    """A run whose values are by name; factors make some wrong, None takes one away."""
    draw = random.Random(0)
    values = {name: np.array([draw.random() for _ in range(8)], np.float32) for name in STEPS}
    held = {Key("prefill", name): value * wrong.get(name, 1) for name, value in values.items() if wrong.get(name, 1)}
    return SimpleNamespace(
        scenario=SimpleNamespace(chunks=[SimpleNamespace(phase="prefill", holds=())]),
        records=held,
        same=lambda key, other: key in other.records and (held[key] == other.records[key]).all(),
        tensor=held.__getitem__,
    )


def test_a_fault_is_where_the_port_changes_first():
    """By more than rounding; a value that is gone has changed; what does not reach the logits does not matter."""
    wrong = trace(**{"embed": 1 + 2e-7, "layers.0.sum": 1.5, "logits": 1.1})
    truth = truth_of(CONTRACT, clean=trace(), planted=wrong)
    assert (truth.key.step, truth.reference, truth.matters) == ("layers.0.sum", "ref layers.0.sum", True)
    assert (truth.change, truth.logits) == (pytest.approx(0.5, rel=1e-4), pytest.approx(0.1, rel=1e-4))
    gone = truth_of(CONTRACT, clean=trace(), planted=trace(**{"layers.0.norm": None}))
    assert (gone.key.step, gone.change, gone.matters) == ("layers.0.norm", np.inf, False)
    assert truth_of(CONTRACT, clean=trace(), planted=trace()) is None


def test_a_place_stands_at_the_line_or_behind_it():
    (plant,) = [one for one in plants(true_source, {"Layer.forward"}) if one.new == "x = x - merged"]
    function, frame = true_source.Layer.forward.__closure__[0].cell_contents, "layers.0/Layer.forward"
    assert stands_behind(plant, function, f"{frame}: x#0") is True
    assert stands_behind(plant, function, f"{frame}@2: return") is True
    assert stands_behind(plant, function, f"{frame}: low#0") is False
    assert stands_behind(plant, function, f"{frame}: `scores(queries * scale, keys)`") is False
    assert stands_behind(plant, function, f"{frame}/scores: weights#0") is None


ORIGIN = Origin(backend="toy", versions={}, sources={})
ROWS = tuple(TableRow(name, f"ref {name}", ("p",), Rearrangement.parse("token"), (), "content") for name in STEPS)
RUN = [[f"ref {name}" for name in STEPS]]


def verdict(*statuses, phase="prefill"):
    """A judgement with a status a step."""
    steps = tuple(StepVerdict(phase, name, 0, status) for name, status in zip(STEPS, statuses, strict=True))
    return Judgement("port", "float32", "long", steps, (), 4.0)


OK, BAD, GONE = Status.OK, Status.INTRODUCED, Status.UNCOVERED


@pytest.mark.parametrize(
    ("statuses", "shown", "where", "before"),
    [
        ((OK, OK, BAD, BAD), (0, 1, 2, 3), words.STEP, "layers.0.norm"),
        ((OK, OK, OK, BAD), (0, 1, 3), words.INTERVAL, "layers.0.norm"),
        ((OK, OK, GONE, BAD), (0, 1, 2, 3), words.MISSING, "layers.0.norm"),
        ((OK, OK, OK, BAD), (0, 1, 2, 3), words.LATE, "layers.0.sum"),
        ((OK, BAD, OK, BAD), (0, 1, 2, 3), words.EARLY, "embed"),
        ((OK, OK, OK, OK), (0, 1, 2, 3), words.NONE, ""),
    ],
)
def test_where_a_verdict_says_that_a_fault_is(statuses, shown, where, before):
    """The fault's step is the sum."""
    truth = Truth(Key("prefill", "layers.0.sum"), "ref layers.0.sum", 0.5, 0.1)
    whole = verdict(*statuses)
    judgement = Judgement("port", "float32", "long", tuple(whole.steps[at] for at in shown), (), 4.0)
    table = LearnedTable("toy", ORIGIN, ORIGIN, tuple(ROWS[at] for at in shown))
    said = placed(truth, judgement, table, RUN)
    assert (said.where, said.before) == (where, before)


@pytest.mark.parametrize(
    ("ports", "where"),
    [
        (("embed", "right", "`new h + r`", "sum", "wrong"), words.INTERVAL),
        (("embed", "right", "`new h + r`", "wrong", "sum"), words.INTERVAL),
        (("embed", "sum", "right", "wrong"), words.LATE),
    ],
)
def test_the_port_s_own_order_counts_too(ports, where):
    """The port shows the right sum, and makes it wrong behind that: its step is called right, and the next wrong."""
    truth = Truth(Key("prefill", "layers.0.sum"), "ref layers.0.sum", 0.5, 0.1, ("f: sum",))
    rows = [
        replace(row, candidate=(f"f: {place}",))
        for row, place in zip(ROWS, ("embed", "x", "right", "wrong"), strict=True)
    ]
    table = LearnedTable("toy", ORIGIN, ORIGIN, tuple(rows))
    run = [f"f: {place}" for place in ports]
    assert placed(truth, verdict(OK, OK, OK, BAD), table, RUN, [run]).where == where


def test_another_phase_is_late_and_a_crash_no_verdict():
    truth = Truth(Key("prefill", "layers.0.sum"), "ref layers.0.sum", 0.5, 0.1)
    steps = (*verdict(OK, OK, OK, OK).steps, *verdict(OK, OK, BAD, BAD, phase="decode.1").steps)
    table = LearnedTable("toy", ORIGIN, ORIGIN, ROWS)
    assert placed(truth, Judgement("port", "float32", "long", steps, (), 4.0), table, RUN).where == words.LATE
    crashed = Judgement.of_crash("it ended", candidate="port", dtype="float32")
    assert placed(truth, crashed, table, RUN).where == words.CRASH


def test_the_page_leaves_out_no_miss(tmp_path):
    """Figures, each fault with its line, what was drawn in vain, and what is not run yet."""
    judged = {"rows": 4, "step": "logits", "phase": "prefill", "before": "embed", "ratio": 1e4}
    fault = HeldoutFault(
        rule="minus", function="toy:Layer.forward", line=7, old="x = x + r", new="x = x - r", step="layers.0.sum",
        phase="prefill", place="p", behind=True, change=0.5, logits=0.1,
        by_clean=words.Placed(where=words.STEP, **judged), by_own=words.Placed(where=words.LATE, **judged),
    )  # fmt: skip
    clean = (SurveyedRun(scenario="long", dtype="float32", exit_code=ExitCode.PARITY),) * 3
    one = HeldoutModel(
        model="toy", kind="dense", rows=4, places=9, faults=(fault,), clean=clean,
        redrawn=(Redrawn(rule="term", function="toy:f", new="x", why="crashes"),),
    )  # fmt: skip
    head = HeldoutHead(versions={"port": "1.0"}, scenario="long", faults=1)
    page = markdown(HeldoutResults(tmp_path, head, [one]), ["toy", "later"], "the command")
    for line in (
        "- 1 fault in 1 architecture",
        "- by a clean table: 1 of 1 (100%) at its step, 1 of 1 (100%) at it, in the interval, or named missing",
        "- by a table learned of the faulty port: 0 of 1 (0%) at its step, 0 of 1 (0%) at it, in the interval, or "
        "named missing",
        "- the port as it is: 0 of 3 runs called wrong or incomplete",
        "- drawn and no fault: 1 that crashes",
        "Not run yet: `later`.",
        "   - x = x + r",
        "   + x = x - r",
    ):
        assert line in page.splitlines()
    assert "- `toy` 1, own: **late**, first at `logits` (prefill), 10,000 floors, behind `embed`." in page


@pytest.mark.exhaustive
def test_a_drawn_fault_is_found_both_ways():
    """One of a small dense model, and its run without a fault."""
    pytest.importorskip("transformers")
    pytest.importorskip("mlx_lm")
    from tools.heldout.running import SCENARIO, examine

    found = examine("qwen3", "dense", 1, [SCENARIO])
    assert found.failure == ""
    assert [run.exit_code for run in found.clean] == [ExitCode.PARITY]
    (fault,) = found.faults
    assert fault.by_clean.where == words.STEP
    assert fault.by_own.where == words.STEP
    assert fault.by_own.bridged > 0
