"""Checkpoints as people have them: each port computes of them what transformers does, or says in a line why not."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mlx.core")

from safetensors.torch import save_file  # noqa: E402  # behind importorskip

from parity.discovery import find  # noqa: E402
from parity.errors import ParityError, UsageError  # noqa: E402
from parity.generation import Message, Sampling  # noqa: E402
from parity.media import Part  # noqa: E402
from reference.gemma3n.huggingface import Reference  # noqa: E402
from tests import found  # noqa: E402
from tests.harness import Harness, require_parity  # noqa: E402
from tests.ports import logits  # noqa: E402

PORTS = ("mlx", "ane")
PROMPT = "Hello world"


def judge(harness, name, checkpoint=None, scenario="one-shot"):
    """A port's judgement on a harness's checkpoint, of another where one is given."""
    candidate = find(name).load(checkpoint or harness.checkpoint, "float32")
    return harness.judge(candidate, "float32", scenario, PROMPT)


def require_all(folder, ports=PORTS, scenario="one-shot"):
    """Every port is at parity on a checkpoint."""
    harness = Harness(folder.parent / "traces", folder)
    for name in ports:
        require_parity(judge(harness, name, scenario=scenario))


def refusals(folder):
    """What reference and ports say of a checkpoint, a line each."""
    for load in (Reference.load, *(find(name).load for name in PORTS)):
        with pytest.raises(ParityError) as raised:
            load(folder, "float32")
        assert "\n" not in str(raised.value)
        yield str(raised.value)


class TestHead:
    """A table of its own is used where there is one, whatever `tie_word_embeddings` says, as transformers does."""

    @pytest.mark.parametrize("tied", [True, False])
    def test_of_its_own(self, tmp_path, tied):
        """A port that ignores it, as ours did, differs there first."""
        weights = {**found.tensors(), found.HEAD: found.other_head()}
        harness = Harness(tmp_path, found.write(tmp_path / "untied", weights=weights, tie_word_embeddings=tied))
        for name in PORTS:
            require_parity(judge(harness, name))
        if tied:
            wrong = judge(harness, "mlx", found.write(tmp_path / "ignored"))
            assert wrong.first_divergence.step == "text.lm_head"

    def test_a_copy_of_the_embedding(self, tmp_path):
        weights = {**found.tensors(), found.HEAD: found.tensors()[found.TABLE].clone()}
        require_all(found.write(tmp_path / "copied", weights=weights))

    def test_none_where_there_must_be_one(self, tmp_path):
        """Transformers would draw one at random."""
        folder = found.write(tmp_path / "missing", tie_word_embeddings=False)
        assert all("lm_head.weight" in line for line in refusals(folder))

    def test_of_another_shape(self, tmp_path):
        weights = {**found.tensors(), found.HEAD: torch.zeros(2, 2)}
        folder = found.write(tmp_path / "misshapen", weights=weights)
        ours = list(refusals(folder))[1:]
        assert all("lm_head.weight is [2, 2]; its config.json needs [768, 128]" in line for line in ours)


class TestRope:
    def test_other_bases_by_layer_type(self, tmp_path):
        """And positions that are divided in full layers."""
        parameters = {
            "full_attention": {"rope_type": "linear", "rope_theta": 3e5, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
        }
        require_all(found.write(tmp_path / "rope", config=found.configuration(rope_parameters=parameters)))

    def test_old_fields(self, tmp_path):
        scaling = {"rope_type": "linear", "factor": 2.0}
        fields = {"rope_theta": 3e5, "rope_local_base_freq": 500.0, "rope_scaling": scaling}
        require_all(found.write(tmp_path / "rope", config=found.configuration(rope_parameters=None, **fields)))


class TestTextAlone:
    """A language model alone, as `Gemma3nForCausalLM` and others save it."""

    @staticmethod
    def weights():
        """Its tensors by bare names."""
        return {
            name.removeprefix(found.LANGUAGE): tensor
            for name, tensor in found.tensors().items()
            if name.startswith(found.LANGUAGE)
        }

    def write(self, folder, prefix):
        """Its checkpoint, every name behind a prefix."""
        text = {**found.configuration()["text_config"], "model_type": "gemma3n_text"}
        weights = found.renamed(self.weights(), lambda name: prefix + name)
        return found.write(folder, config={**text, "architectures": ["Gemma3nForCausalLM"]}, weights=weights)

    def test_of_transformers(self, tmp_path):
        """Ids outside the per-layer table are embedded as text, where the multimodal model has other tables."""
        require_all(self.write(tmp_path / "text", "model."), scenario="outside")

    def test_the_oracle_is_the_causal_model(self, tmp_path):
        """To the bit."""
        from transformers import Gemma3nForCausalLM

        folder = self.write(tmp_path / "text", "model.")
        ids = torch.arange(500, 540)[None]
        causal = Gemma3nForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        with torch.no_grad():
            expected = causal(ids).logits
        reference = Reference.load(folder, "float32")
        reference.start(padding=(0,), cache=False)
        assert torch.equal(torch.from_numpy(reference.forward(ids.numpy())), expected)

    @pytest.mark.parametrize("prefix", ["", "language_model.", "model.language_model.", "language_model.model."])
    def test_by_other_names(self, tmp_path, prefix):
        """The same numbers, whoever named them."""
        ids = torch.arange(9, 30)[None].numpy()
        folders = self.write(tmp_path / "usual", "model."), self.write(tmp_path / "other", prefix)
        for load in (Reference.load, *(find(name).load for name in PORTS)):
            usual, other = (logits(load(folder, "float32"), [ids]) for folder in folders)
            assert (usual == other).all()

    def test_a_multimodal_model_by_other_names(self, tmp_path):
        """As mlx-vlm names it."""
        weights = found.renamed(
            found.tensors(), lambda name: name.replace(found.LANGUAGE, "language_model.model.").removeprefix("model.")
        )
        ids = torch.arange(500, 540)[None].numpy()
        folders = found.write(tmp_path / "usual"), found.write(tmp_path / "other", weights=weights)
        for load in (Reference.load, *(find(name).load for name in PORTS)):
            usual, other = (logits(load(folder, "float32"), [ids]) for folder in folders)
            assert (usual == other).all()

    def test_a_conversation(self, tmp_path):
        """By the tokenizer's template, without a processor's files; it takes no picture."""
        folder = self.write(tmp_path / "text", "model.")
        for name in ("preprocessor_config.json", "processor_config.json"):
            (folder / name).unlink()
        require_all(folder, ports=("mlx",), scenario="generate")
        picture = Part("image", "samples/red-circle.png")
        with pytest.raises(UsageError, match="is a language model alone: give it text, no image"):
            Reference.load(folder, "float32").scenario("one-shot", PROMPT, [picture])
        with pytest.raises(UsageError, match="is a language model alone: give it text, no image"):
            next(find("mlx").load(folder, "float32").generate([Message("user", (picture,))], Sampling()))


class TestAddedIds:
    """Ids behind those of the towers, as `resize_token_embeddings` adds them."""

    @staticmethod
    def write(folder):
        """The per-layer table grows with the other."""
        weights = dict(found.tensors())
        for name in (found.TABLE, f"{found.LANGUAGE}embed_tokens_per_layer.weight"):
            table = weights[name]
            weights[name] = torch.cat([table, table[: 776 - len(table)]])
        config = found.configuration(vocab_size=776, vocab_size_per_layer_input=776)
        return found.write(folder, config=config, weights=weights)

    def test_the_others_are_as_before(self, tmp_path):
        """Drawn ids are of text, though the per-layer table has more."""
        require_all(self.write(tmp_path / "resized"), ports=("mlx",), scenario="square")

    def test_they_have_no_embedding(self, tmp_path):
        """In transformers neither, which fails with an IndexError."""
        folder = self.write(tmp_path / "resized")
        for load in (Reference.load, *(find(name).load for name in PORTS)):
            backend = load(folder, "float32")
            backend.start(padding=(0,), cache=False)
            with pytest.raises(UsageError, match="no embedding"):
                backend.forward(np.array([[768]]))
        with pytest.raises(UsageError, match="transformers takes no sound"):
            Reference.load(folder, "float32").scenario("one-shot", None, [Part("audio", "samples/rising-chirp.wav")])


class TestShards:
    def test_without_an_index(self, tmp_path):
        """They are all read; one that is missing is missed by its neighbours' names."""
        folder = found.write(tmp_path / "whole")
        (folder / "model.safetensors").unlink()
        names = sorted(found.tensors())
        for number in (1, 2):
            shard = {name: found.tensors()[name] for name in names[number - 1 :: 2]}
            save_file(shard, folder / f"model-0000{number}-of-00002.safetensors", metadata={"format": "pt"})
        ids = torch.arange(500, 540)[None].numpy()
        whole = found.write(tmp_path / "usual")
        for load in (Reference.load, *(find(name).load for name in PORTS)):
            assert (logits(load(folder, "float32"), [ids]) == logits(load(whole, "float32"), [ids])).all()
        (folder / "model-00002-of-00002.safetensors").unlink()
        assert all("1 of 2 shards are there" in line for line in refusals(folder))
