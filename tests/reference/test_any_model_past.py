"""Any language model of transformers goes on from its past, in whatever form it keeps that, and padding is nowhere."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("transformers")

from parity.errors import UsageError
from reference.any_model.drawing import draw
from reference.any_model.huggingface import Reference


@pytest.mark.parametrize("model", ["llama", "mamba", "ministral3"])
def test_a_padded_row_goes_on_from_its_past(model, tmp_path):
    """As it does alone and in one chunk.

    Mamba takes its cache by another name, and the mask of one chunk; of a position below 0 Ministral makes an infinity.
    """
    draw(model, tmp_path / model)
    reference = Reference.load(tmp_path / model, "float32")
    ids = np.random.default_rng(0).integers(5, 300, (2, 11))
    reference.start(padding=(0, 4), cache=True)
    found = np.concatenate(
        [reference.forward(ids[:, :9]), reference.forward(ids[:, 9:10]), reference.forward(ids[:, 10:])], 1
    )
    for row, padding in ((0, 0), (1, 4)):
        reference.start(padding=(0,), cache=False)
        alone = reference.forward(ids[row : row + 1, padding:])
        np.testing.assert_allclose(found[row, padding:], alone[0], rtol=1e-3, atol=1e-4)


def test_a_model_without_a_cache_is_refused(tmp_path):
    """One line: it would forget each chunk, and be called true."""
    draw("llama", tmp_path / "llama")
    reference = Reference.load(tmp_path / "llama", "float32")
    reference._takes = {"input_ids": None}
    reference.start(padding=(0,), cache=True)
    with pytest.raises(UsageError, match="transformers' llama takes no cache: it has no past to go on from"):
        reference.forward(np.array([[5, 6]]))
