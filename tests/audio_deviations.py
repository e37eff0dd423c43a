"""Known and likely bugs of audio paths, each a line of the reference that is wrong in one module."""

from __future__ import annotations

from dataclasses import dataclass

from parity.weave import Edit
from reference.steps import MODELING

OWN = "getattr(self, 'deviant', False)"
NORM, BLOCK = "subsample_conv_projection.conv_0.norm", "conformer.1"
ATTN = f"{BLOCK}.attention.attn"
POSITION = f"{ATTN}.relative_position_embedding"


@dataclass(frozen=True)
class Deviation:
    """Wrong lines in one function of one module.

    Attributes:
        function: ``Class.function``.
        lines: what stands there, and what instead.
        first: the step at which they must be found.
        module: path of the one module that deviates, inside the audio tower; empty where all do.
    """

    function: str
    lines: dict[str, str]
    first: str
    module: str = ""

    @property
    def edits(self) -> tuple[Edit, ...]:
        """The lines as edits of the reference."""
        return tuple(Edit(f"{MODELING}:{self.function}", old, new) for old, new in self.lines.items())


def _own(function: str, old: str, new: str, module: str, step: str) -> Deviation:
    """One wrong expression, in one module."""
    return Deviation(function, {old: f"({new} if {OWN} else {old})"}, f"audio.{module}.{step}", module)


def _every(function: str, old: str, new: str, first: str) -> Deviation:
    """One wrong expression, wherever the function runs."""
    return Deviation(function, {old: new}, first)


_CUMULATIVE = ("sum_values_at_t", "elements_in_group_at_t", "sum_sq_diff_at_t")
_ATTENTION, _LIGHT = "Gemma3nAudioAttention.forward", "Gemma3nAudioConformerLightConv1d.forward"
_ENCODER = "Gemma3nAudioEncoder.forward"

DEVIATIONS = {
    "mel-mask-off-by-one": _every(
        "Gemma3nModel.get_audio_features", "input_features, input_features_mask,",
        "input_features, input_features_mask & input_features_mask.roll(1, 1),", "audio.mask"),
    "audio-mask-ignored": _own(_ATTENTION, "~mask", "torch.ones_like(mask)", ATTN, "mask"),
    "sscp-layernorm": Deviation(
        "Gemma3nAudioCumulativeGroupNorm.forward",
        {f"torch.cumsum({name}, dim=1)": f"({name} if {OWN} else torch.cumsum({name}, dim=1))" for name in _CUMULATIVE},
        f"audio.{NORM}.cum_mean", NORM),
    "sscp-eps": Deviation(
        "Gemma3nAudioCumulativeGroupNorm.forward", {"self.eps": f"(1e-5 if {OWN} else self.eps)"},
        "audio.subsample_conv_projection.conv_0.normed", NORM),
    "sscp-padding-symmetric": _every(
        "Gemma3nAudioSSCPConvBlock.forward", "self.manual_padding,",
        "((1, 1, 1, 1) if self.conv.in_channels == 1 else self.manual_padding),",
        "audio.subsample_conv_projection.conv_0.conv"),
    "sscp-channels-outside": _every(
        "Gemma3nAudioSubSampleConvProjection.forward", "x.permute(0, 2, 3, 1)",
        "x.permute(0, 2, 1, 3).reshape(b, t_out, f_out, c_out)", "audio.subsample_conv_projection.flattened"),
    "mask-not-subsampled": _every(
        _ENCODER, "torch.arange(t_sub, device=audio_mel_mask.device) * time_stride_product",
        "torch.arange(t_sub, device=audio_mel_mask.device)", "audio.subsampled_mask"),
    "residual-weight-one": _own(
        "Gemma3nAudioConformerFeedForward.forward", "self.post_layer_scale", "1.0", f"{BLOCK}.ffw_layer_end", "out"),
    "per-dim-scale-dropped": _own(
        _ATTENTION, "self.q_scale * per_dim_scale_sp_broadcast", "self.q_scale", ATTN, "q_scaled"),
    "q-scale-without-softplus": _own(_ATTENTION, "self.q_scale", "self.head_dim**-0.5", ATTN, "q_scaled"),
    "softcap-dropped": _own(_ATTENTION, "torch.tanh(logits)", "logits", ATTN, "logits"),
    "sines-interleaved": _own(
        "Gemma3nAudioRelativePositionEmbedding._get_timing_signal_1d_pos",
        "torch.cat([torch.sin(scaled_time), torch.cos(scaled_time)], dim=-1)",
        "torch.stack([torch.sin(scaled_time), torch.cos(scaled_time)], dim=-1).flatten(-2)", POSITION, "timing_signal"),
    "distances-ascending": Deviation(
        "Gemma3nAudioRelativePositionEmbedding.forward",
        {"pos_indices, dtype": f"pos_indices.flip(1) if {OWN} else pos_indices, dtype"},
        f"audio.{POSITION}.timing_signal", POSITION),
    "relative-shift-off-by-one": _own(
        "Gemma3nAudioRelativePositionEmbedding._relative_shift", "(0, pad_amount_last_dim)",
        "(1, pad_amount_last_dim - 1)", POSITION, "position_shifted"),
    "light-convolution-unmasked": _own(
        "Gemma3nAudioConformerBlock.forward", "~audio_mel_mask", "torch.ones_like(audio_mel_mask)", BLOCK, "masked"),
    "light-convolution-symmetric": _own(
        _LIGHT, "(self.causal_padding, 0)", "(self.causal_padding // 2, self.causal_padding // 2)", f"{BLOCK}.lconv1d",
        "depthwise_conv1d"),
    "glu-halves-swapped": _own(
        _LIGHT, "torch.nn.functional.glu(audio_encodings, dim=-1)",
        "torch.nn.functional.glu(audio_encodings.roll(audio_encodings.shape[-1] // 2, -1), dim=-1)",
        f"{BLOCK}.lconv1d", "glu"),
    "reduction-offset": _every(
        _ENCODER, "audio_encodings[:, :: self.config.conf_reduction_factor]",
        "audio_encodings.roll(-1, 1)[:, :: self.config.conf_reduction_factor]", "audio.reduced"),
    "output-unmasked": _every(
        _ENCODER, "audio_encodings.masked_fill(current_mask.unsqueeze(-1), 0.0)", "audio_encodings", "audio.out"),
    "soft-padding-wrong-id": _every(
        "Gemma3nModel.forward", "[[self.vocab_size - 1]]", "[[self.vocab_size - 2]]", "embed_audio.padding"),
}  # fmt: skip
