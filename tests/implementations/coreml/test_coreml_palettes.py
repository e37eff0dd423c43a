"""Tables in palettes that the host looks up: what is stored, what is looked up, and what its reference is given."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("coremltools")

import torch
from safetensors.torch import load_file, save_file

from implementations.ane.loading import compiled
from implementations.ane.options import Options as AneOptions
from implementations.coreml.convert.writing import _write_tables
from implementations.coreml.interpreter.fewer_bits import believed
from implementations.coreml.model import read_embedder
from implementations.coreml.options import Options
from implementations.coreml.package.folder import TABLES, Package
from implementations.coreml.package.palettes import LOOKED_UP, PaletteTable, in_palettes
from implementations.coreml.package.settings import Format, Settings
from implementations.coreml.weights import true_weights
from implementations.gemma3n.config import Config
from parity.errors import UsageError
from parity.tap import SILENT
from reference.tiny import path

FORMS = {"lut4": Format("lut4"), "lut6": Format("lut6"), "lut6 for 5 rows each": Format("lut6", 5)}


def table(rows=12, columns=30):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(3)).half()


@pytest.mark.parametrize("name", FORMS)
def test_a_row_is_looked_up_as_it_was_stored(name):
    """Each number as the nearest entry of its palette, which lies in the middle of what it stands for."""
    form, stored = FORMS[name], table()
    found, parts = PaletteTable(12, 30, form), in_palettes(stored, form)
    found.load_state_dict(parts, assign=True)
    bits = form.palette_bits
    assert parts["places"].shape == (12, -(-30 * bits // 8))
    assert parts["entries"].shape == (3 if form.group else 1, 1 << bits)
    values = found(torch.arange(12))
    some = torch.tensor([[7, 2], [0, 11]])
    assert torch.equal(found(some), values[some])
    for first in range(0, 12, form.group or 12):
        rows = slice(first, first + (form.group or 12))
        entries = parts["entries"][first // (form.group or 12)].float()
        distance = (stored[rows].float()[..., None] - entries).abs()
        assert torch.equal((values[rows].float() - stored[rows].float()).abs(), distance.min(-1).values)
        for entry in entries.unique():
            own = stored[rows].double()[values[rows].float() == entry]
            assert not len(own) or abs(own.mean() - entry) < 2e-3
    error = (values.double() - stored.double()).norm() / stored.double().norm()
    assert error < {4: 0.12, 6: 0.03}[bits]


def test_numbers_that_a_palette_has_are_kept():
    """A table of 16 numbers is its own palette."""
    stored = torch.linspace(-2, 3, 16).half()[torch.arange(64).reshape(4, 16) % 16]
    found = PaletteTable(4, 16, Format("lut4"))
    found.load_state_dict(in_palettes(stored, Format("lut4")), assign=True)
    assert torch.equal(found(torch.arange(4)), stored)


@pytest.fixture(scope="module")
def one():
    return compiled(path(), "float16-ane", AneOptions(context=64, alpha=0.5), lambda name: "embedder" in name)


SETTINGS = Settings("fp16", 64, alpha=0.5, embeddings=Format("lut6", 32))


@pytest.fixture(scope="module")
def tables(one, tmp_path_factory):
    """The embedded checkpoint's, of a model that is there already: a plan reads each for itself."""
    folder = tmp_path_factory.mktemp("tables")
    _write_tables(SimpleNamespace(settings=SETTINGS, tables=one.model.embedder.named_parameters), folder)
    return folder / TABLES


@pytest.fixture
def package(tables, tmp_path):
    """A folder of them alone."""
    shutil.copy(tables, tmp_path)
    return Package(tmp_path, SETTINGS, (), (), {})


def test_the_host_looks_up_palettes(one, package):
    """Its embeddings are the table's but for what 6 bits cost, and they take less than half of float16."""
    ids = torch.tensor([[5, 17, 700, 3]])
    true = one.model.embedder(ids, lambda x: x, tap=SILENT)
    found = read_embedder(one.config, package)(ids, lambda x: x, tap=SILENT)
    for value, expected in zip(found, true, strict=True):
        assert 1e-3 < (value - expected).norm() / expected.norm() < 0.05
    stored = load_file(package.folder / TABLES)
    for name in LOOKED_UP:
        size = sum(stored[f"{name}.{part}"].nbytes for part in ("places", "entries"))
        assert size < 0.45 * 2 * getattr(one.model.embedder, name).weight.numel()


def test_the_reference_has_their_numbers(one, package, monkeypatch):
    """And the head, which the embedding's table stands for, has the checkpoint's."""
    monkeypatch.setattr("implementations.coreml.weights.HEAD", "none")
    monkeypatch.setattr("implementations.coreml.weights.fewer_bits", lambda file: ())
    found = true_weights(package, path(), Config.from_directory(path()))
    assert [*found] == ["embed_tokens.weight", "embed_tokens_per_layer.weight", "lm_head.weight"]
    embedder = read_embedder(one.config, package)
    embeddings = embedder.embed_tokens(torch.arange(768)).double().numpy()
    assert np.array_equal(found["embed_tokens.weight"] * 0.5, embeddings)
    own = one.model.embedder.embed_tokens.weight.detach().double().numpy() / 0.5
    assert np.abs(found["lm_head.weight"] - own).max() < 1e-3
    assert np.linalg.norm(found["embed_tokens.weight"] - own) > 1e-3 * np.linalg.norm(own)
    entries = embedder.embed_tokens.entries.clone()
    entries[3] *= 1.1
    wrong = entries[3][np.searchsorted(embedder.embed_tokens.entries[3].numpy(), embeddings[96:128].astype(np.float32))]
    assert np.array_equal(believed(wrong.double().numpy(), own[96:128] * 0.5, 32), own[96:128] * 0.5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.pop("embed_tokens.entries"), "embed_tokens.entries"),
        (lambda file: file.update({"embed_tokens.places": file["embed_tokens.places"][:5].clone()}), "size mismatch"),
        (
            lambda file: file.update({"embed_tokens.entries": file["embed_tokens.entries"][:, :5].clone()}),
            "size mismatch",
        ),
        (lambda file: file.update({"embed_tokens.places": file["embed_tokens.places"].short()}), "int16"),
        (lambda file: file.update({"embed_tokens.entries": file["embed_tokens.entries"].int()}), "int32"),
    ],
)
def test_palettes_that_do_not_fit_are_refused(change, words, one, package):
    file = package.folder / TABLES
    told = load_file(file)
    change(told)
    save_file(told, file)
    with pytest.raises(UsageError, match=words) as refusal:
        read_embedder(one.config, package)
    assert "\n" not in str(refusal.value)


def test_they_are_of_one_arithmetic():
    options = Options.parse({"embeddings": "lut4", "group": "8"})
    assert options.fewer_bits
    assert options.converted("float16-ane").embeddings == Format("lut4", 8)
    assert options.converted("float16-ane").fewer_bits
    with pytest.raises(UsageError, match="weights=lut4 compute in float16-ane"):
        options.converted("float32")
    with pytest.raises(UsageError, match="embeddings=int8 is none of"):
        Options.parse({"embeddings": "int8"})
