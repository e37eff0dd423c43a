"""Faults planted in mlx-lm's source in memory, as candidates ``tests.any_model_faults:Faulty@fault=NAME``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from implementations.mlx_lm.any_model import Backend
from parity.site import Edit

Change = Callable[[Any], None]


@dataclass(frozen=True)
class Fault:
    """A fault, and the step whose own computation it is.

    Attributes:
        step: where it must be found first.
        edits: of the source: function, old text, new text.
        change: of the loaded model.
    """

    step: str
    edits: tuple[tuple[str, str, str], ...] = ()
    change: Change | None = None


def _attribute(layer: int, path: str, value: Callable[[Any], Any]) -> Change:
    """Another value of an attribute somewhere in one layer."""

    def change(model: Any) -> None:
        *above, name = path.split(".")
        owner = model.layers[layer]
        for part in above:
            owner = getattr(owner, part)
        setattr(owner, name, value(getattr(owner, name)))

    return change


def _everywhere(path: str, value: Callable[[Any], Any]) -> Change:
    def change(model: Any) -> None:
        for layer in range(len(model.layers)):
            _attribute(layer, path, value)(model)

    return change


def _common(module: str, model: str, block: str) -> dict[str, Fault]:
    """Those of a decoder with rotary attention, norms of queries and keys, and grouped heads."""
    attention = f"mlx_lm.models.{module}:Attention.__call__"
    attended = "model.layers.{}.self_attn.eager_attention_forward.attn_output"
    rotated = "model.layers.{}.self_attn.apply_rotary_pos_emb.q_embed"
    offset = "queries = self.rope(queries, offset=cache.offset)"
    return {
        "rope-base": Fault(rotated.format(0), change=_everywhere("self_attn.rope.base", lambda base: base * 1.5)),
        "rope-base-of-one": Fault(
            rotated.format(2), change=_attribute(2, "self_attn.rope.base", lambda base: base * 1.02)
        ),
        "norm-epsilon": Fault(
            "model.layers.1.post_attention_layernorm",
            change=_attribute(1, "post_attention_layernorm.eps", lambda _: 1e-5),
        ),
        "no-mask": Fault(
            attended.format(0),
            ((f"mlx_lm.models.{module}:{model}.__call__", "mask = create_attention_mask(h, cache[0])", "mask = None"),),
        ),
        "scale": Fault(attended.format(1), change=_attribute(1, "self_attn.scale", lambda scale: scale * 1.05)),
        "no-residual": Fault(
            "model.layers.0.hidden_states.2",
            ((f"mlx_lm.models.{module}:{block}.__call__", "h = x + r", "h = r"),),
        ),
        "tiled-heads": Fault(
            attended.format(0),
            ((attention, "queries, keys, values, cache=cache", "queries, *map(_tiled, (keys, values)), cache=cache"),),
        ),
        "position": Fault(rotated.format(0), ((attention, offset, offset.replace(".offset)", ".offset + 1)")),)),
        "merged-heads": Fault(
            "model.layers.0.self_attn.attn_output.2",
            ((attention, "output = output.transpose(0, 2, 1, 3)", "output = output.transpose(0, 2, 3, 1)"),),
        ),
    }


SWIGLU = "swiglu(self.gate_proj(x), self.up_proj(x))"
TAKEN = "scores = mx.take_along_axis(gates, inds, axis=-1)"
FAULTS: Mapping[str, Mapping[str, Fault]] = {
    "qwen3": {
        **_common("qwen3", "Qwen3Model", "TransformerBlock"),
        "gate-and-up": Fault(
            "model.layers.0.mlp.act_fn",
            (("mlx_lm.models.qwen3:MLP.__call__", SWIGLU, "swiglu(self.up_proj(x), self.gate_proj(x))"),),
        ),
    },
    "qwen3_moe": {
        **_common("qwen3_moe", "Qwen3MoeModel", "Qwen3MoeDecoderLayer"),
        "scores": Fault(
            "model.layers.0.mlp.experts.batched_mm_experts_forward.final_hidden_states",
            (("mlx_lm.models.qwen3_moe:Qwen3MoeSparseMoeBlock.__call__", TAKEN, f"{TAKEN} * 1.02"),),
        ),
    },
}


def _tiled(heads: Any) -> Any:
    """Heads of keys in the order 0 1 2 0 1 2, where 0 0 1 1 2 2 is right."""
    import mlx.core as mx

    return mx.tile(heads, (1, 2, 1, 1))


class Faulty(Backend):
    """mlx-lm with one fault of the checkpoint's type of model."""

    options: ClassVar[Mapping[str, str]] = {**Backend.options, "fault": "its name"}

    @classmethod
    def load(cls, checkpoint: Path, dtype: str, **options: str) -> Self:
        """Load, and plant."""
        name = options.pop("fault")
        found = super().load(checkpoint, dtype, **options)
        fault = FAULTS[found.model.model_type][name]
        found.edits = tuple(Edit(*edit) for edit in fault.edits)  # type: ignore[misc]
        for module in found.modules:
            vars(module).setdefault("_tiled", _tiled)
        if fault.change:
            fault.change(found.model)
        return found
