"""Our MLX model against mlx-lm's on the same weights, in one process, alternating; and what a silent tap costs.

Run by ``make bench``; MLX's Linux wheel is several times faster with OpenBLAS, see implementations/mlx/blas.py.

The model has 72 M parameters: 12 layers of width 512, feed-forward 2048, 8 heads of 64 with two key heads, per-layer
inputs of 64, 16,640 ids, window 64, the last four layers KV-shared. Weights are random float32: speed does not depend
on their values, and neither model makes use of sparsity.

The contract asks for embeddings of vision and audio ids on every token; mlx-lm has none. Both compute all logits.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

mx = pytest.importorskip("mlx.core")
mlx_lm = pytest.importorskip("mlx_lm")

from mlx_lm.utils import load_model as load_mlx_lm  # noqa: E402  # behind importorskip

from implementations.gemma3n.config import Config  # noqa: E402
from implementations.mlx.cache import Conversation  # noqa: E402
from implementations.mlx.model import Gemma3n  # noqa: E402
from implementations.mlx.weights import load_model, shapes  # noqa: E402
from parity.tap import SILENT, ScopedTap  # noqa: E402

LAYERS, WINDOW, VOCABULARY = 12, 64, 16_640
PROMPT, DECODE = 64, 32
PREFILLS, CONVERSATIONS = 5, 3
SLOWER = 1.05
"""Largest ratio of medians: repeated runs of the same model scatter by as much."""
TAP_SHARE = 0.02

TEXT = {
    "model_type": "gemma3n_text",
    "hidden_size": 512,
    "num_hidden_layers": LAYERS,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "num_kv_shared_layers": 4,
    "layer_types": ["full_attention" if layer % 4 == 3 else "sliding_attention" for layer in range(LAYERS)],
    "activation_sparsity_pattern": [0.95] * 4 + [0.0] * 8,
    "rms_norm_eps": 1e-6,
    "vocab_size": VOCABULARY,
    "vocab_size_per_layer_input": VOCABULARY - 256,
    "hidden_size_per_layer_input": 64,
    "sliding_window": WINDOW,
    "max_position_embeddings": 4096,
    "rope_local_base_freq": 10_000.0,
    "rope_theta": 1_000_000.0,
    "final_logit_softcapping": 30.0,
    "altup_num_inputs": 4,
    "altup_active_idx": 0,
    "altup_coef_clip": 120.0,
    "altup_correct_scale": True,
    "laurel_rank": 64,
}
CONFIG = {
    "model_type": "gemma3n",
    "text_config": TEXT,
    "vision_config": {"hidden_size": 2048, "vocab_offset": VOCABULARY - 256},
    "audio_config": {"hidden_size": 1536, "vocab_offset": VOCABULARY - 128},
}


Phase = Callable[["Ours", "Theirs"], tuple[float, float]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint of that shape, with the k and v of KV-shared layers that mlx-lm asks for."""
    folder = tmp_path_factory.mktemp("speed")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    random = np.random.default_rng(0)
    expected = shapes(Gemma3n(Config.from_directory(folder)))
    own = "model.language_model.layers.0.self_attn."
    for name in ("k_proj.weight", "v_proj.weight", "k_norm.weight"):
        expected |= {own.replace(".0.", f".{n}.") + name: expected[own + name] for n in range(LAYERS - 4, LAYERS)}
    weights = {name: mx.array(_random(random, name, shape)) for name, shape in expected.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "pt"})
    return folder


