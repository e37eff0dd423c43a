"""What a tap will answer is known before the value: a port that must know it then runs as one that need not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from parity.running.recorder import Recorder
from parity.tap import AS_IT_IS, SILENT
from parity.traces.measured import Measurement
from parity.traces.trace import Key
from tests.toy import CONTRACT, SCENARIO, Port, Toy, runs, write

STEPS = [step.name for step in CONTRACT]
FACTOR = 2.0**-10
SCALED = dataclasses.replace(SCENARIO, scaled=(("embed", FACTOR),))


class Compiled(Port):
    """Computes all steps before it emits the first, as a graph does."""

    def forward(self, token_ids, *, prompts=(), tap=SILENT):
        """The values go on as the tap said ahead that they will, and what it answers then is not looked at."""
        ahead, values = {name: tap.ahead(name) for name in STEPS}, {}

        def settled(name, value):
            values[name] = value
            said = ahead[name]
            return (
                (value * said if said != AS_IT_IS else value) if isinstance(said, float) else said.astype(value.dtype)
            )

        super().forward(token_ids, tap=settled)
        for name, value in values.items():
            tap(name, value)
        return values["logits"]


@pytest.mark.parametrize("scenario", [SCENARIO, SCALED], ids=["as it is", "scaled"])
@pytest.mark.parametrize("wrong", [{}, {"embed": lambda x: x * 1.5}], ids=["right", "wrong"])
def test_the_same_records(tmp_path, scenario, wrong):
    """Free and in lockstep, to the bit: with a step that errs, and with one that the scenario scales."""
    oracle = write(tmp_path, "oracle", Toy(), scenario=scenario)
    of_port = runs(tmp_path, "port", Port("float32", wrong), oracle)
    of_compiled = runs(tmp_path, "compiled", Compiled("float32", wrong), oracle)
    for one, other in ((of_port.free, of_compiled.free), (of_port.lockstep, of_compiled.lockstep)):
        assert list(one.records) == list(other.records)
        for key in one.records:
            assert np.array_equal(one.tensor(key), other.tensor(key)), key


def recorder(oracle, **how):
    found = Recorder(
        contract=CONTRACT, tensors=Toy().tensors, sink=Measurement(oracle, "float32"), oracle=oracle, **how
    )
    found.begin("prefill")
    return found


def test_what_is_said_ahead(tmp_path):
    """In lockstep the oracle's value of the next time that the step occurs; else the scenario's factor."""
    oracle = write(tmp_path, "oracle", Toy(), scenario=SCALED)
    free = recorder(oracle, scenario=SCALED)
    assert [free.tap.ahead(name) for name in ("embed", "logits", "unheard")] == [FACTOR, AS_IT_IS, AS_IT_IS]
    assert free.tap.into("layers.0").ahead("mean") == AS_IT_IS
    lockstep = recorder(oracle, scenario=SCALED, lockstep=True, missing=frozenset({Key("prefill", "logits")}))
    true = oracle.tensor(Key("prefill", "layers.0.mean"))
    assert np.array_equal(lockstep.tap.into("layers.0").ahead("mean"), true)
    assert lockstep.tap.ahead("logits") == AS_IT_IS
    lockstep.tap("layers.0.mean", true)
    assert lockstep.tap.ahead("layers.0.mean") == AS_IT_IS  # the oracle has it once


def test_nobody_answers_ahead_where_nobody_listens():
    assert SILENT.into("x").ahead("y") == AS_IT_IS
