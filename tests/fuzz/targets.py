"""What is fuzzed: each file that others may have written, what is around it, and who reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from implementations.gemma3n.config import Config
from implementations.gemma3n.preprocessing.preprocessor import Preprocessor
from implementations.gemma3n.preprocessing.tokenizer import stop_ids
from parity.checkpoint import find_checkpoint
from parity.media import Part
from reference.gemma3n.admission import admit
from tests.bad_input import inputs
from tests.fuzz.spoiling import Way, blindly, of_header, of_json, of_lines

MODEL = Path("model")


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


def configuration() -> None:
    """What is read of a checkpoint before any weight."""
    find_checkpoint("model")
    admit(MODEL, "Hi", (Part("image", "x"),))
    Config.from_directory(MODEL)
    settings()


def settings() -> None:
    """What is read of it before anything is said."""
    assert Preprocessor(MODEL).settings
    stop_ids(MODEL)


JSON, LINES, HEADER = (blindly, of_json, of_json), (blindly, of_lines, of_lines), (blindly, of_header, of_header)
"""What is in a file is changed twice as often as its bytes, of which most changes are refused at once."""
DIFF = "diff oracle port.free --baseline baseline.free"
TARGETS = {
    "trace-manifest": Target("oracle/manifest.json", inputs.traces, DIFF, JSON),
    "trace-records": Target("oracle/steps.jsonl", inputs.traces, DIFF, LINES),
    "trace-contract": Target("oracle/contract.json", inputs.traces, DIFF, JSON),
    "trace-tensors": Target("oracle/tensors/prefill.safetensors", inputs.traces, DIFF, HEADER),
    "candidate-manifest": Target("port.free/manifest.json", inputs.traces, DIFF, JSON),
    "candidate-records": Target("port.free/steps.jsonl", inputs.traces, DIFF, LINES),
    "config": Target("model/config.json", inputs.checkpoint, configuration, JSON),
    "generation": Target("model/generation_config.json", inputs.checkpoint, settings, JSON),
    "processor": Target("model/processor_config.json", inputs.checkpoint, settings, JSON),
    "preprocessor": Target("model/preprocessor_config.json", inputs.checkpoint, settings, JSON),
    "tokenizer-config": Target("model/tokenizer_config.json", inputs.checkpoint, settings, JSON),
}
