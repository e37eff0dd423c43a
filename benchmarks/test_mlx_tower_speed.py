"""Our MLX towers against mlx-vlm's on the same weights, in one process, alternating: what a picture or a clip adds.

Run by ``make bench``. Both go from pixels or mel features to soft tokens in the language model's space, in float32,
with OpenBLAS where there is one, in a process of their own: see `tower_worker`. Geometries are the embedded
checkpoint's, and wider ones: a quarter of the published vision tower's channels, and the published audio tower's
width with three of its twelve blocks.

That both do the same work is shown by what they compute. mlx-vlm 0.7.10's audio tower agrees with ours. Its vision
tower agrees once soft tokens are read row by row, which it gives column by column, and once padding of strided
convolutions, GELU and epsilons are the reference's. It is timed as it comes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks.speed_model import require_speed
from implementations.mlx import Backend

pytestmark = pytest.mark.skipif(find_spec("mlx_vlm") is None, reason="mlx-vlm is not installed")

ROOT = Path(__file__).parent.parent
SLOWER = 1.05
"""Largest ratio of medians: repeated runs of the same model scatter by as much."""
AGREED = 1e-5
"""Largest relative distance of soft tokens; 84 blocks in float32 leave a tenth of it."""

CASES: dict[str, tuple[str, dict[str, float], int]] = {
    "vision, embedded, 192 px": ("vision", {"multiplier": 1 / 16, "side": 192, "resolution": 4, "hidden": 128}, 9),
    "vision, quarter, 384 px": ("vision", {"multiplier": 1 / 4, "side": 384, "resolution": 8, "hidden": 2048}, 3),
    "audio, embedded, 5 s": ("audio", {"width": 64, "heads": 4, "frames": 512, "padded": 40, "hidden": 128}, 9),
    "audio, wide, 10 s": ("audio", {"width": 1536, "heads": 8, "frames": 1000, "padded": 40, "hidden": 2048}, 5),
}
"""Kind, geometry and rounds."""


@pytest.mark.parametrize("name", CASES)
def test_towers_as_fast_as_mlx_vlm(name: str, benchmark: Any) -> None:
    """Our median is at most 5 % above mlx-vlm's, and what both compute is the same."""
    found = benchmark.pedantic(alternated, args=CASES[name], rounds=1, iterations=1)
    print(f"\n{name}, mlx-vlm's distance from ours:")
    for correction, distance in found["apart"].items():
        print(f"  {distance:.1e}  {correction}")
    benchmark.extra_info["distance"] = found["apart"]
    assert list(found["apart"].values())[-1] <= AGREED
    require_speed(benchmark, name, "mlx-vlm", found["seconds"], allowed=SLOWER)


def alternated(kind: str, geometry: dict[str, float], rounds: int) -> dict[str, Any]:
    """What `tower_worker` saw: seconds of both, and how far mlx-vlm's tokens are from ours."""
    command = [sys.executable, "-m", "benchmarks.tower_worker", kind, json.dumps(geometry), str(rounds)]
    environment = {**os.environ, **Backend.environment()}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
