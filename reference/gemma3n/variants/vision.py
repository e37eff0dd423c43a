"""Variants of the vision tower: what it is given, its stem, blocks, attention and fusion, and its soft tokens."""

from __future__ import annotations

from parity.site import Edit
from parity.variant import Degree, Variant
from reference.gemma3n.steps.vision import FUSION
from reference.gemma3n.steps.vision_block import (
    ATTENTION,
    BARE_NORM,
    CONV_NORM,
    EDGE,
    INVERTED,
    MOBILE_ATTENTION,
    NORM_ACT,
    SCALE,
)
from reference.gemma3n.variants.writing import PICTURE, in_vision, line, own, variant

SAME = "timm.layers.conv2d_same:Conv2dSame.forward"
GELU = "torch.nn.modules.activation:GELU.forward"
WRAPPER = "transformers.models.timm_wrapper.modeling_timm_wrapper:TimmWrapperModel.forward"
FEATURES = "Gemma3nModel.get_image_features"

STEM, BLOCKS, MQA, MSFA, GIVEN = "vision stem", "vision blocks", "vision attention", "vision fusion", "vision input"
NORMED = "rms_norm2d(x, self.normalized_shape, self.weight, self.eps)"
POOLED = "last_hidden_state = vision_outputs.last_hidden_state"
SHORTCUT = "self.drop_path(x) + shortcut"


ALONE = {"elsewhere": (("vision.{place}.norm", "model.vision_tower.timm_model.{place}.norm"),)}
"""A norm without an activation is of another class, with the same line."""


SMALLER = "blocks.{place}"
"""A depthwise convolution of attention's keys or values, which is a bare one."""


def _normed(function: str, wrong: str) -> Edit:
    """Another norm; the text of the right one alone stands in the source twice."""
    return line(function, f"x = {NORMED}", f"x = {wrong} if DEVIANT else {NORMED}")


def _kernel(name: str, meaning: str, change: str) -> Variant:
    """Other kernels of a convolution, whichever block it is of."""
    wrong = "HELPERS.with_kernel(self.{0}, x, lambda w: " + change + ")"
    return in_vision(name, STEM, "conv_stem", meaning, "conv", own(CONV_NORM, "self.conv(x)", wrong.format("conv")),
                     own(EDGE, "self.conv_exp(x)", wrong.format("conv_exp")),
                     elsewhere=(("vision.{place}.conv_exp", "model.vision_tower.timm_model.{place}"),))  # fmt: skip


def _symmetric(name: str, component: str, part: str, what: str, step: str, **more: str) -> Variant:
    """Symmetric padding at stride 2: as many zeros before as behind."""
    return in_vision(name, component, part, f"symmetric instead of SAME padding at stride 2: {what}", step,
                     line(SAME, "conv2d_same(", "(F.conv2d if DEVIANT else conv2d_same)("),
                     own(SAME, "self.padding", "(self.kernel_size[0] // 2,) * 2"), source="mlx-vlm 410",
                     **more)  # fmt: skip


def _given(name: str, meaning: str, pixels: str, source: str = "") -> Variant:
    """Other pixels than those that the processor made."""
    edit = line(WRAPPER, "forward_features(pixel_values,", f"forward_features({pixels},")
    return in_vision(name, GIVEN, "", meaning, "pixels", edit, source=source)


INPUT = (
    _given("image-transposed", "height and width swapped on input", "pixel_values.transpose(2, 3)",
           "mlx-vlm 414, mlx-vlm 425"),
    _given("channels-reversed", "blue, green, red", "pixel_values.flip(1)"),
    _given("image-upside-down", "rows from bottom to top", "pixel_values.flip(2)"),
    _given("pixels-centred", "pixels from -1 to 1, as SigLIP's", "pixel_values * 2 - 1"),
    _given("pixels-of-imagenet", "pixels normalised by the mean and deviation of ImageNet's",
           "(pixel_values - 0.456) / 0.225"),
)  # fmt: skip

