"""The embedded checkpoint's packages in every scenario of text against the reference, and faults planted in them.

All of it is slow: packages are converted first, which takes a minute of the first run each.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("coremltools")

from implementations.coreml import Backend
from implementations.coreml.interpreter.run import WRITE, Interpreter
from implementations.coreml.package.program import Operation
from parity.errors import ExitCode, UsageError
from parity.judging.judge import ALLOWED
from parity.tap import SILENT, ScopedTap
from reference.gemma3n.scenarios import MEANINGS
from tests.harness import PROMPT, require_parity
from tests.marks import every_change

pytestmark = pytest.mark.slow
ROWS = ("batch", "square")
"""Scenarios of several rows; a package is compiled for one."""


@pytest.fixture(scope="module")
def coreml(harness):
    """The packages, loaded once for each arithmetic and set of options."""
    return functools.cache(functools.partial(Backend.load, harness.checkpoint, context="256"))


def often(scenario):
    """A conversation (`generate`) reads, replies and reads on, as the scenarios do that are left out."""
    return () if scenario in ("one-shot", "generate") else pytest.mark.exhaustive


@pytest.mark.parametrize("scenario", [pytest.param(name, marks=often(name)) for name in MEANINGS if name not in ROWS])
def test_parity(scenario, coreml, harness):
    """Every step covered, none introduced, worst ratio at most 4 floors, exit 0."""
    require_parity(harness.judge(coreml("float32"), "float32", scenario))


@pytest.mark.parametrize("scenario", every_change(["one-shot", "decode", "long"], "long"))
def test_parity_of_three_chunks_with_states(scenario, coreml, harness):
    require_parity(harness.judge(coreml("float16-ane", chunks="3"), "float16-ane", scenario))


def test_several_rows_are_refused(coreml):
    candidate = coreml("float32")
    candidate.start(padding=(0, 0), cache=True)
    with pytest.raises(UsageError, match=r"decoder_1of1.mlpackage is compiled for embedded of \[1, .*, not of \[2, "):
        candidate.forward(np.array([[2, 3], [2, 4]]))


def test_a_silent_run_is_the_recorded_one(coreml):
    heard, candidate = [], coreml("float32")
    for tap in (SILENT, ScopedTap(lambda name, value: value)):
        candidate.start(padding=(0,), cache=True)
        heard.append(candidate.forward(np.array([[2, 600, 700]]), tap=tap))
    assert np.array_equal(*heard)


class Planting:
    """One function of a program, about to be changed."""

    def __init__(self, function, steps):
        self.operations, self.constants, self.steps = [*function.operations], dict(function.constants), steps

    def step(self, name):
        """The value that is a step."""
        return next(value for value, step in self.steps.items() if step == name)

    def made(self, value):
        """The operation that makes a value."""
        return next(one for one in self.operations if value in [output.name for output in one.outputs])

    def before(self, step, kind):
        """The nearest operation of a kind from which a step's value comes."""
        return self.behind(self.step(step), kind)

    def behind(self, value, kind):
        """The same of any value."""
        waiting = [value]
        while waiting:
            try:
                found = self.made(waiting.pop(0))
            except StopIteration:  # an input or a constant
                continue
            if found.kind == kind:
                return found
            waiting += [name for names in found.inputs.values() for name in names]
        raise AssertionError(f"nothing of {kind} before {value}")

    def change(self, operation, kind=None, **inputs):
        """Another operation, or other inputs, in one's place."""
        kept = {} if kind else operation.inputs
        self.operations[self.operations.index(operation)] = Operation(
            kind or operation.kind, {**kept, **inputs}, operation.outputs
        )

    def constant(self, value):
        """A new one."""
        name = f"planted_{len(self.constants)}"
        self.constants[name] = value
        return (name,)


def weight_scaled(it):
    conv = it.before("text.layers.3.laurel.left", "conv")
    it.change(conv, weight=it.constant(it.constants[conv.inputs["weight"][0]] * np.float32(1.001)))


def epsilon(it):
    norm = it.before("text.layers.5.post_feedforward_layernorm", "layer_norm")
    it.change(norm, epsilon=it.constant(np.float32(1e-5)))


