"""The MLX audio tower against the reference: every step, whatever the arithmetic, the clips and the configuration."""

from __future__ import annotations

import functools

import numpy as np
import pytest

mx = pytest.importorskip("mlx.core")
torch = pytest.importorskip("torch")

from implementations.mlx.embedder import soft_tokens  # noqa: E402  # behind importorskip
from parity.errors import UsageError  # noqa: E402
from parity.judging.baseline import judged as judged_by  # noqa: E402
from parity.tap import SILENT  # noqa: E402
from tests.audio_checkpoint import Alone, write  # noqa: E402
from tests.audio_parties import CLIPS, CONFIGURATIONS, SCENARIO, Audio, Clips, MlxAudio, MlxTower, Tower  # noqa: E402
from tests.harness import require_parity  # noqa: E402
from tests.marks import quick  # noqa: E402


@pytest.fixture(scope="module")
def judged(harness):
    """Judges the MLX tower on clips."""

    @functools.cache
    def verdict(name, dtype):
        clips = CLIPS[name]
        oracle = harness.trace(Audio(harness.oracle._model, "float64", clips), "float64", scenario=SCENARIO)
        baseline = harness.against(oracle, dtype, Audio(harness.baseline(dtype)._model, dtype, clips))
        candidate = harness.runs(MlxAudio(harness.checkpoint, dtype, clips), dtype, oracle)
        return oracle, baseline, judged_by(oracle=oracle, baseline=baseline, candidate=candidate)[0]

    return verdict


@pytest.fixture(scope="module")
def tower(harness):
    """The embedded checkpoint's, in float32."""
    return MlxTower(harness.checkpoint, "float32", CLIPS["unequal"])


@pytest.mark.parametrize("name", quick(CLIPS, "unequal"))
def test_float32(name, judged):
    require_parity(judged(name, "float32")[2])


@pytest.mark.parametrize("name", quick(["padded", "one frame"]))
def test_bfloat16(name, judged):
    require_parity(judged(name, "bfloat16")[2])


@pytest.mark.parametrize("name", quick(CONFIGURATIONS, "no past", "another norm"))
def test_any_configuration(name, harness, tmp_path):
    """What published models have in common is read from the configuration all the same."""
    small = {"hidden_size": 48, "conf_num_attention_heads": 4, "conf_num_hidden_layers": 2}
    folder = write(tmp_path, **small, **CONFIGURATIONS[name])
    clips = Clips.of(83, 100, bands=CONFIGURATIONS[name].get("input_feat_size", 128))
    oracle = harness.trace(Tower(Alone(folder, "float64"), "float64", clips), "float64", scenario=SCENARIO)
    baseline = harness.against(oracle, "float32", Tower(Alone(folder, "float32"), "float32", clips))
    candidate = harness.runs(MlxTower(folder, "float32", clips), "float32", oracle)
    require_parity(judged_by(oracle=oracle, baseline=baseline, candidate=candidate)[0])


@pytest.mark.parametrize(
    ("fault", "first"),
    [
        (("subsample_conv_projection.conv_1.norm", "_eps", 1e-5), "audio.subsample_conv_projection.conv_1.normed"),
        (("conformer.2.attention.attn", "_cap", 1e9), "audio.conformer.2.attention.attn.logits"),
        (("conformer.0.ffw_layer_end", "_weight", 1.0), "audio.conformer.0.ffw_layer_end.out"),
        (("", "_stride", 2), "audio.subsampled_mask"),
    ],
)
def test_a_fault_is_found_at_its_step(fault, first, judged, harness, monkeypatch):
    part, attribute, value = fault
    oracle, baseline, _ = judged("unequal", "float32")
    candidate = MlxAudio(harness.checkpoint, "float32", CLIPS["unequal"])
    module = functools.reduce(_child, filter(None, part.split(".")), candidate.tower)
    monkeypatch.setattr(module, attribute, value)
    runs = harness.runs(candidate, "float32", oracle)
    judgement = judged_by(oracle=oracle, baseline=baseline, candidate=runs)[0]
    assert judgement.first_divergence.step == first
    assert len(judgement.introduced) == 1


def _child(module, name):
    return module[int(name)] if name.isdigit() else getattr(module, name)


def test_a_clip_does_not_depend_on_its_padding(tower):
    """Alone or beside a longer one: the same features, but for the last, under which the convolutions look ahead."""
    mel, mask = CLIPS["unequal"].mel, CLIPS["unequal"].mask
    whole, valid = tower.run(mx.array(mel), mx.array(mask))
    alone, _ = tower.run(mx.array(mel[1:, :61]), mx.array(mask[1:, :61]))
    assert np.array(valid).sum(axis=1).tolist() == [10, 4]
    np.testing.assert_allclose(np.array(whole)[1, :3], np.array(alone)[0, :3], atol=1e-5)
    assert not np.array(whole)[1, 4:].any()


def test_soft_tokens_fill_the_places():
    """Features where there is sound, the padding embedding elsewhere; too many features are refused."""
    features, mask = mx.ones((2, 3, 4)), mx.array([[True, True, True], [True, False, False]])
    filled = np.array(soft_tokens(features, mask, mx.full((1, 1, 4), 7.0), 5, tap=SILENT))
    assert filled[..., 0].tolist() == [[1, 1, 1, 7, 7], [1, 7, 7, 7, 7]]
    with pytest.raises(UsageError, match="3 soft tokens"):
        soft_tokens(features, mask, mx.zeros((1, 1, 4)), 2, tap=SILENT)
