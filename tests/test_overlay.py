"""Weights in place of a checkpoint's: every reader has them, exactly, and a checkpoint with others is another."""

from __future__ import annotations

import json

import numpy as np
import pytest

from parity.checkpoint import OVERLAY, find_checkpoint, with_overlay
from parity.errors import UsageError
from parity.weights.overlay import Codes, write_overlay
from parity.weights.stored import stored
from reference.tiny import path

NAME = "layers.0.mlp.up_proj.weight"
DRAW = np.random.default_rng(0)


def codes(rows, columns, group, bits):
    groups = -(-columns // group)
    return Codes(
        DRAW.integers(0, 1 << bits, (rows, columns)).astype(np.uint8),
        DRAW.normal(size=(rows, groups)).astype(np.float32),
        DRAW.integers(0, 1 << bits, (rows, groups)).astype(np.uint8),
        bits,
        group,
    )


@pytest.mark.parametrize("shape", [(6, 64, 32, 4), (6, 64, 64, 8), (3, 96, 32, 8), (5, 70, 32, 4), (2, 4, 4, 4)])
def test_codes_are_read_as_the_numbers_that_they_stand_for(shape, tmp_path):
    """To the bit in float64: of rows that are no whole words, the numbers themselves are written."""
    weight = codes(*shape)
    overlay = tmp_path / OVERLAY
    write_overlay(overlay, {NAME: weight, "norm.weight": np.float16([1, 2])})
    folder = with_overlay(find_checkpoint(None), overlay).path
    found = stored(folder, str)
    assert np.array_equal(found[NAME].read(), weight.values())
    assert np.array_equal(found[NAME].read(np.array([1, 0])), weight.values(np.array([1, 0])))
    assert found["norm.weight"].read().tolist() == [1, 2]
    plain = stored(path(), str)
    assert found.keys() == plain.keys()
    assert np.array_equal(found["layers.1.mlp.up_proj.weight"].read(), plain["layers.1.mlp.up_proj.weight"].read())


def test_a_checkpoint_with_other_weights_is_another(tmp_path):
    """With the same ones it is the same, wherever it lies."""
    plain, found = find_checkpoint(None), []
    for number, value in enumerate((1, 1, 2)):
        overlay = tmp_path / str(number) / OVERLAY
        overlay.parent.mkdir()
        write_overlay(overlay, {"norm.weight": np.full(128, value, np.float32)})
        found.append(with_overlay(plain, overlay))
    digests = [one.weights for one in found]
    assert digests[0] == digests[1]
    assert len({plain.weights, *digests}) == 3
    assert find_checkpoint(str(found[0].path)).weights != find_checkpoint(str(found[2].path)).weights


def test_a_damaged_overlay_is_said(tmp_path):
    from safetensors.numpy import save_file

    for metadata in (None, {"quantization": "{"}, {"other": json.dumps({})}):
        save_file({"norm.weight": np.zeros(2)}, tmp_path / OVERLAY, metadata)
        with pytest.raises(UsageError, match=r"overlay.safetensors says no quantization; write it again"):
            stored(with_overlay(find_checkpoint(None), tmp_path / OVERLAY).path, str)
