"""What mlx-lm's ports of further architectures do otherwise than transformers, each proven by an edit in memory.

`parity survey` runs a port that diverged once more with these edits in force. Numbers in them are those of checkpoints
as `parity draw` makes them, where the port does not read the key at all.
"""

from __future__ import annotations

from collections.abc import Mapping

from implementations.mlx_packages.patch import Patch
from parity.fault import Kind
from parity.site import Edit

WINDOW, ROTATED, GROUPS = 23, 8, 2
"""Tokens of a drawn window, numbers of a drawn head that are rotated where not all are, and groups of a recurrence."""
MASK = "mask = create_attention_mask(h, cache[0])"
FULL_MASK = "fa_mask = create_attention_mask(h, cache[self.fa_idx])"
GELU, TANH = "nn.gelu(", "nn.gelu_approx("


def _unwindowed(function: str, mask: str = MASK) -> Patch:
    """Of a model whose layers all look back on a window."""
    return Patch(
        name="window",
        wrong="`sliding_window` is not read: every token attends to all before it; in the reference to so many as the "
        "window has.",
        reached="Prompts longer than the window.",
        edits=(Edit(function, mask, mask.replace("])", f"], window_size={WINDOW})")),),
    )


def _padded(mixer: str, states: str) -> Patch:
    """Of a recurrence that goes through the padding of a batch.

    Args:
        mixer: the class that computes it.
        states: what its method calls the two states that it takes from its cache.
    """
    read, kept = f"{states} = cache[0], cache[1]", "x if self._kept is None else mx.where(self._kept[..., None], x, 0)"
    lines = ("x, z = xz.split(indices_or_sections=2, axis=-1)", "x = nn.silu(conv_out)")
    forms = (f"{lines[0]}; x = {kept}", f"{lines[1]}; x = {kept}")
    return Patch(
        name="padding",
        wrong="What rows of a batch are padded with goes through the recurrence, on whichever side it stands; the "
        "reference reads their mask.",
        reached="Rows of unequal length: of the package's own batches, which it pads on the right, all but the longest "
        "go on from a wrong state.",
        edits=(
            Edit(
                f"{mixer}.__call__",
                read,
                f"{read}; self._kept = cache.make_mask(x.shape[1]); cache.advance(x.shape[1])",
            ),
            *(Edit(f"{mixer}._process_sequence", *both) for both in zip(lines, forms, strict=True)),
        ),
    )


def _gelu(function: str, old: str, new: str, wrong: str) -> Patch:
    return Patch(name="gelu", wrong=wrong, kind=Kind.BUG, edits=(Edit(function, old, new),))


_EXACT = "GELU is computed by the error function; the reference's is that of `hidden_act`, the approximation by tanh."
_APPROXIMATE = (
    "GELU is computed by the approximation by tanh; the reference's is that of `hidden_act`, by the error function."
)
_BOTH_MASKS = (
    "mask = create_attention_mask(h, cache[0], return_array=True)",
    "mask = create_attention_mask(h, cache[0], return_array=True); "
    f"windowed = create_attention_mask(h, cache[0], window_size={WINDOW}, return_array=True)",
)
_TURNED = "mx.fast.rope({0}, {1}, traditional=True, base=self.rope.base, scale=1.0, offset=cache.offset)"

_CHOSEN = "mx.argpartition(-gates, kth=k - 1, axis=-1)"
_TAKEN, _SCORED = "mx.take_along_axis(gates, inds, axis=-1)", "mx.softmax(scores, axis=-1, precise=True)"

_INDEXER = (
    Patch(
        name="indexer-epsilon",
        wrong="The epsilon of the indexer's LayerNorm is the framework's, 1e-5; the reference's is 1e-6.",
        edits=(
            Edit(
                "mlx_lm.models.deepseek_v32:Indexer.__call__",
                "self.k_norm(k)",
                "mx.fast.layer_norm(k, self.k_norm.weight, self.k_norm.bias, 1e-6)",
            ),
        ),
    ),
)

_UNMASKED = (_padded("mlx_lm.models.mamba:MambaBlock", "conv_cache, state_cache"),)

