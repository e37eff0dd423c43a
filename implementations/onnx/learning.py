"""Which tensors inside a package of others are steps: those that hold the numbers that the reference has there."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ValueInfoProto

from implementations.gemma3n.config import Config
from implementations.onnx.options import Options
from implementations.onnx.package.folder import GRAPHS, SIDECAR, Package, Steps
from implementations.onnx.package.graph import Tapped
from implementations.onnx.program import Program
from implementations.onnx.session import ERRORS_ONLY, FILES
from parity.checkpoint import Checkpoint, config_of
from parity.discovery import reference_of
from parity.errors import UsageError
from parity.learning.pairing import Pair, Pairing
from parity.learning.sizes import sizes_of
from parity.learning.values import HeldValues, PhaseValues, floors
from parity.running.parties import Parties
from parity.running.party import Party
from parity.running.progress import Progress
from parity.scenario import Chunk, Scenario
from parity.scratch import scratch
from parity.tap import ScopedTap

PHASE, ROWS, TOKENS = "prefill", 3, 13
"""What is run, and the least numbers of rows and tokens, by which a value of one number a token is known."""
DTYPE, FLOAT = "float32", "tensor(float)"
"""Of the tensors that are looked at, as NumPy and ONNX Runtime call it."""


@dataclass(frozen=True)
class Lesson:
    """Random tokens of so many rows and columns, as no axis of the model is long; and the sizes of all axes."""

    scenario: Scenario
    sizes: Mapping[str, int]


def learn(checkpoint: Checkpoint, options: Options, progress: Progress) -> Steps:
    """The steps inside the graphs of text of a package in float32, beside those at its borders.

    A tensor is a step where it has the same numbers in two runs, of other tokens and lengths.

    Args:
        checkpoint: that the package is of, which is right.
        options: which package, and how it is run.
        progress: told of the runs.

    Raises:
        UsageError: for a package that cannot be run, or that says its steps itself.
        BackendUnavailable: where a side cannot run.
    """
    assert options.package is not None
    config, package = Config.from_directory(options.package), Package.read(options.package)
    if package.marked:
        raise UsageError(
            f"package {options.package} has a {SIDECAR} of its own, which says its steps; judge it as it is"
        )
    program = Program(config, replace(package, steps=_everything(package)), options)
    known = {one.step for steps in package.steps.values() for one in steps}
    first, second = itertools.islice(_lessons(config, sizes_of(config_of(options.package))), 2)
    with scratch() as folder, Parties(checkpoint, reference_of(checkpoint), progress) as parties:
        sides = parties.oracle, parties.reference("baseline", DTYPE)
        for side in sides:
            parties.load(side)
        pairs = _pairing(program, first, *sides, folder / "first").pairs(known)
        again = _pairing(program, second, *sides, folder / "second")
        return _table(package, [pair for pair in pairs if again.again(pair)])


def _lessons(config: Config, sizes: Mapping[str, int]) -> Iterator[Lesson]:
    draw, taken = random.Random(0), {*sizes.values()}
    free = [(size for size in itertools.count(least) if size not in taken) for least in (ROWS, TOKENS)]
    while True:
        rows, columns = map(next, free)
        ids = [draw.choices(range(config.text.vocab_size_per_layer_input), k=columns) for _ in range(rows)]
        scenario = Scenario("learn", (Chunk(PHASE, tuple(map(tuple, ids))),), padding=(0,) * rows)
        yield Lesson(scenario, {"batch": rows, "token": columns, **sizes})


def _pairing(program: Program, lesson: Lesson, oracle: Party, baseline: Party, folder: Path) -> Pairing:
    """What the reference and a program, all of whose tensors are steps, have in a lesson."""
    true = oracle.run(folder / "oracle", scenario=lesson.scenario.to_json())
    other = baseline.run(folder / "baseline", oracle=true)
    whole = {step.name for step in true.contract if step.kind != "float"}
    truth = PhaseValues(true, PHASE, whole)
    floor = floors(oracle=truth, baseline=PhaseValues(other, PHASE))
    return Pairing(oracle=truth, candidate=_values(program, lesson), floor=floor, sizes=lesson.sizes)


def _values(program: Program, lesson: Lesson) -> HeldValues:
    found: dict[str, NDArray[Any]] = {}

    def hear(name: str, value: NDArray[Any]) -> NDArray[Any]:
        found[name] = value
        return value

    (chunk,) = lesson.scenario.chunks
    program.start(lesson.scenario.padding)
    program.run(np.array(chunk.tokens), tap=ScopedTap(hear))
    return HeldValues(found)


def _everything(package: Package) -> Steps:
    """All tensors of float32 that graphs of text compute, as steps of their own names."""
    return {name: tuple(_floats(package, name)) for name in GRAPHS}


def _floats(package: Package, name: str) -> Iterator[Tapped]:
    """Only the runtime knows the types of tensors that a graph does not describe."""
    model = package.graph(name)
    names = dict.fromkeys(output for node in model.graph.node for output in node.output if output)
    there = {value.name for value in model.graph.output}
    model.graph.output.extend(ValueInfoProto(name=one) for one in names if one not in there)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = ERRORS_ONLY
    settings.add_session_config_entry(FILES, str(package.folder))
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    types = {value.name: value.type for value in session.get_outputs()}
    return (Tapped(f"{name}:{one}", one, DTYPE) for one in names if types[one] == FLOAT)


def _table(package: Package, pairs: Sequence[Pair]) -> Steps:
    """Pairs by graphs, in the order of the contract."""
    found: dict[str, list[Tapped]] = {name: [] for name in package.steps}
    for pair in pairs:
        graph, _, tensor = pair.candidate[0].partition(":")
        layout = str(pair.layout) if pair.layout.candidate != pair.layout.reference else ""
        found[graph].append(Tapped(pair.reference, tensor, DTYPE, layout))
    return found
