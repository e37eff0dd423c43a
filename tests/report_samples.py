"""Synthetic comparisons for the tests of reports."""

from __future__ import annotations

from dataclasses import replace

from parity.contract import Contract, Step
from parity.judging.judgement import Comparison, Judgement
from parity.judging.verdict import Deviation, Status, StepVerdict, TokenVerdict, Worst
from parity.traces.trace import Manifest

HIDDEN = ("batch", "token", "hidden")
ROPE = "https://arxiv.org/abs/2104.09864"
LAYERS = 10
PHASES = ("prefill", "decode.1", "decode.2")


def at(row: int, token: int, error: float, ratio: float = 0.0) -> tuple[Worst, ...]:
    """A token as the worst place."""
    return (Worst("place", (("batch", row), ("token", token)), error, 1e-7, ratio),)


QUIET = Deviation(error=1.1e-7, floor=9.6e-8, ratio=1.1, worst=at(0, 2, 1.3e-7))


def contract() -> Contract:
    """A small model's steps: two around ten layers of six."""
    steps = [Step("text.input_ids", ("batch", "token"), "integer", "token ids", "Gemma3nModel.forward: input_ids")]
    for layer in range(LAYERS):
        steps += [Step(f"text.layers.{layer}.{name}", HIDDEN, "float", *about) for name, about in LAYER.items()]
    steps.append(Step("text.logits", ("batch", "token", "vocabulary"), "float", "capped logits", "Head: logits"))
    return Contract("gemma3n", tuple(steps), "text.logits")


LAYER = {
    "input_layernorm": ("RMSNorm of the active prediction", "DecoderLayer.forward: active_prediction_normed"),
    "attn.q_proj": ("query projection", "Gemma3nTextAttention.forward: query_states"),
    "attn.q_rope": ("queries after rotary position embedding", "Gemma3nTextAttention.forward: query_states", ROPE),
    "attn.context": ("softmax(q k^T + mask) v", "Gemma3nTextAttention.forward: attn_output"),
    "mlp.gate_std": ("population standard deviation of the gate", "Gemma3nTextMLP._gaussian_topk: inputs_std"),
    "altup.correct.router_input": ("router_norm(activated) / hidden_size", "Router: router_inputs"),
}


def manifest() -> Manifest:
    """Who the oracle was."""
    return Manifest(
        backend="transformers",
        versions={"transformers": "5.23.0", "torch": "2.15.0"},
        dtype="float64",
        mode="free",
        model="tiny",
        weights="0f3a9c1d5e7b2468ace013579bdf0246",
        contract=contract().digest,
        scenario={"name": "one-shot", "chunks": [{"phase": "prefill", "tokens": [[1, 2]]}]},
        tensors=True,
        records=62,
        machine={"system": "Linux"},
    )


def steps(*changes: tuple[str, str, StepVerdict]) -> tuple[StepVerdict, ...]:
    """Every step in every phase within its floor, but for `changes`: (phase, step, verdict)."""
    changed = {(phase, name): verdict for phase, name, verdict in changes}
    return tuple(
        changed.get((phase, step.name), StepVerdict(phase, step.name, 0, Status.OK, QUIET, QUIET))
        for phase in PHASES
        for step in contract()
    )


def change(phase: str, step: str, status: Status, note: str = "", **runs: Deviation) -> tuple[str, str, StepVerdict]:
    """One changed step, for `steps`."""
    return phase, step, StepVerdict(phase, step, 0, status, runs.get("free"), runs.get("lockstep"), note)


def tokens(*changed: TokenVerdict) -> tuple[TokenVerdict, ...]:
    """Four greedy choices, all the same but for `changed`."""
    places = [("prefill", 0), ("prefill", 1), ("decode.1", 0), ("decode.2", 0)]
    other = {(token.phase, token.token): token for token in changed}
    same = [TokenVerdict(phase, 0, token, 17, 17, margin=2.5, noise=0.01) for phase, token in places]
    return tuple(other.get((token.phase, token.token), token) for token in same)


def judgement(*changes: tuple[str, str, StepVerdict]) -> Judgement:
    """A judgement of mlx with `changes`."""
    versions = (("mlx", "0.32.4"), ("numpy", "2.4.6"))
    return Judgement("mlx", "float32", "one-shot", steps(*changes), tokens(), 4.0, versions=versions)


