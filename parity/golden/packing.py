"""What a golden keeps of each step, as arrays with a row per step of the contract, in execution order.

Of 121 bytes a step, the sketch takes 97. A floor has 8 significant bits (bfloat16, for its range): 0.4 % of a measured
quantity that differs by far more from one processor to the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import ml_dtypes
import numpy as np

from parity.contract import Contract, Step, StepKind
from parity.dtypes import unit_roundoff
from parity.golden.format import Arrays, ChunkManifest, Golden
from parity.golden.sketches import folded, packed, statistics_without_padding, unpacked
from parity.judging.floors import Floor, Floors
from parity.scenario import Chunk, Scenario
from parity.traces.encoded import encode_sketch
from parity.traces.trace import Key, Record, Trace

SUMMARY = ("min", "max", "mean", "std", "zero_fraction")
"""Statistics in the array ``summary``; the largest magnitude follows from them."""

DTYPE: Mapping[StepKind, str] = {"float": "float64", "integer": "int64", "mask": "bool"}
"""The oracle's number formats."""


def floor_name(dtype: str) -> str:
    """The array of an arithmetic's free floors."""
    return f"floor.{dtype}"


def pack(oracle: Trace, chunk: Chunk, floors: Mapping[str, Floors]) -> tuple[ChunkManifest, Arrays]:
    """What is kept of one chunk.

    Args:
        oracle: with tensors where the scenario pads.
        chunk: of the oracle's scenario.
        floors: per arithmetic.
    """
    steps = oracle.contract.expected(chunk.holds)
    keys = [Key(chunk.phase, step.name) for step in steps]
    statistics = [statistics_without_padding(oracle, key, oracle.contract.axes) for key in keys]
    shapes = [tuple(oracle.records[key].shape) for key in keys]
    known = {shape: index for index, shape in enumerate(dict.fromkeys(shapes))}
    sketch, scale = packed(np.stack([folded(one.sketch) for one in statistics]))
    arrays: Arrays = {
        "sketch": sketch,
        "scale": scale,
        "rms": np.array([one.rms for one in statistics], dtype=np.float32),
        "summary": np.array([[getattr(one, name) for name in SUMMARY] for one in statistics], dtype=ml_dtypes.bfloat16),
        "shape": np.array([known[shape] for shape in shapes], dtype=np.uint16),
    }
    for dtype, measured in floors.items():
        held = [held_to(measured.free(key), step, dtype) for key, step in zip(keys, steps, strict=True)]
        arrays[floor_name(dtype)] = np.array(held, dtype=ml_dtypes.bfloat16)
    broken = {
        key.step: (one.nan_count, one.inf_count)
        for key, one in zip(keys, statistics, strict=True)
        if one.nan_count or one.inf_count
    }
    manifest = ChunkManifest(
        phase=chunk.phase, records=len(keys), shapes=[[*shape] for shape in known], nonfinite=broken
    )
    return manifest, arrays


def held_to(floor: Floor, step: Step, dtype: str) -> float:
    """What the judge holds a tensor to; 0 for what must be equal."""
    return floor.at_least(unit_roundoff(step.arithmetic or dtype)).relative if step.kind == "float" else 0.0


def stored_floors(golden: Golden, contract: Contract, dtype: str) -> dict[Key, Floor]:
    """The free floors of an arithmetic, as `pack` kept them."""
    found = {}
    for chunk in _chunks(golden):
        values = golden.arrays[chunk.phase][floor_name(dtype)].astype(np.float64)
        for step, value in zip(contract.expected(chunk.holds), values.tolist(), strict=True):
            found[Key(chunk.phase, step.name)] = Floor.whole(value)
    return found


def records(golden: Golden, contract: Contract) -> list[Record]:
    """The oracle's records, with folded sketches, for those who run and judge the scenario."""
    return [record for chunk in _chunks(golden) for record in _records(golden, chunk, contract)]


def _chunks(golden: Golden) -> tuple[Chunk, ...]:
    return Scenario.from_json(golden.manifest.scenario).chunks


def _records(golden: Golden, chunk: Chunk, contract: Contract) -> Iterator[Record]:
    arrays = golden.arrays[chunk.phase]
    manifest = next(one for one in golden.manifest.chunks if one.phase == chunk.phase)
    shapes = [manifest.shapes[index] for index in arrays["shape"].tolist()]
    summaries = arrays["summary"].astype(np.float64).tolist()
    sketches = unpacked(arrays["sketch"], arrays["scale"])
    columns = zip(sketches, arrays["rms"].tolist(), summaries, shapes, strict=True)
    for step, (sketch, rms, summary, shape) in zip(contract.expected(chunk.holds), columns, strict=True):
        nan_count, inf_count = manifest.nonfinite.get(step.name, (0, 0))
        low, high, mean, std, zeros = summary
        yield Record(
            step=step.name,
            phase=chunk.phase,
            axes=list(step.axes),
            shape=shape,
            dtype=DTYPE[step.kind],
            min=low,
            max=high,
            mean=mean,
            std=std,
            rms=rms,
            abs_max=max(abs(low), abs(high)),
            zero_fraction=zeros,
            nan_count=nan_count,
            inf_count=inf_count,
            sketch=encode_sketch(sketch.tolist()),
        )
