"""Epsilons of norms that are not the default, as config.json may have them, in the installed packages."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

pytest.importorskip("mlx.core")
pytest.importorskip("mlx_lm")
pytest.importorskip("mlx_vlm")

from implementations import mlx_lm, mlx_vlm  # behind importorskip
from implementations.mlx_lm import loading as lm_loading
from implementations.mlx_lm.patches import PATCHES as LM_PATCHES
from implementations.mlx_packages.patch import Patch
from implementations.mlx_vlm import loading as vlm_loading
from implementations.mlx_vlm.audio_patches import GROUP_NORM_EPSILON
from implementations.mlx_vlm.patches import PATCHES as VLM_PATCHES
from parity.judging.baseline import Baseline, judged
from parity.media import Part
from parity.site import Edit
from parity.traces.trace import Trace
from reference.tiny import path
from tests.harness import PROMPT, Harness, require_parity

EPSILON = 1e-2
NAMES = ("rms_norm_eps", "sscp_conv_group_norm_eps")
SAMPLES = Path(__file__).parents[1] / "samples"
MEDIA = (Part("image", str(SAMPLES / "gradient.png")), Part("audio", str(SAMPLES / "rising-chirp.wav")))
VLM = "mlx_vlm.models.gemma3n"


def lm(checkpoint, patches=LM_PATCHES):
    """mlx-lm in float32, with faults mended or planted."""
    return mlx_lm.Backend(lm_loading.load_model(checkpoint, "float32", patches), patches)


def vlm(checkpoint, patches=VLM_PATCHES):
    """The same of mlx-vlm."""
    return mlx_vlm.Backend(vlm_loading.load_model(checkpoint, "float32", patches), checkpoint, patches)


@dataclass(frozen=True)
class Asked:
    """What the reference has answered: in float64, and in float32 for the floors."""

    harness: Harness
    oracle: Trace
    baseline: Baseline

    @classmethod
    def of(cls, harness, media):
        """One prompt, one shot."""
        plan = harness.oracle.scenario("one-shot", PROMPT, media)
        oracle = harness.trace(harness.oracle, "float64", scenario=plan)
        return cls(harness, oracle, harness.against(oracle, "float32"))

    def judge(self, candidate):
        """The verdict on a backend."""
        runs = self.harness.runs(candidate, "float32", self.oracle)
        return judged(oracle=self.oracle, baseline=self.baseline, candidate=runs)[0]


@pytest.fixture(scope="module")
def coarse(tmp_path_factory):
    """A harness of the embedded checkpoint with another epsilon in text, embedders and towers."""
    folder = tmp_path_factory.mktemp("coarse") / "checkpoint"
    shutil.copytree(path(), folder)
    config = json.loads((folder / "config.json").read_text())
    for part in (config[f"{kind}_config"] for kind in ("text", "vision", "audio")):
        part.update({name: EPSILON for name in NAMES if name in part})
    (folder / "config.json").write_text(json.dumps(config))
    return Harness(tmp_path_factory.mktemp("traces"), folder)


@pytest.fixture(scope="module")
def text(coarse):
    """A prompt of text."""
    return Asked.of(coarse, ())


@pytest.fixture(scope="module")
def media(coarse):
    """A prompt with a picture and a sound."""
    return Asked.of(coarse, MEDIA)


def require_introduced(judgement, *steps):
    """At least one step of each of these patterns is introduced, and no other."""
    matched = {step.step: {name for name in steps if fnmatchcase(step.step, name)} for step in judgement.introduced}
    assert all(matched.values()), matched
    assert set().union(*matched.values()) == set(steps)


@pytest.mark.slow
def test_mlx_lm_honours_it(coarse, text):
    """In every norm of text."""
    require_parity(text.judge(lm(coarse.checkpoint)))


@pytest.mark.slow
def test_mlx_vlm_honours_it(coarse, media):
    """In text, behind a picture and a sound."""
    require_parity(media.judge(vlm(coarse.checkpoint)))


@pytest.mark.slow
def test_epsilon_of_group_norms_has_another_name(coarse, media):
    """All else mended, mlx-vlm's cumulative group norms keep the default, and no other step is wrong."""
    rest = tuple(patch for patch in VLM_PATCHES if patch is not GROUP_NORM_EPSILON)
    require_introduced(media.judge(vlm(coarse.checkpoint, rest)), *GROUP_NORM_EPSILON.steps)


def constant(function, source, read):
    """An edit of `source` in which the default stands for what the configuration says."""
    return Edit(function, source.format(read), source.format("1e-6"))


def planted(patches, *edits):
    """All faults mended, and new ones."""
    return (*patches, Patch(name="planted", edits=edits))


QUERY = ("Gemma3nAttention.__init__", "q_norm = nn.RMSNorm(dims=config.head_dim, eps={})", "config.rms_norm_eps")
LIGHT = (
    f"{VLM}.audio:Gemma3nAudioConformerLightConv1d.__init__",
    "conv_norm = Gemma3nRMSNorm(\n        self.config.hidden_size, eps={}",
    "self.config.rms_norm_eps",
)
EMBEDDER = (f"{VLM}.gemma3n:Gemma3nMultimodalEmbedder.__init__", "self.eps = {}\n", "multimodal_config.rms_norm_eps")
EMBEDDED = ("embed_vision.hard", "embed_vision.soft", "embed_audio.hard", "embed_audio.soft", "embed_audio.padding")


@pytest.mark.slow
def test_constant_in_mlx_lm_is_found_at_its_step(coarse, text):
    """A norm that takes the default, whatever config.json says."""
    fault = constant(f"mlx_lm.models.gemma3n:{QUERY[0]}", *QUERY[1:])
    require_introduced(text.judge(lm(coarse.checkpoint, planted(LM_PATCHES, fault))), "text.layers.*.attn.q_norm")


@pytest.mark.slow
def test_constants_in_mlx_vlm_are_found_at_their_steps(coarse, media):
    """One run finds those of text, of the audio tower and of both embedders."""
    faults = [constant(*where) for where in ((f"{VLM}.language:{QUERY[0]}", *QUERY[1:]), LIGHT, EMBEDDER)]
    judgement = media.judge(vlm(coarse.checkpoint, planted(VLM_PATCHES, *faults)))
    require_introduced(judgement, "text.layers.*.attn.q_norm", "audio.*.conv_norm", *EMBEDDED)
