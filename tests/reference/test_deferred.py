"""Weights that lie in their files: what is computed with them is to the bit what promoted ones give."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [hf] extra")
pytest.importorskip("transformers", reason="needs the [hf] extra")

import torch  # behind importorskip
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from parity.errors import UsageError
from parity.media import Part
from parity.running.execute import Run, execute
from parity.weights.names import text_alone
from parity.weights.stored import stored
from parity.weights.written import tensors_of
from reference.common import deferred
from reference.common.arithmetics import arithmetic
from reference.common.deferred import Deferred, Places
from reference.gemma3n.huggingface import Reference
from reference.tiny import path
from tests import found
from tests.marks import quick

SAMPLES = Path(__file__).parents[2] / "samples"
MEDIA = (Part("image", str(SAMPLES / "red-circle.png")), Part("audio", str(SAMPLES / "rising-chirp.wav")))
WHOLE, NOTHING = deferred.KEPT, 0
BUGS = ["mlp-down-8bit", "unembed-8bit", "attn-output-transposed", "ple-4bit"]
TABLE = f"{found.LANGUAGE}embed_tokens.weight"
GATE = f"{found.LANGUAGE}layers.3.mlp.gate_proj.weight"


@pytest.fixture
def said(tmp_path, monkeypatch):
    """What the reference says of every step, with so many bytes of weights kept promoted."""
    number = itertools.count()

    def said(folder, dtype, kept, *, scenario="cached", media=(), **options):
        monkeypatch.setattr(deferred, "KEPT", kept)
        reference = Reference.load(folder, dtype, **options)
        output = tmp_path / f"{next(number)}"
        schedule = reference.scenario(scenario, "Hello world", media)
        execute(reference, Run(output, "small", "weights", dtype, scenario=schedule), lambda *_: None)
        # lines with the digests of all values; rotary tables come in an order that Python's hashes choose
        return sorted((output / "steps.jsonl").read_text().splitlines())

    return said


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The small checkpoint's language model."""
    return found.write_text(tmp_path_factory.mktemp("small") / "text")


def heard_and_seen():
    """Each arithmetic in each scenario with media: the same weights are asked for, so that one of each says most."""
    for dtype, scenario in itertools.product(["float64", "float32", "float16-ane"], Reference.with_media):
        often = (dtype, scenario) in (("float64", "one-shot"), ("float32", "batch"), ("float16-ane", "one-shot"))
        yield pytest.param(dtype, scenario, marks=pytest.mark.slow if often else pytest.mark.exhaustive)


def load(folder, dtype, kept=NOTHING):
    """The tensors by what the reference has of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deferred, "KEPT", kept)
        return dict(Reference.load(folder, dtype)._model.named_parameters())


@pytest.fixture(autouse=True)
def no_grad():
    """As the reference runs."""
    with torch.no_grad():
        yield


def mapping(file):
    """Where the process has it."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    ends = [line.split()[0].split("-") for line in lines if line.endswith(str(file))]
    return int(ends[0][0], 16), int(ends[-1][1], 16)


class TestSameToTheBit:
    """Traces of weights that lie, and of promoted ones."""

    @pytest.mark.parametrize("dtype", quick(["float64", "float32", "bfloat16", "float16", "float16-ane"], "float64"))
    def test_in_every_arithmetic(self, said, small, dtype):
        assert said(small, dtype, NOTHING) == said(small, dtype, WHOLE)

    def test_of_a_batch_in_another_layout(self, small):
        """Torch multiplies it row by row, or folds its axes where the matrix is a parameter: in other orders."""
        x = torch.randn(96, 128, 2, dtype=torch.float64).permute(2, 0, 1)
        one, other = (functional.linear(x, load(small, "float64", kept)[GATE]) for kept in (NOTHING, WHOLE))
        assert one.equal(other)
        assert load(small, "float64")[GATE].promoted().requires_grad

    @pytest.mark.parametrize("execution", quick(["blocked", "stochastic"], "stochastic"))
    def test_in_other_executions(self, said, small, execution):
        """Which round and reorder the model's operations: to promote is none."""
        one, other = (said(small, "float32", kept, execution=execution) for kept in (NOTHING, WHOLE))
        assert one == other

    @pytest.mark.parametrize("variant", quick(BUGS, "mlp-down-8bit"))
    def test_of_bugs_that_change_weights(self, said, small, variant):
        one, other = (said(small, "float64", kept, variant=variant) for kept in (NOTHING, WHOLE))
        assert one == other

    @pytest.mark.parametrize(("dtype", "scenario"), [*heard_and_seen()])
    def test_with_picture_and_sound(self, said, dtype, scenario):
        one, other = (said(path(), dtype, kept, scenario=scenario, media=MEDIA) for kept in (NOTHING, WHOLE))
        assert one == other


