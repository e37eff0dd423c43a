"""Traces and phases of the toy pair, written as the harness writes them."""

from __future__ import annotations

import numpy as np

from parity.contract import Contract
from parity.learning.lessons import TrueValues
from parity.learning.values import PhaseValues, floors
from parity.scenario import Chunk, Scenario
from parity.traces.trace import Manifest, Trace
from parity.traces.writer import TraceWriter, machine
from tests.learning import pair, ported_source, true_source

SCENARIO = Scenario("toy", (Chunk("prefill", ((1,) * pair.TOKENS,) * pair.BATCH),), (0,) * pair.BATCH)


def written(folder, said):
    """The trace of what was heard."""
    with TraceWriter(folder, keep_tensors=True) as writer:
        writer.begin("prefill")
        for place, array in said:
            if array.ndim:
                writer.add(place, 0, (), np.ascontiguousarray(array))
        writer.end()
        manifest = Manifest(
            backend="toy",
            versions={},
            dtype="float64",
            mode="free",
            model="toy",
            weights="0",
            contract="0",
            scenario=SCENARIO.to_json(),
            tensors=True,
            records=writer.count,
            command=[],
            machine=machine(),
        )
        writer.finish(manifest, Contract("toy", (), ""))
    return Trace.read(folder)


def truth(folder, seed=0):
    """What is true, with its floors."""
    sides = {}
    for dtype in ("float64", "float32"):
        _, said, _ = pair.run(true_source, pair.reference(dtype), pair.inputs(seed, dtype))
        sides[dtype] = PhaseValues(written(folder / dtype, said), "prefill")
    floor = floors(oracle=sides["float64"], baseline=sides["float32"])
    return TrueValues("prefill", {}, sides["float64"], floor)


def hearing(folder, true, edits=(), seed=0):
    """Runs the port, with what is true in place of its values at some pairs."""
    numbers = iter(range(1000))

    def hear(pairs=()):
        answers = {one.candidate[0]: one for one in pairs}

        def replaced(place, value):
            if place not in answers:
                return value
            one = answers[place]
            return one.layout.bound(value.shape, pair.SIZES).back(true.oracle.array(one.reference)).astype(value.dtype)

        _, said, _ = pair.run(ported_source, pair.port(), pair.inputs(seed, "float32"), replaced, edits)
        return PhaseValues(written(folder / str(next(numbers)), said), "prefill")

    return hear
