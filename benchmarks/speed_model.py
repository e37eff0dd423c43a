"""What the speed benchmarks have in common: the model they run, how two parties take turns, and what silent taps cost.

The model has 72 M parameters: 12 layers of width 512, feed-forward 2048, 8 heads of 64 with two key heads, per-layer
inputs of 64, 16,640 ids, window 64, the last four layers KV-shared. Towers are complete, and as small as they can be:
text does not pass through them. Weights are drawn by the embedded checkpoint's rules, in float32: speed does not
depend on their values, and no party makes use of sparsity.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from parity.tap import SILENT, ScopedTap, Tap
from tools.tiny.weights import draw

LAYERS, SHARED, VOCABULARY = 12, 4, 16_640
OPENING, TURNS, CONVERSATIONS = [2, 5, 7], 32, 3
TAP_SHARE = 0.02
"""How much of a decode step its silent taps may take."""

TEXT = {
    "model_type": "gemma3n_text",
    "hidden_size": 512,
    "num_hidden_layers": LAYERS,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "num_kv_shared_layers": SHARED,
    "layer_types": ["full_attention" if layer % 4 == 3 else "sliding_attention" for layer in range(LAYERS)],
    "activation_sparsity_pattern": [0.95] * 4 + [0.0] * 8,
    "rms_norm_eps": 1e-6,
    "vocab_size": VOCABULARY,
    "vocab_size_per_layer_input": VOCABULARY - 256,
    "hidden_size_per_layer_input": 64,
    "sliding_window": 64,
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
VISION = {
    "model_type": "gemma3n_vision",
    "architecture": "mobilenetv5_300m_enc",
    "hidden_size": 2048,
    "model_args": {"channel_multiplier": 0.01, "msfa_output_resolution": 1},
    "vocab_offset": VOCABULARY - 256,
}
AUDIO = {
    "model_type": "gemma3n_audio",
    "hidden_size": 8,
    "input_feat_size": 8,
    "conf_num_attention_heads": 1,
    "conf_num_hidden_layers": 1,
    "sscp_conv_channel_size": [1, 1],
    "vocab_offset": VOCABULARY - 128,
}
CONFIG = {"model_type": "gemma3n", "text_config": TEXT, "vision_config": VISION, "audio_config": AUDIO}


class Party(Protocol):
    """A model in a conversation."""

    def start(self) -> None:
        """Forget the conversation."""

    def step(self, tokens: list[int]) -> Any:
        """Logits of the next chunk, evaluated."""


class Tapped(Party, Protocol):
    """One of ours."""

    def listen(self, tap: Tap) -> None:
        """A decode step, its steps to `tap`."""


def write_checkpoint(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Add the weights to the folder of a config.json, k and v of KV-shared layers too: published files have them.

    Args:
        folder: of the checkpoint.
        shapes: of all tensors that are used.
    """
    own = "model.language_model.layers.0.self_attn."
    names = ("k_proj.weight", "v_proj.weight", "k_norm.weight")
    layers = range(LAYERS - SHARED, LAYERS)
    shared = {own.replace(".0.", f".{layer}.") + name: shapes[own + name] for layer in layers for name in names}
    weights = {name: drawn(name, shape) for name, shape in {**shapes, **shared}.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def write_config(folder: Path) -> Path:
    """Write config.json; returns the folder."""
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def drawn(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Random values of a tensor, by its name."""
    return (draw(name, shape).astype(np.uint32) << 16).view(np.float32)


def decode(ours: Party, theirs: Party) -> tuple[float, float]:
    """Median seconds of a single-token step, of 32 behind a short prompt."""
    pairs = []
    for _ in range(CONVERSATIONS):
        for model in (ours, theirs):
            model.start()
            model.step(OPENING)
        for token in range(TURNS):
            pairs.append((seconds(lambda: ours.step([token])), seconds(lambda: theirs.step([token]))))  # noqa: B023 - called at once
    return medians(pairs)


def in_turns(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Median seconds of both, taken in turns, so that a busy machine disturbs both alike."""
    return medians([(seconds(ours), seconds(theirs)) for _ in range(rounds + 1)])


def seconds(function: Callable[[], Any]) -> float:
    """Seconds of one call."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def medians(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """Of both, without the first pair, which compiles."""
    ours, theirs = zip(*pairs[1:], strict=True)
    return statistics.median(ours), statistics.median(theirs)


def judge(benchmark: Any, name: str, other: str, phase: Callable[[], tuple[float, float]], *, allowed: float) -> None:
    """Run a phase of both parties, and check that our median is at most `allowed` times theirs."""
    require_speed(benchmark, name, other, benchmark.pedantic(phase, rounds=1, iterations=1), allowed=allowed)


def require_speed(benchmark: Any, name: str, other: str, pair: tuple[float, float], *, allowed: float) -> None:
    """Check that our seconds are at most `allowed` times theirs, and note the ratio."""
    ours, theirs = pair
    print(f"\n{name}: ours {ours * 1e3:.1f} ms, {other} {theirs * 1e3:.1f} ms, ratio {ours / theirs:.3f}")
    benchmark.extra_info[f"ratio to {other}"] = ours / theirs
    assert ours / theirs <= allowed


def judge_silent_taps(benchmark: Any, ours: Tapped) -> None:
    """Check that all silent calls of a decode step take at most 2 % of it."""
    names: list[str] = []

    def receive(name: str, value: Any) -> Any:
        names.append(name)
        return value

    ours.start()
    ours.listen(ScopedTap(receive))
    step = statistics.median(seconds(lambda: ours.step([7])) for _ in range(TURNS))
    benchmark.pedantic(lambda: [SILENT("name", step) for _ in names], rounds=200, iterations=1)
    share = benchmark.stats.stats.median / step if benchmark.stats else 0.0
    print(f"\n{len(names)} taps in a step of {step * 1e3:.2f} ms: {share:.2%}")
    benchmark.extra_info["share of a decode step"] = share
    assert share <= TAP_SHARE
