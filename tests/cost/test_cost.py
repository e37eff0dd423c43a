"""What a candidate's numbers cost: of toys whose costs are known."""

from __future__ import annotations

import json
import math
import os
import xml.etree.ElementTree as ET
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from parity.cost.measuring import CostRequest, Prompt, _Sums, divergence, drawn_prompts, read_prompts
from parity.cost.result import Cost, StepCost, rms, step_costs
from parity.errors import UsageError
from parity.report.cost import markdown, print_cost
from parity.report.html.cost import svg
from parity.tap import SILENT
from tests.toy import SCENARIO, Toy, runs, write

TOKENS = 5
"""Four of the prompt, and one that is decoded."""


def measured(tmp_path, wrong, dtype="float32"):
    """The cost of a toy that is wrong in some steps."""
    oracle = write(tmp_path, "oracle", Toy())
    found = _Sums()
    found.add(oracle, runs(tmp_path, "it", Toy(dtype, wrong), oracle, dtype))
    return found.cost(CostRequest(Named(), "toy", "it", dtype, (Prompt("Hello", "here"),), SCENARIO.name))


class Named:
    """A checkpoint's name."""

    name = "toy"


def test_each_step_costs_its_own(tmp_path):
    """Embeddings that are a tenth too large are in all that follows, and their own alone from exact inputs."""
    cost = measured(tmp_path, {"embed": lambda value: value * np.float32(1.1)})
    steps = {one.step: one for one in cost.steps}
    assert [*steps] == ["embed", "layers.0.mean", "logits"]
    assert steps["embed"].own == pytest.approx(0.1, rel=0.05)  # a small token is held to the typical size of all
    assert steps["logits"].own < 1e-5
    assert steps["logits"].whole == pytest.approx(0.1, rel=0.1)
    assert cost.logits == steps["logits"].whole
    assert (cost.tokens, cost.kept, cost.share_kept) == (TOKENS, TOKENS, 1)
    assert cost.dearest[0].step == "embed"


def test_tokens_are_kept_or_not(tmp_path):
    """Logits of the other sign choose what was last."""
    cost = measured(tmp_path, {"logits": lambda value: -value})
    assert (cost.tokens, cost.kept) == (TOKENS, 0)
    assert cost.logits == pytest.approx(2, rel=0.1)
    assert cost.worst_divergence >= cost.divergence > 1


def test_float32_costs_next_to_nothing(tmp_path):
    cost = measured(tmp_path, {})
    assert cost.kept == TOKENS
    assert 0 < cost.worst_divergence < 1e-12
    assert max(one.own for one in cost.steps) < 1e-5


def test_divergence_of_known_distributions():
    """Of a half each and a quarter to three; it is not symmetric, and adding to all logits changes nothing."""
    even, other = np.log([[0.5, 0.5]]), np.log([[0.25, 0.75]])
    assert divergence(oracle=even, candidate=other) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert divergence(oracle=other, candidate=even) == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))
    assert divergence(oracle=even, candidate=even + 700) == pytest.approx(0, abs=1e-12)


def test_a_step_stands_out_of_its_family():
    """Of one layer of four, and not the family whose steps all cost much."""
    own = {f"layers.{layer}.out": [0.1, 0.1] for layer in range(4)} | {"layers.2.out": [1.0, 1.0], "head": [2.0]}
    found = {one.step: one for one in step_costs(own, {})}
    assert found["layers.2.out"].times == pytest.approx(10)
    assert [one.step for one in found.values() if one.stands_out] == ["layers.2.out"]
    assert StepCost("a", 1, 1, 0).times == math.inf
    assert rms([3, 4]) == pytest.approx(math.sqrt(12.5))


def written(say):
    """What is printed, 80 columns wide."""
    out = Console(file=StringIO(), width=80)
    say(out)
    return out.file.getvalue()


COST = Cost(
    candidate="a<b",
    dtype="float32",
    model="toy",
    prompts=2,
    tokens=10,
    kept=9,
    divergence=0.25,
    worst_divergence=0.5,
    logits=0.125,
    steps=step_costs({f"layers.{layer}.<out>": [0.1 if layer != 2 else 1.0] for layer in range(5)}, {}),
)


def test_it_is_said():
    """The same on a terminal and on a page; what is not ours is escaped in the figure."""
    printed, page = written(lambda out: print_cost(COST, out)), markdown(COST, "parity cost it", "it.svg")
    for text in (" ".join(printed.split()), " ".join(page.split())):
        assert "of 10 greedy tokens in 2 prompts 90.0 % are kept; KL divergence 0.25 nats, 0.5 at worst" in text
        assert text.index("cost most by themselves") < text.index("over 4 times")
        assert "layers.2.<out>" in text
    root = ET.fromstring(svg(COST))
    assert len(root.findall("{*}g/{*}circle")) == 5
    assert "layers.2.<out>: 1" in [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]


