"""Finding checkpoints: what is taken, and what is refused before any framework starts."""

from __future__ import annotations

import json
import shutil

import pytest

from parity.checkpoint import find_checkpoint, weight_files
from parity.errors import ParityError, UsageError
from reference.tiny import path


@pytest.fixture
def copy(tmp_path):
    """A copy of the embedded checkpoint that a test may break."""
    return shutil.copytree(path(), tmp_path / "copy")


def test_embedded_checkpoint_is_the_default():
    """No spec means the checkpoint that is part of the project."""
    assert find_checkpoint(None).path == path()


def test_embedded_checkpoint_by_its_name(copy, monkeypatch):
    """Unless a folder here has that name."""
    monkeypatch.chdir(copy.parent)
    assert find_checkpoint("tiny") == find_checkpoint(None)
    copy.rename("tiny")
    assert find_checkpoint("tiny").path.resolve() == copy.parent / "tiny"


def test_digest_tells_weights_apart(copy):
    """Equal for a copy, different after one flipped bit."""
    assert find_checkpoint(str(copy)).weights == find_checkpoint(None).weights
    file = copy / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert find_checkpoint(str(copy)).weights != find_checkpoint(None).weights


def test_truncated_weights(copy):
    """A file cut off at any place."""
    file = copy / "model.safetensors"
    whole = file.read_bytes()
    for length in (0, 4, 100, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(UsageError, match="truncated"):
            find_checkpoint(str(copy))


def test_pickles_are_not_loaded(copy):
    """Only safetensors."""
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(UsageError, match="only safetensors are loaded, never pickles"):
        find_checkpoint(str(copy))


@pytest.mark.parametrize("config", ["", "{", "[]", "{}"])
def test_broken_configuration(copy, config):
    """A config.json that says nothing."""
    (copy / "config.json").write_text(config)
    with pytest.raises(UsageError, match=r"config\.json"):
        find_checkpoint(str(copy))


def test_missing_shard(copy):
    """An index that names a file which is not there, or one outside the directory."""
    for name in ("model-00002.safetensors", "../model.safetensors"):
        (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": name}}))
        with pytest.raises(UsageError, match="which is not there"):
            find_checkpoint(str(copy))


def test_missing_directory(tmp_path):
    """Neither a directory nor a hub id."""
    with pytest.raises(UsageError, match="no such directory"):
        find_checkpoint(str(tmp_path / "nowhere"))


def test_hub_that_cannot_be_reached(monkeypatch):
    """A hub id without a hub: one line, exit 3."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ParityError, match="nor can it be fetched") as caught:
        find_checkpoint("no-such-owner/no-such-model")
    assert "\n" not in str(caught.value)


def test_files_of_a_sharded_checkpoint(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "two.safetensors", "b": "one.safetensors"}}))
    (tmp_path / "one.safetensors").touch()
    with pytest.raises(UsageError, match=r"names two\.safetensors, which is not there"):
        weight_files(tmp_path)
    (tmp_path / "two.safetensors").touch()
    assert [file.name for file in weight_files(tmp_path)] == ["one.safetensors", "two.safetensors"]
    index.write_text("[]")
    with pytest.raises(UsageError, match="cannot be read"):
        weight_files(tmp_path)
