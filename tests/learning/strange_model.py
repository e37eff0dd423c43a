"""Somebody's Qwen 3 in the strange framework: heads behind tokens, a cache of keys and values, other names."""

from __future__ import annotations

import numpy as np

from tests.learning.strange import applied, asarray, joined


class Norm:
    """Root mean square."""

    def __init__(self, gain, epsilon):
        self.gain, self.epsilon = gain, np.float32(epsilon)

    def __call__(self, x):
        square = applied(np.mean, x * x, axis=-1, keepdims=True)
        return x / applied(np.sqrt, square + self.epsilon) * self.gain


def turned(x, first, base):
    """Rotary positions; `x` is row, token, head, number."""
    half = x.shape[-1] // 2
    angles = np.outer(np.arange(first, first + x.shape[1]), base ** (-np.arange(half) / half))[:, None]
    cos, sin = (asarray(found.astype(np.float32)) for found in (np.cos(angles), np.sin(angles)))
    one, other = x[..., :half], x[..., half:]
    return joined([one * cos - other * sin, other * cos + one * sin], -1)


class Block:
    """One layer; `of` has its weights by name, `config` is the checkpoint's."""

    def __init__(self, of, config):
        self.of, self.config, self.past = of, config, None
        norms = ("input_layernorm", "post_attention_layernorm", "self_attn.q_norm", "self_attn.k_norm")
        self.norms = {name: Norm(of[name], config["rms_norm_eps"]) for name in norms}
        self.everything = [*self.norms.values()]

    def heads(self, x, name):
        """Tokens stay before heads."""
        rows, tokens, _ = x.shape
        return (x @ self.of[f"self_attn.{name}_proj"]).reshape((rows, tokens, -1, self.config["head_dim"]))

    def attend(self, x):
        """Causal attention behind the past."""
        first, base = 0 if self.past is None else self.past[0].shape[1], self.config["rope_parameters"]["rope_theta"]
        q = turned(self.norms["self_attn.q_norm"](self.heads(x, "q")), first, base)
        k = turned(self.norms["self_attn.k_norm"](self.heads(x, "k")), first, base)
        v = self.heads(x, "v")
        k, v = (k, v) if self.past is None else (joined([self.past[0], k], 1), joined([self.past[1], v], 1))
        self.past = k, v
        groups = q.shape[2] // k.shape[2]
        k, v = k.repeat(groups, 2).transpose((0, 2, 3, 1)), v.repeat(groups, 2).transpose((0, 2, 1, 3))
        scores = q.transpose((0, 2, 1, 3)) @ k * np.float32(q.shape[-1] ** -0.5)
        ahead = np.triu(np.ones(scores.shape[-2:], bool), 1 + first)
        scores = applied(np.where, ahead, np.float32(-1e30), scores)
        weights = applied(np.exp, scores - applied(np.max, scores, axis=-1, keepdims=True))
        weights = weights / applied(np.sum, weights, axis=-1, keepdims=True)
        mixed = (weights @ v).transpose((0, 2, 1, 3))
        return mixed.reshape((*x.shape[:2], -1)) @ self.of["self_attn.o_proj"]

    def __call__(self, x):
        x = x + self.attend(self.norms["input_layernorm"](x))
        low = self.norms["post_attention_layernorm"](x)
        gate, up = low @ self.of["mlp.gate_proj"], low @ self.of["mlp.up_proj"]
        active = gate / (applied(np.exp, -gate) + np.float32(1))
        return x + (active * up) @ self.of["mlp.down_proj"]


class Net:
    """The whole; `weights` are by the checkpoint's names, matrices transposed."""

    def __init__(self, weights, config):
        self.table, self.head = weights["embed_tokens"], weights["lm_head"]
        self.norm = Norm(weights["norm"], config["rms_norm_eps"])
        self.blocks = []
        for layer in range(config["num_hidden_layers"]):
            of = {name.partition(f"layers.{layer}.")[2]: value for name, value in weights.items()}
            self.blocks.append(Block(of, config))

    def __call__(self, ids):
        x = applied(np.take, self.table, ids, axis=0)
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.head
