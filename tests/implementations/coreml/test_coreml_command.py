"""`parity coreml convert`: what cannot be is refused before the work; the page of the documentation is followed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

pytest.importorskip("coremltools")

from typer.testing import CliRunner

from implementations.coreml.command import _formats, app
from implementations.coreml.convert.writing import _account, _own_files
from implementations.coreml.package.settings import Format, Settings
from implementations.gemma3n.config import Config
from parity.errors import UsageError
from reference.tiny import path
from tests.pages import ROOT, follow


def refused(*arguments):
    """The error of a command, in one line."""
    found = CliRunner().invoke(app, ["convert", "tiny", *arguments])
    assert isinstance(found.exception, UsageError)
    assert "\n" not in str(found.exception)
    return str(found.exception)


def test_what_cannot_be_is_refused(tmp_path):
    new = str(tmp_path / "new")
    assert refused(new, "--precision", "fp8") == "--precision has no 'fp8'; choose of fp32, fp16"
    assert "is there already" in refused(str(tmp_path))
    assert "4 or 6" in refused(new, "--lut", "5")
    assert "one of them" in refused(new, "--lut", "4", "--int8")
    assert "of --precision fp16" in refused(new, "--int8", "--precision", "fp32")
    assert "of --precision fp16" in refused(new, "--lut3", "4", "--precision", "fp32")
    assert "one of them" in refused(new, "--int4", "--int8")
    assert "one of them" in refused(new, "--int4", "--lut2", "4")
    assert "are of --precision fp16" in refused(new, "--lut1", "4", "--precision", "fp32")
    assert refused(new, "--lut1", "8").startswith("--lut1 8 is no number of bits")
    assert refused(new, "--caches", "x") == "--caches has no 'x' of --precision fp16; states or inputs"
    assert "are of iOS 18" in refused(new, "--caches", "inputs", "--lut", "4,16")
    assert refused(new, "--lut", "4", "--lut3", "5").startswith("--lut3 5 is no number of bits")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--context", "100000"], "context=100000, the model has"),
        (["--context", "16"], "batch=64 exceeds the context of 16"),
        (["--chunk", "26"], "a decoder of 25 layers cannot be in 26 parts"),
        (["--alpha", "-1"], "alpha = -1 scales nothing"),
    ],
)
def test_what_does_not_fit_the_model_leaves_nothing(arguments, words, tmp_path):
    assert words in refused(str(tmp_path / "new"), *arguments)
    assert [*tmp_path.iterdir()] == []


def formats(lut=None, lut2=None, lut3=None, *, precision="fp16", **integers):
    return _formats(precision, lut, (lut2, lut3), **{"int4": False, "int8": False, **integers})


def test_palettes_are_told_by_bits_and_rows():
    """Those of decoder and head at once, or apart."""
    assert formats("4") == (Format("lut4"), Format("lut4"))
    assert formats("6,16", lut3="4") == (Format("lut6", 16), Format("lut4"))
    assert formats(lut2="4,8") == (Format("lut4", 8), Format())
    assert formats(int8=True) == (Format("int8"), Format("int8"))
    assert formats(int4=True) == (Format("int4"), Format("int4"))
    assert formats(precision="fp32") == (Format(), Format())
    assert Settings("fp16", decoder=formats("6")[0], head=formats(int8=True)[1]).system == "iOS17"
    for form in (Format("lut4", 16), Format("int4")):
        with pytest.raises(UsageError, match="are of iOS 18"):
            Settings("fp16", head=form)
    for text in ("8", "4,x", "4,-1", ""):
        with pytest.raises(UsageError):
            formats(text)


@pytest.mark.slow
def test_the_page_does_what_it_says(tmp_path):
    """What is told of another converter's packages is not run: it has no such package."""
    followed = follow(ROOT / "docs" / "coreml.md", tmp_path, columns=200)
    assert followed == ["console", "text", "text", "text", "console"]


def test_a_tower_that_is_not_converted_is_accounted_for():
    """Its tensors are ignored, and no others."""
    config = Config.from_directory(path())
    plain, seeing = (
        {entry.name: entry for entry in _account(path(), config, Settings(picture=size))} for size in (None, (192, 192))
    )
    vision, audio = "model.vision_tower.", "model.audio_tower."
    assert {entry.action for name, entry in plain.items() if name.startswith((vision, audio))} == {"ignored"}
    kept = {name.startswith(vision) for name, entry in seeing.items() if entry.action != "ignored"}
    assert kept == {False, True}
    assert [name for name in seeing if seeing[name] != plain[name]] == [name for name in plain if vision in name]


def test_no_tower_is_asked_for_with_sounds(tmp_path):
    assert "leave --frames out" in refused(str(tmp_path / "new"), "--text-only", "--frames", "100")


def test_what_is_written_meanwhile_is_gone():
    """Also where the process does not end in order, at which coremltools would remove it."""
    before = tempfile.tempdir
    with _own_files():
        left = Path(tempfile.mkdtemp(suffix=".mlpackage"))
        assert left.is_dir()
    assert (left.exists(), tempfile.tempdir) == (False, before)