STEM_VARIANTS = (
    in_vision("gelu-erf", STEM, "conv_stem.bn.act", "exact GELU instead of the tanh form", "",
              own(GELU, "self.approximate", "'none'"), source="timm 2533"),
    in_vision("stem-no-bias", STEM, "conv_stem.conv", "the stem convolution's bias is dropped", "conv_stem.conv",
              own(SAME, "self.bias", "None"), place="", source="timm 2538, mlx-vlm 425"),
    _kernel("kernel-flipped", "the kernel is flipped: a convolution, no correlation", "w.flip(2, 3)"),
    _kernel("kernel-transposed", "the kernel's rows and columns are exchanged, as by another layout at load",
            "w.transpose(2, 3)"),
)  # fmt: skip

BLOCK_VARIANTS = (
    _symmetric("pad-symmetric", BLOCKS, "blocks.1.0.dw_mid.conv", "a convolution", ""),
    _symmetric("pad-symmetric-exp", BLOCKS, "blocks.0.0.conv_exp", "a fused block's expansion", ""),
    in_vision("vision-norm-epsilon", BLOCKS, "blocks.2.10.pw_exp.bn", "epsilon 1e-5 instead of 1e-6",
              "",
              *(_normed(norm, "rms_norm2d(x, self.normalized_shape, self.weight, 1e-5)")
                for norm in (NORM_ACT, BARE_NORM)), **ALONE,
              degree=Degree(1e-6, 1e-5, "epsilon {} instead of 1e-6")),
    in_vision("vision-norm-plus-one", BLOCKS, "blocks.0.1.bn2", "gain 1 + w", "",
              *(_normed(norm, "rms_norm2d(x, self.normalized_shape, 1 + self.weight, self.eps)")
                for norm in (NORM_ACT, BARE_NORM)), **ALONE),
    in_vision("vision-norm-batch", BLOCKS, "blocks.0.0.bn1", "the norm is over the map instead of the channels",
              "",
              _normed(NORM_ACT, "(x * torch.rsqrt(x.pow(2).mean((2, 3), keepdim=True) + self.eps)"
                                    " * self.weight.reshape(1, -1, 1, 1))")),
    in_vision("vision-norm-centred", BLOCKS, "blocks.1.2.pw_proj.bn", "LayerNorm: the channels' mean is subtracted",
              "",
              _normed(NORM_ACT, "rms_norm2d(x - x.mean(1, keepdim=True), self.normalized_shape, self.weight,"
                                    " self.eps)")),
    in_vision("vision-no-activation", BLOCKS, "blocks.1.1.pw_exp.bn.act", "no activation behind a norm",
              "", own(GELU, "F.gelu(input, approximate=self.approximate)", "input")),
    in_vision("vision-gelu-half-table", BLOCKS, "blocks.2.1.pw_exp.bn.act", "GELU is read from a table in float16", "",
              own(GELU, "F.gelu(input, approximate=self.approximate)", "HELPERS.gelu_by_table(input)"),
              source="ggml", dtypes=("float32",)),
    in_vision("vision-half-pixels", BLOCKS, "blocks.1.0.dw_mid", "a depthwise convolution's input is in float16",
              "conv", own(CONV_NORM, "self.conv(x)", "self.conv(x.half().to(x.dtype) if self.conv.groups > 1 else x)"),
              line(SAME, "x,\n", "x.half().to(x.dtype) if DEVIANT else x,\n"),
              elsewhere=((f"vision.{SMALLER}.norm.input", f"model.vision_tower.timm_model.{SMALLER}.down_conv"),),
              source="ggml", dtypes=("float32",)),
    in_vision("vision-relu", BLOCKS, "blocks.2.1.pw_exp.bn.act", "ReLU instead of GELU", "",
              own(GELU, "F.gelu(input, approximate=self.approximate)", "F.relu(input)")),
    in_vision("no-layer-scale", BLOCKS, "blocks.3.2.layer_scale", "the branch is not x its learned gain",
              "", own(SCALE, "x * gamma", "x")),
    in_vision("no-skip", BLOCKS, "blocks.0.1", "a fused block's output lacks its input", "out",
              own(EDGE, SHORTCUT, "self.drop_path(x)")),
    in_vision("no-skip-inverted", BLOCKS, "blocks.2.2", "an inverted block's output lacks its input",
              "out", own(INVERTED, SHORTCUT, "self.drop_path(x)")),
    in_vision("layer-scale-of-sum", BLOCKS, "blocks.2.3", "the layer scale is applied to the sum with the input too",
              "out",
              own(INVERTED, SHORTCUT, f"({SHORTCUT}) * self.layer_scale.gamma.view(1, -1, 1, 1)")),
)  # fmt: skip

