"""Options of the backend, as users write them: ``onnx@threads=1,package=DIR``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from implementations.gemma3n.option_texts import OptionTexts
from implementations.onnx.package.types import FLOAT32, TYPES
from parity.errors import BackendUnavailable, UsageError

MEANINGS: dict[str, str] = {
    "package": "folder of a package to run in place of the checkpoint's own export",
    "steps": "table of the steps inside a package without steps.json, as `parity onnx learn` writes it",
    "first_position": "of a package's positions: 0 by default, or 1",
    "type": "number format of the graphs: fp32 by default, or fp16, q4, q4f16, int8 or uint8",
    "accuracy": "of products of 4 bits: 0 in float32, 4 with factors of 8 bits; by default what the graphs say",
    "provider": "what computes: cpu by default, or cuda, coreml, directml, openvino, qnn or rocm, as installed",
    "threads": "threads of an operator; by default as many as there are cores",
    "optimization": "of the graph as it is loaded: all by default, or extended, basic or off",
}
LEVELS = {"off": "DISABLE_ALL", "basic": "ENABLE_BASIC", "extended": "ENABLE_EXTENDED", "all": "ENABLE_ALL"}
"""ONNX Runtime's names of the levels of optimisation, behind ``ORT_``."""
PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime, on macOS"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "directml": ("DmlExecutionProvider", "onnxruntime-directml, on Windows"),
    "openvino": ("OpenVINOExecutionProvider", "onnxruntime-openvino"),
    "qnn": ("QNNExecutionProvider", "onnxruntime-qnn"),
    "rocm": ("ROCMExecutionProvider", "onnxruntime-rocm"),
}
"""What ONNX Runtime calls each provider, and the package that has it."""
FIRST = {"0": 0, "1": 1}
ACCURACIES = {"0": 0, "4": 4}


@dataclass(frozen=True)
class Options:
    """How a package is run; see `MEANINGS`.

    Attributes:
        package: None for the checkpoint's own export.
        type: of `TYPES`.
        accuracy: None for what the graphs say.
        threads: 0 for as many as there are cores.
    """

    package: Path | None = None
    first_position: int = 0
    type: str = FLOAT32
    accuracy: int | None = None
    provider: str = "cpu"
    threads: int = 0
    optimization: str = "all"
    steps: Path | None = None

    @classmethod
    def parse(cls, texts: Mapping[str, str]) -> Options:
        """Read options that were given by name.

        Raises:
            UsageError: for an unknown name or a value that cannot be.
        """
        given = OptionTexts("onnx", MEANINGS, texts)
        package = Path(texts["package"]).expanduser() if "package" in texts else None
        if package is not None and not package.is_dir():
            raise UsageError(f"backend onnx: package={package} is no folder; `parity onnx export` writes one")
        steps = Path(texts["steps"]).expanduser() if "steps" in texts else None
        if steps is not None and (package is None or not steps.is_file()):
            raise UsageError(f"backend onnx: steps={steps} is no file, or of no package; see `parity onnx learn`")
        return cls(
            package,
            FIRST[given.one_of("first_position", "0", FIRST)],
            given.one_of("type", cls.type, TYPES),
            ACCURACIES[given.one_of("accuracy", "", ACCURACIES)] if "accuracy" in texts else None,
            given.one_of("provider", cls.provider, PROVIDERS),
            given.count("threads", cls.threads, 1024),
            given.one_of("optimization", cls.optimization, LEVELS),
            steps,
        )

    def installed(self) -> str:
        """ONNX Runtime's name of the provider.

        Raises:
            BackendUnavailable: where the installed ONNX Runtime does not have it.
        """
        import onnxruntime

        name, package = PROVIDERS[self.provider]
        if name not in (there := onnxruntime.get_available_providers()):
            known = ", ".join(short for short, (long, _) in PROVIDERS.items() if long in there)
            raise BackendUnavailable(
                f"backend onnx: provider={self.provider} is not in the installed ONNX Runtime, which has {known}; "
                f"pip install {package}"
            )
        return name
