"""Faults planted in a GGUF file, as a converter might write it: each is found at its step, and nowhere else.

Reference and baseline have llama.cpp's own deviations, so that what is introduced is the fault's. All of it is slow.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")

from gguf import GGUFReader

from parity.errors import ExitCode
from parity.judging.baseline import judged
from tests.harness import PROMPT
from tests.implementations.gguf.alike import deviating

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def judge(harness):
    """Judges a loaded candidate against the reference that errs as llama.cpp does."""
    oracle, baseline = deviating(harness, "float64"), deviating(harness, "float32")
    known = {}

    def judge(candidate, scenario):
        if scenario not in known:
            true = harness.trace(oracle, "float64", scenario=oracle.scenario(scenario, PROMPT))
            known[scenario] = true, harness.against(true, "float32", baseline)
        true, floors = known[scenario]
        return judged(oracle=true, baseline=floors, candidate=harness.runs(candidate, "float32", true))[0]

    return judge


def scaled(tensors):
    """By a thousandth."""
    tensors["blk.3.laurel_l.weight"][...] *= np.float32(1.001)


def transposed(tensors):
    """A square one, which has the right shape all the same."""
    weight = tensors["blk.6.attn_q.weight"]
    weight[...] = weight.T.copy()


def of_another_layer(tensors):
    tensors["blk.5.ffn_up.weight"][...] = tensors["blk.6.ffn_up.weight"]


def plus_one(tensors):
    """As gains of Gemma 1 to 3 are stored."""
    tensors["blk.4.attn_norm.weight"][...] += 1


def last_norm_plus_one(tensors):
    tensors["output_norm.weight"][...] += 1


def embedding_unscaled(tensors):
    """llama.cpp multiplies by sqrt(hidden_size) itself; the head is the same table."""
    table = tensors["token_embd.weight"]
    table[...] /= np.float32(table.shape[-1] ** 0.5)


def stack_swapped(tensors):
    stack = tensors["altup_proj.weight"]
    stack[:2] = stack[1::-1].copy()


def last_stack_reversed(tensors):
    stack = tensors["altup_unembd_proj.weight"]
    stack[...] = stack[::-1].copy()


def heads_interleaved(tensors):
    """As rotary embedding of neighbours wants the rows of a head."""
    weight = tensors["blk.2.attn_k.weight"]
    halves = weight.reshape(2, 2, 16, -1)
    weight[...] = halves.swapaxes(1, 2).reshape(weight.shape).copy()


def rounded(tensors):
    """To 8 bits, each row by its own scale."""
    weight = tensors["blk.7.ffn_down.weight"]
    scale = np.abs(weight).max(-1, keepdims=True) / 127
    weight[...] = np.rint(weight / scale) * scale


def scale_left_out(tensors):
    tensors["blk.8.altup_correct_scale.weight"][...] = 1


def layers_rolled(tensors):
    """Each layer has the per-layer embedding of the one before."""
    table = tensors["per_layer_token_embd.weight"]
    table[...] = np.roll(table, 256, -1)


def router_gain_lost(tensors):
    tensors["blk.9.altup_router_norm.weight"][...] = 1


FAULTS = {
    scaled: ("text.layers.3.laurel.left",),
    transposed: ("text.layers.6.attn.q_proj",),
    of_another_layer: ("text.layers.5.mlp.up_proj",),
    plus_one: ("text.layers.4.input_layernorm",),
    last_norm_plus_one: ("text.norm",),
    embedding_unscaled: ("text.embed_tokens", "text.lm_head"),
    stack_swapped: ("text.altup.embed.1.projection", "text.altup.embed.2.projection"),
    last_stack_reversed: ("text.altup.unembed.1.projection", "text.altup.unembed.3.projection"),
    heads_interleaved: ("text.layers.2.attn.k_proj",),
    rounded: ("text.layers.7.mlp.down_proj",),
    scale_left_out: ("text.layers.8.altup.correct.scaled",),
    layers_rolled: ("text.per_layer_inputs.token",),
    router_gain_lost: ("text.layers.9.altup.predict.router_input", "text.layers.9.altup.correct.router_input"),
}
"""Faults of tensors, and the steps that are introduced by them."""


def found(judge, load, file, scenario="one-shot"):
    """The steps that are introduced."""
    judgement = judge(load(file=str(file)), scenario)
    assert judgement.exit_code is ExitCode.DIVERGED
    return tuple(dict.fromkeys(verdict.step for verdict in judgement.introduced))


@pytest.mark.parametrize("plant", FAULTS)
def test_a_fault_in_a_tensor_is_found_at_its_step(plant, judge, load, file, tmp_path):
    wrong = shutil.copyfile(file, tmp_path / "wrong.gguf")
    reader = GGUFReader(wrong, "r+")
    plant({tensor.name: tensor.data for tensor in reader.tensors})
    reader.data.flush()
    assert found(judge, load, wrong) == FAULTS[plant]


KEYS = {
    "rope.freq_base_swa": (1_000_000.0, "one-shot", "text.layers.0.attn.q_rope"),
    "rope.freq_base": (10_000.0, "one-shot", "text.layers.4.attn.q_rope"),
    "attention.sliding_window": (17, "long", "text.mask.sliding_attention"),
    "attention.layer_norm_rms_epsilon": (1e-5, "one-shot", "text.per_layer_inputs.projection_norm"),
}
"""Wrong values of the header, the scenario in which they show, and the first step that is introduced."""


@pytest.mark.parametrize("key", KEYS)
def test_a_wrong_value_of_the_header_is_found_at_its_step(key, judge, load, file, tmp_path):
    value, scenario, step = KEYS[key]
    wrong = shutil.copyfile(file, tmp_path / "wrong.gguf")
    reader = GGUFReader(wrong, "r+")
    field = reader.fields[f"gemma3n.{key}"]
    assert field.parts[field.data[0]][0] != value
    field.parts[field.data[0]][0] = value
    reader.data.flush()
    assert found(judge, load, wrong, scenario)[0] == step
