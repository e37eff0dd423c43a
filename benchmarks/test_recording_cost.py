"""What recording costs: a woven forward pass of transformers against the plain one, alternating, on one thread.

Run by ``make bench``. The model is the one that other tools were measured on: 8 layers of width 256 (feed-forward
2048), 256 tokens, float32; about 430 steps and 190 MB of tensors. Others cost 4.5 to 9 times the plain pass.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from pathlib import Path

import numpy as np
import pytest

from parity.running.recorder import Recorder
from parity.tap import SILENT
from parity.traces.writer import TraceWriter
from reference.gemma3n.huggingface import Reference
from tools.tiny import config as tiny

TOKENS, LAYERS, ROUNDS = 256, 8, 15
STATISTICS, TENSORS = 1.5, 3.0
"""How many plain passes recording may cost: statistics and sketches alone; all tensors to disk."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The model with transformers' own initialisation, on one thread."""
    import torch
    from transformers import Gemma3nConfig, Gemma3nForConditionalGeneration

    torch.set_num_threads(1)
    text = {
        **tiny.text_config(),
        "num_hidden_layers": LAYERS,
        "hidden_size": 256,
        "intermediate_size": 2048,
        "head_dim": 64,
        "num_kv_shared_layers": 2,
        "sliding_window": 128,
        "layer_types": [*(["sliding_attention"] * 3), "full_attention"] * 2,
        "activation_sparsity_pattern": [0.95] * 4 + [0.0] * 4,
    }
    whole = {**tiny.config(), "text_config": text}
    model = Gemma3nForConditionalGeneration(Gemma3nConfig(**whole)).to(torch.float32).eval()
    model.set_attn_implementation("eager")
    checkpoint = tmp_path_factory.mktemp("checkpoint")  # what says how text is read; there are no weights
    (checkpoint / "config.json").write_text(json.dumps(whole))
    return Reference(model, checkpoint, "float32")


def plain(reference) -> float:
    """Seconds of one pass without taps."""
    return passing(reference, SILENT)


def passing(reference, tap) -> float:
    """Seconds of one pass."""
    ids = np.arange(TOKENS)[None] % 500 + 4
    reference.start(padding=(0,), cache=False)
    begin = time.perf_counter()
    reference.forward(ids, tap=tap)
    return time.perf_counter() - begin


def recorded(reference, folder: Path, *, keep_tensors: bool) -> float:
    """Seconds of one pass and of writing down what it says."""
    with TraceWriter(folder / "trace", keep_tensors=keep_tensors) as writer:
        recorder = Recorder(contract=reference.contract(), tensors=reference.tensors, sink=writer)
        recorder.begin("prefill")
        begin = time.perf_counter()
        passing(reference, recorder.tap)
        recorder.end()
        return time.perf_counter() - begin


def ratio(reference, folder: Path, *, keep_tensors: bool) -> float:
    """Median of the ratios of neighbouring passes, so that a busy machine disturbs both alike."""
    ratios = []
    for _ in range(ROUNDS + 1):  # the first pair warms up, and loads Numba
        before = plain(reference)
        ratios.append(recorded(reference, folder, keep_tensors=keep_tensors) / before)
        shutil.rmtree(folder / "trace", ignore_errors=True)
    return statistics.median(ratios[1:])


@pytest.mark.parametrize(("keep_tensors", "allowed"), [(False, STATISTICS), (True, TENSORS)])
def test_recording_cost(reference, tmp_path, benchmark, keep_tensors, allowed):
    """Statistics and sketches of every step cost half a pass at most; all tensors to disk two passes."""
    found = benchmark.pedantic(
        ratio, args=(reference, tmp_path), kwargs={"keep_tensors": keep_tensors}, rounds=1, iterations=1
    )
    benchmark.extra_info["ratio to the plain pass"] = found
    print(f"\n{'tensors' if keep_tensors else 'statistics and sketches'}: {found:.2f} x the plain pass")
    assert found <= allowed
