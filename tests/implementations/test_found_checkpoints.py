"""Checkpoints as people have them: each port computes of them what transformers does, or says in a line why not."""

import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mlx.core")

from safetensors.torch import load_file, save_file  # noqa: E402  # behind importorskip

from parity.checkpoint import find_checkpoint  # noqa: E402
from parity.discovery import find  # noqa: E402
from parity.errors import BackendUnavailable, ExitCode, ParityError, UsageError  # noqa: E402
from parity.generation import Message, Sampling  # noqa: E402
from parity.media import Part  # noqa: E402
from parity.weights.stored import stored  # noqa: E402
from reference.gemma3n import PUBLISHED  # noqa: E402
from reference.gemma3n.huggingface import Reference  # noqa: E402
from tests import found  # noqa: E402
from tests.harness import Harness, require_parity  # noqa: E402
from tests.marks import quick  # noqa: E402
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

    @pytest.mark.parametrize("tied", quick([True, False], False))
    def test_of_its_own(self, tmp_path, tied):
        """A port that ignores it, as ours did, differs there first."""
        own = {found.HEAD: found.other_head()}
        folder = found.write_text(tmp_path / "untied", weights=own, tie_word_embeddings=tied)
        harness = Harness(tmp_path, folder)
        for name in PORTS:
            require_parity(judge(harness, name))
        wrong = judge(harness, "mlx", found.write_text(tmp_path / "ignored"))
        assert wrong.first_divergence.step == "text.lm_head"

    @pytest.mark.slow
    def test_of_its_own_in_a_multimodal_model(self, tmp_path):
        weights = {**found.tensors(), found.HEAD: found.other_head()}
        require_all(found.write(tmp_path / "untied", weights=weights))

    @pytest.mark.slow
    def test_a_copy_of_the_embedding(self, tmp_path):
        copy = {found.HEAD: found.tensors()[found.TABLE].clone()}
        require_all(found.write_text(tmp_path / "copied", weights=copy), ports=("mlx",))

    def test_none_where_there_must_be_one(self, tmp_path):
        """Transformers would draw one at random."""
        folder = found.write(tmp_path / "missing", tie_word_embeddings=False)
        assert all("lm_head.weight" in line for line in refusals(folder))

    @pytest.mark.slow
    def test_of_another_shape(self, tmp_path):
        weights = {**found.tensors(), found.HEAD: torch.zeros(2, 2)}
        folder = found.write(tmp_path / "misshapen", weights=weights)
        said = "lm_head.weight is [2, 2]; its config.json needs [768, 128]"
        assert all(said in line for line in refusals(folder))


