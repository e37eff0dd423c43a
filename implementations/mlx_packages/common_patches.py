"""Faults that the packages share, for they stem from one source: each with its edits in a package's module."""

from __future__ import annotations

from implementations.mlx_packages.patch import Patch
from parity.fault import Inputs, Kind
from parity.site import Edit

_MAGNITUDE = (
    "mags = mx.{} ** 0.5\n    h[1:] = h[1:] * (target_magnitude / mx.maximum(mags, mx.finfo(h0.dtype).min))\n{}"
)
_BARE, _FLOORED = (
    "mean(h[1:] ** 2, axis=-1, keepdims=True)",
    "maximum(mx.mean(h[1:] ** 2, axis=-1, keepdims=True), 1e-5)",
)


def magnitude_floor(text: str, *behind: str, proof: str) -> Patch:
    """The floor of the mean square stands under the root, so it is put where the mean is taken.

    Args:
        text: the function that makes and merges the streams.
        proof: the test.
        behind: what follows each of the two places in its source.
    """
    return Patch(
        name="magnitude-floor",
        wrong="A projected stream's magnitude is bounded by `finfo.min`, the most negative number; the reference "
        "bounds the mean square by 1e-5. A token whose embedding is all zero is divided 0 by 0, and with it all tokens "
        "of the chunk become NaN: on the CPU also the earlier ones, for a masked key's weight of 0 times NaN is NaN.",
        reached="A token whose embedding is all zero, or projects to a mean square below 1e-5; whether published "
        "checkpoints have one was not looked at.",
        edits=tuple(
            Edit(text, _MAGNITUDE.format(_BARE, place), _MAGNITUDE.format(_FLOORED, place)) for place in behind
        ),
        steps=("text.altup.*",),
        proof=proof,
    )


_CLIP = "if self.config.altup_coef_clip is not None:"


def coefficients_clipped(modeling: str) -> Patch:
    """Of the module `modeling`."""
    return Patch(
        name="coefficients-clipped",
        wrong="AltUp's coefficients are clipped to `altup_coef_clip` at inference; the reference clips in training "
        "alone.",
        reached="A weight beyond the clip, which is 120 in published configurations; shown with one below the weights.",
        edits=tuple(Edit(f"{modeling}:Gemma3nAltUp.{name}", _CLIP, "if False:") for name in ("predict", "correct")),
        steps=("text.layers.*.altup.predict.coefs", "text.layers.*.altup.correct.coefs"),
        proof="test_coefficients_are_clipped_at_inference",
    )


_SPLIT = "mx.unflatten({}, -1, (-1, 16))"


def moments(modeling: str) -> Patch:
    """Of the module `modeling`."""
    return Patch(
        name="moments",
        wrong="`mx.mean` and `mx.std` add one number after the other on the CPU: up to 9.5 and 5.4 units of roundoff "
        "at width 256, 78 and 48 at 16,384; `mx.erfinv` gives the sparsity's quantile 2.8 units off.",
        kind=Kind.NUMERICS,
        reached="MLX's CPU device, in layers with a sparse gate; a GPU adds in a tree.",
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
        inputs=Inputs("long"),
        dtypes=("float32",),
    )


def kv_without_cache(text: str, made: str, reached: str) -> Patch:
    """Of the function `text`; `made` is the expression for a new cache."""
    return Patch(
        name="kv-without-cache",
        wrong="Without a cache, KV-shared layers project keys and values of their own instead of their donor's.",
        reached=reached,
        edits=(Edit(text, "cache = [None] * len(self.layers)", f"cache = {made}"),),
        steps=("text.layers.*.attn.keys", "text.layers.*.attn.values"),
        inputs=Inputs("one-shot"),
    )
