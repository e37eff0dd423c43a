"""Scaling of the residual stream: the function computed stays the same, and it is known which steps carry alpha."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.overrides import TorchFunctionMode

from implementations.ane.scaling import EMBEDDING, HEAD, carries_alpha, reads_alpha, scale_weights, scaled_eps
from parity.errors import UsageError
from parity.site import Edit
from parity.tap import ScopedTap
from parity.variant import Variant
from reference.gemma3n.huggingface import Reference
from reference.gemma3n.steps.source import MODELING
from reference.tiny import path

IDS = [[2, 375, 20, 514, 33, 650, 7, 101]]
"""Text, and one id each of a picture's and a sound's vocabulary."""
GATE = "model.language_model.layers.0.per_layer_input_gate.weight"
NORM = "model.language_model.layers.7.post_feedforward_layernorm.weight"


@pytest.fixture(scope="module")
def weights():
    """The embedded checkpoint's."""
    torch.set_num_threads(1)
    return load_file(path() / "model.safetensors")


def record(backend) -> dict[str, np.ndarray]:
    """Every step of one chunk in the contract's axes."""
    contract, steps = backend.contract(), {}

    def receive(name, value):
        steps[name] = backend.tensors.to_numpy(value, contract.get(name)).copy()
        return value

    backend.start(padding=(0,), cache=True)
    backend.forward(np.array(IDS), tap=ScopedTap(receive))
    return steps


@pytest.fixture(scope="module")
def steps():
    """What the oracle says."""
    return record(Reference.load(path(), "float64"))


class Magnitudes(TorchFunctionMode):
    """Gives AltUp's least squared magnitude, a literal in the reference's source, the factor that it must have."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self._alpha = alpha

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.clamp and kwargs.get("min") == 1e-5:
            kwargs["min"] = scaled_eps(1e-5, self._alpha)
        return func(*args, **kwargs)


def scaled_reference(weights, alpha: float) -> Reference:
    """The oracle with scaled weights, its epsilons too; the merge multiplies hard embeddings."""
    merged = ("vision_embeds, inputs_embeds)", "audio_embeds, inputs_embeds)")
    edits = tuple(Edit(f"{MODELING}:Gemma3nModel.forward", old, f"{alpha!r} * {old}") for old in merged)
    backend = Reference.load(path(), "float64")
    backend._woven.variants = (Variant("scaled-merge", "text", "alpha", "text.inputs_embeds", edits),)
    model, scaled = backend._model, scale_weights({name: each.double() for name, each in weights.items()}, alpha)
    model.lm_head.weight = torch.nn.Parameter(scaled[HEAD])
    language = model.model.language_model
    for name, parameter in language.named_parameters():
        parameter.data = scaled[f"model.language_model.{name}"]
    for name, module in language.named_modules():
        if hasattr(module, "eps") and reads_alpha(name):
            module.eps = scaled_eps(module.eps, alpha)
    return backend


def test_a_power_of_two_changes_no_bit(weights, steps):
    """Every step of the scaled model is that of the reference, times alpha where it carries it: bit for bit."""
    alpha = 2.0**-5
    with Magnitudes(alpha):
        scaled = record(scaled_reference(weights, alpha))
    assert scaled.keys() == steps.keys()
    wrong = [
        name
        for name, value in steps.items()
        if not np.array_equal(scaled[name], value * alpha if carries_alpha(name) else value)
    ]
    assert not wrong


def test_any_alpha_is_exact(weights, steps):
    """To float64's rounding; without the cure of the epsilons it would be 1e-6."""
    alpha = 0.3
    with Magnitudes(alpha):
        scaled = record(scaled_reference(weights, alpha))
    for name, value in steps.items():
        wide = value.astype(np.float64)
        error = np.linalg.norm(scaled[name] / (alpha if carries_alpha(name) else 1.0) - wide)
        assert error <= 1e-12 * np.linalg.norm(wide), name


def test_alpha_shows_in_every_step_that_carries_it(weights, steps):
    """No carrying step is zero throughout, so that the tests above do look at each; half of the float steps carry."""
    floats = [name for name, value in steps.items() if value.dtype.kind == "f"]
    carrying = [name for name in floats if carries_alpha(name)]
    assert 0.3 < len(carrying) / len(floats) < 0.7
    assert all(np.abs(steps[name]).max() > 0 for name in carrying)


def test_the_head_is_untied_and_nothing_else_is_touched(weights):
    scaled = scale_weights(weights, 0.5)
    assert torch.equal(scaled[HEAD], weights[EMBEDDING])
    assert torch.equal(scaled[EMBEDDING], weights[EMBEDDING].float() / 2)
    assert torch.equal(scaled[GATE], weights[GATE].float() * 2)
    changed = {name for name, tensor in weights.items() if scaled[name] is not tensor}
    # five norms and the gate of each of 25 layers, and the embedding
    assert len(changed) == 6 * 25 - 25 + 1 + 25
    assert set(scaled) == {*weights, HEAD}
    assert torch.equal(scale_weights({**weights, HEAD: weights[NORM]}, 0.5)[HEAD], weights[NORM])


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("inf"), float("nan")])
def test_alpha_must_be_positive(weights, alpha):
    with pytest.raises(UsageError, match="positive"):
        scale_weights(weights, alpha)


@pytest.mark.parametrize(
    ("alpha", "message"),
    [
        (2.0**20, r"reaches .*, beyond the limit of 32752; give a smaller alpha"),
        (2.0**-30, r"reaches .*, all below fp16's smallest normal number 6.10352e-05; give a larger alpha"),
    ],
)
def test_weights_that_leave_the_range_are_named(weights, alpha, message):
    with pytest.raises(UsageError, match=f"model.language_model.*{message}"):
        scale_weights(weights, alpha)


def test_a_gate_that_grows_asks_for_a_larger_alpha(weights):
    """It is divided: its cure is the opposite."""
    with pytest.raises(UsageError, match=f"{GATE} reaches 256000, beyond .* give a larger alpha"):
        scale_weights({**weights, GATE: torch.full((2, 2), 1000.0)}, 2.0**-8)
    with pytest.raises(UsageError, match=f"{GATE} .* all below .* give a smaller alpha"):
        scale_weights({**weights, GATE: torch.full((2, 2), 2.0**-12)}, 8.0)


def test_missing_weights_are_named(weights):
    """Names that nothing matches would leave the stream as it is."""
    with pytest.raises(UsageError, match=r"layers\.\*\.per_layer_input_gate"):
        scale_weights({name: each for name, each in weights.items() if "per_layer_input_gate" not in name}, 0.5)


def test_names_are_matched_part_by_part():
    assert carries_alpha("text.layers.3.out")
    assert not carries_alpha("text.layers.3.mlp.out")
    assert carries_alpha("text.per_layer_inputs.projection")
    assert not carries_alpha("text.per_layer_inputs.projection_norm")
    assert reads_alpha("model.language_model.layers.3.self_attn.v_norm")
    assert not reads_alpha("layers.3.post_attention_layernorm")
