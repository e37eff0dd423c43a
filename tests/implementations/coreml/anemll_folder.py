"""A Qwen3 in a folder of packages with the interface of those that ANEMLL writes, of weights that torch has."""

from __future__ import annotations

import shutil

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from implementations.coreml.convert.tracing import settled_tools
from implementations.coreml.package.tools import coremltools

CONTEXT, BATCH, HEADS = 32, 8, 4
META = f"""model_info:
  name: stand-in
  framework: Core ML
  parameters:
    context_length: {CONTEXT}
    batch_size: {BATCH}
    lut_embeddings: none
    lut_ffn: none
    lut_lmhead: none
    num_chunks: 2
    model_prefix: stand-in.1
"""


class Embeddings(nn.Module):
    """States of ids."""

    def __init__(self, weights):
        super().__init__()
        self.table = nn.Parameter(weights["model.embed_tokens.weight"])

    def forward(self, ids):
        return functional.embedding(ids.long(), self.table)


class Head(nn.Module):
    """Logits in parts of the vocabulary."""

    def __init__(self, weights):
        super().__init__()
        self.parts = nn.ParameterList(weights["lm_head.weight"].chunk(HEADS))

    def forward(self, states):
        return tuple(functional.linear(states, part) for part in self.parts)


class Chunk(nn.Module):
    """Some layers of the decoder, in float32, with the keys and values of all layers in one state.

    Args:
        config: of transformers.
        weights: by the checkpoint's names.
        layers: whose numbers they are.
        norm: whether the last norm is behind them.
    """

    def __init__(self, config, weights, layers, *, norm):
        super().__init__()
        self.config, self.layers, self.norm = config, layers, norm
        self.weights = nn.ParameterDict({name.replace(".", "_"): tensor for name, tensor in weights.items()})
        shape = (2 * config.num_hidden_layers, config.num_key_value_heads, CONTEXT, config.head_dim)
        self.register_buffer("kv_cache_0", torch.zeros(shape))
        frequencies = 1 / 1e4 ** (torch.arange(0, config.head_dim, 2) / config.head_dim)
        self.register_buffer("frequencies", frequencies.repeat(2))

    def forward(self, hidden_states, position_ids, causal_mask, current_pos):
        angles = position_ids.float()[:, None] * self.frequencies
        states = hidden_states
        for layer in self.layers:
            states = states + self.attention(layer, states, angles, causal_mask, current_pos)
            states = states + self.feed_forward(layer, states)
        return self.normed(states, "model.norm") if self.norm else states

    def attention(self, layer, states, angles, mask, current):
        count = states.shape[1]
        normed = self.normed(states, f"model.layers.{layer}.input_layernorm")
        queries, keys, values = (self.heads(layer, normed, name) for name in "qkv")
        keys, queries = (rotated(x, angles) for x in (keys, queries))
        for slot, new in ((layer, keys), (layer + self.config.num_hidden_layers, values)):
            self.kv_cache_0[slot : slot + 1, :, current : current + count, :] = new
        repeats = self.config.num_attention_heads // self.config.num_key_value_heads
        keys, values = (
            self.kv_cache_0[slot : slot + 1].repeat_interleave(repeats, dim=1)
            for slot in (layer, layer + self.config.num_hidden_layers)
        )
        scores = queries @ keys.transpose(-1, -2) * self.config.head_dim**-0.5 + mask
        found = (scores.softmax(-1) @ values).transpose(1, 2).reshape(1, count, -1)
        return self.linear(found, f"model.layers.{layer}.self_attn.o_proj")

    def heads(self, layer, states, name):
        found = self.linear(states, f"model.layers.{layer}.self_attn.{name}_proj")
        found = found.reshape(1, states.shape[1], -1, self.config.head_dim)
        if name != "v":
            found = self.normed(found, f"model.layers.{layer}.self_attn.{name}_norm")
        return found.transpose(1, 2)

    def feed_forward(self, layer, states):
        normed = self.normed(states, f"model.layers.{layer}.post_attention_layernorm")
        gate, up = (self.linear(normed, f"model.layers.{layer}.mlp.{name}_proj") for name in ("gate", "up"))
        return self.linear(functional.silu(gate) * up, f"model.layers.{layer}.mlp.down_proj")

    def linear(self, x, name):
        return functional.linear(x, self.weights[f"{name}.weight".replace(".", "_")])

    def normed(self, x, name):
        """The norm as ANEMLL has it: layer normalisation of x beside -x, whose mean is 0."""
        both = torch.cat([x, -x], dim=-1)
        found = functional.layer_norm(both, both.shape[-1:], eps=self.config.rms_norm_eps)[..., : x.shape[-1]]
        return found * self.weights[f"{name}.weight".replace(".", "_")]


