"""Reports with details for the tests of pages: of a planted fault, hostile, and as large as they come."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from parity.contract import Contract, Step
from parity.cost.result import Cost, step_costs
from parity.judging.judgement import Comparison, Judgement
from parity.judging.verdict import Deviation, Status, StepVerdict, TokenVerdict
from parity.report.chosen import MOST_PAGES, chosen
from parity.report.detail import Column, Detail, Element, Heat, Histogram, Report
from parity.scenario import Chunk, Scenario
from tests import report_samples as samples

SCRIPT = "<script>document.title='owned';fetch('http://127.0.0.1:1/')</script><img src=x onerror=alert(1)>"
"""What must be shown and never run."""
BREAKS_OUT = f"\"'></script></style></svg><!-- {{{{7*7}}}} \u202e\x1b[31m\ud800 javascript:alert(1) {SCRIPT}"
SCENARIO = Scenario("one-shot", (Chunk("prefill", ((2, 377, 379),)), Chunk("decode.1", None), Chunk("decode.2", None)))
PIECES = {2: "<bos>", 377: "Hello", 379: " world", 17: " the", 512: " a"}


def column(role, mode="lockstep", error=None):
    """Statistics of one party."""
    values = {"min": -3.0, "max": 2.5, "mean": 0.01, "std": 0.9, "rms": 0.9, "abs_max": 3.0, "zero_fraction": 0.0}
    return Column(role, mode, "float32", (1, 3, 64), **values, nan_count=0, inf_count=0, error=error)


def heat(across, rows, columns, seed=0):
    """A map of noise around one floor, with a fault in one column."""
    values = np.exp(np.random.default_rng(seed).normal(size=(len(rows), len(columns))))
    values[:, len(columns) // 3] *= 1e5
    values[0, 0] = math.nan
    return Heat(f"error by token and {across}", across, rows, columns, tuple(map(tuple, values.tolist())), grouped=True)


def detail(judgement, step, *, rows=("0: <bos>", "1: Hello", "2:  world"), layers=10, channels=64):
    """What a page shows of a step."""
    edges = tuple(float(edge) for edge in range(-8, 1))
    counts = tuple(tuple(range(number, number + 8)) for number in (1, 3))
    parties = (column("reference"), column("baseline", error=1e-7), column("candidate", error=1e-3))
    return Detail(
        candidate=judgement.candidate,
        dtype=judgement.dtype,
        scenario=judgement.scenario,
        phase=step.phase,
        step=step.step,
        occurrence=step.occurrence,
        axes=("batch", "token", "hidden"),
        mode="lockstep",
        columns=(*parties, column("candidate", "free", error=2e-3)),
        layers=(heat("layer", rows, tuple(map(str, range(layers)))),),
        channels=heat("channel", rows, tuple(map(str, range(channels))), seed=1),
        values=Histogram("values", edges, ("reference", "candidate"), counts),
        errors=Histogram("errors", edges, ("baseline", "candidate"), counts, exponents=True),
        worst=tuple(Element((0, 1, at), rows[1], 1.25, 1.25, 1.5 + at) for at in range(10)),
    )


def with_details(comparison, **sizes):
    """A report with a page for every step that would get one."""
    details = []
    for judgement in comparison.judgements:
        for step in chosen(judgement, left=MOST_PAGES - len(details)):
            details.append(detail(judgement, step, **sizes))
    return Report(comparison, (SCENARIO,), tuple(details), PIECES)


def diverged():
    """A rotary embedding that is wrong in every layer."""
    return with_details(samples.diverged())


def hostile():
    """Everything that others write is an attack."""
    bad = Deviation(1e-3, 1e-7, 1e4, samples.at(0, 1, 1e-3))
    steps = (
        *samples.steps(),
        StepVerdict(BREAKS_OUT, BREAKS_OUT, 0, Status.UNEXPECTED, note=BREAKS_OUT),
        StepVerdict("prefill", BREAKS_OUT, 0, Status.INTRODUCED, bad, bad, BREAKS_OUT),
        StepVerdict("prefill", f"text.layers.3.{SCRIPT}", 0, Status.CONTRACT, note=SCRIPT),
    )
    token = TokenVerdict(BREAKS_OUT, 0, 0, 17, 512, margin=1.0, noise=0.1)
    versions = ((SCRIPT, BREAKS_OUT),)
    judgement = Judgement(SCRIPT, BREAKS_OUT, SCRIPT, steps, (token,), 4.0, versions=versions)
    crash = replace(judgement, steps=(), crash=BREAKS_OUT, scenario="crash")
    contract = samples.contract()
    extra = Step(BREAKS_OUT, (SCRIPT,), "float", BREAKS_OUT, SCRIPT, "javascript:alert(1)")
    contract = Contract("gemma3n", (*contract.steps, extra), contract.logits)
    changed = {"model": SCRIPT, "backend": SCRIPT, "command": [SCRIPT], "machine": {SCRIPT: BREAKS_OUT}}
    oracle = samples.manifest().model_copy(update=changed)
    report = with_details(Comparison(contract, oracle, (judgement, crash), BREAKS_OUT), rows=(SCRIPT, BREAKS_OUT))
    scenario = replace(SCENARIO, name=SCRIPT, chunks=(Chunk(BREAKS_OUT, ((2, 3),)), Chunk("prefill", ((2, 3),))))
    pieces, costs = {17: SCRIPT, 512: BREAKS_OUT, 2: SCRIPT}, (cost(SCRIPT, (BREAKS_OUT, SCRIPT)),)
    return replace(report, scenarios=(scenario,), pieces=pieces, costs=costs)


def cost(candidate, steps, prompts=1):
    """What numbers cost, each step more than the last."""
    own = {step: [0.01 * (number + 1)] for number, step in enumerate(steps)}
    return Cost(candidate, "float32", "tiny", prompts, 10, 9, 0.25, 0.5, 0.125, step_costs(own, own))


def quantized():
    """A candidate at parity with its own weights, and what these cost, more in each layer than in the last."""
    names = [f"text.layers.{layer}.attn.q_proj" for layer in range(samples.LAYERS)]
    return replace(with_details(samples.parity()), costs=(cost("onnx@type=q4", names),))


def large(steps=2000, candidates=5):
    """As many steps and candidates as a report must bear, with pages as large as they come."""
    names = [f"text.layers.{number // 60}.altup.correct.part_{number % 60}" for number in range(steps)]
    about = [Step(name, samples.HIDDEN, "float", f"the meaning of part {name[-2:]}", "Layer.forward") for name in names]
    judgements = []
    for number in range(candidates):
        ratios = np.exp(np.random.default_rng(number).normal(size=(steps, 2)) / 3)
        ratios[700 + number :, 1] *= 1e5
        found = [_verdict(name, *pair) for name, pair in zip(names, ratios.tolist(), strict=True)]
        wrong = Deviation(1e-2, 1e-7, 1e5, samples.at(0, 3, 2e-2))
        for at in range(700 + number, steps, 61):
            found[at] = replace(found[at], status=Status.INTRODUCED, lockstep=wrong)
        tokens = tuple(TokenVerdict("prefill", 0, at, 17, 17, 2.0, 0.1) for at in range(500))
        judgements.append(Judgement(f"port-{number}", "bfloat16", "one-shot", tuple(found), tokens, 4.0))
    contract = Contract("gemma3n", tuple(about), names[-1])
    comparison = Comparison(contract, samples.manifest(), tuple(judgements), "A long prompt. " * 500)
    report = with_details(comparison, rows=tuple(f"{at}: token {at}" for at in range(48)), layers=35)
    return replace(report, costs=tuple(cost(one.candidate, names, prompts=64) for one in judgements))


def _verdict(name, lockstep, free):
    runs = [Deviation(1e-7 * ratio, 1e-7, ratio, samples.at(0, 3, 1e-7 * ratio)) for ratio in (free, lockstep)]
    return StepVerdict("prefill", name, 0, Status.OK if free <= 4 else Status.INHERITED, *runs)