def comparison(*judgements: Judgement) -> Comparison:
    """A comparison of `judgements`."""
    return Comparison(contract(), manifest(), judgements, "The capital of France is")


def parity() -> Comparison:
    """Everything within its floor."""
    worst = Deviation(1.9e-7, 1.1e-7, 1.7272, at(0, 1, 2.2e-7))
    return comparison(judgement(change("prefill", "text.layers.3.mlp.gate_std", Status.OK, free=QUIET, lockstep=worst)))


def near_tie() -> Comparison:
    """Everything within its floor, and one token chosen otherwise within the noise."""
    tie = TokenVerdict("decode.2", 0, 0, 17, 512, margin=0.0003, noise=0.002)
    return comparison(replace(judgement(), tokens=tokens(tie)))


def diverged() -> Comparison:
    """Rotary embedding wrong in every layer, the router of layer 4 besides; all else passes it on."""
    fault = Deviation(7.8e-5, 9.6e-8, 812.5, at(0, 3, 4.1e-4))
    spread = Deviation(2.3e-4, 2.1e-7, 1095.0, at(0, 3, 6.0e-4))
    inherited = [
        change(phase, step.name, Status.INHERITED, free=spread, lockstep=QUIET)
        for phase in PHASES
        for step in contract().steps[4:]
    ]
    rope = [
        change(phase, f"text.layers.{layer}.attn.q_rope", Status.INTRODUCED, free=spread, lockstep=fault)
        for phase in PHASES
        for layer in range(LAYERS)
    ]
    small = Deviation(5.5e-7, 1.1e-7, 5.0, at(0, 0, 5.6e-7))
    router = "text.layers.4.altup.correct.router_input"
    odd = change("decode.1", router, Status.INTRODUCED, free=spread, lockstep=small)
    wrong = TokenVerdict("decode.2", 0, 0, 17, 512, margin=1.2, noise=0.01)
    return comparison(replace(judgement(*inherited, *rope, odd), tokens=tokens(wrong)))


def incomplete() -> Comparison:
    """The candidate does not emit the gate's deviation, and emits a step that nobody knows."""
    gone = [
        change(phase, f"text.layers.{layer}.mlp.gate_std", Status.UNCOVERED, "not emitted")
        for phase in PHASES
        for layer in range(LAYERS)
    ]
    found = judgement(*gone)
    extra = StepVerdict("prefill", "text.layers.0.mlp.debug", 0, Status.UNEXPECTED, note="not in the contract")
    return comparison(replace(found, steps=(*found.steps, extra)))


def broken() -> Comparison:
    """A wrong shape first, NaN after it, an integer step that differs."""
    ids = Deviation(0.5, 0.0, float("inf"), at(0, 1, 1.0))
    return comparison(
        judgement(
            change("prefill", "text.input_ids", Status.INTRODUCED, free=ids, lockstep=ids),
            change("prefill", "text.layers.0.attn.q_proj", Status.CONTRACT,
                   "shape [1, 2, 64], the contract's (batch token hidden) is [1, 2, 32]"),
            change("prefill", "text.layers.0.attn.context", Status.NONFINITE, "12 values", free=QUIET, lockstep=QUIET),
        )
    )  # fmt: skip


def crashed() -> Comparison:
    """The candidate's runtime died."""
    crash = "mlx crashed at text.layers.7.attn.context: SIGSEGV: libmlx.so: segmentation fault"
    return comparison(Judgement("mlx", "float32", "one-shot", (), (), 0.0, crash=crash))


def several() -> Comparison:
    """Two scenarios and two candidates."""
    (bad,), (good,), (dead,) = diverged().judgements, parity().judgements, crashed().judgements
    again = replace(bad, scenario="chunked")
    return comparison(
        good,
        replace(good, scenario="decode"),
        bad,
        again,
        replace(dead, candidate="onnx", crash="onnx crashed before its first step: killed"),
    )


SAMPLES = {
    "parity": parity,
    "near tie": near_tie,
    "diverged": diverged,
    "incomplete": incomplete,
    "broken": broken,
    "crashed": crashed,
    "several": several,
}