class TestRope:
    def test_other_bases_by_layer_type(self, tmp_path):
        """And positions that are divided in full layers."""
        parameters = {
            "full_attention": {"rope_type": "linear", "rope_theta": 3e5, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
        }
        require_all(found.write_text(tmp_path / "rope", rope_parameters=parameters))

    @pytest.mark.slow
    def test_old_fields(self, tmp_path):
        scaling = {"rope_type": "linear", "factor": 2.0}
        fields = {"rope_theta": 3e5, "rope_local_base_freq": 500.0, "rope_scaling": scaling}
        require_all(found.write_text(tmp_path / "rope", **fields))


class TestTextAlone:
    """A language model alone, as `Gemma3nForCausalLM` and others save it."""

    def test_of_transformers(self, tmp_path):
        """Ids outside the per-layer table are embedded as text, where the multimodal model has other tables."""
        require_all(found.write_text(tmp_path / "text"), scenario="outside")

    @pytest.mark.slow
    def test_the_oracle_is_the_causal_model(self, tmp_path):
        """To the bit."""
        from transformers import Gemma3nForCausalLM

        folder = found.write_text(tmp_path / "text")
        ids = torch.arange(500, 540)[None]
        causal = Gemma3nForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        with torch.no_grad():
            expected = causal(ids).logits
        reference = Reference.load(folder, "float32")
        reference.start(padding=(0,), cache=False)
        assert torch.equal(torch.from_numpy(reference.forward(ids.numpy())), expected)

    @pytest.mark.parametrize(
        "prefix", quick(["", "language_model.", "model.language_model.", "language_model.model."], "language_model.")
    )
    def test_by_other_names(self, tmp_path, prefix):
        """The same numbers, whoever named them."""
        ids = torch.arange(9, 30)[None].numpy()
        folders = found.write_text(tmp_path / "usual"), found.write_text(tmp_path / "other", prefix=prefix)
        for load in (Reference.load, *(find(name).load for name in PORTS)):
            usual, other = (logits(load(folder, "float32"), [ids]) for folder in folders)
            assert (usual == other).all()

    @pytest.mark.slow
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

    @pytest.mark.slow
    def test_a_conversation(self, tmp_path):
        """By the tokenizer's template, without a processor's files; it takes no picture."""
        folder = found.write_text(tmp_path / "text")
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

    @pytest.mark.slow
    def test_the_others_are_as_before(self, tmp_path):
        """Drawn ids are of text, though the per-layer table has more."""
        require_all(self.write(tmp_path / "resized"), ports=("mlx",), scenario="square")

    @pytest.mark.slow
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
        whole = found.write_text(tmp_path / "whole")
        folder = shutil.copytree(whole, tmp_path / "shards")
        (folder / "model.safetensors").unlink()
        weights = load_file(whole / "model.safetensors")
        for number, names in enumerate((sorted(weights)[::2], sorted(weights)[1::2]), 1):
            shard = {name: weights[name] for name in names}
            save_file(shard, folder / f"model-0000{number}-of-00002.safetensors", metadata={"format": "pt"})
        ids = torch.arange(500, 540)[None].numpy()
        for load in (Reference.load, *(find(name).load for name in PORTS)):
            assert (logits(load(folder, "float32"), [ids]) == logits(load(whole, "float32"), [ids])).all()
        (folder / "model-00002-of-00002.safetensors").unlink()
        assert all("1 of 2 shards are there" in line for line in refusals(folder))


class TestMlx:
    """What mlx-lm's `convert` writes: text alone, under its own names and quantised; and MLX's layout of kernels."""

    @staticmethod
    def convert(folder, bits):
        """The small checkpoint, converted."""
        utils = pytest.importorskip("mlx_lm.utils")
        small = found.write(folder.parent / "small")
        model, config = utils.quantize_model(*utils.load_model(small), 32, bits)
        utils.save_model(folder, model)
        utils.save_config(config, folder / "config.json")
        for name in found.PREPROCESSING:
            shutil.copy(small / name, folder / name)
        return folder

    @pytest.mark.parametrize("bits", quick([4, 8], 4))
    def test_of_few_bits(self, tmp_path, bits):
        """The oracle has the numbers that the codes mean; mlx-lm, its faults mended, computes with the codes."""
        folder = self.convert(tmp_path / "quantised", bits)
        harness = Harness(tmp_path, folder)
        require_parity(judge(harness, "mlx"))
        require_parity(judge(harness, "ane"))
        package = find("mlx-lm").load(folder, "float32", patch="all")
        judgement = harness.judge(package, "float32", "one-shot", PROMPT)
        assert judgement.first_divergence is None
        assert judgement.exit_code is ExitCode.PARITY

    def test_other_scales_are_found(self, tmp_path):
        """A port that is off by a scale of one group."""
        folder = self.convert(tmp_path / "quantised", 4)
        wrong = shutil.copytree(folder, tmp_path / "wrong")
        weights = load_file(wrong / "model.safetensors")
        name = "model.language_model.layers.2.mlp.up_proj.scales"
        weights[name][3, 1] *= 1.01
        save_file(weights, wrong / "model.safetensors", metadata={"format": "mlx"})
        judgement = judge(Harness(tmp_path, folder), "mlx", wrong)
        assert judgement.first_divergence.step == "text.layers.2.mlp.up_proj"

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"group_size": 32, "bits": 8}, "not 8 bits in groups of 32"),
            ({}, "config.json says no bits and group_size"),
            ({"group_size": 32, "bits": 4, "mode": "mxfp4"}, "quantised by mxfp4"),
            ({"quant_method": "gptq", "bits": 4}, "quantised by gptq; of quantised ones only MLX's affine are read"),
        ],
    )
    def test_of_another_kind(self, tmp_path, settings, said):
        folder = self.convert(tmp_path / "quantised", 4)
        config = json.loads((folder / "config.json").read_text())
        changed = {**config, "quantization": settings, "quantization_config": settings}
        (folder / "config.json").write_text(json.dumps(changed))
        assert all(said in line for line in refusals(folder))

    def test_kernels_with_channels_last(self, tmp_path):
        """As mlx-vlm saves the towers."""
        turned = {
            name: tensor.movedim(1, -1).contiguous() if tensor.ndim > 2 else tensor
            for name, tensor in found.tensors().items()
        }
        folder = found.write(tmp_path / "mlx")
        save_file(turned, folder / "model.safetensors", metadata={"format": "mlx"})
        usual = found.write(tmp_path / "usual")
        names = stored(usual, PUBLISHED)
        for name, tensor in stored(folder, PUBLISHED).items():
            assert tensor.shape == names[name].shape
            assert tensor.read().tobytes() == names[name].read().tobytes()


QUERIES, DOWN_PROJECTION = "layers.1.self_attn.q_proj", "layers.3.mlp.down_proj"


