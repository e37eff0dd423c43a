"""What the reference refuses to load, and what transformers would silently make up."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from parity.errors import BackendUnavailable, UsageError
from reference.common.loading import tokenize
from reference.gemma3n.huggingface import Reference
from reference.tiny import path


@pytest.fixture
def copy(tmp_path):
    """A copy of the embedded checkpoint that a test may break."""
    return shutil.copytree(path(), tmp_path / "copy")


def change(copy, **fields):
    """Rewrite fields of config.json."""
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **fields}))


def test_another_architecture(copy):
    """One line that names it."""
    change(copy, model_type="llama")
    with pytest.raises(UsageError, match="architecture 'llama'; this reference is for 'gemma3n'"):
        Reference.load(copy, "float32")


def test_missing_tensor_is_not_drawn_at_random(copy):
    """Transformers would initialise it and only warn."""
    tensors = load_file(copy / "model.safetensors")
    name = "model.language_model.layers.7.laurel.linear_left.weight"
    del tensors[name]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=f"missing keys: {name}"):
        Reference.load(copy, "float32")


def test_tensor_of_another_shape(copy):
    """Names the reason, in one line."""
    tensors = load_file(copy / "model.safetensors")
    name = "model.language_model.norm.weight"
    tensors[name] = tensors[name][:-1].clone()
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises((UsageError, BackendUnavailable)) as caught:
        Reference.load(copy, "float32")
    assert "\n" not in str(caught.value)


def test_unknown_dtype():
    """Said before anything is loaded."""
    with pytest.raises(UsageError, match="no dtype 'int4'"):
        Reference.load(path(), "int4")


def test_tokenizer_of_another_model():
    """A tokenizer with more ids than the model has embeddings."""
    with pytest.raises(UsageError, match="its tokenizer has 768 ids, the model 512"):
        tokenize(path(), "Hello", 512, True)


@pytest.mark.parametrize("content", [None, "{}", "not json"])
def test_broken_tokenizer(copy, content):
    """Missing, empty or malformed: one line."""
    if content is None:
        (copy / "tokenizer.json").unlink()
    else:
        (copy / "tokenizer.json").write_text(content)
    with pytest.raises(UsageError, match=r"no tokenizer|tokenizer cannot be loaded") as caught:
        tokenize(copy, "Hello", 768, True)
    assert "\n" not in str(caught.value)


def test_lightest_case_has_no_bos():
    """ "What" is one token; a prompt begins with BOS."""
    assert tokenize(path(), "What", 768, False) == [375]
    assert tokenize(path(), "What", 768, True) == [2, 375]
