"""What backends say about held-out pictures and sounds: the reference's words, to the letter.

A broken tower shows here as a wrong answer. Eight of each in every run; 200 of each with ``pytest -m exhaustive``.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs the [hf] extra")
transformers = pytest.importorskip("transformers", reason="needs the [hf] extra")

from parity.checkpoint import find_checkpoint  # noqa: E402  # behind importorskip
from parity.running.single import writer  # noqa: E402
from reference import tiny  # noqa: E402
from tools.tiny import evaluate  # noqa: E402
from tools.tiny.answers import NEAR, Question, answers, questions, same_at_first  # noqa: E402

BACKENDS = {"mlx": "float32", "ane": "float32", "onnx": "float32", "onnx@type=fp16": "float16"}
"""Each with its arithmetic."""
NEEDED = {"mlx": "mlx.core", "onnx": "onnxscript"}
"""The module without which a backend is not installed."""


@pytest.fixture(scope="module")
def asked():
    """The questions of so many samples, answered by the reference; once for all backends."""
    torch.set_num_threads(1)
    reference, known = evaluate.load(tiny.path()), {}
    return lambda samples: known.setdefault(samples, questions(*reference, samples))


@pytest.fixture(scope="module", params=BACKENDS)
def given(request):
    """A backend that answers as the command line lets it, and its arithmetic."""
    name, _, _ = request.param.partition("@")
    if name in NEEDED:
        pytest.importorskip(NEEDED[name], reason=f"needs the [{name}] extra")
    dtype = BACKENDS[request.param]
    with writer(checkpoint=find_checkpoint(None), backend=request.param, dtype=dtype) as write:
        yield write, dtype


@pytest.mark.slow
def test_answers_are_the_references(given, asked, tmp_path):
    """Eight pictures, eight sounds and two pairs; the reference decides none of them by a hair."""
    found = answers(given[0], asked(8), given[1], tmp_path)
    assert (found.differing, found.near, len(found.given)) == ([], 0, 18)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_all_answers_are_the_references(given, asked, tmp_path):
    """200 pictures, 200 sounds and 50 pairs; near ties are told apart, and are few."""
    found = answers(given[0], asked(200), given[1], tmp_path)
    assert not found.differing
    assert found.near <= 9  # 2 %


CASE = next(case for case in evaluate.cases(1) if case.media)
CLEAR = Question(CASE, "red", 1.0)


def test_another_answer_is_told(tmp_path):
    """A near tie is not asked, and what was asked is told with both answers."""
    tie = replace(CLEAR, lead=NEAR["float16"] / 2)
    found = answers(lambda messages, sampling: ["r", "at"], [CLEAR, tie], "float16", tmp_path)
    assert found.differing == [(CASE.exchange.question, "red", "rat")]
    assert found.near == 1
    assert found.tokens(lambda text: text.encode()) == (1, 3)
    assert answers(lambda messages, sampling: ["red"], [CLEAR, tie], "float32", tmp_path).differing == []


def test_tokens_before_answers_part():
    assert same_at_first([1, 2, 3], [1, 2, 4, 3]) == 2
    assert same_at_first([1], []) == 0
