"""A golden as a trace without tensors: what a worker reads to know what to run, and the judge to know what is true."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from parity.contract import Contract
from parity.golden.format import Golden
from parity.golden.packing import records
from parity.media import FOLDER
from parity.traces.trace import Manifest, Trace


def staged(golden: Golden, contract: Contract, folder: Path) -> Trace:
    """Write the trace into a new folder and read it. Its sketches are folded, see `parity.golden.sketches`."""
    folder.mkdir(parents=True)
    lines = [record.model_dump_json() for record in records(golden, contract)]
    (folder / "steps.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (folder / "contract.json").write_text(json.dumps(contract.to_json()), encoding="utf-8")
    (folder / "manifest.json").write_text(_manifest(golden, len(lines)).model_dump_json(), encoding="utf-8")
    if golden.media is not None:
        shutil.copytree(golden.media, folder / FOLDER)
    return Trace.read(folder)


def _manifest(golden: Golden, count: int) -> Manifest:
    made = golden.manifest
    return Manifest(
        backend=made.reference,
        versions=made.versions,
        dtype="float64",
        mode="free",
        model=made.model,
        weights=made.weights,
        contract=made.contract,
        scenario=made.scenario,
        tensors=False,
        records=count,
    )