def test_the_same_seed_draws_the_same_prompts():
    prompts = drawn_prompts("transformers", 8, 1)
    assert (len(prompts), all(one.text for one in prompts)) == (8, True)
    assert prompts[7].where == "prompt 8 of seed 1"
    assert prompts == drawn_prompts("transformers", 8, 1)
    assert prompts != drawn_prompts("transformers", 8, 2)


ASKED = ("cost", "tests.toy:Port", "--reference", "tests.toy:Toy", "--scenario", "toy", "--dtype", "float16")


def test_the_command(parity, tmp_path):
    """With processes, a file of prompts, and its page."""
    prompts, page = tmp_path / "prompts.txt", tmp_path / "cost.md"
    prompts.write_text("one\n\ntwo\n")
    code, out, _ = parity(*ASKED, "--prompts", prompts, "--markdown", page, "--json")
    found = json.loads(out)
    assert (code, found["prompts"], found["tokens"], found["kept"]) == (0, 2, 2 * TOKENS, 2 * TOKENS)
    assert 1e-4 < found["logits"] < 5e-3
    assert "tests.toy:Port" in page.read_text()
    assert page.with_suffix(".svg").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--prompts", "nowhere"), "--prompts nowhere cannot be read: it does not exist; give a file"),
        (("--prompts", "tests"), "--prompts tests cannot be read: a folder; give a file of text in UTF-8"),
        (("--markdown", "tests"), "cannot write tests: it is a folder; name a file"),
        (("--markdown", f"{__file__}/cost.md"), f"cannot write to {__file__} (File exists); give another folder"),
        (("--scenario", "all"), "--scenario takes one name here"),
        (("--dtype", "int8"), "has no dtype 'int8'"),
    ],
)
def test_what_cannot_be(parity, words, said):
    code, out, told = parity(
        *ASKED, "--draws", 1, *(words if "--prompts" in words else (*words, "--prompts", __file__))
    )
    assert (code, out) == (2, "")
    assert said in told.splitlines()[-1]


def test_a_file_without_prompts(parity, tmp_path):
    (tmp_path / "empty").write_text("\n \n")
    code, _, told = parity(*ASKED, "--prompts", tmp_path / "empty")
    assert code == 2
    assert "has no prompt; give one a line" in told


def test_a_pipe_is_not_waited_for(parity, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    code, _, told = parity(*ASKED, "--prompts", tmp_path / "pipe")
    assert code == 2
    assert "cannot be read: not a regular file; give a file of text in UTF-8" in told


def test_a_line_ends_with_a_line_feed_alone(tmp_path):
    """What else Python splits at is part of a prompt; a carriage return before the line feed is not."""
    file = tmp_path / "prompts"
    file.write_bytes("one\r\n\n \t\ntwo\x0b\x0c\u2028\x85and\rmore\r\r\nlast".encode())
    assert [(one.text, one.where) for one in read_prompts(file)] == [
        ("one", f"{file}, line 1"),
        ("two\x0b\x0c\u2028\x85and\rmore\r", f"{file}, line 4"),
        ("last", f"{file}, line 5"),
    ]


class Brief(Toy):
    """Takes prompts of three characters: of four says so before it is loaded, of more when it plans."""

    @classmethod
    def admit(cls, checkpoint, prompt, media=()):
        """Four are too many."""
        if len(prompt) == 4:
            raise UsageError("the prompt has 4 tokens, the context is 3; shorten the prompt")

    def scenario(self, name, prompt, media=()):
        """More are too."""
        if len(prompt) > 4:
            raise UsageError(f"scenario toy has {len(prompt)} tokens, the context is 3; shorten the prompt")
        return super().scenario(name, prompt, media)

    def forward(self, token_ids, *, prompts=(), tap=SILENT):
        """Nothing is read before all prompts are looked at."""
        raise RuntimeError("read")


@pytest.mark.parametrize(
    ("line", "said"),
    [("four", "line 3: the prompt has 4 tokens"), ("fiver", "line 3: scenario toy has 5 tokens")],
)
def test_all_prompts_are_looked_at_first(line, said, parity, tmp_path):
    """By the checkpoint's configuration and by the loaded reference; the line is named."""
    (tmp_path / "prompts").write_text(f"one\n\n{line}\n")
    asked = ("cost", "tests.toy:Port", "--reference", "tests.cost.test_cost:Brief", "--scenario", "toy")
    code, _, told = parity(*asked, "--prompts", tmp_path / "prompts")
    assert code == 2
    assert f"{tmp_path / 'prompts'}, {said}, the context is 3; shorten the prompt" in " ".join(told.split())