class TestAdapter:
    """What PEFT saves, beside a checkpoint or given with ``--adapter``."""

    @staticmethod
    def write(folder, **fields):
        """A LoRA of two layers."""
        folder.mkdir()
        config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "base_model_name_or_path": "a/b"}
        (folder / "adapter_config.json").write_text(json.dumps({**config, **fields}))
        draw = torch.Generator().manual_seed(0)
        weights = {}
        for layer in (QUERIES, DOWN_PROJECTION):
            sides = found.tensors()[f"{found.LANGUAGE}{layer}.weight"].shape
            out, entering = reversed(sides) if fields.get("fan_in_fan_out") else sides
            name = f"base_model.model.model.language_model.{layer}"
            weights[f"{name}.lora_A.weight"] = torch.randn(4, entering, generator=draw) * 0.05
            weights[f"{name}.lora_B.weight"] = torch.randn(out, 4, generator=draw) * 0.05
        save_file(weights, folder / "adapter_model.safetensors")
        return folder

    def together(self, folder, **fields):
        """The small checkpoint with an adapter, as ``--adapter`` puts them together."""
        return find_checkpoint(str(found.write_text(folder / "small")), self.write(folder / "adapter", **fields))

    def test_every_party_merges_it(self, tmp_path):
        """And one that does not differs where it is."""
        checkpoint = self.together(tmp_path)
        assert checkpoint.name == "small with adapter"
        assert checkpoint.weights != find_checkpoint(str(tmp_path / "small")).weights
        harness = Harness(tmp_path, checkpoint.path)
        for name in PORTS:
            require_parity(judge(harness, name))
        wrong = judge(harness, "mlx", tmp_path / "small")
        assert {step.step for step in wrong.introduced} == {"text.layers.1.attn.q_proj", "text.layers.3.mlp.down_proj"}

    @pytest.mark.parametrize(
        ("fields", "scale"), [({}, 2.0), ({"use_rslora": True}, 4.0), ({"lora_alpha": 6, "fan_in_fan_out": True}, 1.5)]
    )
    def test_the_sum(self, tmp_path, fields, scale):
        tensors = stored(self.together(tmp_path, **fields).path, PUBLISHED)
        parts = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
        for layer in (QUERIES, DOWN_PROJECTION):
            name = f"{found.LANGUAGE}{layer}.weight"
            down, up = (parts[f"base_model.model.{name.removesuffix('weight')}lora_{side}.weight"] for side in "AB")
            product = scale * (up.double() @ down.double())
            expected = found.tensors()[name].double() + (product.T if "fan_in_fan_out" in fields else product)
            np.testing.assert_allclose(tensors[name].read(), expected.numpy(), rtol=1e-12, atol=1e-15)

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"use_dora": True}, "LoRA with DoRA; only plain LoRA is merged here"),
            ({"peft_type": "IA3"}, "is IA3"),
            ({"bias": "all"}, "LoRA with biases"),
            ({"modules_to_save": ["lm_head"]}, "LoRA with whole modules"),
            ({"lora_alpha": None}, "says no lora_alpha"),
        ],
    )
    def test_of_another_kind(self, tmp_path, fields, said):
        assert all(said in line for line in refusals(self.together(tmp_path, **fields).path))

    def test_of_another_model(self, tmp_path):
        folder, adapter = self.together(tmp_path).path, tmp_path / "adapter" / "adapter_model.safetensors"
        weights = found.renamed(load_file(adapter), lambda name: name.replace("layers.1.", "layers.40."))
        save_file(weights, adapter)
        assert all("has no layers.40.self_attn.q_proj.weight to add to" in line for line in refusals(folder))

    def test_packages_that_would_ignore_it(self, tmp_path):
        pytest.importorskip("mlx_lm")
        with pytest.raises(BackendUnavailable, match="would ignore the adapter"):
            find("mlx-lm").load(self.together(tmp_path).path, "float32")

    def test_alone(self, tmp_path):
        adapter = self.write(tmp_path / "adapter")
        with pytest.raises(UsageError, match=r"is an adapter alone; give --model a/b --adapter"):
            find_checkpoint(str(adapter))
        (adapter / "adapter_model.safetensors").rename(adapter / "adapters.safetensors")
        with pytest.raises(UsageError, match="save it with PEFT"):
            find_checkpoint(None, adapter)
        with pytest.raises(UsageError, match=r"no adapter_config\.json"):
            find_checkpoint(None, tmp_path)


def test_gguf(tmp_path):
    """A file, or a folder of files, is called by its name."""
    (tmp_path / "model-Q4_K_M.gguf").touch()
    for path in (tmp_path, tmp_path / "model-Q4_K_M.gguf"):
        with pytest.raises(UsageError, match="is in GGUF"):
            find_checkpoint(str(path))
