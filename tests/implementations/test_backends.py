"""What holds for each of our implementations: it can be asked about where its framework is not installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

FRAMEWORKS = {
    "mlx": "mlx",
    "ane": "torch",
    "mlx_lm": "mlx_lm",
    "mlx_vlm": "mlx_vlm",
    "onnx": "onnxruntime",
    "coreml": "coremltools",
    "gguf": "cffi",
}
"""What each backend computes with."""


def without(framework, program):
    """Standard output of a program that runs where a framework is not installed."""
    blocked = f"import sys; sys.modules[{framework!r}] = None\n{program}"
    return subprocess.run([sys.executable, "-c", blocked], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(("backend", "framework"), FRAMEWORKS.items())
def test_the_module_imports_without_its_framework(backend, framework):
    """`parity --help` and `parity doctor` start everywhere."""
    program = f"import implementations.{backend}; print(*(name for name in sys.modules if sys.modules[name]))"
    assert not {"torch", "mlx.core", "mlx_lm", "mlx_vlm", "onnx", "onnxruntime", "coremltools", "cffi", "gguf"} & set(
        without(framework, program).split()
    )


@pytest.mark.parametrize(("backend", "framework"), FRAMEWORKS.items())
def test_loading_without_its_framework_says_how_to_install_it(backend, framework):
    """In one line."""
    program = (
        "from pathlib import Path\n"
        f"from implementations.{backend} import Backend\n"
        "from parity.errors import BackendUnavailable\n"
        "try: Backend.load(Path('x'), 'float32')\n"
        "except BackendUnavailable as error: print(error)"
    )
    assert "pip install" in without(framework, program).splitlines()[0]
