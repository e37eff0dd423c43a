"""What the steps of Gemma 3n share: where its reference is written, its papers, and which layers have a step."""

from __future__ import annotations

from typing import Any

from parity.site import Assigned, Parameter, Passed, Returned, Site

MODELING = "transformers.models.gemma3n.modeling_gemma3n"

ALTUP = "https://arxiv.org/abs/2301.13310"
LAUREL = "https://arxiv.org/abs/2411.07501"
SPARSITY = "https://arxiv.org/abs/2506.06644"
GQA = "https://arxiv.org/abs/2305.13245"
ROPE = "https://arxiv.org/abs/2104.09864"
RMSNORM = "https://arxiv.org/abs/1910.07467"
SLIDING = "https://arxiv.org/abs/2004.05150"
KV_SHARING = "https://arxiv.org/abs/2405.05254"
SOFTCAP = "https://arxiv.org/abs/2408.00118"
QK_NORM = "https://arxiv.org/abs/2302.05442"
GLU = "https://arxiv.org/abs/2002.05202"
PER_LAYER = "https://ai.google.dev/gemma/docs/gemma-3n"


def owns_keys(config: Any, layer: int) -> bool:
    """The layer projects its own keys and values: it is not one of the last `num_kv_shared_layers`."""
    return layer < config.num_hidden_layers - config.num_kv_shared_layers


def sparse(config: Any, layer: int) -> bool:
    """The layer's feed-forward gate is sparsified."""
    return bool(config.activation_sparsity_pattern[layer] > 0)


def scaled(config: Any, layer: int) -> bool:
    """The active stream is multiplied by `correct_output_scale`."""
    return bool(config.altup_correct_scale)


def assigned(function: str, variable: str, occurrence: int = 0, *uses: str) -> Site:
    """Site behind an assignment in the reference's modeling file."""
    return Site(f"{MODELING}:{function}", Assigned(variable, occurrence), uses)


def passed(function: str, callee: str, position: int) -> Site:
    """Site at an argument of a call."""
    return Site(f"{MODELING}:{function}", Passed(callee, position))


def parameter(function: str, variable: str) -> Site:
    """Site at a parameter on entry."""
    return Site(f"{MODELING}:{function}", Parameter(variable))


def returned(function: str) -> Site:
    """Site at a function's returned value."""
    return Site(f"{MODELING}:{function}", Returned())