def rotated(x, angles):
    first, second = x.chunk(2, dim=-1)
    return x * angles.cos() + torch.cat([-second, first], dim=-1) * angles.sin()


def write_folder(folder, config, weights, *, norms=(False, True), bits=0):
    """Write it in two chunks; `norms` says behind which the last norm is, `bits` what the entries of palettes are."""
    folder.mkdir()
    (folder / "meta.yaml").write_text(META)
    name, half = "stand-in.1", config.num_hidden_layers // 2
    ids = coremltools.EnumeratedShapes([[1, 1], [1, BATCH]], default=[1, 1])
    save(Embeddings(weights), folder / f"{name}_embeddings.mlpackage", {"input_ids": ids}, ["hidden_states"])
    for number, layers in enumerate((range(half), range(half, config.num_hidden_layers)), 1):
        file = folder / f"{name}_FFN_PF_chunk_{number:02d}of02.mlpackage"
        part = Chunk(config, weights, layers, norm=norms[number - 1])
        save_both(part, file, config.hidden_size, folder / "apart", bits)
    states = {"hidden_states": (1, 1, config.hidden_size)}
    save(Head(weights), folder / f"{name}_lm_head.mlpackage", states, [f"logits{n}" for n in range(1, HEADS + 1)])


def save_both(part, file, hidden, apart, bits):
    together = coremltools.utils.MultiFunctionDescriptor()
    for function, count in (("infer", 1), ("prefill", BATCH)):
        shapes = {
            "hidden_states": (1, count, hidden), "position_ids": (count,),
            "causal_mask": (1, 1, count, CONTEXT), "current_pos": (1,),
        }  # fmt: skip
        save(part, apart / f"{function}.mlpackage", shapes, ["output_hidden_states"], bits)
        together.add_function(str(apart / f"{function}.mlpackage"), "main", function)
    together.default_function_name = "infer"
    with settled_tools():
        coremltools.utils.save_multifunction(together, str(file))
    shutil.rmtree(apart)


def save(part, file, shapes, outputs, bits=0):
    """Trace and convert a part in float16."""
    whole = {"input_ids": torch.int32, "position_ids": torch.int32, "current_pos": torch.int32}
    sizes = {name: shape if isinstance(shape, tuple) else (1, 1) for name, shape in shapes.items()}
    examples = [torch.zeros(size, dtype=whole.get(name)) for name, size in sizes.items()]
    given = [
        coremltools.TensorType(name=name, shape=shape, dtype=np.int32 if name in whole else np.float16)
        for name, shape in shapes.items()
    ]
    states = [
        coremltools.StateType(coremltools.TensorType(shape=tuple(buffer.shape), dtype=np.float16), name=name)
        for name, buffer in part.named_buffers()
        if "cache" in name
    ]
    with settled_tools(), torch.no_grad():
        traced = torch.jit.trace(part.eval(), examples, check_trace=False)
        found = coremltools.convert(
            traced, inputs=given, outputs=[coremltools.TensorType(name=name, dtype=np.float16) for name in outputs],
            states=states, minimum_deployment_target=coremltools.target.iOS18, skip_model_load=True,
        )  # fmt: skip
        palettized(found, bits).save(str(file))


def palettized(model, bits):
    """With palettes of so many bits, or as it is."""
    optimize = coremltools.optimize.coreml
    how = optimize.OpPalettizerConfig(mode="kmeans", nbits=bits, weight_threshold=64) if bits else None
    return optimize.palettize_weights(model, optimize.OptimizationConfig(how)) if bits else model
