"""The reference: its contract is complete, its oracle is float64 through and through."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from parity.tap import ScopedTap
from parity.weave import locate
from reference.gemma3n.huggingface import Reference
from reference.gemma3n.steps.contract import ALL_STEPS
from reference.tiny import path


@pytest.fixture(scope="module")
def oracle():
    """The embedded checkpoint in the oracle's arithmetic."""
    return Reference.load(path(), "float64")


def record(backend, ids, padding=(0,)):
    """Names, shapes and values of all steps of one chunk."""
    steps = []
    contract = backend.contract()
    backend.start(padding=padding, cache=True)

    def receive(name, value):
        steps.append((name, backend.tensors.to_numpy(value, contract.get(name)).copy()))
        return value

    backend.forward(np.array(ids), tap=ScopedTap(receive))
    return steps


def test_every_step_is_emitted_once_with_the_contracts_axes(oracle):
    """The woven reference and the contract name the same steps, each once, each with as many axes as it has."""
    steps = record(oracle, [[2, 375, 20]])
    names = [name for name, _ in steps]
    assert sorted(names) == sorted(step.name for step in oracle.contract().expected(()))
    contract = oracle.contract()
    assert not [name for name, value in steps if value.ndim != len(contract.get(name).axes)]


def test_layers_have_at_least_forty_steps(oracle):
    """The contract is fine-grained in every layer, shared and dense ones too."""
    names = [step.name for step in oracle.contract()]
    for layer in range(25):
        assert sum(name.startswith(f"text.layers.{layer}.") for name in names) >= 40


def test_every_step_is_documented(oracle):
    """Each step says what it is and where the reference computes it."""
    assert all(step.meaning and step.source for step in oracle.contract())
    assert all(locate(step.site) for step in ALL_STEPS)


class _Float32Watch(TorchDispatchMode):
    """Collects every operation that makes a float32 tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        """Run the operation and look at its results."""
        result = function(*args, **(kwargs or {}))
        outputs = result if isinstance(result, tuple | list) else [result]
        if any(isinstance(each, torch.Tensor) and each.dtype in (torch.float32, torch.bfloat16) for each in outputs):
            self.found.add(str(function))
        return result


def test_no_float32_tensor_survives_in_the_oracle(oracle):
    """Parameters, buffers and every intermediate of the oracle are float64."""
    text = oracle._model.model.language_model
    assert {tensor.dtype for tensor in [*text.parameters(), *text.buffers()] if tensor.is_floating_point()} == {
        torch.float64
    }
    oracle.start(padding=(0,), cache=True)
    with _Float32Watch() as watch:
        oracle.forward(np.array([[2, 375, 520, 650]]))
    assert not watch.found


def test_watch_sees_float32():
    """The watch of the test above does catch a plain ``.to(float64)`` model."""
    model = Reference.load(path(), "float32")
    model._model.to(torch.float64)
    model.start(padding=(0,), cache=True)
    with _Float32Watch() as watch:
        model.forward(np.array([[2, 375]]))
    assert watch.found


def test_oracle_buffers_are_exact(oracle):
    """Constants are computed in float64, not widened from float32."""
    text = oracle._model.model.language_model
    config = text.config
    exact = 10_000.0 ** -(np.arange(0, config.head_dim, 2) / config.head_dim)
    np.testing.assert_allclose(text.rotary_emb.sliding_attention_inv_freq.numpy(), exact, rtol=1e-15)
    assert text.embed_tokens.embed_scale.item() == config.hidden_size**0.5
    assert text.per_layer_input_scale.item() == pytest.approx(2**-0.5, rel=1e-15)


def test_recording_does_not_change_logits(oracle):
    """Bit-identical logits with and without taps."""
    ids = np.array([[2, 375, 20, 513]])
    steps = dict(record(oracle, ids))
    oracle.start(padding=(0,), cache=True)
    np.testing.assert_array_equal(oracle.forward(ids), steps["text.logits"])


def test_mask_translation_goes_both_ways(oracle):
    """The additive mask becomes boolean, and back to what the reference adds."""
    step = oracle.contract().get("text.mask.full_attention")
    additive = torch.tensor([[[[0.0, torch.finfo(torch.float32).min], [0.0, 0.0]]]])
    visible = oracle.tensors.to_numpy(additive, step)
    assert visible.tolist() == [[[True, False], [True, True]]]
    assert torch.equal(oracle.tensors.from_numpy(visible, additive, step), additive)
