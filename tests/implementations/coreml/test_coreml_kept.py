"""What was converted stays, part by part, by all that it depends on and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("coremltools")

from implementations.coreml.convert import kept
from implementations.coreml.convert.kept import identity, kept_part
from implementations.coreml.convert.tracing import Converted
from implementations.coreml.package.program import read_program
from implementations.coreml.package.settings import Format, Settings
from reference.tiny import path
from tests.implementations.coreml.conftest import converted

SETTINGS = Settings("fp16", context=256, chunks=3, picture=(192, 192), sound=(1, 100))


@pytest.fixture(scope="module")
def model():
    return converted()


@pytest.fixture
def asked(tmp_path, monkeypatch, model):
    """Asks for parts; what was converted for them, as names and numbers of tokens."""
    made = []

    def convert(part, tokens, settings):
        if tokens == 13:
            raise KeyboardInterrupt
        made.append((part, tokens))
        return Converted(model, [("text.logits", "logits")])

    def ask(name, tokens=64, **changes):
        folder = tmp_path / f"asked-{len([*tmp_path.iterdir()])}"
        return kept_part(
            lambda: name, name, tokens, replace(SETTINGS, **changes), of={"checkpoint": "it"}, folder=folder
        )

    monkeypatch.setattr(kept, "convert", convert)
    monkeypatch.setenv("PARITY_CACHE", str(tmp_path / "cache"))
    return ask, made


def test_a_part_is_converted_once(asked):
    """Both times the package is there, and its steps."""
    ask, made = asked
    first, again = ask("head"), ask("head")
    assert made == [("head", 64)]
    assert first.steps == again.steps == [("text.logits", "logits")]
    assert read_program(again.file).keys() == {"main"}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("decoder_1of3", {"decoder": Format("lut4")}),
        ("decoder_1of3", {"picture": None}),
        ("head", {"context": 64, "batch": 16, "chunks": 2}),
        ("vision", {"context": 64, "sound": None}),
        ("audio", {"chunks": 1, "picture": None}),
    ],
)
def test_what_makes_no_difference_to_it_is_not_asked(name, changes, asked):
    ask, made = asked
    ask(name)
    ask(name, **changes)
    assert len(made) == 1


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("decoder_1of3", {"tokens": 1}),
        ("decoder_1of3", {"context": 64}),
        ("decoder_1of3", {"batch": 16}),
        ("head", {"alpha": 0.5}),
        ("head", {"precision": "fp32"}),
        ("vision", {"caches": "states"}),
        ("vision", {"picture": (64, 64)}),
        ("audio", {"sound": (2, 100)}),
    ],
)
def test_what_makes_one_converts_anew(name, changes, asked):
    ask, made = asked
    ask(name)
    ask(name, **changes)
    assert len(made) == 2


def test_a_conversion_goes_on_where_it_was_interrupted(asked):
    ask, made = asked
    ask("decoder_1of3")
    with pytest.raises(KeyboardInterrupt):
        ask("decoder_2of3", tokens=13)
    for name in ("decoder_1of3", "decoder_2of3"):
        ask(name)
    assert made == [("decoder_1of3", 64), ("decoder_2of3", 64)]


def test_it_depends_on_the_source_that_makes_it(monkeypatch):
    before = identity(path())
    assert before == identity(path())
    monkeypatch.setattr(kept, "source_digest", lambda name: f"{name} changed")
    assert identity(path())["source"] != before["source"]
