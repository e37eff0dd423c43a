"""Conversations: a backend's own generation loop under a tap, and backends that have none."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from parity.errors import ExitCode
from parity.generation import Message, Sampling
from parity.judging.judge import judge
from parity.judging.verdict import Status
from parity.media import Part
from parity.running.execute import Run, execute
from parity.running.probe import probe
from parity.scenario import Chunk, Scenario
from parity.tap import SILENT, silence
from parity.traces.runs import Runs
from parity.traces.trace import Key, Trace
from tests.toy import Port, Toy


def text(words):
    return (Part("text", words),)


TALK = Scenario(
    "talk",
    (
        Chunk("prefill", ((2, 7, 9),), turn=text("79")),
        Chunk("decode.1", ((4,),)),
        Chunk("suffix", ((1, 5),), turn=text("5")),
        Chunk("decode.2", ((8,),)),
    ),
)
"""What the user says are digits, each an id; 2 begins, and 1 ends a reply."""


class Last(Toy):
    """A reference that computes the last token's logits alone, where these are asked for."""

    def forward_last(self, token_ids, *, prompts=(), tap=SILENT):
        """The mean's token that is gone on with is the last."""
        ids = tap("ids", token_ids)
        embed = tap("embed", self.table[ids % 16])
        mean = tap("layers.0.mean", embed.mean(axis=-1, keepdims=True))
        return tap("logits", (embed[:, -1:] - mean[:, -1:]) @ self.head)


class Talking(Last, Port):
    """Reads what is new of a dialogue, and says its reply; `wrong` is done to what is read."""

    def generate(self, messages, sampling, *, hear=silence):
        """Pieces are ids."""
        self.asked = [*getattr(self, "asked", []), (tuple(messages), sampling)]
        words = "".join(part.value for part in messages[-1].prompt)
        ids = [2 if len(messages) == 1 else 1, *map(int, words)]
        for count in range(sampling.max_tokens):
            logits = self.forward_last(self.wrong.get("read", lambda same: same)(np.array([ids])), tap=hear())
            token = sampling.reply[count] if count < len(sampling.reply) else int(logits[0, -1].argmax())
            if token == 1:
                return
            yield str(token)
            ids = [token]


@pytest.fixture
def judged(tmp_path):
    """Judges a candidate in the conversation."""

    def trace(party, name, dtype, **run):
        execute(party, Run(tmp_path / name, "toy", "weights", dtype, **run), lambda step: None)
        return Trace.read(tmp_path / name)

    oracle = trace(Last(), "oracle", "float64", scenario=TALK)

    numbers = itertools.count()

    def both(party, name):
        name = f"{name}-{next(numbers)}"
        modes = ("free", "lockstep")
        return Runs(*(trace(party, f"{name}.{mode}", "float32", oracle=oracle.path, mode=mode) for mode in modes))

    base = both(Last("float32"), "base")

    def run(party):
        run.runs = both(party, "candidate")
        return judge(oracle=oracle, baseline=base, candidate=run.runs)

    run.oracle = oracle
    return run


def test_a_generation_loop_is_heard_pass_by_pass(judged):
    """Each forward pass is the next chunk, and every step of it is judged."""
    judgement = judged(Talking("float32"))
    assert judgement.exit_code is ExitCode.PARITY
    assert len(judgement.steps) == 4 * 4
    assert len(judgement.tokens) == 4


def test_what_it_is_asked(judged):
    """One turn after the other, each behind the reply as it was told. A reply ends where the next chunk begins."""
    party = Talking("float32")
    judged(party)
    (first, _), (second, behind), *_ = party.asked
    assert party.asked[0][1] == Sampling(max_tokens=2, reply=(4, 1))
    assert behind == Sampling(max_tokens=2, reply=(8,))
    assert first == (Message("user", text("79")),)
    assert second == (*first, Message("model", text("4")), Message("user", text("5")))


def test_what_it_reads_is_judged(judged):
    """Another id is the fault of the step that has it; another number of ids too."""
    found = judged(Talking("float32", {"read": lambda ids: ids + (ids == 9)})).introduced
    assert [(step.step, step.phase) for step in found] == [("ids", "prefill")]


def test_a_pass_more_is_not_hidden(judged):
    """A prompt that is read token by token has steps that the scenario does not; nothing of it passes."""

    class Slow(Talking):
        def forward_last(self, token_ids, *, prompts=(), tap=SILENT):
            if token_ids.shape[1] > 1:
                super().forward_last(token_ids[:, :1], tap=tap)
            return super().forward_last(token_ids, tap=tap)

    judgement = judged(Slow("float32"))
    assert judgement.exit_code is ExitCode.DIVERGED
    assert judgement.counts[Status.UNEXPECTED] > 0


def test_a_backend_without_a_loop_may_compute_all_logits(judged):
    """Of these the last are compared and, in lockstep, replaced: what is made of them starts from exact inputs."""
    judgement = judged(Port("float32"))
    assert judgement.exit_code is ExitCode.PARITY
    record = judged.runs.lockstep.records[Key("prefill", "logits")]
    assert record.shape == judged.oracle.records[Key("prefill", "logits")].shape


def test_only_the_chunks_length_is_cut(judged):
    """Logits of another width, or of one token too many, are wrong."""
    for change in (lambda x: x[..., :-1], lambda x: np.concatenate([x, x[:, -1:]], 1)):
        found = judged(Port("float32", {"logits": change})).introduced[0]
        assert (found.step, found.status) == ("logits", Status.CONTRACT)


def test_a_probe_goes_on_behind_the_logits_of_a_turn(judged):
    """They are of the last token alone in the oracle's run, and of all in the probe's: what follows is exact."""
    key, last = Key("decode.2", "layers.0.mean"), Key("prefill", "logits")
    found = probe(Toy("float64"), judged.oracle, [last, key])
    assert all(found[each] == pytest.approx(judged.oracle.tensor(each), rel=1e-12) for each in (last, key))
