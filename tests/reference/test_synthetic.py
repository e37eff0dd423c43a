"""Drawn checkpoints of published geometry: their files, their bytes, and what cannot be written."""

from __future__ import annotations

import errno
import json
import math
import shutil
from collections import namedtuple

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [hf] extra")
pytest.importorskip("transformers", reason="needs the [hf] extra")
pytest.importorskip("timm", reason="needs the [hf] extra")

import torch  # behind importorskip
from rich.progress import Progress
from torch import nn

from implementations.gemma3n.preprocessing.tokenizer import Tokenizer
from parity.checkpoint import find_checkpoint, weight_files
from parity.errors import UsageError
from parity.weights.stored import stored
from reference.common import drawing
from reference.gemma3n import PUBLISHED, synthetic
from reference.gemma3n.huggingface import Reference
from reference.gemma3n.published import GEOMETRIES, KINDS, MOST, configuration, files, text_alone
from reference.gemma3n.weight_rules import shapes
from reference.tiny import path
from tests import found
from tests.marks import quick
from tools.tiny import sensitivity
from tools.tiny.kinds import kind

SHARD = 6_000_000
"""Bytes of a test's shards: the small checkpoint has several."""

PARAMETERS = {"e2b": 5_439_438_272, "e4b": 7_849_978_192}
"""That the published checkpoints have."""


def draw(folder, seed=0, config=None):
    """A checkpoint of the small one's geometry, in several files."""
    with pytest.MonkeyPatch.context() as patch, Progress(disable=True) as progress:
        patch.setattr(synthetic, "SHARD", SHARD)
        synthetic.write(folder, config or found.configuration(), seed, progress)
    return folder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """One that tests read."""
    return draw(tmp_path_factory.mktemp("synthetic") / "small")


def contents(folder):
    """Every file by its name."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


class TestBytes:
    """Weights are those of the seed."""

    def test_same_seed(self, drawn, tmp_path, monkeypatch):
        """However many values are drawn at a time."""
        monkeypatch.setattr(drawing, "BLOCK", 2**20)
        assert contents(draw(tmp_path / "again")) == contents(drawn)

    @pytest.mark.slow
    def test_another_seed(self, drawn, tmp_path):
        """Every tensor is another; nothing else is."""
        other = draw(tmp_path / "other", seed=1)
        ours, theirs = (stored(folder, PUBLISHED) for folder in (drawn, other))
        assert not any(np.array_equal(ours[name].read(), theirs[name].read()) for name in ours)
        small, large = contents(drawn), contents(other)
        assert {name for name in small if small[name] != large[name]} == {file.name for file in weight_files(drawn)}

    def test_values_are_as_they_should_be(self, drawn):
        """A bell of the width that its rule says, and a scale within its limits."""
        tensors = stored(drawn, PUBLISHED)
        gate = tensors["model.language_model.layers.3.mlp.gate_proj.weight"].read().astype(np.float64)
        assert gate.std() == pytest.approx(128**-0.5, rel=0.02)
        assert abs(gate.mean()) < 128**-0.5 / 50
        gain = tensors["model.language_model.norm.weight"].read().astype(np.float64)
        assert 2 <= gain.min() < 2.2
        assert 3.8 < gain.max() <= 4


class TestFiles:
    """The layout of what is published."""

    def test_shards_and_index(self, drawn):
        """Each file as large as may be, and the index names where each tensor is."""
        index = json.loads((drawn / "model.safetensors.index.json").read_text())
        names = sorted({*index["weight_map"].values()})
        count = len(names)
        assert count > 2
        assert names == [f"model-{at:05}-of-{count:05}.safetensors" for at in range(1, count + 1)]
        assert all(file.stat().st_size < SHARD + 200_000 for file in weight_files(drawn))
        assert index["weight_map"].keys() == stored(drawn, PUBLISHED).keys() == shapes(found.configuration()).keys()

    def test_it_is_a_checkpoint(self, drawn):
        """The reference runs it."""
        reference = Reference.load(find_checkpoint(str(drawn)).path, "float32")
        reference.start(padding=(0,), cache=False)
        logits = reference.forward(np.array([[2, 300, 301, 302]]))
        assert np.isfinite(logits).all()
        assert 1 < logits.std() < 6

    def test_the_language_model_alone(self, drawn, tmp_path):
        """The same numbers without the towers', which the reference runs."""
        folder = draw(tmp_path / "text", config=text_alone(found.configuration()))
        ours, whole = (stored(one, PUBLISHED) for one in (folder, drawn))
        assert {*ours} == {name for name in whole if "language_model" in name} < {*whole}
        assert all(np.array_equal(ours[name].read(), whole[name].read()) for name in ours)
        reference = Reference.load(find_checkpoint(str(folder)).path, "float32")
        reference.start(padding=(0,), cache=False)
        assert 1 < reference.forward(np.array([[2, 300, 301, 302]])).std() < 6

    def test_a_shard_is_missing(self, drawn, tmp_path):
        folder = shutil.copytree(drawn, tmp_path / "copy")
        weight_files(folder)[1].unlink()
        with pytest.raises(UsageError, match=r"names model-00002-of-\d+.safetensors, which is not there") as caught:
            find_checkpoint(str(folder))
        assert "\n" not in str(caught.value)

    def test_a_shard_is_cut_off(self, drawn, tmp_path):
        folder = shutil.copytree(drawn, tmp_path / "copy")
        shard = weight_files(folder)[1]
        shard.write_bytes(shard.read_bytes()[:-1000])
        with pytest.raises(UsageError, match=r"model-00002-of-\d+.safetensors: truncated") as caught:
            find_checkpoint(str(folder))
        assert "\n" not in str(caught.value)


