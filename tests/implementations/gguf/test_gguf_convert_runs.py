"""Files that were converted, as llama.cpp runs them: it reads what was meant."""

import numpy as np
import pytest

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")
torch = pytest.importorskip("torch")

from implementations.gguf.convert import write_text  # noqa: E402  # behind importorskip
from parity.discovery import find  # noqa: E402
from reference.tiny import path  # noqa: E402
from tests import found  # noqa: E402
from tests.bad_input.inputs import checkpoint  # noqa: E402
from tests.implementations.gguf.test_gguf_convert import LAYERS, drop_shared_keys  # noqa: E402
from tests.ports import logits  # noqa: E402

IDS = np.random.default_rng(0).integers(9, 512, (1, 1, 24))
"""One chunk of one row, longer than a window of 16; none that the multimodal model embeds otherwise."""


def of_file(folder, file):
    return logits(find("llama-cpp").load(folder, "float32", file=str(file)), IDS)


def of_reference(folder):
    return logits(find("transformers").load(folder, "float32"), IDS)


def relative(values, of):
    return np.linalg.norm(values - of) / np.linalg.norm(of)


@pytest.mark.parametrize(
    ("name", "most"),
    [
        pytest.param("bf16", 2e-2, marks=pytest.mark.slow),
        pytest.param("f16", 3e-3, marks=pytest.mark.slow),
        pytest.param("q8_0", 0.1, marks=pytest.mark.slow),
        pytest.param("q4_0", 0.8, marks=pytest.mark.slow),
        ("q4_k_m", 0.4),
    ],
)
def test_types(tmp_path, name, most):
    """Each errs by its own rounding, and not more."""
    write_text(path(), tmp_path / "model.gguf", name)
    write_text(path(), tmp_path / "exact.gguf", "f32")
    error = relative(of_file(path(), tmp_path / "model.gguf"), of_file(path(), tmp_path / "exact.gguf"))
    assert most / 10 < error < most


def test_keys_that_were_not_saved_again_are_not_read(tmp_path):
    """To the bit."""
    folder = checkpoint(tmp_path)
    drop_shared_keys(folder)
    write_text(folder, tmp_path / "without.gguf", "f32")
    write_text(path(), tmp_path / "with.gguf", "f32")
    np.testing.assert_array_equal(of_file(path(), tmp_path / "without.gguf"), of_file(path(), tmp_path / "with.gguf"))


@pytest.mark.parametrize(
    "changed",
    [
        {"weights": {found.HEAD: found.other_head()}},
        pytest.param({"rope_scaling": {"rope_type": "linear", "factor": 8.0}}, marks=pytest.mark.slow),
        {"layer_types": [f"{kind}_attention" for kind in ("full", "sliding", "full", "sliding", "sliding", "full")]},
        pytest.param({"sliding_window": 5}, marks=pytest.mark.slow),
    ],
    ids=["a head of its own", "divided positions", "another pattern", "another window"],
)
def test_what_the_reference_computes(tmp_path, changed):
    """But for what llama.cpp does otherwise in every file, as a deviation with n - 1."""
    folder = found.write_text(tmp_path / "other", **LAYERS, **changed)
    write_text(folder, tmp_path / "other.gguf", "f32")
    ours, true = of_file(folder, tmp_path / "other.gguf"), of_reference(folder)
    plain = of_reference(found.write_text(tmp_path / "plain", **LAYERS))
    assert relative(ours, true) < 0.03 < relative(plain, true)