PATCHES: Mapping[str, tuple[Patch, ...]] = {
    "deepseek_v32": _INDEXER,
    "falcon_mamba": _UNMASKED,
    "glm_moe_dsa": _INDEXER,
    "ernie4_5_moe": (
        Patch(
            name="correction-bias",
            wrong="`e_score_correction_bias` is dropped while the checkpoint is loaded: experts are chosen by their "
            "scores alone; in the reference by scores and bias.",
            edits=(
                Edit(
                    "mlx_lm.models.ernie4_5_moe:Model.sanitize",
                    "remove_patterns = [",
                    "[setattr(self.layers[int(key.split('.')[2])].mlp, '_bias', value.reshape(-1))"
                    " for key, value in weights.items() if 'e_score_correction_bias' in key]; remove_patterns = [",
                ),
                Edit(
                    "mlx_lm.models.ernie4_5_moe:Ernie4_5_MoeMLP.__call__",
                    _CHOSEN,
                    _CHOSEN.replace("-gates", "-(gates + self._bias)"),
                ),
            ),
        ),
    ),
    "gemma": (_gelu("mlx_lm.models.gemma:MLP.__call__", GELU, TANH, _EXACT),),
    "gemma2": (
        Patch(
            name="window",
            wrong="`sliding_window` is not read: in every layer each token attends to all before it; in the reference, "
            "in every second layer to so many as the window has.",
            reached="Prompts longer than the window.",
            edits=(
                Edit("mlx_lm.models.gemma2:GemmaModel.__call__", *_BOTH_MASKS),
                Edit(
                    "mlx_lm.models.gemma2:GemmaModel.__call__",
                    "for layer, c in zip(self.layers, cache):\n        h = layer(h, mask, c)",
                    "for at, (layer, c) in enumerate(zip(self.layers, cache)):\n"
                    "        h = layer(h, mask if at % 2 else windowed, c)",
                ),
            ),
        ),
        Patch(
            name="batch-mask",
            wrong="Scores have an axis more than the mask of a batch, whose rows so lie along the key heads: each head "
            "sees what some other text may see; in the reference each text what it may.",
            reached="Batches with as many rows as there are key heads; with others it fails.",
            edits=(
                Edit(
                    "mlx_lm.models.gemma2:Attention.__call__",
                    "scores = mx.tanh(",
                    "mask = mask[:, :, None] if self.repeats > 1 and mask is not None and mask.ndim == 4 else mask; "
                    "scores = mx.tanh(",
                ),
            ),
        ),
    ),
    "gemma3_text": (
        Patch(
            name="embedding-scale",
            wrong="The embedding's scale is rounded to bfloat16 in every arithmetic; in the reference to that which it "
            "computes in.",
            edits=(
                Edit(
                    "mlx_lm.models.gemma3_text:Gemma3Model.__call__",
                    "mx.array(self.args.hidden_size**0.5, mx.bfloat16)",
                    "mx.array(self.args.hidden_size**0.5, h.dtype)",
                ),
            ),
        ),
    ),
    "glm": (
        Patch(
            name="partial-rotary",
            wrong="`partial_rotary_factor` is not read: all numbers of a head are rotated; in the reference the part "
            "that it says, a half in published configurations.",
            edits=tuple(
                Edit(
                    "mlx_lm.models.glm:GLMAttention.__call__",
                    f"self.rope({name}, offset=cache.offset)",
                    _TURNED.format(name, ROTATED),
                )
                for name in ("queries", "keys")
            ),
        ),
    ),
    "glm4_moe_lite": (
        Patch(
            name="latent-epsilon",
            wrong="The norms of latent queries and keys have the epsilon `rms_norm_eps`; the reference's have 1e-6.",
            edits=tuple(
                Edit(
                    "mlx_lm.models.glm4_moe_lite:Glm4MoeLiteAttention.__call__",
                    f"self.{norm}(",
                    f"(lambda x: mx.fast.rms_norm(x, self.{norm}.weight, 1e-6))(",
                )
                for norm in ("q_a_layernorm", "kv_a_layernorm")
            ),
        ),
    ),
    "gpt_neox": (_gelu("mlx_lm.models.gpt_neox:MLP.__call__", TANH, GELU, _APPROXIMATE),),
    "jamba": (
        Patch(
            name="router-softmax",
            wrong="The scores of the chosen experts are a softmax over these alone; in the reference over all experts, "
            "and what is chosen is not made to sum to 1.",
            edits=(
                Edit(
                    "mlx_lm.models.jamba:JambaSparseMoeBlock.__call__",
                    _TAKEN,
                    _TAKEN.replace("gates", "mx.softmax(gates, axis=-1, precise=True)"),
                ),
                Edit("mlx_lm.models.jamba:JambaSparseMoeBlock.__call__", _SCORED, "scores"),
            ),
        ),
        _padded("mlx_lm.models.jamba:JambaMambaMixer", "conv_state, ssm_state"),
    ),
    "mamba": _UNMASKED,
    "mamba2": (
        Patch(
            name="grouped-norm",
            wrong="The norm behind the recurrence is of all numbers together; the reference's is of each group's by "
            "themselves.",
            reached="Models with `n_groups` above 1, as Mamba-Codestral's 8.",
            edits=(
                Edit(
                    "mlx_lm.models.mamba2:MambaRMSNormGated.__call__",
                    "mx.fast.rms_norm(hidden_states, self.weight, self.eps)",
                    f"mx.fast.rms_norm(mx.unflatten(hidden_states, -1, ({GROUPS}, -1)), None, self.eps).flatten(-2)"
                    " * self.weight",
                ),
            ),
        ),
    ),
    "ministral3": (_unwindowed("mlx_lm.models.ministral3:LanguageModel.__call__", FULL_MASK),),
    "mistral": (_unwindowed("mlx_lm.models.llama:LlamaModel.__call__", FULL_MASK),),
    "mixtral": (_unwindowed("mlx_lm.models.mixtral:MixtralModel.__call__"),),
    "nemotron_h": (
        Patch(
            name="shortest-step",
            wrong="Steps in time are bounded by `time_step_limit`, which is 0 and infinity; the reference's are at "
            "least `time_step_min`.",
            reached="Tokens and heads whose step is below it, 0.001 in published files.",
            edits=(
                Edit(
                    "mlx_lm.models.nemotron_h:NemotronHMamba2Mixer._ssm",
                    "self.time_step_limit,",
                    '(0.001, float("inf")),',
                ),
            ),
        ),
    ),
    "phi3": (_unwindowed("mlx_lm.models.phi3:Phi3Model.__call__"),),
    "solar_open": (
        Patch(
            name="groups-left-out",
            wrong="Experts of the groups that are left out score 0, and so are chosen before those of the others whose "
            "score with its bias is negative; in the reference none of them can be chosen.",
            reached="Biases that make scores negative. Here so much is added that none is, which changes no order.",
            edits=(
                Edit(
                    "mlx_lm.models.glm4_moe:MoEGate.__call__",
                    "self.e_score_correction_bias,",
                    "self.e_score_correction_bias + 8,",
                ),
            ),
        ),
    ),
    "starcoder2": (
        _gelu("mlx_lm.models.starcoder2:MLP.__call__", GELU, TANH, _EXACT),
        _unwindowed("mlx_lm.models.starcoder2:Starcoder2Model.__call__"),
    ),
}
