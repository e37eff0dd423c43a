"""Runs the MLX audio tower in a process of its own, with the BLAS that users have: ``audio_worker.py job.json``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from implementations.mlx import Backend
from parity.running.execute import Run, execute
from parity.traces.trace import Trace
from tests.audio_parties import Clips, MlxTower


def run(folder: Path, checkpoint: Path, oracle: Trace, clips: Clips, **how) -> Trace:
    """The trace of a run in float32; `how` is `mode` and `keep_tensors` of `parity.running.execute.Run`."""
    np.savez(folder / "clips.npz", mel=clips.mel, mask=clips.mask)
    output = folder / f"mlx-{how['mode']}"
    job = {"folder": folder, "checkpoint": checkpoint, "oracle": oracle.path, "output": output, "how": how}
    command = [sys.executable, "-m", "tests.audio_worker", json.dumps(job, default=str)]
    subprocess.run(command, check=True, env={**os.environ, **Backend.environment()})
    return Trace.read(output)


def main(job: dict) -> None:
    """Run as the job says."""
    clips = Clips(**np.load(Path(job["folder"]) / "clips.npz"))
    backend = MlxTower(Path(job["checkpoint"]), "float32", clips)
    told = Run(Path(job["output"]), "tiny", "weights", "float32", oracle=Path(job["oracle"]), **job["how"])
    execute(backend, told, lambda step: None)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
