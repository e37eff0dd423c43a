"""Four runtimes on the same weights, in one process, in turns: llama.cpp, MLX, ONNX Runtime, and transformers eager.

Run by ``make bench``, which prints one table. The model is the embedded checkpoint's, three times as wide: 59 M
parameters in 25 layers, drawn at random in float32, for llama.cpp has its number of layers and of streams in its code.
Each runs on one thread as its backend runs it, and reads and decodes as a conversation does, with logits of the last
token alone. MLX's Linux wheel is several times faster with OpenBLAS, see implementations/mlx/operations/blas.py.
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
for needed in ("mlx.core", "onnxruntime", "onnxscript", "xllamacpp", "gguf"):
    pytest.importorskip(needed)

from benchmarks.speed_model import drawn, seconds  # noqa: E402  # behind importorskip
from implementations.onnx.package.types import BLOCKS  # noqa: E402
from parity.checkpoint import WHOLE  # noqa: E402
from parity.discovery import Choice, find  # noqa: E402
from reference.tiny import path  # noqa: E402

HIDDEN, INTERMEDIATE, HEAD_DIM, HEADS = 384, 960, 64, 6
PROMPT, TURNS, ROUNDS = list(range(10, 74)), 32, 5
FAST = "onnx@type=q4:accuracy=4"
"""With products in integers, as of 8 bits."""
PORTS = {"llama-cpp": "float32", "mlx": "float32", "onnx": "float32", "onnx@type=q4": "float32", FAST: BLOCKS}
"""Each with its arithmetic."""
CLOSE, CLOSE_IN_FOUR_BITS = 2e-2, 0.5
"""Relative error of logits: llama.cpp's own deviations come to some thousandths, 4 bits of random weights to tenths."""


class Party(Protocol):
    """A model in a conversation of one row."""

    def begin(self) -> None:
        """Forget the conversation."""

    def read(self, token_ids: list[int]) -> NDArray[Any]:
        """Logits behind the last token of the next chunk."""


class Eager:
    """transformers' language model, as its generation loop runs it."""

    def __init__(self, checkpoint: Path) -> None:
        whole = transformers.Gemma3nForConditionalGeneration.from_pretrained(
            checkpoint, dtype=torch.float32, attn_implementation="eager"
        )
        self._model = whole.eval().requires_grad_(False)

    def begin(self) -> None:
        """Forget the conversation."""
        self._cache = transformers.DynamicCache(config=self._model.config.get_text_config())

    @torch.inference_mode()
    def read(self, token_ids: list[int]) -> NDArray[Any]:
        """Logits behind the last token of the next chunk."""
        ids = torch.tensor([token_ids])
        said = self._model(ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        logits: NDArray[Any] = said.logits[0, -1].numpy()
        return logits


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded checkpoint's files around a wider language model."""
    folder = tmp_path_factory.mktemp("speed") / "wide"
    shutil.copytree(path(), folder, ignore=shutil.ignore_patterns(WHOLE))
    config = json.loads((folder / "config.json").read_text())
    text = config["text_config"]
    text |= {"hidden_size": HIDDEN, "intermediate_size": [INTERMEDIATE] * text["num_hidden_layers"]}
    text |= {"head_dim": HEAD_DIM, "num_attention_heads": HEADS}
    (folder / "config.json").write_text(json.dumps(config))
    with torch.device("meta"):
        whole = transformers.Gemma3nForConditionalGeneration(transformers.AutoConfig.from_pretrained(folder))
    shapes = {name: tuple(x.shape) for name, x in whole.state_dict().items() if name != "lm_head.weight"}
    save_file({name: drawn(name, shape) for name, shape in shapes.items()}, folder / WHOLE, {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def parties(checkpoint: Path) -> dict[str, Any]:
    """Each loaded, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    choices = {name: Choice.parse(name) for name in PORTS}
    made: dict[str, Any] = {
        name: find(choice.name).load(checkpoint, PORTS[name], **dict(choice.options))
        for name, choice in choices.items()
    }
    yield made | {"transformers": Eager(checkpoint)}
    torch.set_num_threads(threads)


def in_turns(parties: Mapping[str, Party], act: Callable[[Party], object], rounds: int) -> dict[str, float]:
    """Median seconds of each, one after the other, so that a busy machine disturbs all alike; the first round warms."""
    found = [{name: seconds(lambda: act(party)) for name, party in parties.items()} for _ in range(rounds + 1)]  # noqa: B023 - called at once
    return {name: statistics.median(times[name] for times in found[1:]) for name in parties}


def prefilled(party: Party) -> NDArray[Any]:
    """Read a prompt of 64 tokens into an empty cache."""
    party.begin()
    return party.read(PROMPT)


def require_same(parties: Mapping[str, Party]) -> None:
    """What is timed computes the same, behind a prompt and behind a decoded token."""
    true = np.stack([prefilled(parties["transformers"]), parties["transformers"].read([7])])
    for name in PORTS:
        found = np.stack([prefilled(parties[name]), parties[name].read([7])])
        close = CLOSE_IN_FOUR_BITS if "q4" in name else CLOSE
        assert np.linalg.norm(found - true) < close * np.linalg.norm(true), name


def test_speed_of_four_runtimes(parties: dict[str, Any], checkpoint: Path, benchmark: Any) -> None:
    """One table: tokens a second, and how many times transformers' that is. Nothing is asserted of a time."""
    require_same(parties)
    prefill = in_turns(parties, prefilled, ROUNDS)
    for party in parties.values():
        prefilled(party)
    decode = benchmark.pedantic(in_turns, (parties, lambda party: party.read([7]), TURNS), rounds=1, iterations=1)
    print(f"\n{(checkpoint / WHOLE).stat().st_size / 4e6:.0f} M parameters, float32, one thread; tokens a second")
    print(f"{'':24}{'prefill of 64':>20}{'decode':>20}")
    for name in parties:
        cells = (
            f"{count / times[name]:,.1f} ({times['transformers'] / times[name]:.2f} x)"
            for count, times in ((len(PROMPT), prefill), (1, decode))
        )
        print(f"{name:24}" + "".join(f"{cell:>20}" for cell in cells))
        benchmark.extra_info[name] = {"prefill": prefill[name], "decode": decode[name]}
    assert min(*prefill.values(), *decode.values()) > 0
