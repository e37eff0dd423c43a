"""Checkpoints of another kind, as people have them: each is called by its name before anything is started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from implementations.gemma3n.preprocessing.tokenizer import Tokenizer
from parity.checkpoint import find_checkpoint
from parity.weights.stored import stored
from reference.gemma3n import PUBLISHED
from tests.bad_input import inputs
from tests.bad_input.inputs import Spoil, both, data, edited
from tests.bad_input.table import Row, table
from tests.fuzz.targets import small

MODEL = Path("model")
CONFIG = "model/config.json"
COMPARE = "compare --model model"


def only(*names: str) -> Spoil:
    """A folder of these files, of nothing inside."""

    def make(folder: Path) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("{}")

    return make


def adapter(**fields: Any) -> Spoil:
    """The small checkpoint with an adapter beside its weights, which has other fields."""
    spoils = [edited(name, value=value) for name, value in fields.items()]
    return inputs.at("model/adapter_config.json", small, *spoils)


def quantization(**settings: Any) -> Spoil:
    """The small checkpoint, quantised otherwise."""
    return inputs.at(CONFIG, small, edited("quantization", value=settings))


def weights() -> object:
    """The tensors of a checkpoint, an adapter merged."""
    return [tensor.read() for tensor in stored(find_checkpoint("model").path, PUBLISHED).values()]


def words() -> object:
    """Text becomes tokens."""
    return Tokenizer.from_directory(MODEL).encode("Hello")


KINDS: dict[str, tuple[Spoil, str, str]] = {
    "gguf-folder": (only("model/it-Q4_K_M.gguf"), COMPARE, "is in GGUF"),
    "gguf-file": (only("it-Q4_K_M.gguf"), "compare --model it-Q4_K_M.gguf", "is in GGUF"),
    "gguf-elsewhere": (only("model/it.gguf"), "generate --backend mlx --prompt Hi --model model", "is in GGUF"),
    "adapter-alone": (
        only("model/adapter_config.json", "model/adapter_model.safetensors"), COMPARE, "is an adapter alone",
    ),
    "adapter-of-mlx": (
        both(inputs.checkpoint, only("mine/adapter_config.json", "mine/adapters.safetensors")),
        f"{COMPARE} --adapter mine", "save it with PEFT",
    ),
    "no-adapter": (both(small, only("other/x")), f"{COMPARE} --adapter other", "no adapter_config.json"),
    "shards-missing": (
        both(inputs.checkpoint, lambda folder: (folder / "model/model.safetensors").rename(
            folder / "model/model-00001-of-00002.safetensors")), COMPARE, "1 of 2 shards are there",
    ),
    "pickles": (
        both(inputs.checkpoint, lambda folder: (folder / "model/model.safetensors").rename(
            folder / "model/pytorch_model.bin")), COMPARE, "only safetensors are loaded, never pickles",
    ),
    "byte-order-mark": (
        inputs.at(CONFIG, inputs.checkpoint, lambda file: data(b"\xef\xbb\xbf" + file.read_bytes())(file)), COMPARE,
        "byte-order mark",
    ),
    "utf-16": (
        inputs.at(CONFIG, inputs.checkpoint, lambda file: data(file.read_text().encode("utf-16"))(file)), COMPARE,
        "not UTF-8",
    ),
}  # fmt: skip
"""What people give for a checkpoint: how it is made, with which command, and what is said."""
QUANTIZATIONS: dict[str, tuple[Spoil, str]] = {
    "gptq": (quantization(quant_method="gptq", bits=4), "is quantised by gptq"),
    "awq": (quantization(quant_method="awq"), "is quantised by awq"),
    "mxfp4": (quantization(mode="mxfp4", bits=4, group_size=32), "is quantised by mxfp4"),
    "bits": (quantization(bits=7, group_size=32), "not 7 bits in groups of 32"),
    "groups": (quantization(bits=4, group_size=33), "not 4 bits in groups of 33"),
    "enormous-groups": (quantization(bits=4, group_size=10**18), "not 4 bits in groups of 1000"),
    "no-bits": (quantization(group_size=32), "no bits and group_size"),
    "of-a-word": (inputs.at(CONFIG, small, edited("quantization", value="4bit")), "is quantised by 4bit"),
}
ADAPTERS: dict[str, tuple[Spoil, str]] = {
    "dora": (adapter(use_dora=True), "LoRA with DoRA"),
    "ia3": (adapter(peft_type="IA3"), "is IA3"),
    "biases": (adapter(bias="all"), "LoRA with biases"),
    "modules": (adapter(modules_to_save=["lm_head"]), "LoRA with whole modules"),
    "alpha-text": (adapter(lora_alpha="x"), "lora_alpha"),
}
PREFIX = "longer than any token"
TOKENIZERS: dict[str, tuple[Spoil, str]] = {
    "panic": (edited("model", "continuing_subword_prefix", value=PREFIX), "fetch it again"),
    "no-model": (edited("model", value=None), "fetch it again"),
    "no-bos": (both(edited("added_tokens", value=[]), edited("model", "vocab", value={}),
                    edited("model", "merges", value=[])), "has no <bos> token"),
    "ids-negative": (edited("added_tokens", 0, "id", value=-1), "fetch it again"),
}  # fmt: skip


@table([Row(name, command, spoil, 2, (said,)) for name, (spoil, command, said) in KINDS.items()])
def test_kinds(row, refused):
    refused(row)


@table([Row(name, weights, spoil, 2, ("checkpoint", said)) for name, (spoil, said) in QUANTIZATIONS.items()])
def test_quantizations(row, refused):
    refused(row)


@table([Row(name, weights, spoil, 2, ("adapter model", said)) for name, (spoil, said) in ADAPTERS.items()])
def test_adapters(row, refused):
    refused(row)


@table([Row(name, words, inputs.at("model/tokenizer.json", inputs.checkpoint, spoil), 2, ("tokenizer.json", said))
        for name, (spoil, said) in TOKENIZERS.items()])  # fmt: skip
def test_tokenizers(row, refused):
    refused(row)


def test_a_long_prompt_meets_the_panic_first(refused):
    """A prompt that may be too long is cut into tokens in this process; what fails then is the model's to say."""
    inputs.at("model/tokenizer.json", inputs.checkpoint, TOKENIZERS["panic"][0])(refused.here)
    complaint = refused.run(f"compare --model model --candidates mlx --prompt '{'hello ' * 300}'")[2]
    assert "a process was started" in complaint
    assert complaint.count("\n") == 1


def test_what_was_not_spoilt_is_read(refused):
    small(refused.here)
    assert weights()
    assert json.loads((refused.here / CONFIG).read_text())["quantization"]["bits"] == 4
