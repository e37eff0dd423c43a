"""Runs a candidate over many prompts, held to the oracle of the original weights."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from parity.checkpoint import Checkpoint
from parity.cost.result import Cost, rms, step_costs
from parity.discovery import find_reference, require_dtype
from parity.errors import UsageError
from parity.json_file import read_text
from parity.judging.greedy import choices, greedy_ids, logits_of
from parity.media import Part
from parity.running.parties import Parties
from parity.running.party import Party, both
from parity.running.plan import plan_of, require_admitted
from parity.running.progress import Progress
from parity.scratch import scratch
from parity.traces.measure import error_of
from parity.traces.runs import Runs
from parity.traces.trace import Trace

PART = "cost"
Found = TypeVar("Found")


@dataclass(frozen=True)
class Prompt:
    """What is read.

    Attributes:
        text: of it; None for the lightest debugging case.
        where: it was found, for messages.
        media: pictures and sounds before it.
    """

    text: str | None
    where: str
    media: tuple[Part, ...] = ()


@dataclass(frozen=True)
class CostRequest:
    """What to measure.

    Attributes:
        checkpoint: with the original weights.
        reference: the backend that is true.
        candidate: by name and options.
        dtype: its arithmetic.
        prompts: what is read.
        scenario: how.
    """

    checkpoint: Checkpoint
    reference: str
    candidate: str
    dtype: str
    prompts: tuple[Prompt, ...]
    scenario: str


def measure(request: CostRequest, progress: Progress) -> Cost:
    """Read every prompt with the original weights and with the candidate.

    Raises:
        UsageError: for what cannot be run; prompts are all looked at before the first is read.
        BackendUnavailable: when either fails.
    """
    _each(request.prompts, lambda one: require_admitted(request.checkpoint, request.reference, one.text, one.media))
    with Parties(request.checkpoint, request.reference, progress) as parties:
        oracle, candidate = parties.oracle, parties.candidate(request.candidate, request.dtype)
        require_dtype(request.candidate, candidate.dtypes, request.dtype)
        for party in (candidate, oracle):
            parties.load(party)
        return measured(request, oracle, candidate, progress)


def measured(request: CostRequest, oracle: Party, candidate: Party, progress: Progress) -> Cost:
    """Have parties that are loaded read every prompt, the oracle with the original weights.

    Raises:
        UsageError: for a prompt that cannot be run; all are looked at before the first is read.
        BackendUnavailable: when either party fails.
    """
    found = _Sums()
    with scratch() as folder:
        plans = _each(request.prompts, lambda one: plan_of(oracle, request.scenario, one.text, one.media))
        for number, plan in enumerate(plans):
            progress.start(PART, 0, f"prompt {number + 1:,} of {len(plans):,}")
            place = folder / str(number)
            true = oracle.run(place / "oracle", scenario=plan)
            found.add(true, both(candidate, place / "candidate", true))
            shutil.rmtree(place)
    return found.cost(request)


def _each(prompts: Iterable[Prompt], look: Callable[[Prompt], Found]) -> list[Found]:
    """What is found of each prompt; what is said against one names it."""
    found = []
    for prompt in prompts:
        try:
            found.append(look(prompt))
        except UsageError as error:
            raise UsageError(f"{prompt.where}: {error}") from error
    return found


@dataclass
class _Sums:
    """What prompts have said so far, errors by step."""

    own: dict[str, list[float]] = field(default_factory=dict)
    whole: dict[str, list[float]] = field(default_factory=dict)
    divergences: list[float] = field(default_factory=list)
    logits: list[float] = field(default_factory=list)
    kept: int = 0

    def add(self, oracle: Trace, runs: Runs) -> None:
        """Take what a prompt's runs say."""
        for run, errors in ((runs.lockstep, self.own), (runs.free, self.whole)):
            for step, error in _errors(oracle, run):
                errors.setdefault(step, []).append(error)
        self.logits += self.whole.get(oracle.contract.logits, [])[-len(oracle.scenario.chunks) :]
        for chosen in choices(oracle):
            logits = logits_of(runs.free, chosen.phase, oracle.contract.logits)
            if logits is not None and logits.shape == chosen.logits.shape:
                same = greedy_ids(logits) == chosen.ids
                self.kept += int(same[chosen.real].sum())
                self.divergences += divergence(oracle=chosen.logits, candidate=logits)[chosen.real].tolist()

    def cost(self, request: CostRequest) -> Cost:
        """All of them together."""
        return Cost(
            candidate=request.candidate,
            dtype=request.dtype,
            model=request.checkpoint.name,
            prompts=len(request.prompts),
            tokens=len(self.divergences),
            kept=self.kept,
            divergence=float(np.mean(self.divergences)) if self.divergences else math.nan,
            worst_divergence=max(self.divergences, default=math.nan),
            logits=rms(self.logits),
            steps=step_costs({**self.own}, {**self.whole}),
        )


def _errors(oracle: Trace, run: Trace | None) -> Iterator[tuple[str, float]]:
    """The relative error of each float step that a run and the oracle have, in their order."""
    for key in oracle.records if run is not None else ():
        step = oracle.contract.get(key.step)
        if run is not None and key in run.records and step is not None and step.kind == "float":
            yield key.step, error_of(key, oracle=oracle, candidate=run).relative


def divergence(*, oracle: NDArray[np.float64], candidate: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kullback-Leibler divergence of the tokens that two rows of logits foretell, ``[..., vocabulary]``, in nats.

    ``sum p (log p - log q)``, with p the oracle's (Kullback and Leibler, 1951).
    """
    true, made = _logarithms(oracle), _logarithms(candidate)
    found: NDArray[np.float64] = (np.exp(true) * (true - made)).sum(axis=-1)
    return found


def _logarithms(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms of a softmax over the last axis."""
    below = logits - logits.max(axis=-1, keepdims=True)
    found: NDArray[np.float64] = below - np.log(np.exp(below).sum(axis=-1, keepdims=True))
    return found


def drawn_prompts(reference: str, count: int, seed: int) -> tuple[Prompt, ...]:
    """Prompts as the reference draws them for calibrations, those of text alone; the same seed draws the same."""
    found: list[Prompt] = []
    backend, draw = find_reference(reference), random.Random(seed)
    with scratch() as folder:
        while len(found) < count:
            given = backend.draw(draw, folder)
            if given.prompt and not given.media:
                found.append(Prompt(given.prompt, f"prompt {len(found) + 1:,} of seed {seed}"))
    return tuple(found)


def read_prompts(file: Path) -> tuple[Prompt, ...]:
    """The lines of a file that are not empty; a line ends with a line feed, before which a carriage return may be.

    Raises:
        FileNotFoundError, ValueError: as `parity.json_file.read_text` does.
    """
    lines = (line.removesuffix("\r") for line in read_text(file, newline="").split("\n"))
    return tuple(Prompt(line, f"{file}, line {number:,}") for number, line in enumerate(lines, 1) if line.strip())
