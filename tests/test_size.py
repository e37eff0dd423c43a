"""A quarter of the published size in bounded memory: all parties, a right port, one with a bug in its last layer."""

import json
import sys

import pytest

pytest.importorskip("transformers", reason="needs the [hf] extra")
pytest.importorskip("mlx.core", reason="needs the [mlx] extra")

from parity.errors import ExitCode  # behind importorskip
from reference.gemma3n import synthetic
from tools import memory

LAYERS = 6
"""Of E2B's 30; with towers of the published size 1.41 of 5.44 billion parameters, 22.5 GB in float64."""
BUG = "laurel-no-sqrt2"
MOST = 4e9
"""Bytes over all processes, a quarter of what the whole may take."""


@pytest.mark.slow
@pytest.mark.skipif(not (memory.PROC / "self" / "smaps_rollup").exists(), reason="needs Linux")
def test_a_quarter_of_the_published_size(tmp_path):
    """The right port is at parity, the bug is found where it is and named."""
    model, report = tmp_path / "model", tmp_path / "report"
    assert synthetic.main(["--like", "e2b", "--layers", str(LAYERS), "--vocabulary", "8192", str(model)]) == 0
    candidates = f"mlx,transformers@variant={BUG}:at={LAYERS - 1}"
    given = ["--model", model, "--candidates", candidates, "--dtype", "bfloat16", "--prompt", "Hello", "--no-cache"]
    command = [sys.executable, "-m", "parity", "compare", *map(str, given), "--report", str(report)]
    code, peak = memory.measured(command)
    assert code == ExitCode.DIVERGED
    assert peak.held < MOST
    right, wrong = json.loads((report / "report.json").read_text())["judgements"]
    assert right["verdict"] == "parity"
    assert wrong["first_divergence"]["step"] == f"text.layers.{LAYERS - 1}.attn_laurel"
    assert [cause["name"] for cause in wrong["diagnoses"][0]["causes"]] == [BUG]
