"""The published geometry in every implementation, on random, well-conditioned weights: ``make stock``.

The oracle and the baseline of a tower run once, for they take most of the time; vision and audio run beside each other,
on a core each. Free runs are judged by sketches: the tensors of one would fill 6 GB. MLX runs in a process of its own,
with the BLAS that its worker has: the wheel's adds a product's terms one after the other.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch", reason="needs the [hf] extra")
pytest.importorskip("transformers", reason="needs the [hf] extra")
pytest.importorskip("mlx.core", reason="needs the [mlx] extra")

from implementations.mlx import Backend  # behind importorskip
from implementations.mlx.operations.blas import find_openblas
from parity.errors import ExitCode
from parity.judging.judge import judge
from parity.traces.runs import Runs
from parity.traces.trace import Trace
from reference import tiny
from reference.gemma3n.huggingface import Reference
from tests import audio_worker
from tests.audio_checkpoint import Alone, write
from tests.audio_parties import SCENARIO, AneTower, Clips, Tower
from tests.harness import require_parity
from tests.stock_vision import SIDE, write_stock
from tests.vision_parties import Gallery, VisionAne, images

pytestmark = [
    pytest.mark.slow,
    pytest.mark.stock,
    pytest.mark.skipif(find_openblas() is None, reason="the wheel's own BLAS takes a second for a product of 0.02"),
]


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """The checkpoint of the vision tower, and a gallery of one image."""
    folder = tmp_path_factory.mktemp("vision")
    checkpoint, pixels = write_stock(folder / "stock"), images(SIDE, SIDE, 1)
    load = lambda dtype: Reference.load(checkpoint, dtype)  # noqa: E731
    return checkpoint, Gallery(folder / "gallery", load, pixels, lockstep=False)


needs_mlx_vlm = pytest.mark.skipif(find_spec("mlx_vlm") is None, reason="needs the [bench] extra")
FAULTS = {
    "norm-epsilon": ("vision.conv_stem.conv", "vision.conv_stem.bn"),
    "gelu-form": ("vision.conv_stem.bn", "vision.conv_stem.bn.act"),
    "strided-padding": ("vision.blocks.2.9.norm", "vision.blocks.2.9.attn.key.norm.input"),
    "token-order": ("vision.msfa.norm", "vision.soft_tokens"),
}
"""Of mlx-vlm's: the step before a fault's first one, and that one. `norm-means` stays within the floors of a free run;
`product-sums` does not show with the workers' BLAS."""


def in_worker(module, stock, folder, *arguments):
    """A party's free run, in a process of its own."""
    checkpoint, gallery = stock
    np.save(folder / "pixels.npy", gallery.pixels)
    given = map(str, (*arguments, checkpoint, folder / "pixels.npy", gallery.oracle.path, folder / "candidate"))
    command = [sys.executable, "-m", module, *given]
    subprocess.run(command, check=True, env={**os.environ, **Backend.environment()})
    return Runs(Trace.read(folder / "candidate"), None)


class TestVision:
    """300 M parameters, 768 x 768 pixels, 256 soft tokens, float32: every step of the free run."""

    def test_mlx(self, stock, tmp_path):
        _, gallery = stock
        self.require_whole(gallery, in_worker("tests.vision_parties", stock, tmp_path))

    @needs_mlx_vlm
    @pytest.mark.exhaustive
    def test_mlx_vlm(self, stock, tmp_path):
        """The installed package, all its known faults mended."""
        _, gallery = stock
        self.require_whole(gallery, in_worker("tests.vision_mlx_vlm", stock, tmp_path, "all"))

    @needs_mlx_vlm
    @pytest.mark.exhaustive
    def test_mlx_vlm_as_installed(self, stock, tmp_path):
        """Each fault that one free run can tell makes the error grow at its step, behind all those before it."""
        _, gallery = stock
        judgement = gallery.judge(in_worker("tests.vision_mlx_vlm", stock, tmp_path, ""), "float32")
        assert judgement.exit_code is ExitCode.DIVERGED
        assert judgement.first_divergence.step == "vision.conv_stem.bn"
        errors = {step.step: step.free.error for step in judgement.steps}
        grown = {fault: errors[step] / errors[before] for fault, (before, step) in FAULTS.items()}
        assert min(grown.values()) > 4, grown

    def test_ane(self, stock):
        checkpoint, gallery = stock
        self.require_whole(gallery, VisionAne.load(checkpoint, "float32", gallery.pixels))

    @staticmethod
    def require_whole(gallery, candidate):
        """At parity in every step of the path."""
        judgement = gallery.judge(candidate, "float32")
        assert len(judgement.steps) == len(gallery.oracle.contract)
        require_parity(judgement)


