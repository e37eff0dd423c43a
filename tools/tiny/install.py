"""Install trained weights: round them to bfloat16, judge them on held-out questions, write checkpoint and record."""

import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from reference import tiny
from reference.common import drawing, safetensors_file
from tools.tiny import build, evaluate


def install(drawn: Path, trained: Mapping[str, Tensor], settings: Mapping[str, Any]) -> int:
    """Put the trained tensors over the drawn ones; replace the embedded checkpoint if it answers well enough."""
    with tempfile.TemporaryDirectory(dir=tiny.path().parent) as temporary:
        new = Path(temporary) / "new"
        shutil.copytree(drawn, new)
        overlay(new / build.WEIGHTS, trained)
        found = evaluate.results(*evaluate.load(new))
        print("\n".join(evaluate.report(found)))
        shares = evaluate.accuracies(found)
        if min(shares.values()) < evaluate.REQUIRED:
            print(f"not installed: a kind of question is answered right less than {evaluate.REQUIRED:.0%} of the time")
            return 1
        record(new / build.WEIGHTS, settings, shares)
        build.replace(tiny.path(), new=new, old=Path(temporary) / "old")
    return 0


def overlay(path: Path, trained: Mapping[str, Tensor]) -> None:
    """Rewrite a file of weights with some of them trained, rounded to bfloat16."""
    tensors = safetensors_file.read(path)
    for name, value in trained.items():
        assert tensors[name].shape == tuple(value.shape)
        tensors[name] = drawing.to_bfloat16(value.double().numpy())
    safetensors_file.write(path, tensors)


def record(path: Path, settings: Mapping[str, Any], shares: Mapping[str, float]) -> None:
    """Write training.json: what the committed weights are, and what they were made with."""
    content = {
        "weights": hashlib.sha256(path.read_bytes()).hexdigest(),
        "settings": dict(settings),
        "versions": {name: version(name) for name in ("torch", "transformers", "timm")},
        "python": sys.version.split()[0],
        "right": {kind: round(share, 4) for kind, share in sorted(shares.items())},
    }
    build.RECORD.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8", newline="\n")