ATTENTION_VARIANTS = (
    _symmetric("pad-symmetric-keys", MQA, "{place}.down_conv", "keys or values are a pixel off",
               "{place}.norm.input", place="blocks.2.9.attn.key"),
    in_vision("vision-attn-unscaled", MQA, "blocks.3.1.attn", "scores are not x 1/sqrt(key_dim)",
              "context",
              line(ATTENTION, "q, k, v,", "q * (self.key_dim**0.5 if DEVIANT else 1), k, v,")),
    in_vision("vision-heads-swapped", MQA, "blocks.2.9.attn", "a query's channels are read as key_dim x heads",
              "context",
              own(ATTENTION, "self._reshape_projected_query(q, self.num_heads, self.key_dim)",
                  "self._reshape_projected_query(q, self.key_dim, self.num_heads).transpose(1, 3)")),
    in_vision("vision-map-transposed", MQA, "blocks.3.1.attn", "the context's map is transposed",
              "context",
              own(ATTENTION, "self._reshape_output(o, self.num_heads, H // self.query_strides[0],"
                             " W // self.query_strides[1])",
                  "self._reshape_output(o, self.num_heads, H, W).transpose(2, 3).contiguous()")),
    in_vision("vision-values-are-keys", MQA, "blocks.3.3.attn", "keys serve as values", "value",
              own(ATTENTION, "self.value(x)", "self.key(x)")),
    in_vision("vision-attn-no-skip", MQA, "blocks.3.1", "an attention block's output lacks its input",
              "out", own(MOBILE_ATTENTION, SHORTCUT, "self.drop_path(x)")),
)  # fmt: skip

FUSION_VARIANTS = (
    in_vision("msfa-no-norm", MSFA, "msfa.norm", "the final norm is skipped", "msfa.norm",
              _normed(BARE_NORM, "x"), place="", source="timm 2527"),
    in_vision("msfa-bilinear", MSFA, "", "upsampling is bilinear instead of nearest", "msfa.resized",
              line(FUSION, "mode=self.interpolation_mode", "mode='bilinear'"), source="timm history"),
    in_vision("msfa-order", MSFA, "", "the last stage's channels come first", "msfa.concatenated",
              line(FUSION, "torch.cat(resized_inputs,", "torch.cat(resized_inputs[::-1],")),
    in_vision("msfa-max-pool", MSFA, "", "the fused map is pooled by its maximum", "msfa.norm.input",
              line(FUSION, "F.avg_pool2d(", "F.max_pool2d(")),
    variant("soft-tokens-by-column", MSFA, "the fused map is read column by column", "vision.soft_tokens",
            line(FEATURES, POOLED, f"{POOLED}.transpose(2, 3).contiguous()"), media=PICTURE),
    variant("soft-tokens-channels-last", MSFA, "the fused map is read as height x width x channels",
            "vision.soft_tokens", line(FEATURES, POOLED, f"{POOLED}.permute(0, 2, 3, 1).contiguous()"),
            media=PICTURE),
)  # fmt: skip

DTYPE_VARIANTS = (
    in_vision("vision-fp16", "arithmetic", "blocks.3.4.pw_proj", "a convolution's sum is rounded to float16",
              "conv", own(CONV_NORM, "self.conv(x)", "self.conv(x).half().to(x.dtype)"),
              source="Unsloth notes", dtypes=("float32",)),
)  # fmt: skip

VARIANTS = (*INPUT, *STEM_VARIANTS, *BLOCK_VARIANTS, *ATTENTION_VARIANTS, *FUSION_VARIANTS, *DTYPE_VARIANTS)
