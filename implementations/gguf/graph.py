"""The table: which node of llama.cpp's graph of Gemma 3n is which step of the contract, and how it lies in memory.

A node is found by its own name (``attn_norm-3``), by the weight that it reads (``blk.3.attn_q.weight``), or by its
place behind the one that does: mean, deviation, cutoff and activation of a gate have no names, and follow its product
in a fixed order. What each node computes is said as well, so that another build's graph is refused and never misread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from implementations.gemma3n.config import TextConfig

LayerTest = Callable[[TextConfig, int], bool]


def every(config: TextConfig, layer: int) -> bool:
    """Every layer has it."""
    return True


def owns_keys(config: TextConfig, layer: int) -> bool:
    """Layers that compute keys and values."""
    return config.owns_keys(layer)


def sparse(config: TextConfig, layer: int) -> bool:
    """Layers whose gate is cut to its largest values."""
    return config.activation_sparsity_pattern[layer] > 0


def dense(config: TextConfig, layer: int) -> bool:
    """The other layers."""
    return not sparse(config, layer)


@dataclass(frozen=True)
class Row:
    """A step and where it is in the graph.

    Attributes:
        step: its name; in a layer's table behind the layer's scope.
        node: the node's name without the layer, or the weight's that it reads.
        op: what the node computes.
        memory: axes as they lie in memory, the slowest first: ggml's own order the other way round. ``slot`` is a
            place of the cache, ``token`` all real tokens of all rows, one after the other, and ``other`` a stream but
            the first.
        behind: so many nodes behind the one that reads the weight.
        again: the second such node of the layer: AltUp's router runs twice.
        source: the value is this source of the node, read before it runs; None where it is the node's own.
        length: the node is an L2 norm, where the contract has the root mean square.
        index: along the first axis, where the step is one of several that lie there; None where it is all.
        axes: the same in the contract's order; empty where they lie so.
        only: which layers have it.
    """

    step: str
    node: str
    op: str
    memory: str
    behind: int = 0
    again: bool = False
    source: int | None = None
    length: bool = False
    index: int | None = None
    axes: str = ""
    only: LayerTest = every

    @property
    def order(self) -> tuple[int, ...]:
        """Of the axes in memory, as the contract has them."""
        memory = self.memory.split()
        return tuple(memory.index(axis) for axis in (self.axes or self.memory).split())

    @property
    def address(self) -> Address:
        """Where it is found."""
        return self.node, self.behind, self.again


Address = tuple[str, int, bool]
"""Name of a node or of the weight that it reads, how far behind, and whether it is the second."""

HIDDEN, STREAMS, OTHERS, ONE = "token hidden", "stream token hidden", "other token hidden", "token one"
PLE, GATE = "token ple", "token intermediate"
PER_LAYER = "token layer ple"
QUERIES, KEYS, CACHE = "token head head_dim", "token kv_head head_dim", "kv_head slot head_dim"

EMBEDDED, MERGED_IMAGE, MERGED_AUDIO = "text.embed_tokens", "text.merged.image", "text.merged.audio"

EMBED = {
    False: (
        Row(EMBEDDED, "inp_scaled", "MUL", HIDDEN),
        Row(MERGED_IMAGE, "inp_scaled", "MUL", HIDDEN),
        Row(MERGED_AUDIO, "inp_scaled", "MUL", HIDDEN),
        Row("text.inputs_embeds", "inp_scaled", "MUL", HIDDEN),
        Row("text.per_layer_inputs.token", "inp_per_layer_selected", "SCALE", PER_LAYER),
    ),
    True: (
        Row(MERGED_IMAGE, "inp_scaled", "MUL", HIDDEN),
        Row(MERGED_AUDIO, "inp_scaled", "MUL", HIDDEN),
        Row("text.inputs_embeds", "inp_scaled", "MUL", HIDDEN),
        Row("text.per_layer_inputs.token", "inp_per_layer_multimodal", "RESHAPE", "layer ple"),
    ),
}
"""How token ids enter the graph, and how rows of media do: these all have the per-layer input of id 0."""
STACK = (
    Row("text.per_layer_inputs.projection", "per_layer_model_proj.weight", "SCALE", PER_LAYER, behind=1),
    Row("text.per_layer_inputs.projection_norm", "per_layer_proj", "MUL", PER_LAYER),
    Row("text.per_layer_inputs.out", "inp_per_layer", "SCALE", PER_LAYER),
    Row("text.altup.embed.target_magnitude", "altup_proj.weight", "SQRT", ONE, behind=3, length=True),
    Row("text.altup.embed.{i}.projection", "altup_proj.weight", "MUL_MAT", OTHERS),
    Row("text.altup.embed.{i}.magnitude", "altup_proj.weight", "SQRT", "other token one", behind=7, length=True),
    Row("text.altup.embed.{i}.out", "altup_proj.weight", "DIV", OTHERS, behind=8),
    Row("text.altup.embed.out", "inp_stacked", "CONCAT", STREAMS),
)
UNEMBED = (
    Row("text.altup.unembed.{i}.projection", "altup_unembd_proj.weight", "MUL_MAT", OTHERS),
    Row("text.altup.unembed.target_magnitude", "altup_unembd_proj.weight", "SQRT", ONE, behind=4, length=True),
    Row("text.altup.unembed.{i}.magnitude", "altup_unembd_proj.weight", "SQRT", "other token one", behind=8,
        length=True),
    Row("text.altup.unembed.{i}.out", "altup_unembd", "DIV", OTHERS),
    Row("text.altup.unembed.out", "unembd_merged", "SCALE", HIDDEN),
    Row("text.norm", "result_norm", "MUL", HIDDEN),
    Row("text.lm_head", "token_embd.weight", "MUL_MAT", "token vocabulary"),
    Row("text.logits", "result_output", "SCALE", "token vocabulary"),
)  # fmt: skip

PREDICT = (
    Row("altup.predict.router_input", "altup_router_norm.weight", "SCALE", HIDDEN, behind=1),
    Row("altup.predict.routed", "altup_router.weight", "MUL_MAT", "token stream"),
    Row("altup.predict.modalities", "modalities", "TANH", "token stream"),
    Row(
        "altup.predict.coefs",
        "altup_predict_coef.weight",
        "MUL_MAT",
        "token stream_to stream_from",
        axes="token stream_from stream_to",
    ),
    Row("altup.predict.mixed", "altup_predict_coef.weight", "CONT", STREAMS, behind=4),
    Row("altup.predict.out", "predictions", "ADD", STREAMS),
    Row("input_layernorm", "attn_norm", "MUL", HIDDEN),
)
LAUREL = (
    Row("laurel.left", "laurel_l.weight", "MUL_MAT", "token rank"),
    Row("laurel.right", "laurel_r.weight", "MUL_MAT", HIDDEN),
    Row("laurel.normed", "laurel_post_norm.weight", "MUL", HIDDEN),
    Row("laurel.out", "laurel_out", "ADD", HIDDEN),
)
PROJECTED = (
    Row("attn.q_proj", "attn_q.weight", "MUL_MAT", QUERIES),
    Row("attn.q_norm", "Qcur_normed", "MUL", QUERIES),
    Row("attn.q_rope", "Qcur_pos", "ROPE", QUERIES),
    Row("attn.k_proj", "attn_k.weight", "MUL_MAT", KEYS, only=owns_keys),
    Row("attn.k_norm", "Kcur_normed", "MUL", KEYS, only=owns_keys),
    Row("attn.k_rope", "Kcur_pos", "ROPE", KEYS, only=owns_keys),
    Row("attn.v_proj", "attn_v.weight", "MUL_MAT", KEYS, only=owns_keys),
    Row("attn.v_norm", "Vcur_normed", "RMS_NORM", KEYS, only=owns_keys),
)
FUSED = "FLASH_ATTN_EXT"
SEEN = {
    "off": (
        Row("attn.keys", "kq", "MUL_MAT", CACHE, source=0),
        Row("attn.values", "kqv", "MUL_MAT", "kv_head head_dim slot", source=0, axes=CACHE),
        Row("attn.context", "kqv_out", "CONT", QUERIES),
    ),
    "on": (
        Row("attn.keys", FUSED, FUSED, CACHE, source=1),
        Row("attn.values", FUSED, FUSED, CACHE, source=2),
        Row("attn.context", "kqv_out", "RESHAPE", QUERIES),
    ),
}
"""Attention by whether it is fused: then it has no name of its own, and is called by what it computes."""
MASK = {
    "off": Row("", "kq_soft_max", "SOFT_MAX", "token slot", source=1),
    "on": Row("", FUSED, FUSED, "token slot", source=3),
}
"""The mask of a kind of layers, in the first of them."""
ATTENDED = (
    Row("attn.o_proj", "attn_output.weight", "MUL_MAT", HIDDEN),
    Row("post_attention_layernorm", "attn_post_norm", "MUL", HIDDEN),
    Row("attn_gated", "attn_gated", "ADD", HIDDEN),
    *LAUREL,
    Row("attn_laurel", "attn_laurel", "SCALE", HIDDEN),
)
MLP = (
    Row("pre_feedforward_layernorm", "ffn_norm", "MUL", HIDDEN),
    Row("mlp.up_proj", "ffn_up.weight", "MUL_MAT", GATE),
    Row("mlp.gate_proj", "ffn_gate.weight", "MUL_MAT", GATE),
    Row("mlp.gate_mean", "ffn_gate.weight", "MEAN", ONE, behind=1, only=sparse),
    Row("mlp.gate_std", "ffn_gate.weight", "SQRT", ONE, behind=6, only=sparse),
    Row("mlp.cutoff", "ffn_gate.weight", "ADD", ONE, behind=8, only=sparse),
    Row("mlp.gate_sparse", "ffn_gate.weight", "RELU", GATE, behind=10, only=sparse),
    Row("mlp.activations", "ffn_gate.weight", "GELU", GATE, behind=11, only=sparse),
    Row("mlp.activations", "ffn_gate.weight", "GELU", GATE, behind=1, only=dense),
    Row("mlp.product", "ffn_gate.weight", "MUL", GATE, behind=12, only=sparse),
    Row("mlp.product", "ffn_gate.weight", "MUL", GATE, behind=2, only=dense),
    Row("mlp.down_proj", "ffn_out", "MUL_MAT", HIDDEN),
    Row("post_feedforward_layernorm", "ffn_post_norm", "MUL", HIDDEN),
    Row("activated", "attn_ffw_laurel_gated", "ADD", HIDDEN),
)
CORRECT = (
    Row("altup.correct.innovation", "innovation", "SUB", HIDDEN),
    Row("altup.correct.router_input", "altup_router_norm.weight", "SCALE", HIDDEN, behind=1, again=True),
    Row("altup.correct.routed", "altup_router.weight", "MUL_MAT", "token stream", again=True),
    Row("altup.correct.modalities", "modalities", "TANH", "token stream", again=True),
    Row("altup.correct.coefs", "all_coefs", "SCALE", "token stream", again=True),
    Row("altup.correct.out", "corrected", "ADD", STREAMS),
    Row("altup.correct.scaled", "altup_correct_scale.weight", "MUL", HIDDEN),
    Row("per_layer_input_gate", "inp_gate.weight", "MUL_MAT", PLE),
    Row("per_layer_activation", "first_prediction_gated", "GELU", PLE),
    Row("per_layer_gated", "first_prediction_scaled", "MUL", PLE),
    Row("per_layer_projection", "proj.weight", "MUL_MAT", HIDDEN),
    Row("post_per_layer_input_norm", "first_prediction_out", "MUL", HIDDEN),
    Row("out", "l_out", "CONCAT", STREAMS),
)

MASKS = "text.mask."
LAYERS = "text.layers."

UNSEEN = {
    EMBEDDED: "in a chunk with media, llama.cpp looks no placeholder up: there it is text.merged.image or .audio",
    MERGED_IMAGE: "in a chunk with pictures and sounds, all rows enter llama.cpp at once: it is text.merged.audio",
    "vision.*": "libmtmd's tower is not for such pictures: the rows are another backend's, which may be judged itself",
    "audio.*": "llama.cpp has no audio tower: the rows are another backend's, which may be judged itself",
    "embed_audio.soft": "llama.cpp has no audio tower: of another backend's rows embed_audio.soft_tokens are told",
    "embed_audio.padding": "llama.cpp has no audio tower: of another backend's rows embed_audio.soft_tokens are told",
    "text.rope.*.inv_freq": "ggml's rotary operation makes the frequencies of the base inside its kernel",
    "embed_vision.hard": "llama.cpp has no table of hard embeddings: it embeds ids of pictures as text",
    "embed_audio.hard": "llama.cpp has no table of hard embeddings: it embeds ids of sounds as text",
}
"""What no node is, and why."""


def table(config: TextConfig, flash: str, *, soft: bool) -> Iterator[Row]:
    """The rows of a model's graph; `flash` says whether attention is fused, `soft` whether it takes no ids."""
    for row in (*EMBED[soft], *STACK, *UNEMBED):
        yield from _around(row, config)
    for kind in sorted(set(config.layer_types)):
        first = config.layer_types.index(kind)
        yield _placed(replace(MASK[flash], step=kind), first, MASKS)
    for layer in range(config.num_hidden_layers):
        for row in (*PREDICT, *PROJECTED, *SEEN[flash], *ATTENDED, *MLP, *CORRECT):
            if row.only(config, layer):
                yield _placed(row, layer, f"{LAYERS}{layer}.")


def layer_of(step: str) -> int:
    """The layer that a step is of."""
    return int(step.removeprefix(LAYERS).partition(".")[0])


def _around(row: Row, config: TextConfig) -> Iterator[Row]:
    """A row outside the layers, or one for each stream but the first."""
    if "{i}" not in row.step:
        yield row
        return
    for other in range(config.altup_num_inputs - 1):
        yield replace(row, step=row.step.format(i=other + 1), index=other)


def _placed(row: Row, layer: int, scope: str) -> Row:
    is_weight = row.node.endswith(".weight")
    node = f"blk.{layer}.{row.node}" if is_weight else f"{row.node}-{layer}"
    return replace(row, step=scope + row.step, node=node)
