"""Known bugs of vision towers, planted into the reference one at a time, each in one module where it belongs to one."""

from __future__ import annotations

from dataclasses import dataclass

from parity.weave import Edit
from reference.vision import FUSION
from reference.vision_block import ATTENTION, BARE_NORM, NORM_ACT

OWN = "getattr(self, 'deviant', False)"
SAME = "timm.layers.conv2d_same:Conv2dSame.forward"
WRAPPER = "transformers.models.timm_wrapper.modeling_timm_wrapper:TimmWrapperModel.forward"


@dataclass(frozen=True)
class Deviation:
    """A few wrong lines of one function.

    Attributes:
        function: whose source is edited.
        edits: text that stands there once, and what it becomes.
        first: the step at which it must be found, without its leading ``vision.``.
        module: path inside the tower of the one module that deviates; empty where all do.
    """

    function: str
    edits: tuple[tuple[str, str], ...]
    first: str
    module: str = ""

    @property
    def woven(self) -> tuple[Edit, ...]:
        """The edits, for the weaver."""
        return tuple(Edit(self.function, old, new) for old, new in self.edits)


def _symmetric(module: str) -> Deviation:
    """Symmetric padding at stride 2: as many zeros before as behind."""
    edits = (
        ("conv2d_same(", f"(F.conv2d if {OWN} else conv2d_same)("),
        ("self.padding,", f"(self.kernel_size[0] // 2,) * 2 if {OWN} else self.padding,"),
    )
    return Deviation(SAME, edits, module, module)


DEVIATIONS = {
    "gelu-erf": Deviation(
        "torch.nn.modules.activation:GELU.forward",
        (("self.approximate", f"'none' if {OWN} else self.approximate"),), "conv_stem.bn.act", "conv_stem.bn.act"),
    "stem-no-bias": Deviation(SAME, (("self.bias,", f"None if {OWN} else self.bias,"),), "conv_stem.conv",
                              "conv_stem.conv"),
    "pad-symmetric-stem": _symmetric("conv_stem.conv"),
    "pad-symmetric-exp": _symmetric("blocks.0.0.conv_exp"),
    "pad-symmetric-mid": _symmetric("blocks.1.0.dw_mid.conv"),
    "image-transposed": Deviation(
        WRAPPER, (("forward_features(pixel_values,", "forward_features(pixel_values.transpose(2, 3),"),), "pixels"),
    "channels-reversed": Deviation(
        WRAPPER, (("forward_features(pixel_values,", "forward_features(pixel_values.flip(1),"),), "pixels"),
    "msfa-no-norm": Deviation(
        BARE_NORM, (("x = rms_norm2d(x,", f"x = x if {OWN} else rms_norm2d(x,"),), "msfa.norm", "msfa.norm"),
    "msfa-bilinear": Deviation(FUSION, (("mode=self.interpolation_mode", "mode='bilinear'"),), "msfa.resized"),
    "msfa-order": Deviation(FUSION, (("torch.cat(resized_inputs,", "torch.cat(resized_inputs[::-1],"),),
                            "msfa.concatenated"),
    "msfa-max-pool": Deviation(FUSION, (("F.avg_pool2d(", "F.max_pool2d("),), "msfa.norm.input"),
    "norm-epsilon": Deviation(
        NORM_ACT, (("x = rms_norm2d(x, self.normalized_shape, self.weight, self.eps)",
                    f"x = rms_norm2d(x, self.normalized_shape, self.weight, 1e-5 if {OWN} else self.eps)"),),
        "blocks.2.10.pw_exp.bn", "blocks.2.10.pw_exp.bn"),
    "attention-unscaled": Deviation(
        ATTENTION, (("q, k, v,", f"q * (self.key_dim**0.5 if {OWN} else 1), k, v,"),),
        "blocks.3.1.attn.context", "blocks.3.1.attn"),
    "attention-heads-swapped": Deviation(
        ATTENTION, (("self._reshape_projected_query(q, self.num_heads, self.key_dim)",
                     f"(self._reshape_projected_query(q, self.key_dim, self.num_heads).transpose(1, 3) if {OWN}"
                     " else self._reshape_projected_query(q, self.num_heads, self.key_dim))"),),
        "blocks.2.9.attn.context", "blocks.2.9.attn"),
    "no-layer-scale": Deviation(
        "timm.layers.layer_scale:LayerScale2d.forward", (("x * gamma", f"(x if {OWN} else x * gamma)"),),
        "blocks.3.2.layer_scale", "blocks.3.2.layer_scale"),
    "no-skip": Deviation(
        "timm.models._efficientnet_blocks:EdgeResidual.forward",
        (("if self.has_skip:", f"if self.has_skip and not {OWN}:"),), "blocks.0.1.out", "blocks.0.1"),
    "soft-tokens-by-column": Deviation(
        "transformers.models.gemma3n.modeling_gemma3n:Gemma3nModel.get_image_features",
        (("last_hidden_state = vision_outputs.last_hidden_state",
          "last_hidden_state = vision_outputs.last_hidden_state.transpose(2, 3).contiguous()"),), "soft_tokens"),
}  # fmt: skip
