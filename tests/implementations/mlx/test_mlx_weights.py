"""Checkpoints in MLX: sharded and with superfluous tensors they load; and the BLAS that is preloaded."""

import json
import os
import sys

import pytest

mx = pytest.importorskip("mlx.core")

from implementations.mlx import Backend  # noqa: E402  # behind importorskip
from implementations.mlx.operations import blas  # noqa: E402
from implementations.mlx.weights import load_model, shapes  # noqa: E402
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
