"""The vision path alone as parties of the harness: pixels in, soft tokens in the language model's space out."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from parity.backend import Backend
from parity.contract import Contract
from parity.judging.judge import judge
from parity.judging.judgement import Judgement
from parity.running.execute import Run, execute
from parity.scenario import Chunk, Scenario
from parity.tap import SILENT, Tap
from parity.traces.runs import Runs
from parity.traces.trace import Trace
from reference.common.woven import Woven
from reference.gemma3n.huggingface import Reference
from reference.gemma3n.steps.vision import VISION_STEPS, vision_steps
from tests.harness import passing_trace

NO_LOGITS = np.zeros((1, 1, 2))
SCENARIO = Scenario("vision", (Chunk("image", ((0,),)),))


def images(height: int, width: int, count: int = 2) -> NDArray[np.float32]:
    """Images ``[image, channel=3, height, width]`` in [0, 1], asymmetric: a ramp along each axis, and noise."""
    noise = np.random.default_rng(height * width).random((count, 3, height, width))
    ramp = np.linspace(0, 1, height)[:, None] ** 2 + np.linspace(0, 2, width) ** 0.5
    return np.clip(0.3 * noise + 0.25 * ramp, 0, 1).astype(np.float32)


class VisionReference(Reference):
    """The reference's vision path around a loaded model; edited where `edits` says."""

    def __init__(self, loaded: Reference, pixels: NDArray[np.float32], edits: tuple[Any, ...] = ()) -> None:
        super().__init__(loaded._model, loaded._checkpoint, loaded._arithmetic.storage)
        self._compute_in(loaded._arithmetic)  # which need not be its storage's
        self._pixels = torch.from_numpy(pixels)
        self._woven = Woven(loaded._model, VISION_STEPS, edits or loaded._woven.variants)

    def contract(self) -> Contract:
        """The vision path's steps, all of them expected in the one chunk that there is."""
        steps = tuple(replace(step, needs="") for step in vision_steps(self._model.model))
        return Contract("gemma3n", steps, logits="")

    def start(self, *, padding: tuple[int, ...], cache: bool) -> None:
        """There is no conversation."""

    def forward(self, token_ids: NDArray[np.int64], *, prompts: Any = (), tap: Tap = SILENT) -> NDArray[Any]:
        """Run on the pixels."""
        with self._computing(), self._woven.listening(tap):
            self._run(self._model, self._cast(self._pixels))
        return NO_LOGITS

    def _run(self, model: Any, pixels: torch.Tensor) -> None:
        """The whole model on placeholders alone."""
        count = len(pixels) * model.config.vision_soft_tokens_per_image
        placeholders = torch.full((1, count), model.config.image_token_id)
        model.model(input_ids=placeholders, pixel_values=pixels, use_cache=False)


class VisionMlx(Backend):
    """The MLX tower and its embedder's soft path."""

    name = "mlx"
    dtypes = ("float32", "bfloat16")

    def __init__(self, tower: Any, embedder: Any, dtype: str, pixels: NDArray[np.float32]) -> None:
        import mlx.core as mx

        from implementations.mlx.tensors import MlxTensors

        self.tensors = MlxTensors()
        self.tower, self.embedder = tower, embedder
        self._pixels = mx.array(pixels).astype(getattr(mx, dtype))

    @classmethod
    def versions(cls) -> dict[str, str]:
        """Of no matter here."""
        return {}

    @classmethod
    def load(cls, checkpoint: Path, dtype: str, pixels: NDArray[np.float32] | None = None, **options: str) -> Self:
        """Load tower and embedder alone."""
        import mlx.core as mx

        from implementations.gemma3n.config import Config
        from implementations.mlx.embedder import MultimodalEmbedder
        from implementations.mlx.vision.tower import VisionTower
        from implementations.mlx.weights import load_part

        config = Config.from_directory(checkpoint)
        tower = load_part(VisionTower(config.vision), checkpoint, getattr(mx, dtype), "model.vision_tower")
        embedder = MultimodalEmbedder(config.vision, config.text.hidden_size)
        load_part(embedder, checkpoint, getattr(mx, dtype), "model.embed_vision")
        assert pixels is not None
        return cls(tower, embedder, dtype, pixels)

    def start(self, *, padding: tuple[int, ...], cache: bool) -> None:
        """There is no conversation."""

    def forward(self, token_ids: NDArray[np.int64], *, prompts: Any = (), tap: Tap = SILENT) -> NDArray[Any]:
        """Run tower and embedder."""
        import mlx.core as mx

        soft = self.embedder.soft(self.tower(self._pixels, tap=tap.into("vision")), tap=tap.into("embed_vision"))
        mx.eval(soft)
        return NO_LOGITS


