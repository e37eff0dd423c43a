"""What backends answer to held-out questions, against what the reference says.

python -m tools.tiny.answers mlx onnx                           how many answers are the reference's, to the letter
python -m tools.tiny.answers onnx@type=fp16 --dtype float16     in another arithmetic
python -m tools.tiny.answers onnx@type=q4 --samples 40          about more pictures and sounds

Questions are those of `tools.tiny.evaluate` about pictures and sounds that the embedded checkpoint was not trained on;
all is greedy. Where the reference itself decides by a hair, its answer is no more right than the other: such questions
are counted and not asked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import torch

from parity.checkpoint import find_checkpoint
from parity.generation import Message, Sampling
from parity.media import Part
from parity.running.single import writer
from parity.scratch import scratch
from reference import tiny
from tools.tiny import evaluate
from tools.tiny.samples import png, wav

NEAR: Final[Mapping[str, float]] = {"float32": 0.01, "float16": 0.25}
"""Lead in logits below which an arithmetic may choose otherwise. Rounding moves the leads of all questions by at most a
thousandth of 0.01 in float32, and by 0.034 in float16, whose numbers between 16 and 32 are 1/64 apart. What quantised
weights move is no rounding of an arithmetic, so that for others every question counts."""
LONGEST: Final = 16
"""Tokens of an answer; the longest that was taught has fewer."""
SAMPLES: Final = 8

Write = Callable[[Sequence[Message], Sampling], Iterable[str]]
"""A backend that writes, as `parity.running.single.writer` loads it."""


@dataclass(frozen=True)
class Question:
    """One that the reference has answered.

    Attributes:
        case: what is asked, and about what.
        answer: the reference's, greedily.
        lead: by how many logits its least certain token leads the second best.
    """

    case: evaluate.Case
    answer: str
    lead: float

    def message(self, folder: Path) -> Message:
        """The question as a user gives it: files, then text."""
        parts = []
        for kind, content in evaluate.contents(self.case).items():
            file = folder / f"{kind}.{'png' if kind == 'image' else 'wav'}"
            file.write_bytes(png(content) if kind == "image" else wav(content))
            parts.append(Part("image" if kind == "image" else "audio", str(file)))
        return Message("user", (*parts, Part("text", self.case.exchange.question)))


def questions(model: Any, processor: Any, samples: int) -> list[Question]:
    """Questions about held-out pictures, sounds and pairs of both, with the reference's answers."""
    cases = [case for case in evaluate.cases(samples) if case.media]
    return [_answered(model, processor, case) for case in cases]


def _answered(model: Any, processor: Any, case: evaluate.Case) -> Question:
    """One pass shows that a right answer is said to the letter; only of a wrong one it must be asked what is said."""
    result = evaluate.judge(model, processor, case)
    if result.right:
        return Question(case, case.exchange.answer, result.margin)
    inputs = evaluate.inputs(case, processor)
    length = inputs["input_ids"].shape[1]
    ids = model.generate(**inputs, max_new_tokens=LONGEST, do_sample=False)[0, length:]
    return Question(case, processor.tokenizer.decode(ids, skip_special_tokens=True), -result.margin)


@dataclass(frozen=True)
class Answers:
    """What a backend said.

    Attributes:
        given: each question that is no near tie, with the backend's answer.
        near: how many are.
    """

    given: tuple[tuple[Question, str], ...]
    near: int

    @property
    def differing(self) -> list[tuple[str, str, str]]:
        """Question, the reference's answer and the backend's, where they are not the same."""
        return [
            (asked.case.exchange.question, asked.answer, said) for asked, said in self.given if said != asked.answer
        ]

    def tokens(self, encode: Callable[[str], Sequence[int]]) -> tuple[int, int]:
        """Of the reference's tokens those that come before the first one that differs, and all of them."""
        pairs = [(encode(asked.answer), encode(said)) for asked, said in self.given]
        return sum(same_at_first(*pair) for pair in pairs), sum(len(true) for true, _ in pairs)


def same_at_first(true: Sequence[int], said: Sequence[int]) -> int:
    """How many tokens two answers have in common before they part."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(true, said, strict=False)))


def answers(write: Write, asked: Iterable[Question], dtype: str, folder: Path) -> Answers:
    """Ask a backend in an arithmetic; media are written into a folder, as users have them."""
    found = list(asked)
    clear = [question for question in found if question.lead >= NEAR.get(dtype, 0.0)]
    sampling = Sampling(max_tokens=LONGEST)
    given = tuple((one, "".join(write([one.message(folder)], sampling))) for one in clear)
    return Answers(given, len(found) - len(clear))


def report(names: Sequence[str], dtype: str, samples: int) -> Iterator[str]:
    """Yield a table, a backend a line, and each answer that differs below it."""
    model, processor = evaluate.load(tiny.path())
    asked = questions(model, processor, samples)
    yield f"{'backend':24} {'asked':>5} {'same':>5} {'near':>5} {'tokens':>8}"
    for name in names:
        with scratch() as folder, writer(checkpoint=find_checkpoint(None), backend=name, dtype=dtype) as write:
            found = answers(write, asked, dtype, folder)
        same, tokens = found.tokens(lambda text: processor.tokenizer(text, add_special_tokens=False).input_ids)
        right = len(found.given) - len(found.differing)
        yield f"{name:24} {len(found.given):5} {right:5} {found.near:5} {same / max(tokens, 1):8.1%}"
        yield from (f"  {question} {true!r}, not {said!r}" for question, true, said in found.differing)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 whatever backends say, for quantised ones may answer otherwise."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.tiny.answers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("backends", nargs="+", metavar="NAME", help="with its options: onnx@type=q4")
    parser.add_argument("--dtype", default="float32", help="the backends' arithmetic")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="pictures, and sounds")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for line in report(options.backends, options.dtype, options.samples):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
