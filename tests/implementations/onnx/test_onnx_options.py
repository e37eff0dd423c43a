"""Options of the backend: what cannot be is refused in one line, and what is not installed is said with its cure."""

import sys

import pytest

from implementations.onnx import LARGE_PAGES, TUNABLES, Backend
from implementations.onnx.options import LEVELS, PROVIDERS, Options
from parity.errors import BackendUnavailable, UsageError


def test_defaults():
    assert Options.parse({}) == Options(None, 0, "fp32", None, "cpu", 0, "all")


def test_values(tmp_path):
    given = {"package": str(tmp_path), "provider": "cuda", "threads": "2", "optimization": "off"}
    assert Options.parse(given) == Options(tmp_path, 0, "fp32", None, "cuda", 2, "off")
    assert Options.parse({"type": "q4", "accuracy": "4"}) == Options(type="q4", accuracy=4)


def test_the_environment_keeps_what_the_user_tuned(monkeypatch):
    """glibc's tunables are one variable, and another system has none."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv(TUNABLES, raising=False)
    assert Backend.environment() == {TUNABLES: LARGE_PAGES}
    monkeypatch.setenv(TUNABLES, "glibc.malloc.check=3")
    assert Backend.environment() == {TUNABLES: "glibc.malloc.check=3"}
    monkeypatch.setattr(sys, "platform", "darwin")
    assert Backend.environment() == {}


def test_who_has_weights_of_its_own():
    """All but float32, whose weights are the checkpoint's."""
    assert not Backend.has_weights({})
    assert not Backend.has_weights({"type": "fp32"})
    assert all(Backend.has_weights({"type": kind}) for kind in ("fp16", "q4", "q4f16", "int8", "uint8"))


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"speed": "9"}, "no option 'speed'"),
        ({"provider": "tpu"}, "provider=tpu is none of cpu, coreml"),
        ({"optimization": "most"}, "optimization=most is none of off, basic"),
        ({"type": "q3"}, "type=q3 is none of fp32, fp16, q4"),
        ({"accuracy": "1"}, "accuracy=1 is none of 0, 4"),
        ({"threads": "0"}, "threads=0 is not a number from 1 to 1,024"),
        ({"threads": "-1"}, "threads=-1"),
        ({"threads": "9" * 5000}, "is not a number from 1 to 1,024"),
        ({"package": "nowhere"}, "package=nowhere is no folder"),
    ],
)
def test_what_cannot_be(option, said):
    with pytest.raises(UsageError, match=said):
        Backend.check(option)


def test_a_provider_that_is_not_installed():
    onnxruntime = pytest.importorskip("onnxruntime")
    missing = next(name for name, (long, _) in PROVIDERS.items() if long not in onnxruntime.get_available_providers())
    with pytest.raises(BackendUnavailable, match="pip install onnxruntime"):
        Options(provider=missing).installed()
    assert Options().installed() == "CPUExecutionProvider"


def test_a_provider_that_does_not_start(tmp_path, monkeypatch):
    """ONNX Runtime would go on with the processor, and somebody would take its numbers for the device's."""
    pytest.importorskip("onnxruntime")
    from tests.implementations.onnx.test_onnx_graph import X, loaded

    monkeypatch.setattr(Options, "installed", lambda self: "CPUExecutionProvider")
    monkeypatch.setattr("onnxruntime.InferenceSession.get_providers", lambda self: [])
    with pytest.raises(BackendUnavailable, match="does not start here"):
        loaded(tmp_path).run({"input": X})


@pytest.mark.parametrize("level", LEVELS.values())
def test_levels_are_the_runtimes(level):
    onnxruntime = pytest.importorskip("onnxruntime")
    assert hasattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
