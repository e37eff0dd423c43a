"""What is wrong in mlx-lm 0.32.2: each fault proven by an edit, in memory, with which the divergence goes away.

`mlx-lm@patch=NAME` runs the package with a fault mended, `mlx-lm@patch=all` with all. docs/third-party.md has figures.
"""

from __future__ import annotations

import inspect
import textwrap
from dataclasses import dataclass

from parity.errors import UsageError
from parity.weave import Edit, resolve

MODELING = "mlx_lm.models.gemma3n"
TEXT = f"{MODELING}:LanguageModel.__call__"


@dataclass(frozen=True)
class Patch:
    """A fault and its cure.

    Attributes:
        name: what users call it.
        wrong: what the package does, and what the reference does.
        kind: ``bug``, ``deliberate`` (a difference by design), or ``numerics`` (right, but less exact).
        needs: the runs in which it shows.
        edits: the cure.
        steps: where it is introduced, ``*`` for any text.
    """

    name: str
    wrong: str
    kind: str
    needs: str
    edits: tuple[Edit, ...]
    steps: tuple[str, ...]

    @property
    def where(self) -> tuple[int, ...]:
        """Lines of the installed ``mlx_lm/models/gemma3n.py`` that the edits change."""
        return tuple(_line(edit) for edit in self.edits)


def _line(edit: Edit) -> int:
    lines, first = inspect.getsourcelines(resolve(edit.function))
    before = textwrap.dedent("".join(lines)).partition(edit.old)[0]
    return first + before.count("\n")


KV_WITHOUT_CACHE = Patch(
    name="kv-without-cache",
    wrong="without a cache the KV-shared layers project keys and values of their own; they are their donor's",
    kind="bug",
    needs="a forward pass without a cache, as in mlx_lm.lora and mlx_lm.perplexity",
    edits=(Edit(TEXT, "cache = [None] * len(self.layers)", "cache = self.make_cache()"),),
    steps=("text.layers.*.attn.keys", "text.layers.*.attn.values"),
)

# The floor of the mean square stands under the root, so it is put where the mean is taken, in both of its places.
_MAGNITUDE = (
    "mags = mx.{} ** 0.5\n    h[1:] = h[1:] * (target_magnitude / mx.maximum(mags, mx.finfo(h0.dtype).min))\n{}"
)
_BARE, _FLOORED = (
    "mean(h[1:] ** 2, axis=-1, keepdims=True)",
    "maximum(mx.mean(h[1:] ** 2, axis=-1, keepdims=True), 1e-5)",
)
_EMBED, _UNEMBED = "    # One position", "\n    h = mx.mean"

MAGNITUDE_FLOOR = Patch(
    name="magnitude-floor",
    wrong="a projected stream's magnitude is bounded by finfo.min, the most negative number, so that of zeros divides "
    "0 by 0; the reference bounds the mean square by 1e-5",
    kind="bug",
    needs="a token whose embedding is all zero, or projects to a mean square below 1e-5",
    edits=tuple(
        Edit(TEXT, _MAGNITUDE.format(_BARE, place), _MAGNITUDE.format(_FLOORED, place)) for place in (_EMBED, _UNEMBED)
    ),
    steps=("text.altup.*",),
)

_CLIP = "if self.config.altup_coef_clip is not None:"

COEFFICIENTS_CLIPPED = Patch(
    name="coefficients-clipped",
    wrong="AltUp's coefficients are clipped to altup_coef_clip at inference; the reference clips in training alone",
    kind="bug",
    needs="a weight of AltUp's coefficients beyond altup_coef_clip, which is 120 in published configurations",
    edits=tuple(Edit(f"{MODELING}:Gemma3nAltUp.{name}", _CLIP, "if False:") for name in ("predict", "correct")),
    steps=("text.layers.*.altup.predict.coefs", "text.layers.*.altup.correct.coefs"),
)

MEDIA_IDS_AS_TEXT = Patch(
    name="media-ids-as-text",
    wrong="ids of pictures and sounds are embedded as text; the reference embeds them by the embedder of their kind",
    kind="deliberate",
    needs="an id beyond the text's",
    edits=(
        Edit(
            f"{MODELING}:Model.sanitize",
            'weights["model"].pop(k, None)',
            "self.model.language_model.__dict__.setdefault('dropped', {})[k] = weights['model'].pop(k, None)",
        ),
        Edit(
            TEXT,
            "per_layer_inputs = self.get_per_layer_inputs(inputs)",
            "__import__('implementations.mlx_lm.hard', fromlist=['fill']).fill(h, inputs, self)\n"
            "    per_layer_inputs = self.get_per_layer_inputs(inputs)",
        ),
    ),
    steps=("text.inputs_embeds",),
)

_SPLIT = "mx.unflatten({}, -1, (-1, 16))"

MOMENTS = Patch(
    name="moments",
    wrong="mx.mean and mx.std add one number after the other on the CPU, whose error grows with the width; the normal "
    "quantile by mx.erfinv is off by 2.8 units of float32's roundoff",
    kind="numerics",
    needs="MLX's CPU device, a layer with a sparse gate",
    edits=(
        Edit(
            f"{MODELING}:gelu_topk",
            "mx.mean(inputs, axis=-1, keepdims=True)",
            f"mx.mean(mx.mean({_SPLIT.format('inputs')}, axis=-1), axis=-1, keepdims=True)",
        ),
        Edit(
            f"{MODELING}:gelu_topk",
            "mx.std(inputs, axis=-1, keepdims=True)",
            f"mx.mean(mx.mean({_SPLIT.format('(inputs - inputs_mean) ** 2')}, axis=-1), axis=-1, keepdims=True) ** 0.5",
        ),
        Edit(
            f"{MODELING}:MLP.__init__",
            "math.sqrt(2.0) * mx.erfinv(\n            2 * self.activation_sparsity - 1\n        )",
            "mx.array(__import__('statistics').NormalDist().inv_cdf(self.activation_sparsity))",
        ),
    ),
    steps=("text.layers.*.mlp.gate_mean", "text.layers.*.mlp.gate_std", "text.layers.*.mlp.cutoff"),
)

PATCHES = (KV_WITHOUT_CACHE, MAGNITUDE_FLOOR, COEFFICIENTS_CLIPPED, MEDIA_IDS_AS_TEXT, MOMENTS)


def chosen(names: str) -> tuple[Patch, ...]:
    """The patches that a user asks for, ``NAME``, ``NAME+NAME`` or ``all``; none for no text.

    Raises:
        UsageError: for an unknown name.
    """
    if names == "all":
        return PATCHES
    known = {patch.name: patch for patch in PATCHES}
    wanted = [name for name in names.split("+") if name]
    if unknown := [name for name in wanted if name not in known]:
        raise UsageError(f"mlx-lm has no patch {unknown[0]!r}; it has {', '.join(known)} and all")
    return tuple(known[name] for name in wanted)
