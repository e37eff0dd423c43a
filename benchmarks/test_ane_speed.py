"""Our ANE-style model against transformers' eager one on the same weights, in one process, alternating.

Run by ``make bench``. The model has 72 M parameters: 12 layers of width 512, feed-forward 2048, 8 heads of 64 with two
key heads, per-layer inputs of 64, 16,640 ids, window 64, the last four layers KV-shared. Weights are random float32:
speed does not depend on their values.

Our model also embeds vision and audio ids, and has fixed shapes: caches of 1,024 positions, all read at each step.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from safetensors.torch import save_file  # noqa: E402  # behind importorskip

from implementations.ane import Backend  # noqa: E402
from parity.tap import SILENT, ScopedTap  # noqa: E402

LAYERS, VOCABULARY = 12, 16_640
PROMPT, DECODE = [2, 5, 7], 32
CONVERSATIONS = 3
SLOWER = 1.0
"""Largest ratio of medians."""
TAP_SHARE = 0.02

TEXT = {
    "hidden_size": 512,
    "num_hidden_layers": LAYERS,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "num_kv_shared_layers": 4,
    "layer_types": ["full_attention" if layer % 4 == 3 else "sliding_attention" for layer in range(LAYERS)],
    "activation_sparsity_pattern": [0.95] * 4 + [0.0] * 8,
    "vocab_size": VOCABULARY,
    "vocab_size_per_layer_input": VOCABULARY - 256,
    "hidden_size_per_layer_input": 64,
    "sliding_window": 64,
    "max_position_embeddings": 4096,
}
MODALITIES = {"vision": (VOCABULARY - 256, 2048), "audio": (VOCABULARY - 128, 1536)}
"""First id and width of each modality's embedder."""


@pytest.fixture(scope="module")
def theirs() -> Any:
    """transformers' language model with random weights."""
    torch.manual_seed(0)
    config = transformers.Gemma3nTextConfig(**TEXT, attn_implementation="eager")
    model = transformers.Gemma3nForCausalLM(config).eval().requires_grad_(False)
    for tensor in model.parameters():
        if tensor.ndim > 1:
            tensor.normal_(0, 0.5 / tensor.shape[-1] ** 0.5)
    return model


@pytest.fixture(scope="module")
def ours(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> Backend:
    """Our backend with the same weights, as a user loads it."""
    folder = tmp_path_factory.mktemp("speed")
    sections = {
        f"{name}_config": {"vocab_offset": at, "hidden_size": width} for name, (at, width) in MODALITIES.items()
    }
    config = {"model_type": "gemma3n", "text_config": {**theirs.config.to_dict(), **TEXT}, **sections}
    (folder / "config.json").write_text(json.dumps(config))
    weights = {name.replace("model.", "model.language_model.", 1): x for name, x in theirs.named_parameters()}
    for name, (_, width) in MODALITIES.items():
        weights[f"model.embed_{name}.embedding.weight"] = torch.randn(128, width)
        weights[f"model.embed_{name}.hard_embedding_norm.weight"] = torch.ones(width)
        weights[f"model.embed_{name}.embedding_projection.weight"] = torch.randn(512, width) / width**0.5
    weights.pop("lm_head.weight", None)
    save_file({name: x.detach().clone() for name, x in weights.items()}, str(folder / "model.safetensors"))
    return Backend.load(folder, "float32")


class Theirs:
    """transformers' model, as its generation loop runs it."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def start(self) -> None:
        """Forget the conversation."""
        self._cache = transformers.DynamicCache(config=self._model.config)

    @torch.inference_mode()
    def step(self, tokens: list[int]) -> Any:
        """Logits behind the last token of the next chunk."""
        ids = torch.tensor([tokens])
        return self._model(ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1).logits[0, -1].numpy()


class Ours:
    """Our backend, as `Backend.generate` runs it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def start(self) -> None:
        """Forget the conversation."""
        self._backend.start(padding=(0,), cache=True)

    def step(self, tokens: list[int]) -> Any:
        """Logits behind the last token of the next chunk."""
        return self._backend.read(tokens)


def test_same_logits(ours: Backend, theirs: Any) -> None:
    """What is timed computes the same."""
    found = []
    for model in (Ours(ours), Theirs(theirs)):
        model.start()
        found.append(np.stack([model.step(PROMPT), *(model.step([token]) for token in range(10))]))
    assert np.linalg.norm(found[0] - found[1]) < 1e-5 * np.linalg.norm(found[1])


def test_decode_as_fast_as_transformers(ours: Backend, theirs: Any, benchmark: Any) -> None:
    """The median of our single-token steps is at most that of theirs."""
    a, b = benchmark.pedantic(decode, args=(Ours(ours), Theirs(theirs)), rounds=1, iterations=1)
    print(f"\ndecode: ours {a * 1e3:.1f} ms, transformers {b * 1e3:.1f} ms, ratio {a / b:.3f}")
    benchmark.extra_info["ratio to transformers"] = a / b
    assert a / b <= SLOWER


def decode(ours: Ours, theirs: Theirs) -> tuple[float, float]:
    """Median seconds of a single-token step, of 32 behind a short prompt, taken in turns."""
    pairs = []
    for _ in range(CONVERSATIONS):
        for model in (ours, theirs):
            model.start()
            model.step(PROMPT)
        pairs += [(timed(ours, token), timed(theirs, token)) for token in range(DECODE)]
    first, second = zip(*pairs[1:], strict=True)
    return statistics.median(first), statistics.median(second)


def timed(model: Any, token: int) -> float:
    """Seconds of one step."""
    begin = time.perf_counter()
    model.step([token])
    return time.perf_counter() - begin


def test_silent_taps_cost_nothing(ours: Backend, benchmark: Any) -> None:
    """All silent calls of a decode step take at most 2 % of it."""
    calls = count_taps(ours)
    model = Ours(ours)
    model.start()
    step = statistics.median(timed(model, 7) for _ in range(DECODE))
    benchmark.pedantic(lambda: [SILENT("name", step) for _ in range(calls)], rounds=200, iterations=1)
    share = benchmark.stats.stats.median / step if benchmark.stats else 0.0
    print(f"\n{calls} taps in a step of {step * 1e3:.2f} ms: {share:.2%}")
    benchmark.extra_info["share of a decode step"] = share
    assert share <= TAP_SHARE


def count_taps(backend: Backend) -> int:
    """How many taps a decode step calls."""
    names: list[str] = []
    receive: Callable[[str, Any], Any] = lambda name, value: (names.append(name), value)[1]  # noqa: E731 - a tap is a function
    backend.start(padding=(0,), cache=True)
    backend.forward(np.array([[7]]), tap=ScopedTap(receive))
    return len(names)