def _random(random: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    if len(shape) == 1:
        return np.ones(shape, dtype=np.float32)
    return random.normal(0, 0.5 / shape[-1] ** 0.5, shape).astype(np.float32)


class Ours:
    """Our model, as `Backend.generate` runs it."""

    def __init__(self, checkpoint: Path) -> None:
        self.model = load_model(checkpoint, mx.float32)
        self.tap: Any = SILENT

    def start(self) -> None:
        """Forget the conversation."""
        self.conversation = Conversation(self.model.config.text, padding=(0,), cache=True)

    def step(self, tokens: Any) -> Any:
        """Logits of the next chunk, evaluated."""
        logits = self.model(tokens, self.conversation, tap=self.tap)
        mx.eval(logits, self.conversation.state)
        return logits


class Theirs:
    """mlx-lm's model, as its generation loop runs it."""

    def __init__(self, checkpoint: Path) -> None:
        self.model, _ = load_mlx_lm(checkpoint, strict=False)
        mx.eval(self.model.parameters())

    def start(self) -> None:
        """Forget the conversation."""
        self.cache = self.model.make_cache()

    def step(self, tokens: Any) -> Any:
        """Logits of the next chunk, evaluated."""
        logits = self.model(tokens, self.cache)
        mx.eval(logits, [cache.state[:2] for cache in self.cache])
        return logits


@pytest.fixture(scope="module")
def models(checkpoint: Path) -> tuple[Ours, Theirs]:
    """Both models on the same weights."""
    return Ours(checkpoint), Theirs(checkpoint)


def prefill(ours: Ours, theirs: Theirs) -> tuple[float, float]:
    """Median seconds of a chunk of 64 tokens into an empty cache."""
    tokens = mx.array(np.arange(10, 10 + PROMPT)[None].astype(np.int32))

    def seconds(model: Any) -> float:
        model.start()
        return timed(model, tokens)

    return medians([(seconds(ours), seconds(theirs)) for _ in range(PREFILLS + 1)])


def decode(ours: Ours, theirs: Theirs) -> tuple[float, float]:
    """Median seconds of a single-token step, of 32 behind a short prompt."""
    pairs = []
    for _ in range(CONVERSATIONS):
        for model in (ours, theirs):
            model.start()
            model.step(mx.array([[2, 5, 7]]))
        pairs += [(timed(ours, mx.array([[token]])), timed(theirs, mx.array([[token]]))) for token in range(DECODE)]
    return medians(pairs)


def timed(model: Any, tokens: Any) -> float:
    """Seconds of one step."""
    begin = time.perf_counter()
    model.step(tokens)
    return time.perf_counter() - begin


def medians(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """Of both, without the first pair, which compiles. Taken in turns, so that a busy machine disturbs both alike."""
    ours, theirs = zip(*pairs[1:], strict=True)
    return statistics.median(ours), statistics.median(theirs)


@pytest.mark.parametrize("phase", [prefill, decode])
def test_as_fast_as_mlx_lm(
    models: tuple[Ours, Theirs], phase: Callable[..., tuple[float, float]], benchmark: Any
) -> None:
    """Our median is at most 5 % above mlx-lm's."""
    a, b = benchmark.pedantic(phase, args=models, rounds=1, iterations=1)
    print(f"\n{phase.__name__}: ours {a * 1e3:.1f} ms, mlx-lm {b * 1e3:.1f} ms, ratio {a / b:.3f}")
    benchmark.extra_info["ratio to mlx-lm"] = a / b
    assert a / b <= SLOWER


def test_silent_taps_cost_nothing(models: tuple[Ours, Theirs], benchmark: Any) -> None:
    """All silent calls of a decode step take at most 2 % of it."""
    ours, _ = models
    calls = count_taps(ours)
    step = statistics.median(timed(ours, mx.array([[7]])) for _ in range(DECODE))
    benchmark.pedantic(lambda: [SILENT("name", step) for _ in range(calls)], rounds=200, iterations=1)
    share = benchmark.stats.stats.median / step if benchmark.stats else 0.0
    print(f"\n{calls} taps in a step of {step * 1e3:.2f} ms: {share:.2%}")
    benchmark.extra_info["share of a decode step"] = share
    assert share <= TAP_SHARE


def count_taps(ours: Ours) -> int:
    """How many taps a decode step calls."""
    names: list[str] = []

    def receive(name: str, value: Any) -> Any:
        names.append(name)
        return value

    ours.start()
    ours.tap = ScopedTap(receive)
    ours.step(mx.array([[7]]))
    ours.tap = SILENT
    return len(names)
