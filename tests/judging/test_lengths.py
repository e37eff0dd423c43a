"""What only carries a wrong length on is inherited, and what does not is not."""

from __future__ import annotations

import numpy as np
import pytest

from parity.judging.baseline import Baseline
from parity.judging.baseline import judged as judged_by
from parity.judging.lengths import Length
from parity.judging.verdict import Status

torch = pytest.importorskip("torch", reason="needs the [hf] extra")

from implementations.gemma3n.preprocessing import inputs  # noqa: E402  # behind importorskip
from parity.discovery import find  # noqa: E402
from tests.harness import Here  # noqa: E402
from tests.implementations.test_media_parity import BEEPS, CHIRP  # noqa: E402

CONVOLUTION = "audio.subsample_conv_projection.conv_0.conv"


@pytest.mark.parametrize(
    ("first", "other", "explained"),
    [
        ((121, 117), (61, 59), True),  # a stride of two
        ((119, 117), (60, 59), True),
        ((19_900, 19_200), (122, 117), True),  # samples to frames, padded to a block
        ((19_201, 19_200), (118, 117), True),
        ((5, 4), (9, 8), True),  # a token more, a key more
        ((5, 4), (79, 80), False),
        ((121, 117), (50, 59), False),
    ],
)
def test_lengths_that_follow(first, other, explained):
    assert Length(*first).explains(Length(*other)) is explained


@pytest.fixture(scope="module")
def case(harness):
    """The oracle's run with two sounds, the baseline, and the candidate."""
    plan = harness.oracle.scenario("one-shot", "What is it?", (CHIRP, BEEPS))
    oracle = harness.trace(harness.oracle, "float64", scenario=plan)
    base = Baseline(Here(harness.baseline("float32"), "float32"), oracle, harness._output())
    return oracle, base, find("mlx").load(harness.checkpoint, "float32")


@pytest.fixture
def judged(case, harness, monkeypatch):
    """Judges MLX with functions of the preprocessing replaced."""

    def run(**changes):
        for name, change in changes.items():
            monkeypatch.setattr(inputs, name, change(getattr(inputs, name)))
        oracle, base, candidate = case
        return judged_by(oracle=oracle, baseline=base, candidate=harness.runs(candidate, "float32", oracle))[0]

    return run


def longer(by):
    """A function whose result ends in so many frames or samples more."""
    return lambda right: lambda *given: np.concatenate([made := right(*given), made[:, -1:].repeat(by, 1)], 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({"log_mel": longer(1)}, "processor.mel"),
        pytest.param({"log_mel": longer(4), "frame_mask": longer(4)}, "processor.mel", marks=pytest.mark.exhaustive),
        ({"padded": longer(700)}, "processor.waveform"),
    ],
)
def test_one_wrong_length_is_one_fault(changes, step, judged):
    """Convolutions, blocks, masks and soft tokens that are made of more frames than there are carry them on."""
    judgement = judged(**changes)
    assert [(verdict.step, verdict.status) for verdict in judgement.introduced] == [(step, Status.CONTRACT)]
    assert judgement.counts[Status.INHERITED] > 50


@pytest.mark.slow
def test_a_wrong_mask_is_one_fault(judged):
    """It has the right shape, so lockstep replaces it, and no later mask is made of it."""
    judgement = judged(frame_mask=lambda right: lambda *given: ~right(*given))
    assert [verdict.step for verdict in judgement.introduced] == ["processor.mel_mask"]


@pytest.mark.slow
def test_a_fault_behind_a_wrong_length_is_not_hidden(judged, case, monkeypatch):
    """A norm of the language model is behind the soft tokens, which have their place whatever their number."""
    layer = case[2]._model.model.language_model.layers[3]
    monkeypatch.setattr(layer.laurel.post_laurel_norm, "_eps", 1e-4)
    found = [verdict.step for verdict in judged(log_mel=longer(1)).introduced]
    assert found == ["processor.mel", "text.layers.3.laurel.normed"]
