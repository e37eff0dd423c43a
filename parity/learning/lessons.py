"""Runs both sides in every scenario that a table is learned of."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from parity.checkpoint import Checkpoint
from parity.discovery import BACKENDS, REFERENCES, with_table
from parity.learning.pairing import Floor, Pair
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


class Lessons:
    """The parties, loaded, and what is true in every scenario.

    Args:
        checkpoint: a small one.
        reference: the name of the side that is true.
        candidate: the port's.
        progress: told of the runs.
        stack: ends what is begun here.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, reference: str, candidate: str, progress: Progress, stack: ExitStack
    ) -> None:
        self._folder = stack.enter_context(scratch())
        self._numbers = itertools.count()
        self.model = checkpoint.model_type
        sides = {"oracle": (reference, REFERENCES), "baseline": (reference, REFERENCES)}
        asked = {**sides, "candidate": (candidate, BACKENDS)}
        self._parties = {
            role: stack.enter_context(Party(role, with_table(name, ANY), group=group, progress=progress))
            for role, (name, group) in asked.items()
        }
        self._load(checkpoint)
        self._oracles = dict(self._truth("oracle", name) for name in LESSONS)
        baselines = dict(self._truth("baseline", name) for name in LESSONS)
        self.truths = {name: [*_truths(self._oracles[name], baselines[name])] for name in LESSONS}
        self.origins = self._origin("oracle", reference), self._origin("candidate", candidate)

    def _load(self, checkpoint: Checkpoint) -> None:
        with ThreadPoolExecutor() as pool:
            dtypes = {role: ORACLE_DTYPE if role == "oracle" else DTYPE for role in self._parties}
            jobs = [pool.submit(party.load, checkpoint, dtypes[role]) for role, party in self._parties.items()]
        for job in jobs:
            job.result()

    def _truth(self, role: str, name: str) -> tuple[str, Trace]:
        party, output = self._parties[role], self._folder / f"{name}.{role}"
        if role == "oracle":
            return name, party.run(output, scenario=plan_of(party, name, None, ()))
        return name, party.run(output, oracle=self._oracles[name])

    def _origin(self, role: str, backend: str) -> Origin:
        found = self._parties[role].call("origin")
        return Origin(backend=backend, versions=found["versions"], sources=found["sources"])

    def unwoven(self) -> tuple[str, ...]:
        """Functions that no tap could stand in, of the reference and of the port."""
        return tuple(one for role in ("oracle", "candidate") for one in self._parties[role].call("origin")["unwoven"])

    def candidate(self, name: str, pairs: Sequence[Pair] = ()) -> list[PhaseValues]:
        """What the port has in each phase of a scenario, its values at some pairs replaced by what is true there."""
        number, party = next(self._numbers), self._parties["candidate"]
        draft = self._folder / f"{number}.toml"
        self._draft(pairs).write(draft)
        party.call("tap_by", table=str(draft))
        oracle = self._oracles[name]
        trace = party.run(self._folder / f"{number}.candidate", oracle=oracle, mode="lockstep")
        names = {pair.reference for pair in pairs}
        return [PhaseValues(trace, chunk.phase, names) for chunk in oracle.scenario.chunks]

    def _draft(self, pairs: Sequence[Pair]) -> LearnedTable:
        """A table whose steps have the names of the reference's places, as its traces call them here."""
        rows = (TableRow(one.reference, one.reference, one.candidate, one.layout, (), one.confidence) for one in pairs)
        return LearnedTable(self.model, *self.origins, tuple(rows))


@contextmanager
def open_lessons(checkpoint: Checkpoint, *, reference: str, candidate: str, progress: Progress) -> Iterator[Lessons]:
    """Load the parties and run the reference; all ends with the context.

    Raises:
        BackendUnavailable: for a checkpoint that a side refuses.
    """
    with ExitStack() as stack:
        yield Lessons(checkpoint, reference=reference, candidate=candidate, progress=progress, stack=stack)


def _truths(oracle: Trace, baseline: Trace) -> Iterator[TrueValues]:
    for chunk in oracle.scenario.chunks:
        true, other = PhaseValues(oracle, chunk.phase), PhaseValues(baseline, chunk.phase)
        sizes = {"batch": oracle.scenario.batch, "token": chunk.length}
        yield TrueValues(chunk.phase, sizes, true, floors(oracle=true, baseline=other))
