"""Where torch computes: on a device that it has, or it says in one line that it has none."""

import numpy as np
import pytest
import torch

from parity.discovery import REFERENCES, find
from parity.errors import BackendUnavailable, UsageError
from parity.tap import ScopedTap
from reference.common.arithmetics import arithmetic
from reference.common.device import device_of
from reference.common.executions import BLOCKED, STOCHASTIC, Executions
from reference.gemma3n.huggingface import Reference
from reference.tiny import path

THERE = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
IDS = np.array([[2, 72, 101, 108, 108, 111]])


@pytest.mark.parametrize("name", THERE)
@pytest.mark.parametrize(("dtype", "most"), [("float64", 1e-9), ("float32", 1e-3), ("bfloat16", 0.3)])
def test_a_device_computes_what_the_processor_does(name, dtype, most):
    """To within the arithmetic: weights, cache, masks and the tap's answers are all where it is."""
    if not THERE[name]:
        pytest.skip("torch has no such device on this machine")
    true, found = (_logits(dtype, device) for device in ("cpu", name))
    assert np.linalg.norm(found - true) <= most * np.linalg.norm(true)


def test_the_tap_in_the_middle_changes_nothing():
    """What that test compares: each value goes through NumPy and back, as in lockstep."""
    reference = Reference.load(path(), "float32", device="cpu")
    reference.start(padding=(0,), cache=True)
    reference.forward(IDS)
    assert np.array_equal(_logits("float32", "cpu"), reference.forward(IDS[:, 1:]))


def _logits(dtype, device):
    """Of a second chunk, each value of which a tap has taken and given back."""
    reference = Reference.load(path(), dtype, device=device)
    tensors, contract = reference.tensors, reference.contract()

    def back(name, value):
        if not isinstance(value, torch.Tensor):
            return value
        step = contract.get(name)
        return tensors.from_numpy(tensors.to_numpy(value, step), value, step)

    reference.start(padding=(0,), cache=True)
    reference.forward(IDS)
    return np.asarray(reference.forward(IDS[:, 1:], tap=ScopedTap(back)), np.float64)


def test_a_name_that_is_none():
    """It is refused before anything is started."""
    with pytest.raises(UsageError, match="there is no device=tpu: the reference computes on cpu, cuda, mps"):
        find("transformers@device=tpu", REFERENCES)


@pytest.mark.parametrize("name", THERE)
def test_one_that_is_not_here(monkeypatch, name):
    """One line, whatever this machine has."""
    monkeypatch.setattr(getattr(torch, name) if name == "cuda" else torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(BackendUnavailable) as refused:
        Reference.load(path(), "float32", device=name)
    assert str(refused.value) == f"device={name}: torch {torch.__version__} has none on this machine; leave it out"


def test_what_a_device_has_no_numbers_of(monkeypatch):
    """Float64 is the processor's where the device is mps, and so is what a baseline rounds in float64."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = {
        (name, dtype): device_of(name, arithmetic(dtype)).type for name in THERE for dtype in ("float64", "float16")
    }
    assert found.pop(("mps", "float64")) == "cpu"
    assert all(name == device for (name, _), device in found.items())
    assert device_of("cuda", arithmetic("float16-ane")).type == "cpu"
    assert set(Executions(arithmetic("float32"), "mps").excess) == {BLOCKED}
    assert set(Executions(arithmetic("bfloat16"), "mps").excess) == {STOCHASTIC}
