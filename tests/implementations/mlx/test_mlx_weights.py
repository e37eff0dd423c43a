"""Checkpoints in MLX: sharded and with superfluous tensors they load; and the BLAS that is preloaded."""

import json
import math
import os
import sys

import numpy as np
import pytest

mx = pytest.importorskip("mlx.core")

from implementations.gemma3n.weight_names import PUBLISHED  # noqa: E402
from implementations.mlx import Backend  # noqa: E402  # behind importorskip
from implementations.mlx import weights as weights_of  # noqa: E402
from implementations.mlx.operations import blas  # noqa: E402
from implementations.mlx.operations.layers import Table  # noqa: E402
from implementations.mlx.weights import load_model, shapes  # noqa: E402
from parity.weights.stored import stored  # noqa: E402
from reference.tiny import path  # noqa: E402

NORM = "model.language_model.norm.weight"


@pytest.fixture(scope="module")
def weights():
    """The text path's tensors of the embedded checkpoint."""
    return dict(mx.load(str(path() / "model.safetensors")))


def test_shards_without_shared_keys_but_with_a_head(tmp_path, weights):
    """Keys of KV-shared layers are not needed; a head of its own is loaded."""
    kept = {name: array for name, array in weights.items() if ".layers.22.self_attn.k_proj" not in name}
    kept["lm_head.weight"] = mx.zeros((768, 128))
    names = sorted(kept)
    files = {name: f"model-{index % 2}.safetensors" for index, name in enumerate(names)}
    for file in set(files.values()):
        mx.save_safetensors(str(tmp_path / file), {name: kept[name] for name in names if files[name] == file})
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    (tmp_path / "config.json").write_bytes((path() / "config.json").read_bytes())
    found = shapes(load_model(tmp_path, mx.float32))
    assert (found[NORM], found["lm_head.weight"]) == ((128,), (768, 128))


class TestReadAtFirstUse:
    """Weights lie in their files until an operation uses them; the per-layer table always does."""

    IDS = np.array([[2, 72, 101, 108, 700]])
    """The last is outside the per-layer table."""

    def test_what_is_not_used_takes_no_memory(self):
        """Neither towers nor the table, 44 of 73 MB; of the rest a slow BLAS has a second copy, in blocks."""
        mx.clear_cache()
        before = mx.get_active_memory()
        backend = Backend.load(path(), "float32")
        assert mx.get_active_memory() - before < 1e6
        backend.forward(self.IDS)
        unused = [whole(name) for name in ("audio_tower", "vision_tower", "embed_tokens_per_layer")]
        assert mx.get_active_memory() - before < 2 * (whole("") - sum(unused)) + 2e6

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_the_same_numbers(self, monkeypatch, dtype):
        """As when all are read at once, as those are that no file has as they are."""
        found = Backend.load(path(), dtype).forward(self.IDS)
        monkeypatch.setattr(weights_of._Files, "_written", lambda files, tensor: None)
        monkeypatch.setattr(Table, "look_up", property(lambda table: None, lambda table, value: None))
        assert np.array_equal(Backend.load(path(), dtype).forward(self.IDS), found)

    def test_a_file_that_mlx_does_not_take(self, monkeypatch):
        """Another reader is there for it."""

        def refuse(file):
            raise RuntimeError("unsupported dtype")

        true = Backend.load(path(), "float32").forward(self.IDS)
        monkeypatch.setattr(weights_of, "_loaded", refuse)
        assert np.array_equal(Backend.load(path(), "float32").forward(self.IDS), true)


def whole(part):
    """Bytes in float32 of the tensors with that in their names."""
    return sum(4 * math.prod(tensor.shape) for name, tensor in stored(path(), PUBLISHED).items() if part in name)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux preloads")
def test_preloading(monkeypatch, tmp_path):
    """OpenBLAS goes before what is preloaded already; a BLAS that is there stays alone; none, no change."""
    library = tmp_path / blas.LIBRARY
    library.touch()
    monkeypatch.setattr(blas, "_known_to_linker", lambda: iter([library]))
    assert blas.preload("") == str(library)
    assert blas.preload("/lib/other.so") == f"{library} /lib/other.so"
    assert blas.preload("/opt/libmyblas.so") is None
    monkeypatch.setattr(blas, "find_openblas", lambda: None)
    assert blas.preload("") is None


def test_macos_preloads_nothing(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert blas.preload("") is None


def test_doctor_says_the_cure(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    monkeypatch.setattr(blas, "find_openblas", lambda: None)
    installed, fast = Backend.doctor()
    assert installed[:2] == (True, "mlx")
    assert fast == (False, "BLAS", blas.CURE)


def test_the_environment_keeps_the_users_choice(monkeypatch):
    monkeypatch.setitem(os.environ, "MLX_ENABLE_TF32", "1")
    assert Backend.environment()["MLX_ENABLE_TF32"] == "1"
    assert set(Backend.versions()) >= {"mlx"}