class TestGeometry:
    """Published sizes, in fewer layers and ids."""

    @pytest.mark.parametrize("like", quick(PARAMETERS, "e2b"))
    def test_whole(self, like):
        """As many parameters as the published checkpoints have."""
        config = configuration(like, None, MOST)
        assert sum(map(math.prod, shapes(config).values())) == PARAMETERS[like]
        geometry = GEOMETRIES[like]
        text = config["text_config"]
        assert (text["num_hidden_layers"], text["num_kv_shared_layers"]) == (geometry.layers, geometry.shared)
        assert text["activation_sparsity_pattern"] == [0.95] * 10 + [0.0] * (geometry.layers - 10)
        ids = {name: value for name, value in config.items() if name.endswith("_token_id")}
        assert ids == {
            "audio_token_id": 262_273, "boa_token_id": 8, "boi_token_id": 7, "eoa_token_id": 262_272,
            "eoi_token_id": 262_144, "image_token_id": 262_145, "eos_token_id": [1, 6],
        }  # fmt: skip

    @pytest.mark.parametrize("like", GEOMETRIES)
    def test_of_any_depth(self, like):
        """Layers that share keys and values have some of each kind before them."""
        for layers in range(1, 80):
            text = configuration(like, layers, 512)["text_config"]
            own = layers - text["num_kv_shared_layers"]
            assert own >= min(layers, KINDS)
            assert {*text["layer_types"][own:]} <= {*text["layer_types"][:own]}
            assert len(text["activation_sparsity_pattern"]) == len(text["intermediate_size"]) == layers

    def test_tokens(self, tmp_path):
        """Text has the ids that it had; the towers' are behind all of them."""
        config = configuration("e2b", 6, 8192)
        for name, content in files(config).items():
            (tmp_path / name).write_text(json.dumps(content))
        ours, embedded = (Tokenizer.from_directory(folder) for folder in (tmp_path, path()))
        assert ours.encode("Hello, world! é 1") == embedded.encode("Hello, world! é 1")
        vocabulary = files(config)["tokenizer.json"]["model"]["vocab"]
        assert sorted(vocabulary.values()) == list(range(8192 + 256))
        assert vocabulary["<image_soft_token>"] == config["image_token_id"] == 8193


