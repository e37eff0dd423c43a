"""A stack of layers as a reference, and what another tool would dump of it: other names, other layouts."""

from __future__ import annotations

import numpy as np

from parity.contract import Contract, Step
from parity.scenario import Chunk, Scenario
from parity.tap import SILENT
from tests.toy import Toy

LAYERS, HEADS, HEAD_DIM, WIDE, IDS = 4, 3, 4, 20, 16
HIDDEN = HEADS * HEAD_DIM
STEPS = 2 * (2 + 3 * LAYERS)
"""Of both phases of `SCENARIO`."""
STREAM, QUERIES = ("batch", "token", "hidden"), ("batch", "head", "token", "head_dim")


def steps():
    """Per layer queries, an inner value and the stream."""
    yield Step("embed", STREAM, "float", "embedding", "Stack.forward")
    for layer in range(LAYERS):
        yield Step(f"layers.{layer}.queries", QUERIES, "float", "heads of queries", "Stack.forward")
        yield Step(f"layers.{layer}.inner", ("batch", "token", "wide"), "float", "tanh", "Stack.forward")
        yield Step(f"layers.{layer}.out", STREAM, "float", "the stream", "Stack.forward")
    yield Step("logits", ("batch", "token", "vocabulary"), "float", "scores", "Stack.forward")


class Stack(Toy):
    """Each layer adds what it makes of its queries."""

    def __init__(self, dtype="float64", wrong=None):
        super().__init__(dtype, wrong)
        draw = np.random.default_rng(1)

        def matrix(*shape):
            return (draw.normal(size=shape) / shape[0] ** 0.5).astype(dtype)

        self.table = matrix(IDS, HIDDEN) * np.asarray(4, dtype)
        self.layers = [(matrix(HIDDEN, HIDDEN), matrix(HIDDEN, WIDE), matrix(WIDE, HIDDEN)) for _ in range(LAYERS)]

    def contract(self):
        """Steps of all layers."""
        return Contract("stack", tuple(steps()), logits="logits")

    def scenario(self, name, prompt, media=()):
        """Two rows of five tokens, and a further one."""
        return SCENARIO

    def forward(self, token_ids, *, prompts=(), tap=SILENT):
        """Emit the steps."""

        def say(name, value):
            return tap(name, self.wrong.get(name, lambda same: same)(value))

        x = say("embed", self.table[token_ids % IDS])
        batch, tokens, _ = x.shape
        for number, (query, up, down) in enumerate(self.layers):
            heads = (x @ query).reshape(batch, tokens, HEADS, HEAD_DIM).transpose(0, 2, 1, 3)
            heads = say(f"layers.{number}.queries", heads)
            merged = heads.transpose(0, 2, 1, 3).reshape(x.shape)
            inner = say(f"layers.{number}.inner", np.tanh(merged @ up))
            x = say(f"layers.{number}.out", x + inner @ down)
        return say("logits", x @ self.table.T)


ROWS = ((1, 2, 3, 4, 5), (6, 7, 8, 9, 10))
SCENARIO = Scenario("stack", (Chunk("prefill", ROWS), Chunk("decode.1", None)), (0, 0))


def dumped(trace, named):
    """A run's tensors as another tool has them: `named` gives a step's name there, or nothing where it is not shown."""
    found = {}
    for key in trace.records:
        array = trace.tensor(key)
        if key.step.endswith("queries"):
            array = array.transpose(0, 2, 1, 3).reshape(-1, HIDDEN)  # tokens of all rows, heads merged
        if name := named(key.step, key.phase):
            found[name] = array
    return found


def as_a_server(step, phase):
    """``pass_0.model.layers.2.self_attn.q``, the way that servers call it."""
    words = {
        "queries": "self_attn.q",
        "inner": "mlp.act",
        "out": "output",
        "embed": "embed_tokens",
        "logits": "lm_head",
    }
    *_, last = step.split(".")
    layer = f"layers.{step.split('.')[1]}." if "layers" in step else ""
    return f"pass_{int(phase != 'prefill')}.model.{layer}{words[last]}"
