"""A port in a framework that nobody knows is named, heard, answered and edited; the framework here is a stand-in."""

from __future__ import annotations

import numpy as np
import pytest

from parity.array_tensors import ArrayTensors, is_array
from parity.checkpoint import find_checkpoint
from parity.errors import BackendUnavailable, UsageError
from parity.learning.layout import Rearrangement
from parity.learning.port import parts_of
from parity.learning.subject import parties_by_learning, small_checkpoint
from parity.running.identity import source_digest
from parity.running.progress import Silent
from parity.site import Edit
from parity.tap import SILENT, ScopedTap
from tests.learning import strange
from tests.learning.strange_model import Block, Net, Norm
from tests.learning.strange_port import Backend, Careless, Faulty

HIDDEN, HEADS, HEAD_DIM, INNER, VOCABULARY = 12, 2, 6, 14, 16
CONFIG = f"""{{
  "model_type": "strange", "hidden_size": {HIDDEN}, "num_attention_heads": {HEADS}, "head_dim": {HEAD_DIM},
  "vocab_size": {VOCABULARY}, "num_hidden_layers": 2, "rms_norm_eps": 1e-6, "rope_parameters": {{"rope_theta": 100.0}}
}}"""
IDS = np.arange(5)[None]


@pytest.fixture
def checkpoint(tmp_path):
    """Weights of two layers, by the names that transformers gives them."""
    from safetensors.numpy import save_file

    wide = HEADS * HEAD_DIM
    shapes = {"input_layernorm": (HIDDEN,), "post_attention_layernorm": (HIDDEN,)}
    shapes |= {f"self_attn.{name}_norm": (HEAD_DIM,) for name in "qk"}
    shapes |= {f"self_attn.{name}_proj": (wide, HIDDEN) for name in "qkv"} | {"self_attn.o_proj": (HIDDEN, wide)}
    shapes |= {"mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN), "mlp.down_proj": (HIDDEN, INNER)}
    named = {f"model.layers.{layer}.{name}": shape for layer in range(2) for name, shape in shapes.items()}
    named |= {"model.embed_tokens": (VOCABULARY, HIDDEN), "model.norm": (HIDDEN,), "lm_head": (VOCABULARY, HIDDEN)}
    draw = np.random.default_rng(0)
    weights = {f"{name}.weight": draw.normal(size=shape).astype(np.float32) for name, shape in named.items()}
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(CONFIG)
    return tmp_path


def heard(backend, answer=lambda name, value: value):
    """What is heard of a chunk, by place, and the logits; `answer` is what goes on."""
    said = {}
    logits = backend.forward(IDS, tap=ScopedTap(lambda name, value: answer(name, said.setdefault(name, value))))
    backend.start(padding=(0,), cache=True)
    return said, logits


def test_parts_have_the_plainest_path():
    """Of an attribute of its own, and not of a list of everything; a circle ends, and nothing else is a part."""
    net = Net({"embed_tokens": 0, "lm_head": 0, "norm": 0}, {"rms_norm_eps": 0.0, "num_hidden_layers": 0})
    block = Block.__new__(Block)
    block.every, block._first, block.by_name = [net.norm, norm := Norm(0, 0.0)], norm, {"one": Norm(0, 0.0)}
    net.blocks, block.above = [block], net
    found = parts_of(net, Backend.packages)
    assert [*found] == ["", "norm", "blocks.0", "blocks.0._first", "blocks.0.by_name.one"]
    assert found["blocks.0._first"] is norm


def test_every_value_is_heard_and_may_be_replaced(checkpoint):
    """In the framework's own arrays, by places of its source; in silence nothing is woven."""
    backend = Backend.load(checkpoint, "float32")
    silent = backend.forward(IDS, tap=SILENT)
    backend.start(padding=(0,), cache=True)
    said, logits = heard(backend)
    np.testing.assert_array_equal(logits, silent)
    assert {type(value) for value in said.values()} == {strange.Array, np.ndarray}  # angles are the host's
    wanted = {
        "blocks.1/Block.attend: mixed#0",
        "blocks.0.norms.self_attn.q_norm/Norm.__call__: return",
        "blocks.0/Block.attend/turned@1: return",
    }
    assert wanted <= said.keys()
    zeroed = lambda name, value: value * 0 if name == "blocks.1/Block.__call__: return" else value  # noqa: E731
    assert not heard(backend, zeroed)[1].any()
    assert backend.sources().keys() == {"tests.learning.strange_model"}


def test_edits_are_in_force_while_it_is_loaded_and_while_it_runs(checkpoint):
    """One of a constructor, and one of what is called; without a tap too."""
    right = heard(Backend.load(checkpoint, "float32"))
    careless = Careless.load(checkpoint, "float32")
    assert {norm.epsilon for norm in careless.model.blocks[0].everything} == {np.float32(1e-3)}
    assert Norm(0, 1e-6).epsilon == np.float32(1e-6)
    faulty = Faulty.load(checkpoint, "float32")
    for wrong in (careless, faulty):
        assert abs(heard(wrong)[1] - right[1]).max() > 1e-4
        assert abs(wrong.forward(IDS) - right[1]).max() > 1e-4


def test_what_cannot_be_is_told_in_a_line(checkpoint):
    class Missing(Backend):
        name = "missing"

        @classmethod
        def read(cls, checkpoint, dtype):
            import no_such_package  # noqa: F401

    class Elsewhere(Backend):
        packages = ("another.",)

    class Gone(Backend):
        edits = (Edit("tests.learning.strange_model:Block.nothing", "a", "b"),)

    with pytest.raises(BackendUnavailable, match=r"^missing is not installed: pip install missing .*no_such_package"):
        Missing.load(checkpoint, "float32")
    with pytest.raises(BackendUnavailable, match=r"Net.* and what it holds have no class of another\.$"):
        Elsewhere.load(checkpoint, "float32")
    with pytest.raises(UsageError, match=r"no function tests\.learning\.strange_model:Block\.nothing"):
        Gone.load(checkpoint, "float32")
    with pytest.raises(UsageError, match="strange runs in float32; not in float64"):
        Backend.load(checkpoint, "float64")


def test_a_port_whose_package_is_missing_is_told_before_anything_is_learned(checkpoint):
    """Its own process would tell it too, but what a table depends on is asked first."""
    pytest.importorskip("transformers")
    name = "tests.learning.strange_port:Elsewhere"
    learning = parties_by_learning(find_checkpoint(str(checkpoint)), "transformers", [name], Silent(), None)
    with pytest.raises(BackendUnavailable, match=f"^{name} needs a package .*no-such-package"), learning:
        pytest.fail("nothing was learned")


def test_the_embedded_checkpoint_is_learned_of_by_its_name():
    with small_checkpoint("tiny", "nothing that could draw", Silent()) as found:
        assert found == find_checkpoint("tiny")


def test_arrays_of_the_standard_are_read_and_answered():
    """In the dtype of what was shown, rounded once; what is only traced is no array, and neither is an integer."""
    tensors = ArrayTensors()
    shown = strange.asarray(np.zeros(2), "strange.bfloat16")
    answer = tensors.from_numpy(np.array([1 + 2.0**-9 + 2.0**-30, 3.0]), shown, None)
    assert answer.dtype == "strange.bfloat16"
    np.testing.assert_array_equal(tensors.to_numpy(answer, None).astype(float), [1.0, 3.0])
    assert is_array(shown)
    assert not any(map(is_array, (strange.Traced(), strange.asarray(np.arange(3)), 1.0, None)))
    with pytest.raises(UsageError, match="has no __array_namespace__ to make another by: give the port its own"):
        tensors.from_numpy(np.zeros(2), object(), None)


def test_torch_s_arrays_are_laid_out_too():
    """Its `transpose` swaps two axes."""
    import torch

    given = torch.arange(24.0).reshape(2, 3, 4)
    bound = Rearrangement.parse("a b c -> c a b").bound(given.shape, {})
    np.testing.assert_array_equal(bound.out(given), given.numpy().transpose(2, 0, 1))
    np.testing.assert_array_equal(bound.back(bound.out(given)), given)


def test_a_port_of_a_single_file_is_part_of_what_a_table_depends_on(tmp_path, monkeypatch):
    """Who mends a line of it is judged anew."""
    (tmp_path / "single_file_port.py").write_text("x = 1")
    monkeypatch.syspath_prepend(tmp_path)
    before = source_digest("single_file_port")
    (tmp_path / "single_file_port.py").write_text("x = 2")
    assert source_digest("single_file_port") != before
