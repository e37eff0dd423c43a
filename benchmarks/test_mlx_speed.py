"""Our MLX model against mlx-lm's on the same weights, in one process, alternating; and what a silent tap costs.

Run by ``make bench``; MLX's Linux wheel is several times faster with OpenBLAS, see
implementations/mlx/operations/blas.py. The model is `speed_model`'s.

The contract asks for embeddings of vision and audio ids on every token; mlx-lm has none. Both compute all logits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

mx = pytest.importorskip("mlx.core")
mlx_lm = pytest.importorskip("mlx_lm")

from mlx_lm.utils import load_model as load_mlx_lm  # noqa: E402  # behind importorskip

from benchmarks import speed_model  # noqa: E402
from implementations.gemma3n.config import Config  # noqa: E402
from implementations.gemma3n.preprocessing.inputs import NOTHING  # noqa: E402
from implementations.mlx.cache import Conversation  # noqa: E402
from implementations.mlx.model import Gemma3n  # noqa: E402
from implementations.mlx.weights import load_model, shapes  # noqa: E402
from parity.tap import SILENT, Tap  # noqa: E402

PROMPT = list(range(10, 74))
PREFILLS = 5
SLOWER = 1.05
"""Largest ratio of medians: repeated runs of the same model scatter by as much."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's weights and config.json."""
    folder = speed_model.write_config(tmp_path_factory.mktemp("speed"))
    speed_model.write_checkpoint(folder, shapes(Gemma3n(Config.from_directory(folder))))
    return folder


class Ours:
    """Our model, as `Backend.generate` runs it."""

    def __init__(self, checkpoint: Path) -> None:
        self._model = load_model(checkpoint, mx.float32)

    def start(self) -> None:
        """Forget the conversation."""
        self._conversation = Conversation(self._model.config.text, padding=(0,), cache=True)

    def step(self, tokens: list[int], tap: Tap = SILENT) -> Any:
        """Logits of the next chunk, evaluated."""
        logits = self._model(mx.array([tokens]), NOTHING, self._conversation, tap=tap)
        mx.eval(logits, self._conversation.state)
        return logits

    def listen(self, tap: Tap) -> None:
        """A decode step, its steps to `tap`."""
        self.step([7], tap)


class Theirs:
    """mlx-lm's model, as its generation loop runs it."""

    def __init__(self, checkpoint: Path) -> None:
        self._model, _ = load_mlx_lm(checkpoint, strict=False)
        mx.eval(self._model.parameters())

    def start(self) -> None:
        """Forget the conversation."""
        self._cache = self._model.make_cache()

    def step(self, tokens: list[int]) -> Any:
        """Logits of the next chunk, evaluated."""
        logits = self._model(mx.array([tokens]), self._cache)
        mx.eval(logits, [cache.state[:2] for cache in self._cache])
        return logits


@pytest.fixture(scope="module")
def models(checkpoint: Path) -> tuple[Ours, Theirs]:
    """Both models on the same weights."""
    return Ours(checkpoint), Theirs(checkpoint)


def prefill(ours: Ours, theirs: Theirs) -> tuple[float, float]:
    """Median seconds of a chunk of 64 tokens into an empty cache."""

    def read(model: Any) -> None:
        model.start()
        model.step(PROMPT)

    return speed_model.in_turns(lambda: read(ours), lambda: read(theirs), PREFILLS)


@pytest.mark.parametrize("phase", [prefill, speed_model.decode])
def test_as_fast_as_mlx_lm(models: tuple[Ours, Theirs], phase: Any, benchmark: Any) -> None:
    """Our median is at most 5 % above mlx-lm's."""
    speed_model.judge(benchmark, phase.__name__, "mlx-lm", lambda: phase(*models), allowed=SLOWER)


def test_silent_taps_cost_nothing(models: tuple[Ours, Theirs], benchmark: Any) -> None:
    """All silent calls of a decode step take at most 2 % of it."""
    speed_model.judge_silent_taps(benchmark, models[0])
