"""What is fuzzed: each file that others may have written, what is around it, and who reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from parity.calibration.misses import SCORES
from parity.checkpoint import ADAPTER_CONFIG, ADAPTER_WEIGHTS, INDEX, WHOLE
from reference.tiny import path
from tests.bad_input import inputs
from tests.bad_input.table import nothing
from tests.bad_input.test_spoilt_media import picture, sound
from tests.fuzz.readers import (
    clip,
    configuration,
    gguf,
    golden,
    image,
    llama,
    package,
    scores,
    settings,
    weights,
    words,
)
from tests.fuzz.spoiling import Way, blindly, of_gguf, of_header, of_json, of_lines, of_png, of_table


@dataclass(frozen=True)
class Target:
    """A file that is spoilt.

    Attributes:
        path: of the file.
        around: makes it, whole, and what is read with it.
        command: the command line behind ``parity``; or what a command calls, where that is much faster.
        ways: in which it is spoilt.
    """

    path: str
    around: inputs.Spoil
    command: str | Callable[[], object]
    ways: tuple[Way, ...]


LAYER = "model.language_model.layers.0.mlp.down_proj"


def small(folder: Path) -> None:
    """A checkpoint with few tensors: a plain one, a quantised one, a convolution; and an adapter of the first."""
    made = inputs.checkpoint(folder)
    (made / WHOLE).unlink()
    tensors = {
        f"{LAYER}.weight": np.ones((4, 8), np.float32),
        "convolution.weight": np.ones((2, 3, 3, 4), np.float32),
        "quantised.weight": np.ones((4, 8), np.uint32),
        "quantised.scales": np.ones((4, 2), np.float16),
        "quantised.biases": np.ones((4, 2), np.float16),
    }
    save_file(tensors, made / WHOLE, {"format": "mlx"})
    inputs.edited("quantization", value={"bits": 4, "group_size": 32})(made / "config.json")
    inputs.text(json.dumps({"weight_map": dict.fromkeys(tensors, WHOLE)}))(made / INDEX)
    inputs.text(json.dumps({"peft_type": "LORA", "lora_alpha": 8, "r": 2, "use_rslora": True}))(made / ADAPTER_CONFIG)
    lora = {"lora_A": np.ones((2, 8), np.float32), "lora_B": np.ones((4, 2), np.float32)}
    save_file(
        {f"base_model.model.{LAYER}.{part}.weight": array for part, array in lora.items()}, made / ADAPTER_WEIGHTS
    )


def looked_at(folder: Path) -> None:
    """A report with what its traces say of single steps, as ``parity report`` writes it."""
    from parity.cli.reporting import _report
    from parity.report.json import dumps_report

    inputs.traces(folder)
    _, made = _report([folder / "oracle", folder / "port.free"], [folder / "baseline.free"], None)
    (folder / "report").mkdir()
    inputs.text(dumps_report(made))(folder / "report" / "report.json")


def scored(folder: Path) -> None:
    """Scores of known bugs: one that was flagged, one that was not, an equivalent."""
    rows = [
        {"equivalent": same, "flagged": flagged, "ratio": ratio, "sigmas": 0.0}
        for same, flagged, ratio in ((False, True, 9.0), (False, False, None), (True, False, 0.5))
    ]
    inputs.text(json.dumps([{"schema": SCORES, "dtype": "float32", "scores": rows}]))(folder / "scores.json")


def header(folder: Path) -> None:
    """A GGUF file without weights, and with a tokenizer."""
    from implementations.gguf.convert.conversion import Conversion

    Conversion.of(path(), "tiny", tower=False).write_vocabulary(folder / "file")


def packages(folder: Path) -> None:
    """What a folder of Core ML packages says of itself; there is no package in it."""
    from implementations.coreml.package.folder import HEAD, Package
    from implementations.coreml.package.settings import STATES, Format, Settings

    steps = {HEAD: {"main": [("text.lm_head", "product")]}}
    settings = Settings("fp16", 64, picture=(8, 8), head=Format("lut4", 16), caches=STATES)
    made = Package(folder / "model", settings, (), (HEAD,), steps)
    made.file(HEAD).mkdir(parents=True)
    made.write()


JSON, LINES, HEADER = (blindly, of_json, of_json), (blindly, of_lines, of_lines), (blindly, of_header, of_header)
"""What is in a file is changed twice as often as its bytes, of which most changes are refused at once."""
GGUF, LLAMA = (blindly, of_gguf, of_gguf), all(map(find_spec, ("gguf", "xllamacpp")))
TABLE = (blindly, of_table, of_table)
PICTURES = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "ICO", "PCX", "TGA", "AVIF")
SOUNDS = ("WAV", "FLAC", "AIFF", "OGG", "MP3")


def media(content: bytes, load: Callable[[], object]) -> Target:
    """A picture or a sound."""
    ways = (blindly, of_png) if content[1:4] == b"PNG" else (blindly,)
    return Target("file", inputs.at("file", nothing, inputs.data(content)), load, ways)


DIFF = "diff oracle port.free --baseline baseline.free"
TARGETS = {
    "trace-manifest": Target("oracle/manifest.json", inputs.traces, DIFF, JSON),
    "trace-records": Target("oracle/steps.jsonl", inputs.traces, DIFF, LINES),
    "trace-contract": Target("oracle/contract.json", inputs.traces, DIFF, JSON),
    "trace-tensors": Target("oracle/tensors/prefill.safetensors", inputs.traces, DIFF, HEADER),
    "candidate-manifest": Target("port.free/manifest.json", inputs.traces, DIFF, JSON),
    "candidate-records": Target("port.free/steps.jsonl", inputs.traces, DIFF, LINES),
    "shown-records": Target("oracle/steps.jsonl", inputs.traces, "show oracle", LINES),
    "shown-manifest": Target("oracle/manifest.json", inputs.traces, "show oracle", JSON),
    "report": Target("report/report.json", inputs.report, "report report --output out", JSON),
    "report-of-steps": Target("report/report.json", looked_at, "report report --output out", JSON),
    "golden-manifest": Target("goldens/one-shot/manifest.json", inputs.goldens, golden, JSON),
    "golden-tokens": Target("goldens/one-shot/tokens.tsv", inputs.goldens, golden, TABLE),
    "golden-floors": Target("goldens/one-shot/floors.tsv", inputs.goldens, golden, TABLE),
    "golden-tensors": Target("goldens/one-shot/prefill.safetensors", inputs.goldens, golden, HEADER),
    "weights": Target(f"model/{WHOLE}", small, weights, HEADER),
    "index": Target(f"model/{INDEX}", small, weights, JSON),
    "quantization": Target("model/config.json", small, weights, JSON),
    "adapter": Target(f"model/{ADAPTER_CONFIG}", small, weights, JSON),
    "adapter-weights": Target(f"model/{ADAPTER_WEIGHTS}", small, weights, HEADER),
    "config": Target("model/config.json", inputs.checkpoint, configuration, JSON),
    "generation": Target("model/generation_config.json", inputs.checkpoint, settings, JSON),
    "processor": Target("model/processor_config.json", inputs.checkpoint, settings, JSON),
    "preprocessor": Target("model/preprocessor_config.json", inputs.checkpoint, settings, JSON),
    "tokenizer-config": Target("model/tokenizer_config.json", inputs.checkpoint, settings, JSON),
    "tokenizer": Target("model/tokenizer.json", inputs.checkpoint, words, JSON),
    "special-tokens": Target("model/special_tokens_map.json", inputs.checkpoint, words, JSON),
    "template": Target("model/chat_template.jinja", inputs.checkpoint, words, (blindly,)),
    "scores": Target("scores.json", scored, scores, JSON),
    "coreml-manifest": Target("model/manifest.json", packages, package, JSON),
    "coreml-steps": Target("model/steps.json", packages, package, JSON),
    "coreml-meta": Target("model/meta.yaml", packages, package, (blindly,)),
    **({"gguf": Target("file", header, gguf, GGUF), "llama": Target("file", header, llama, GGUF)} if LLAMA else {}),
    **{f"image-{form.lower()}": media(picture(form), image) for form in PICTURES},
    **{f"audio-{form.lower()}": media(sound(2000, form=form), clip) for form in SOUNDS},
}
