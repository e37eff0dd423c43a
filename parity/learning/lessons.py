"""Runs both sides in every scenario that a table is learned of."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from parity.checkpoint import Checkpoint
from parity.discovery import BACKENDS, REFERENCES, with_table
from parity.learning.pairing import Floor, Pair
from parity.learning.sizes import of_call
from parity.learning.table import LearnedTable, Origin, TableRow
from parity.learning.taps import ANY, LESSONS
from parity.learning.values import PhaseValues, floors
from parity.running.party import Party
from parity.running.plan import ORACLE_DTYPE, plan_of
from parity.running.progress import Progress
from parity.scratch import scratch
from parity.traces.trace import Trace

DTYPE = "float32"
"""In which the sides are paired: a value of 16 bits has too few digits to be known by."""


@dataclass(frozen=True)
class TrueValues:
    """What is true in one phase.

    Attributes:
        name: of the phase, e.g. ``prefill``.
        sizes: of the axes that are the chunk's own, ``batch`` and ``token``.
        oracle: the reference's values in true float64.
        floor: what correct arithmetic errs at a place of the reference.
    """

    name: str
    sizes: Mapping[str, int]
    oracle: PhaseValues
    floor: Floor


class KnownTruth:
    """What is true in every scenario; one serves all ports that are learned of a checkpoint.

    Args:
        checkpoint: a small one.
        reference: the name of the side that is true.
        progress: told of the runs.
        folder: for the traces, which has to stay.

    Attributes:
        checkpoint: of which all of this is.
        oracles: the reference's runs, by the scenario's name.
        phases: what is true in each phase of a scenario, by the scenario's name.
        origin: the reference.
        unwoven: functions that no tap could stand in.
    """

    def __init__(self, checkpoint: Checkpoint, *, reference: str, progress: Progress, folder: Path) -> None:
        self.checkpoint, self._folder = checkpoint, folder
        with ExitStack() as stack:
            oracle, baseline = (
                stack.enter_context(Party(role, with_table(reference, ANY), group=REFERENCES, progress=progress))
                for role in ("oracle", "baseline")
            )
            with ThreadPoolExecutor() as pool:
                dtypes = {oracle: ORACLE_DTYPE, baseline: DTYPE}
                for job in [pool.submit(party.load, checkpoint, dtype) for party, dtype in dtypes.items()]:
                    job.result()
            self.oracles = {name: self._run(oracle, name) for name in LESSONS}
            baselines = {name: self._run(baseline, name, self.oracles[name]) for name in LESSONS}
            self.origin, self.unwoven = _origin(oracle, reference), _unwoven(oracle)
        self.phases = {name: [*_truths(self.oracles[name], baselines[name])] for name in LESSONS}

    def _run(self, party: Party, name: str, oracle: Trace | None = None) -> Trace:
        plan = None if oracle else plan_of(party, name, None, ())
        return party.run(self._folder / f"{name}.{party.name}", oracle=oracle, scenario=plan)


class Lessons:
    """A port, loaded, and what is true for it.

    Args:
        truth: of the same checkpoint.
        party: the port, loaded.
        name: the port's.
        folder: for its traces.

    Attributes:
        truth: as it was given.
        origins: the reference, and the port.
    """

    def __init__(self, truth: KnownTruth, *, party: Party, name: str, folder: Path) -> None:
        self.truth, self._party, self._folder = truth, party, folder
        self._numbers = itertools.count()
        self.origins = truth.origin, _origin(party, name)

    def unwoven(self) -> tuple[str, ...]:
        """Functions that no tap could stand in, of the reference and of the port."""
        return (*self.truth.unwoven, *_unwoven(self._party))

    def candidate(self, name: str, pairs: Sequence[Pair] = ()) -> list[PhaseValues]:
        """What the port has in each phase of a scenario, its values at some pairs replaced by what is true there."""
        number = next(self._numbers)
        draft = self._folder / f"{number}.toml"
        self._draft(pairs).write(draft)
        self._party.call("tap_by", table=str(draft))
        oracle = self.truth.oracles[name]
        trace = self._party.run(self._folder / f"{number}.candidate", oracle=oracle, mode="lockstep")
        names = {pair.reference for pair in pairs}
        return [PhaseValues(trace, chunk.phase, names) for chunk in oracle.scenario.chunks]

    def _draft(self, pairs: Sequence[Pair]) -> LearnedTable:
        """A table whose steps have the names of the reference's places, as its traces call them here."""
        rows = (TableRow(one.reference, one.reference, one.candidate, one.layout, (), one.confidence) for one in pairs)
        return LearnedTable(self.truth.checkpoint.model_type, *self.origins, tuple(rows))


@contextmanager
def known_truth(checkpoint: Checkpoint, *, reference: str, progress: Progress) -> Iterator[KnownTruth]:
    """Run the reference in every scenario; its traces go with the context.

    Raises:
        BackendUnavailable: for a checkpoint that it refuses.
    """
    with scratch() as folder:
        yield KnownTruth(checkpoint, reference=reference, progress=progress, folder=folder)


@contextmanager
def open_lessons(
    checkpoint: Checkpoint, *, reference: str, candidate: str, progress: Progress, truth: KnownTruth | None = None
) -> Iterator[Lessons]:
    """Load the port, and where it is not known what is true, run the reference; all ends with the context.

    Raises:
        BackendUnavailable: for a checkpoint that a side refuses.
    """
    with ExitStack() as stack:
        opened = Party("candidate", with_table(candidate, ANY), group=BACKENDS, progress=progress)
        party = stack.enter_context(opened).load(checkpoint, DTYPE)  # what it refuses, it refuses before others run
        truth = truth or stack.enter_context(known_truth(checkpoint, reference=reference, progress=progress))
        yield Lessons(truth, party=party, name=candidate, folder=stack.enter_context(scratch()))


def _origin(party: Party, backend: str) -> Origin:
    found = party.call("origin")
    return Origin(backend=backend, versions=found["versions"], sources=found["sources"])


def _unwoven(party: Party) -> tuple[str, ...]:
    """What of a party could not be woven in its runs."""
    return tuple(party.call("origin")["unwoven"])


def _truths(oracle: Trace, baseline: Trace) -> Iterator[TrueValues]:
    for chunk in oracle.scenario.chunks:
        true, other = PhaseValues(oracle, chunk.phase), PhaseValues(baseline, chunk.phase)
        sizes = of_call(oracle.scenario.batch, chunk.length)
        yield TrueValues(chunk.phase, sizes, true, floors(oracle=true, baseline=other))
