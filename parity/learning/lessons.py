"""Runs both sides in every scenario that a table is learned of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from parity.checkpoint import Checkpoint
from parity.discovery import BACKENDS, REFERENCES, with_table
from parity.learning.table import Origin
from parity.learning.taps import ANY, LESSONS
from parity.learning.values import PhaseValues
from parity.running.party import Party
from parity.running.plan import ORACLE_DTYPE, plan_of
from parity.running.progress import Progress
from parity.scratch import scratch
from parity.traces.trace import Trace

DTYPE = "float32"
"""In which the sides are paired: a value of 16 bits has too few digits to be known by."""


@dataclass(frozen=True)
class LearningPhase:
    """One phase of the runs of all sides.

    Attributes:
        name: the scenario and the phase, as people are told.
        sizes: of the axes that are the chunk's own, ``batch`` and ``token``.
        oracle, baseline, candidate: what each said.
    """

    name: str
    sizes: Mapping[str, int]
    oracle: PhaseValues
    baseline: PhaseValues
    candidate: PhaseValues


@dataclass(frozen=True)
class Lessons:
    """What was heard in every phase, and of whom."""

    phases: tuple[LearningPhase, ...]
    reference: Origin
    candidate: Origin


@contextmanager
def run_lessons(checkpoint: Checkpoint, *, reference: str, candidate: str, progress: Progress) -> Iterator[Lessons]:
    """What both sides say; the tensors are there as long as the context is.

    Raises:
        BackendUnavailable: for a checkpoint that a side refuses.
    """
    with scratch() as folder, ExitStack() as stack:
        asked = {
            "oracle": (reference, REFERENCES),
            "baseline": (reference, REFERENCES),
            "candidate": (candidate, BACKENDS),
        }
        parties = {
            role: stack.enter_context(Party(role, with_table(name, ANY), group=group, progress=progress))
            for role, (name, group) in asked.items()
        }
        _load(parties, checkpoint)
        runs = [_run(parties, folder, name) for name in LESSONS]
        phases = tuple(heard for traces in runs for heard in _heard(traces))
        origins = {
            role: Origin(
                backend=asked[role][0],
                versions=dict(runs[0][role].manifest.versions),
                sources=parties[role].call("sources"),
            )
            for role in ("oracle", "candidate")
        }
        yield Lessons(phases, origins["oracle"], origins["candidate"])


def _load(parties: Mapping[str, Party], checkpoint: Checkpoint) -> None:
    with ThreadPoolExecutor() as pool:
        dtypes = {role: ORACLE_DTYPE if role == "oracle" else DTYPE for role in parties}
        jobs = [pool.submit(party.load, checkpoint, dtypes[role]) for role, party in parties.items()]
    for job in jobs:
        job.result()


def _run(parties: Mapping[str, Party], folder: Path, name: str) -> dict[str, Trace]:
    """One scenario: the oracle chooses the tokens, the others run beside each other."""
    oracle = parties["oracle"].run(folder / f"{name}.oracle", scenario=plan_of(parties["oracle"], name, None, ()))
    with ThreadPoolExecutor() as pool:
        others = {
            role: pool.submit(parties[role].run, folder / f"{name}.{role}", oracle=oracle)
            for role in ("baseline", "candidate")
        }
    return {"oracle": oracle, **{role: job.result() for role, job in others.items()}}


def _heard(traces: Mapping[str, Trace]) -> Iterator[LearningPhase]:
    scenario = traces["oracle"].scenario
    for chunk in scenario.chunks:
        sides = {role: PhaseValues(trace, chunk.phase) for role, trace in traces.items()}
        sizes = {"batch": scenario.batch, "token": chunk.length}
        yield LearningPhase(f"{scenario.name}, {chunk.phase}", sizes, **sides)