def axes_exchanged(it):
    """Heads and what a head has, the wrong way round, in the same shape."""
    reshape = it.before("text.layers.6.attn.context", "reshape")
    shape = it.constants[reshape.inputs["shape"][0]]
    turned = replace(reshape.outputs[0], name="planted")
    inner = Operation("reshape", {**reshape.inputs, "shape": it.constant(shape[[0, 2, 1, 3]])}, (turned,))
    it.operations.insert(it.operations.index(reshape), inner)
    it.change(reshape, "transpose", x=("planted",), perm=it.constant(np.array([0, 2, 1, 3], np.int32)))


def inputs_swapped(it):
    sub = it.before("text.layers.2.altup.correct.innovation", "sub")
    it.change(sub, x=sub.inputs["y"], y=sub.inputs["x"])


def sum_dropped(it):
    add = it.before("text.layers.9.attn_gated", "add")
    it.change(add, "identity", x=add.inputs["x"])


def quantile(it):
    """1.6 for 1.645."""
    mul = it.before("text.layers.0.mlp.cutoff", "mul")
    (which,) = (name for name in ("x", "y") if mul.inputs[name][0] in it.constants)
    it.change(mul, **{which: it.constant(np.float32(1.6))})


def another_donor(it):
    it.change(it.made(it.step("text.layers.21.attn.keys")), x=it.made(it.step("text.layers.17.attn.keys")).inputs["x"])


def another_gelu(it):
    it.change(it.before("text.layers.12.mlp.activations", "gelu"), mode=it.constant("EXACT"))


def half_a_rotation(it):
    """The halves of a head in the order that they have."""
    concat = it.before("text.layers.8.attn.q_rope", "concat")
    it.change(concat, values=concat.inputs["values"][::-1])


def mask_dropped(it):
    add = it.behind(it.before("text.layers.4.attn.context", "softmax").inputs["x"][0], "add")
    it.change(add, "identity", x=add.inputs["x"])


def pieces_exchanged(it):
    concat = it.before("text.lm_head", "concat")
    first, second, *others = concat.inputs["values"]
    it.change(concat, values=(second, first, *others))


def cap(it):
    """29 for 30 behind the hyperbolic tangent."""
    mul = it.before("text.logits", "mul")
    (which,) = (name for name in ("x", "y") if mul.inputs[name][0] in it.constants)
    it.change(mul, **{which: it.constant(np.float32(29))})


def write_dropped(it):
    """The cache goes on as it came."""
    it.change(it.made("keys_7_new"), x=("keys_7",))


def wrong_slot(it):
    """What is kept is a slot off: the last one's keys are the first's."""
    kept = it.made("keys_7_new")
    turned = replace(kept.outputs[0], name="planted")
    rows = replace(kept.outputs[0], name="planted_rows")
    last = replace(kept.outputs[0], name="planted_last")
    slots = kept.outputs[0].shape[2]
    split = Operation(
        "split", {"x": kept.inputs["x"], "axis": it.constant(2), "split_sizes": it.constant(np.array([slots - 1, 1]))},
        (rows, last),
    )  # fmt: skip
    join = Operation("concat", {"values": ("planted_last", "planted_rows"), "axis": it.constant(2)}, (turned,))
    at = it.operations.index(kept)
    it.operations[at:at] = [split, join]
    it.change(kept, x=("planted",))


FAULTS = {
    "a weight scaled": (weight_scaled, "one-shot", "text.layers.3.laurel.left"),
    "an epsilon": (epsilon, "one-shot", "text.layers.5.post_feedforward_layernorm"),
    "axes exchanged": (axes_exchanged, "one-shot", "text.layers.6.attn.context"),
    "inputs swapped": (inputs_swapped, "one-shot", "text.layers.2.altup.correct.innovation"),
    "a sum dropped": (sum_dropped, "one-shot", "text.layers.9.attn_gated"),
    "a constant": (quantile, "one-shot", "text.layers.0.mlp.cutoff"),
    "another donor": (another_donor, "one-shot", "text.layers.21.attn.keys"),
    "another activation": (another_gelu, "one-shot", "text.layers.12.mlp.activations"),
    "half a rotation": (half_a_rotation, "one-shot", "text.layers.8.attn.q_rope"),
    "no mask": (mask_dropped, "one-shot", "text.layers.4.attn.context"),
    "pieces of the head exchanged": (pieces_exchanged, "one-shot", "text.lm_head"),
    "a cap": (cap, "one-shot", "text.logits"),
    "a write dropped": (write_dropped, "long", "text.layers.7.attn.keys"),
    "a wrong slot": (wrong_slot, "long", "text.layers.7.attn.keys"),
}