class VisionAne(Backend):
    """What the model in the Neural Engine's form sees."""

    name = "ane"
    dtypes = ("float32", "float16-ane")

    def __init__(self, program: Any, tensors: Any, pixels: NDArray[np.float32]) -> None:
        self.tensors, self.tower = tensors, program.model.vision_tower
        self._senses, self._pixels = program.senses, pixels

    @classmethod
    def versions(cls) -> dict[str, str]:
        """Of no matter here."""
        return {}

    @classmethod
    def load(cls, checkpoint: Path, dtype: str, pixels: NDArray[np.float32] | None = None, **options: str) -> Self:
        """Load the whole model."""
        from implementations.ane.loading import load
        from implementations.ane.options import Options

        assert pixels is not None
        return cls(*load(checkpoint, dtype, Options()), pixels)

    def start(self, *, padding: tuple[int, ...], cache: bool) -> None:
        """There is no conversation."""

    def forward(self, token_ids: NDArray[np.int64], *, prompts: Any = (), tap: Tap = SILENT) -> NDArray[Any]:
        """Make soft tokens of the pixels."""
        with torch.inference_mode():
            self._senses.see(self._pixels, tap=tap)
        return NO_LOGITS


class Gallery:
    """Judges parties on one batch of images; the oracle's and the baselines' traces are kept.

    Args:
        folder: for traces.
        load: the reference in a dtype.
        pixels: ``[image, channel, height, width]``.
        lockstep: whether there are lockstep runs too, for which tensors must be kept.
    """

    def __init__(
        self, folder: Path, load: Callable[[str], Reference], pixels: NDArray[np.float32], *, lockstep: bool = True
    ) -> None:
        self.pixels = pixels
        self.load = load
        self._folder, self._lockstep = folder, lockstep
        self._baselines: dict[str, Runs] = {}
        self._numbers = itertools.count(1)
        folder.mkdir()
        self.oracle = self.trace(VisionReference(load("float64"), pixels), "float64", scenario=SCENARIO)

    def judge(self, candidate: Backend | Runs, dtype: str) -> Judgement:
        """Run a candidate, unless it has run, and judge it."""
        baseline = self.baseline(dtype)
        runs = candidate if isinstance(candidate, Runs) else self.runs(candidate, dtype)
        return judge(oracle=self.oracle, baseline=baseline, candidate=runs)

    def baseline(self, dtype: str) -> Runs:
        """The reference's runs in a dtype; the first call runs it."""
        if dtype not in self._baselines:
            self._baselines[dtype] = self.runs(VisionReference(self.load(dtype), self.pixels), dtype)
        return self._baselines[dtype]

    def runs(self, backend: Backend, dtype: str) -> Runs:
        """A free run and, where wanted, a lockstep run."""
        modes = ("free", "lockstep") if self._lockstep else ("free",)
        free, *lockstep = (self.trace(backend, dtype, oracle=self.oracle.path, mode=mode) for mode in modes)
        return Runs(free, lockstep[0] if lockstep else None)

    def trace(self, backend: Backend, dtype: str, **run: Any) -> Trace:
        """Write and read one trace."""
        output = self._folder / f"trace-{next(self._numbers)}"
        return passing_trace(backend, Run(output, "vision", "weights", dtype, keep_tensors=self._lockstep, **run))


def write_alone(backend: Backend, oracle: str, output: str) -> None:
    """Run a party on MLX in this process, free and in float32, and write its trace without tensors."""
    from implementations.mlx.tensors import MlxTensors

    class Eager(MlxTensors):
        """Reads each step at once: all of them together are 6 GB."""

        lazy = False

    backend.tensors = Eager()
    run = Run(Path(output), "vision", "weights", "float32", oracle=Path(oracle), keep_tensors=False)
    execute(backend, run, lambda step: None)


def main(checkpoint: str, pixels: str, oracle: str, output: str) -> None:
    """Run the MLX tower."""
    write_alone(VisionMlx.load(Path(checkpoint), "float32", np.load(pixels)), oracle, output)


if __name__ == "__main__":
    main(*sys.argv[1:])