class TestRefused:
    """One line, and nothing is left."""

    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            (["--like", "e3b"], "argument --like: invalid choice: 'e3b'"),
            (["--like", "e2b", "--layers", "0"], "0 layers cannot be; give 1 to 200"),
            (["--like", "e2b", "--layers", "many"], "argument --layers: invalid int value: 'many'"),
            (["--like", "e2b", "--vocabulary", "100"], "a vocabulary of 100 text ids cannot be"),
            ([], "the following arguments are required: --like"),
        ],
    )
    def test_arguments(self, tmp_path, capsys, arguments, line):
        assert synthetic.main([*arguments, str(tmp_path / "new")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert line in error
        assert not list(tmp_path.iterdir())

    def test_what_is_there_already(self, tmp_path, capsys):
        (tmp_path / "mine").write_text("mine")
        assert synthetic.main(["--like", "e2b", "--layers", "1", "--vocabulary", "512", str(tmp_path / "mine")]) == 2
        assert "is there already" in capsys.readouterr().err
        assert (tmp_path / "mine").read_text() == "mine"

    def test_a_disk_that_is_too_small(self, tmp_path, monkeypatch):
        """Said before anything is written."""
        usage = namedtuple("usage", "free")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1_000_000))
        with pytest.raises(UsageError, match=r"takes 0\.1 GB, and its disk has 0\.0 GB free"):
            draw(tmp_path / "new")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
    def test_in_the_middle(self, tmp_path, monkeypatch, failure):
        """A disk that others filled, or an interrupt."""

        def failing(*_):
            yield np.zeros(10, np.uint16)
            raise failure

        monkeypatch.setattr(synthetic, "blocks", failing)
        with pytest.raises(UsageError if isinstance(failure, OSError) else KeyboardInterrupt):
            draw(tmp_path / "new")
        assert not list(tmp_path.iterdir())


@pytest.mark.stock
@pytest.mark.slow
class TestConditioning:
    """1 % of noise on one tensor of any kind moves what the model says by a hundred floors: no component vanishes."""

    @pytest.fixture(scope="class")
    def stock(self, tmp_path_factory):
        """Published layers, six of them, with the whole towers."""
        folder = tmp_path_factory.mktemp("stock") / "e2b"
        with Progress(disable=True) as progress:
            synthetic.write(folder, configuration("e2b", 6, 512), 0, progress)
        yield folder
        shutil.rmtree(folder)

    @pytest.mark.parametrize("part", ["text", "audio", "vision"])
    def test_every_kind_matters(self, stock, part):
        moved = dict(moves(stock, part))
        assert len(moved) > 25
        assert min(moved.values()) >= 100, sorted(moved.items(), key=lambda item: item[1])[:5]


def moves(folder, part):
    """By how many floors each kind of tensor moves the output of its part."""

    def said(reference):
        """Of inputs that are drawn in float32, whatever computes."""
        model = reference._model
        pixels, (frames, mask) = sensitivity.pixels(model), sensitivity.mel(model)
        with torch.no_grad(), reference._computing():
            if part == "text":
                return sensitivity.text_logits(model)
            if part == "audio":
                return model.model.audio_tower(frames, ~mask).last_hidden_state
            return model.model.vision_tower(pixel_values=pixels).last_hidden_state

    exact, reference = said(Reference.load(folder, "float64")), Reference.load(folder, "float32")
    usual = said(reference)
    floor = sensitivity.relative_error(oracle=exact, candidate=usual)
    scope = {"text": ".language_model.", "audio": ".audio_tower.", "vision": ".vision_tower."}[part]
    names = (name for name, _ in reference._model.named_parameters() if scope in name)
    for name in {kind(name): name for name in names}.values():
        path, _, parameter = name.rpartition(".")
        module = reference._model.get_submodule(path)
        own = getattr(module, parameter)
        noise = torch.randn(own.shape, generator=torch.Generator().manual_seed(0))
        setattr(module, parameter, nn.Parameter(own.data * (1 + sensitivity.NOISE * noise)))
        yield name, sensitivity.relative_error(oracle=usual, candidate=said(reference)) / floor
        setattr(module, parameter, own)