class TestPlaces:
    """What lies, and what is held."""

    def test_only_small_ones_are_kept(self, small):
        """The smallest first, up to so many bytes."""
        weights = load(small, "float64", 10_000)
        kept = {name: weight for name, weight in weights.items() if not isinstance(weight, Deferred)}
        assert 0 < sum(weight.nbytes for weight in kept.values()) <= 10_000
        assert max(weight.numel() for weight in kept.values()) <= min(
            weight.numel() for name, weight in weights.items() if name not in kept
        )

    def test_what_lies_is_a_parameter(self, small):
        """As large and of the dtype that it has promoted, and without memory."""
        weight = load(small, "float64")[GATE]
        assert isinstance(weight, Deferred)
        assert isinstance(weight, nn.Parameter)
        assert (weight.shape, weight.dtype, weight.device.type) == ((256, 128), torch.float64, "cpu")

    def test_weights_in_the_files_dtype_stay_there(self, small):
        """They are its bytes, of which no copy is made."""
        weight = load(small, "bfloat16")[GATE]
        assert not isinstance(weight, Deferred)
        assert weight.equal(found.tensors()[GATE])
        begin, end = mapping(small / "model.safetensors")
        assert begin <= weight.data_ptr() < end

    def test_a_change_is_nobody_elses(self, small):
        """Not of the file, nor of whoever reads it next."""
        weight = load(small, "bfloat16")[GATE]
        weight.data.zero_()
        assert load(small, "bfloat16")[GATE].count_nonzero() > 0

    def test_a_parameter_of_no_tensor(self, small):
        """Nothing is made up."""
        places = Places({}, arithmetic("float64"))
        with pytest.raises(UsageError, match="the checkpoint has no weight"):
            places.fill(nn.Linear(2, 2))


class TestOperations:
    """Rows of tables, blocks of heads, and what a weight says of itself."""

    @pytest.fixture
    def table(self, small):
        return load(small, "float64")[TABLE]

    def test_rows_are_gathered_before_they_are_promoted(self, table, monkeypatch):
        whole, read = table.promoted(), []
        promoted = Deferred.promoted
        monkeypatch.setattr(Deferred, "promoted", lambda table, rows: read.append(rows) or promoted(table, rows))
        ids = torch.tensor([[3, 700, 3], [5, 5, 0]])
        assert functional.embedding(ids, table).equal(whole[ids])
        assert [rows.tolist() for rows in read] == [[0, 3, 5, 700]]

    def test_a_large_matrix_is_promoted_in_blocks(self, table, monkeypatch):
        x, whole = torch.randn(5, table.shape[1], dtype=torch.float64), table.promoted()
        monkeypatch.setattr(deferred, "BLOCK", 100 * table.shape[1] * 8)
        bias = torch.randn(table.shape[0], dtype=torch.float64)
        np.testing.assert_allclose(functional.linear(x, table), functional.linear(x, whole), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(
            functional.linear(x, table, bias), functional.linear(x, whole, bias), rtol=1e-12, atol=1e-13
        )

    def test_anything_else_is_of_the_promoted(self, table):
        whole = table.promoted()
        assert (table.T @ table).equal(whole.T @ whole)
        assert torch.cat([table, table]).equal(torch.cat([whole, whole]))
        assert table[3:5].equal(whole[3:5])
        assert not isinstance(table.data, Deferred)


class TestFound:
    """Checkpoints whose weights are computed: each operation reads them as a whole load does."""

    @pytest.fixture
    def quantised(self, small, tmp_path):
        """Two matrices in 4 bits, as MLX packs them."""
        mx = pytest.importorskip("mlx.core")
        weights = load_file(small / "model.safetensors")
        for layer in ("model.layers.3.mlp.gate_proj", "model.embed_tokens"):
            whole = mx.array(weights.pop(f"{layer}.weight").float().numpy())
            parts = zip(("weight", "scales", "biases"), mx.quantize(whole, 32, 4), strict=True)
            weights |= {f"{layer}.{part}": torch.from_numpy(np.array(made)) for part, made in parts}
        settings = {"group_size": 32, "bits": 4}
        folder = found.write_text(tmp_path / "quantised", quantization=settings)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    def test_quantised(self, said, quantised):
        assert said(quantised, "float64", NOTHING) == said(quantised, "float64", WHOLE)

    def test_rows_of_a_quantised_table(self, quantised):
        table = stored(quantised, text_alone)["model.embed_tokens.weight"]
        rows = np.array([3, 700, 12])
        assert (table.read(rows) == table.read()[rows]).all()
        assert (table.read(slice(5, 9)) == table.read()[5:9]).all()

    @pytest.mark.slow
    def test_adapter(self, said, small, tmp_path):
        folder = shutil.copytree(small, tmp_path / "adapted")
        config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none"}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        sides = {"A": torch.randn(4, 128), "B": torch.randn(256, 4)}
        name = "base_model.model.model.layers.3.mlp.gate_proj.lora_{}.weight"
        save_file({name.format(side): part for side, part in sides.items()}, folder / "adapter_model.safetensors")
        assert said(folder, "float32", NOTHING) == said(folder, "float32", WHOLE)

    @pytest.mark.slow
    def test_own_head(self, said, tmp_path):
        folder = found.write_text(tmp_path / "untied", weights={found.HEAD: found.other_head()})
        assert said(folder, "float32", NOTHING) == said(folder, "float32", WHOLE)

    def test_odd_bytes_before_a_tensor(self, tmp_path):
        """A reader may not take the file's place for one where numbers of its size may lie."""
        given = {"a": torch.tensor([True]), "b": torch.arange(5, dtype=torch.float32)}
        save_file({"a": given["a"], "b": given["b"]}, tmp_path / "odd.safetensors")
        read = {tensor.name: tensor.read() for tensor in tensors_of(tmp_path / "odd.safetensors")}
        assert (read["b"] == given["b"].numpy()).all()
        assert read["b"].ctypes.data % 4 == 0
