"""What a party keeps beyond the oracle's, and what of it counts."""

from __future__ import annotations

import numpy as np
import pytest

from parity.contract import Contract, Step
from parity.judging.judge import judge
from parity.judging.verdict import Status
from parity.tap import SILENT
from tests.toy import Toy, runs, write

WINDOW = 3
WEIGHED = Contract(
    "toy",
    (
        Step("scores", ("batch", "head", "token", "key"), "float", "products of queries and keys", "Windowed.forward"),
        Step("weights", ("batch", "head", "token", "key"), "float", "softmax of the scores", "Windowed.forward"),
        Step("logits", ("batch", "token", "vocabulary"), "float", "scores", "Windowed.forward"),
    ),
    logits="logits",
)


class Windowed(Toy):
    """In a decode step it looks back on a window, and drops the keys before it.

    Args:
        beyond: what a key before the window weighs, where they are kept; None where they are dropped.
    """

    def __init__(self, dtype="float64", beyond=None):
        super().__init__(dtype)
        self.beyond = beyond

    def contract(self):
        """Weights, and what they are summed with."""
        return WEIGHED

    def start(self, *, padding, cache):
        """No key is kept yet."""
        self.past = self.table[:0]

    def forward(self, token_ids, *, prompts=(), tap=SILENT):
        """Look with the last tokens' own embedding at all keys that are kept."""
        queries = self.table[token_ids[0] % 16]
        self.past = np.concatenate([self.past, queries])
        kept = len(self.past) if len(queries) > 1 or self.beyond is not None else WINDOW
        scores = tap("scores", (queries @ self.past[-kept:].T / 100)[None, None])
        unnormed = np.exp(scores)
        if kept > WINDOW and len(queries) == 1:
            unnormed[..., :-WINDOW] = self.beyond
        weights = tap("weights", unnormed / unnormed.sum(-1, keepdims=True))
        return tap("logits", (weights[0] @ self.past[-kept:]) @ self.head)


@pytest.mark.parametrize(("beyond", "status"), [(None, Status.OK), (0, Status.OK), (1e-3, Status.INTRODUCED)])
def test_keys_beyond_the_window_may_be_kept_without_weight(beyond, status, tmp_path):
    """A cache that drops none and a mask are as right as one that drops them; any weight is seen in the others'."""
    oracle = write(tmp_path, "oracle", Windowed())
    baseline = runs(tmp_path, "baseline", Windowed("float32"), oracle)
    judgement = judge(
        oracle=oracle, baseline=baseline, candidate=runs(tmp_path, "port", Windowed("float32", beyond), oracle)
    )
    found = {(step.phase, step.step): step.status for step in judgement.steps}
    assert {found[phase, "scores"] for phase in ("prefill", "decode.1")} == {found["prefill", "weights"]} == {Status.OK}
    assert found["decode.1", "weights"] is status
    assert (found["decode.1", "logits"] is Status.OK) == (status is Status.OK)