@dataclass(frozen=True)
class Heard:
    """Clips that the reference has heard in float64, in one kind of run."""

    harness: object
    folder: Path
    clips: Clips
    oracle: Trace
    how: dict

    def reference(self, dtype):
        """The reference's run in an arithmetic."""
        party = Tower(Alone(self.folder, dtype), dtype, self.clips)
        return self.harness.trace(party, dtype, oracle=self.oracle.path, **self.how)

    def judge(self, baseline, candidate):
        """The verdict on a candidate's run."""
        mode = self.how["mode"]
        floor, runs = (Runs(**{"free": None, "lockstep": None, mode: run}) for run in (baseline, candidate))
        return judge(oracle=self.oracle, baseline=floor, candidate=runs)


FREE, LOCKSTEP = ("free", 12, 3000), ("lockstep", 1, 480)
"""Kinds of run, with the blocks and frames that each has time for."""


@pytest.fixture(scope="module", params=[FREE, LOCKSTEP], ids=["free", "lockstep"])
def heard(request, harness, tmp_path_factory):
    """The oracle's run."""
    mode, blocks, frames = request.param
    folder = write(tmp_path_factory.mktemp("audio"), conf_num_hidden_layers=blocks)
    clips, keep = Clips.of(frames), {"keep_tensors": mode == "lockstep"}
    oracle = harness.trace(Tower(Alone(folder, "float64"), "float64", clips), "float64", scenario=SCENARIO, **keep)
    return Heard(harness, folder, clips, oracle, {"mode": mode, **keep})


@pytest.fixture(scope="module")
def baseline(heard):
    """The reference's run in float32."""
    return heard.reference("float32")


class TestAudio:
    """12 blocks of width 1536 on exactly 30 s of sound; and one block from exact inputs."""

    def test_mlx(self, heard, baseline, tmp_path):
        run = audio_worker.run(tmp_path, heard.folder, heard.oracle, heard.clips, **heard.how)
        require_parity(heard.judge(baseline, run))

    def test_ane(self, heard, baseline):
        require_parity(heard.judge(baseline, self.ane(heard, "float32")))

    @pytest.mark.parametrize(
        "heard",
        [pytest.param(FREE, marks=pytest.mark.exhaustive), LOCKSTEP],
        ids=["free", "lockstep"],
        indirect=True,
    )
    def test_ane_in_float16(self, heard):
        """Under the Neural Engine's arithmetic."""
        require_parity(heard.judge(heard.reference("float16-ane"), self.ane(heard, "float16-ane")))

    @staticmethod
    def ane(heard, dtype):
        """The run of the Neural Engine's form."""
        party = AneTower(heard.folder, dtype, heard.clips)
        return heard.harness.trace(party, dtype, oracle=heard.oracle.path, **heard.how)


@pytest.fixture
def thirty_seconds(tmp_path):
    """The embedded checkpoint with as many soft tokens as the published one has, and the longest sound that fits."""
    folder, sound = tmp_path / "checkpoint", tmp_path / "thirty.wav"
    shutil.copytree(tiny.path(), folder)
    for file, field in (("config.json", "audio_soft_tokens_per_image"), ("processor_config.json", "audio_seq_length")):
        settings = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**settings, field: 188}))
    seconds = np.arange(30 * 16_000) / 16_000
    swept = 0.3 * np.sin(2 * np.pi * (200 + 60 * seconds) * seconds)
    soundfile.write(sound, swept + 0.02 * np.random.default_rng(0).standard_normal(len(seconds)), 16_000)
    return folder, sound


def test_exactly_thirty_seconds(thirty_seconds):
    """From the file to the logits, as a user compares."""
    folder, sound = thirty_seconds
    given = ["--model", str(folder), "--audio", str(sound), "--prompt", "What do you hear?"]
    command = [sys.executable, "-m", "parity", "compare", *given, "--candidates", "mlx,ane"]
    assert subprocess.run(command, check=False).returncode == ExitCode.PARITY
