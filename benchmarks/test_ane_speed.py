"""Our ANE-style model against transformers' eager one on the same weights, in one process, alternating.

Run by ``make bench``. The model is `speed_model`'s.

Our model also embeds vision and audio ids, and has fixed shapes: caches of 1,024 positions, all read at each step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file  # noqa: E402  # behind importorskip

from benchmarks import speed_model  # noqa: E402
from implementations.ane import Backend  # noqa: E402
from parity.tap import Tap  # noqa: E402

SLOWER = 1.0
"""Largest ratio of medians."""
TABLE, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@pytest.fixture(scope="module")
def config() -> Any:
    """The model's, as transformers has it."""
    return transformers.Gemma3nConfig.from_dict(speed_model.CONFIG)


@pytest.fixture(scope="module")
def checkpoint(config: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's weights and config.json."""
    with torch.device("meta"):
        whole = transformers.Gemma3nForConditionalGeneration(config).state_dict()
    folder = speed_model.write_config(tmp_path_factory.mktemp("speed"))
    speed_model.write_checkpoint(folder, {name: tuple(x.shape) for name, x in whole.items() if name != HEAD})
    return folder


class Theirs:
    """transformers' language model, as its generation loop runs it."""

    def __init__(self, checkpoint: Path, config: Any) -> None:
        text = config.get_text_config()
        text._attn_implementation = "eager"
        self._model = transformers.Gemma3nForCausalLM(text).eval().requires_grad_(False)
        whole = load_file(checkpoint / "model.safetensors")
        named = {name.replace("language_model.", "", 1): x for name, x in whole.items()}
        named[HEAD] = named[TABLE]
        self._model.load_state_dict({name: named[name] for name in self._model.state_dict()})

    def start(self) -> None:
        """Forget the conversation."""
        self._cache = transformers.DynamicCache(config=self._model.config)

    @torch.inference_mode()
    def step(self, tokens: list[int]) -> Any:
        """Logits behind the last token of the next chunk."""
        ids = torch.tensor([tokens])
        return self._model(ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1).logits[0, -1].numpy()


class Ours:
    """Our backend, as a user loads it and `Backend.generate` runs it."""

    def __init__(self, checkpoint: Path) -> None:
        self._backend = Backend.load(checkpoint, "float32")

    def start(self) -> None:
        """Forget the conversation."""
        self._backend.start(padding=(0,), cache=True)

    def step(self, tokens: list[int]) -> Any:
        """Logits behind the last token of the next chunk."""
        return self._backend.read(tokens)

    def listen(self, tap: Tap) -> None:
        """A decode step, its steps to `tap`."""
        self._backend.forward(np.array([[7]]), tap=tap)


@pytest.fixture(scope="module")
def models(checkpoint: Path, config: Any) -> tuple[Ours, Theirs]:
    """Both models on the same weights."""
    return Ours(checkpoint), Theirs(checkpoint, config)


def test_same_logits(models: tuple[Ours, Theirs]) -> None:
    """What is timed computes the same."""
    found = []
    for model in models:
        model.start()
        found.append(np.stack([model.step(speed_model.OPENING), *(model.step([token]) for token in range(10))]))
    assert np.linalg.norm(found[0] - found[1]) < 1e-5 * np.linalg.norm(found[1])


def test_decode_as_fast_as_transformers(models: tuple[Ours, Theirs], benchmark: Any) -> None:
    """The median of our single-token steps is at most that of theirs."""
    speed_model.judge(benchmark, "decode", "transformers", lambda: speed_model.decode(*models), allowed=SLOWER)


def test_silent_taps_cost_nothing(models: tuple[Ours, Theirs], benchmark: Any) -> None:
    """All silent calls of a decode step take at most 2 % of it."""
    speed_model.judge_silent_taps(benchmark, models[0])
