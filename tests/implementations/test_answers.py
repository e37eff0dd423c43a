"""What backends say about held-out pictures and sounds: the reference's words, to the letter.

A broken tower shows here as a wrong answer. Eight of each in every run; 200 of each with ``pytest -m exhaustive``.
"""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the [hf] extra")
transformers = pytest.importorskip("transformers", reason="needs the [hf] extra")

from parity.checkpoint import find_checkpoint  # noqa: E402  # behind importorskip
from parity.generation import Message, Sampling  # noqa: E402
from parity.media import Part  # noqa: E402
from parity.running.single import writer  # noqa: E402
from reference import tiny  # noqa: E402
from tools.tiny import evaluate  # noqa: E402
from tools.tiny.samples import png, wav  # noqa: E402

NEAR = 0.01
"""Lead in logits below which float32 may choose otherwise: its noise is a thousandth of that."""
LONGEST = 16


@pytest.fixture(scope="module")
def reference():
    """Model and processor."""
    torch.set_num_threads(1)
    return evaluate.load(tiny.path())


def asked(samples):
    """Questions about held-out pictures, sounds, and both."""
    return [case for case in evaluate.cases(samples) if case.media]


def said(reference, result):
    """What the reference answers greedily: one pass has shown that a right answer is said to the letter."""
    if result.right:
        return result.case.exchange.answer
    model, processor = reference
    inputs = evaluate.inputs(result.case, processor)
    length = inputs["input_ids"].shape[1]
    ids = model.generate(**inputs, max_new_tokens=LONGEST, do_sample=False)[0, length:]
    return processor.tokenizer.decode(ids, skip_special_tokens=True)


def message(case, folder):
    """The question as a user gives it: files, then text."""
    parts = []
    for kind, content in evaluate.contents(case).items():
        file = folder / f"{kind}.{'png' if kind == 'image' else 'wav'}"
        file.write_bytes(png(content) if kind == "image" else wav(content))
        parts.append(Part(kind, str(file)))
    return Message("user", (*parts, Part("text", case.exchange.question)))


def differing(write, reference, samples, folder):
    """Questions that a backend answers otherwise, and how many the reference itself decides by a hair."""
    wrong, near = [], 0
    for case in asked(samples):
        result = evaluate.judge(*reference, case)
        if abs(result.margin) < NEAR:
            near += 1
            continue
        expected = said(reference, result)
        answer = "".join(write([message(case, folder)], Sampling(max_tokens=LONGEST)))
        if answer != expected:
            wrong.append((case.exchange.question, expected, answer))
    return wrong, near


@pytest.fixture(scope="module", params=["mlx", "ane"])
def write(request):
    """A backend that answers as the command line lets it."""
    if request.param == "mlx":
        pytest.importorskip("mlx.core", reason="needs the [mlx] extra")
    with writer(checkpoint=find_checkpoint(None), backend=request.param, dtype="float32") as write:
        yield write


@pytest.mark.slow
def test_answers_are_the_references(write, reference, tmp_path):
    """Eight pictures, eight sounds and two pairs."""
    assert differing(write, reference, 8, tmp_path) == ([], 0)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_all_answers_are_the_references(write, reference, tmp_path):
    """200 pictures, 200 sounds and 50 pairs; near ties are told apart, and are few."""
    wrong, near = differing(write, reference, 200, tmp_path)
    assert not wrong
    assert near <= 9  # 2 %
