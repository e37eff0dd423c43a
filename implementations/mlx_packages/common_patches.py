"""Faults that the packages share, for they stem from one source: each with its edits in a package's module."""

from __future__ import annotations

from implementations.mlx_packages.patch import Patch
from parity.weave import Edit

_MAGNITUDE = (
    "mags = mx.{} ** 0.5\n    h[1:] = h[1:] * (target_magnitude / mx.maximum(mags, mx.finfo(h0.dtype).min))\n{}"
)
_BARE, _FLOORED = (
    "mean(h[1:] ** 2, axis=-1, keepdims=True)",
    "maximum(mx.mean(h[1:] ** 2, axis=-1, keepdims=True), 1e-5)",
)


def magnitude_floor(text: str, *behind: str) -> Patch:
    """The floor of the mean square stands under the root, so it is put where the mean is taken.

    Args:
        text: the function that makes and merges the streams.
        behind: what follows each of the two places in its source.
    """
    return Patch(
        name="magnitude-floor",
        wrong="a projected stream's magnitude is bounded by finfo.min, the most negative number, so that of zeros "
        "divides 0 by 0; the reference bounds the mean square by 1e-5",
        kind="bug",
        needs="a token whose embedding is all zero, or projects to a mean square below 1e-5",
        edits=tuple(
            Edit(text, _MAGNITUDE.format(_BARE, place), _MAGNITUDE.format(_FLOORED, place)) for place in behind
        ),
        steps=("text.altup.*",),
    )


_CLIP = "if self.config.altup_coef_clip is not None:"


def coefficients_clipped(modeling: str) -> Patch:
    """Of the module `modeling`."""
    return Patch(
        name="coefficients-clipped",
        wrong="AltUp's coefficients are clipped to altup_coef_clip at inference; the reference clips in training alone",
        kind="bug",
        needs="a weight of AltUp's coefficients beyond altup_coef_clip, which is 120 in published configurations",
        edits=tuple(Edit(f"{modeling}:Gemma3nAltUp.{name}", _CLIP, "if False:") for name in ("predict", "correct")),
        steps=("text.layers.*.altup.predict.coefs", "text.layers.*.altup.correct.coefs"),
    )


_SPLIT = "mx.unflatten({}, -1, (-1, 16))"


def moments(modeling: str) -> Patch:
    """Of the module `modeling`."""
    return Patch(
        name="moments",
        wrong="mx.mean and mx.std add one number after the other on the CPU, whose error grows with the width; the "
        "normal quantile by mx.erfinv is off by 2.8 units of float32's roundoff",
        kind="numerics",
        needs="MLX's CPU device, a layer with a sparse gate",
        edits=(
            Edit(
                f"{modeling}:gelu_topk",
                "mx.mean(inputs, axis=-1, keepdims=True)",
                f"mx.mean(mx.mean({_SPLIT.format('inputs')}, axis=-1), axis=-1, keepdims=True)",
            ),
            Edit(
                f"{modeling}:gelu_topk",
                "mx.std(inputs, axis=-1, keepdims=True)",
                f"mx.mean(mx.mean({_SPLIT.format('(inputs - inputs_mean) ** 2')}, axis=-1), "
                "axis=-1, keepdims=True) ** 0.5",
            ),
            Edit(
                f"{modeling}:MLP.__init__",
                "math.sqrt(2.0) * mx.erfinv(\n            2 * self.activation_sparsity - 1\n        )",
                "mx.array(__import__('statistics').NormalDist().inv_cdf(self.activation_sparsity))",
            ),
        ),
        steps=("text.layers.*.mlp.gate_mean", "text.layers.*.mlp.gate_std", "text.layers.*.mlp.cutoff"),
    )


def kv_without_cache(text: str, made: str) -> Patch:
    """Of the function `text`; `made` is the expression for a new cache."""
    return Patch(
        name="kv-without-cache",
        wrong="without a cache the KV-shared layers project keys and values of their own; they are their donor's",
        kind="bug",
        needs="a forward pass without a cache, as in training",
        edits=(Edit(text, "cache = [None] * len(self.layers)", f"cache = {made}"),),
        steps=("text.layers.*.attn.keys", "text.layers.*.attn.values"),
    )
