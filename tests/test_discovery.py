"""How a reference is found: by its name, or by the type of model that a checkpoint's configuration names."""

from __future__ import annotations

import json

import pytest

from parity.checkpoint import Checkpoint, find_checkpoint
from parity.discovery import find_reference, reference_of
from parity.errors import UsageError

TOY = "tests.toy:Toy"


def test_a_reference_is_found_by_the_checkpoints_type_of_model():
    assert reference_of(find_checkpoint(None)) == "transformers"
    assert "gemma3n" in find_reference("transformers").model_types


def test_a_type_that_no_reference_is_for_is_refused_with_those_that_are_there(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(UsageError, match="for models of type 'llama'; name one of transformers, or your own"):
        reference_of(Checkpoint(tmp_path, "mine", "weights"))


def test_a_named_one_is_taken_whatever_the_checkpoint_is(tmp_path):
    assert reference_of(Checkpoint(tmp_path, "mine", "weights"), TOY) == TOY


def test_a_candidate_is_no_reference(tmp_path):
    with pytest.raises(UsageError, match="unknown backend 'mlx'"):
        reference_of(Checkpoint(tmp_path, "mine", "weights"), "mlx")
    with pytest.raises(UsageError, match="is no reference: it has no contract"):
        reference_of(Checkpoint(tmp_path, "mine", "weights"), "implementations.mlx:Backend")