def plant_in(part, plant, monkeypatch):
    """Plant a fault in each of a package's functions."""
    monkeypatch.setattr(part, "functions", [*planted(part.functions, plant)])


def planted(functions, plant):
    """They with a fault in each."""
    for right in functions:
        it = Planting(right.function, right._steps)
        plant(it)
        function = replace(right.function, operations=tuple(it.operations), constants=it.constants)
        yield Interpreter(right.name, function, right._steps, right._rounded)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_at_its_step(fault, coreml, harness, monkeypatch):
    """Planted in the program as it was saved and read, which is then run as it is."""
    plant, scenario, step = FAULTS[fault]
    candidate = coreml("float32")
    part = "head" if step in ("text.lm_head", "text.logits") else "decoder_1of1"
    plant_in(candidate._program.model._parts[part], plant, monkeypatch)
    judgement = harness.judge(candidate, "float32", scenario)
    assert judgement.exit_code is ExitCode.DIVERGED
    assert judgement.first_divergence.step == step
    assert len({found.step for found in judgement.introduced}) == 1


def write_lost(it):
    """The state stays as it was, as where `keys[:, :, position] = x` is traced, which is dropped silently."""
    (lost,) = (one for one in it.operations if one.kind == WRITE and one.inputs["input"] == ("keys_7",))
    it.operations.remove(lost)


def test_a_state_that_is_never_written_is_found(coreml, harness, monkeypatch):
    """In the form that ships: keys and values are states, and nothing but the next call sees that one was not written.

    Layer 7 is of the first of three parts.
    """
    candidate = coreml("float16-ane", chunks="3")
    plant_in(candidate._program.model._parts["decoder_1of3"], write_lost, monkeypatch)
    judgement = harness.judge(candidate, "float16-ane", "long")
    assert judgement.exit_code is ExitCode.DIVERGED
    assert {found.step for found in judgement.introduced} == {"text.layers.7.attn.keys"}


def rows(backend, count, first, others=None):
    """Logits behind a prompt and behind each token after it, so many: the given ones, or its own greedy choices."""
    backend.start(padding=(0,), cache=True)
    found = [np.asarray(backend.forward(np.array([first])), np.float64)[0, -1]]
    for at in range(count - 1):
        token = found[-1].argmax() if others is None else others[at]
        found.append(np.asarray(backend.forward(np.array([[token]])), np.float64)[0, -1])
    return np.stack(found)


@pytest.mark.parametrize("count", every_change([32, 64], 32))
def test_greedy_tokens_are_the_references(count, coreml, harness):
    """Each behind the reference's own, through the states of three packages.

    One that differs is led by no more than both logits may err: `ALLOWED` of the baseline's largest error there each.
    """
    (prompt,) = harness.oracle.scenario("one-shot", PROMPT, ()).chunks[0].tokens
    true = rows(harness.oracle, count, prompt)
    ids = true.argmax(1)
    floors = rows(harness.baseline("float16-ane"), count, prompt, ids)
    found = rows(coreml("float16-ane", chunks="3"), count, prompt, ids)
    at = np.arange(count)
    lead = true[at, ids] - true[at, found.argmax(1)]
    assert (lead <= 2 * ALLOWED * np.abs(floors - true).max(1)).all()
    assert (lead == 0).mean() >= 0.93


def test_chunks_in_another_order_are_refused(coreml, monkeypatch):
    """Each takes the streams behind the layer before its own, which nothing has given yet."""
    candidate = coreml("float16-ane", chunks="3")
    decoder = candidate._program.model.decoder
    first, second, third = decoder._parts
    monkeypatch.setattr(decoder, "_parts", [first, third, second])
    candidate.start(padding=(0,), cache=True)
    with pytest.raises(UsageError, match=r"decoder_3of3.mlpackage takes streams_17, which no package before it gives"):
        candidate.forward(np.array([[2, 3]]))
