"""libmtmd's vision tower: every step is read and answered, and errs alone where llama.cpp is known to round."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

from implementations.gemma3n.config import Config  # noqa: E402  # behind importorskip
from implementations.gguf.convert.conversion import Conversion  # noqa: E402
from implementations.gguf.engine.tensors import GraphTensors, Value  # noqa: E402
from implementations.gguf.vision.graph import Node, table  # noqa: E402
from implementations.gguf.vision.tower import VisionTower, seeing_library  # noqa: E402
from implementations.gguf.vision.watch import VisionWatch  # noqa: E402
from parity.backend import Backend  # noqa: E402
from parity.errors import BackendUnavailable, UsageError  # noqa: E402
from parity.placing import EVERYWHERE  # noqa: E402
from parity.tap import SILENT, ScopedTap  # noqa: E402
from reference.gemma3n.huggingface import Reference  # noqa: E402
from tests.by_hand import MadeByHand  # noqa: E402
from tests.implementations.gguf.seeing import SIDE, seeing  # noqa: E402
from tests.marks import quick  # noqa: E402
from tests.vision_parties import NO_LOGITS, Gallery, images  # noqa: E402

FACTOR, HIDDEN = 4.0, 128
STEPS = 727
TABLE = re.compile(r"vision\..*\.act")
"""GELU, which ggml looks up in a table of half-precision numbers."""
HALF = re.compile(r"vision\.blocks\..*(dw_(start|mid)\.conv|norm\.input)")
"""Depthwise convolutions, of which ggml gathers the pixels in half precision."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A checkpoint, and its tower and vocabulary in one folder."""
    folder = tmp_path_factory.mktemp("tower")
    checkpoint = seeing(folder)
    conversion = Conversion.of(checkpoint, "tiny", tower=True)
    conversion.write_tower(folder / "mmproj.gguf", lambda what: None)
    conversion.write_vocabulary(folder / "vocabulary.gguf")
    return folder, checkpoint


def nodes(checkpoint: Path) -> list[Node]:
    return list(table(Config.from_directory(checkpoint).vision.channel_multiplier))


class Tower(MadeByHand, Backend):
    """The tower alone, on the same pictures in every chunk."""

    name = "llama-cpp"
    dtypes = ("float32",)

    def __init__(self, files: Any, pixels: Any, rows: list[Node] | None = None) -> None:
        folder, checkpoint = files
        self.tensors = GraphTensors()
        watch = VisionWatch(seeing_library(), rows or nodes(checkpoint), self.tensors, HIDDEN, FACTOR)
        self.tower = VisionTower(folder / "mmproj.gguf", folder / "vocabulary.gguf", watch, 1)
        self.pixels = np.rint(255 * pixels.transpose(0, 2, 3, 1)).astype(np.uint8)

    def forward(self, token_ids, *, prompts=(), tap=SILENT):
        self.soft = self.tower.see(self.pixels, tap=tap)
        return NO_LOGITS


@pytest.fixture(scope="module")
def pixels():
    """Two pictures of whole 255ths, as bitmaps have them."""
    return (np.rint(255 * images(SIDE, SIDE)) / 255).astype(np.float32)


@pytest.fixture(scope="module")
def tower(files, pixels):
    return Tower(files, pixels)


def test_every_step_is_read_and_reading_changes_nothing(files, tower, pixels):
    """Of each picture, in the contract's axes; written back as they are, they leave the soft tokens to the bit."""
    seen: dict[str, list[Any]] = {}

    def copied(name, value):
        seen.setdefault(name, []).append(value.array.copy())
        return Value(value.array.copy())

    tower.forward(None)
    silent = tower.soft
    tower.forward(None, tap=ScopedTap(copied))
    np.testing.assert_array_equal(tower.soft, silent)
    assert len(seen) == STEPS == len(nodes(files[1]))
    assert {len(values) for values in seen.values()} == {2}
    np.testing.assert_array_equal(np.concatenate(seen["vision.pixels"]), pixels)
    soft = np.concatenate(seen["embed_vision.soft"])
    np.testing.assert_array_equal(soft, silent[..., :HIDDEN] / 4)
    assert not silent[..., HIDDEN:].any()


@pytest.mark.parametrize(
    "step",
    quick(
        [
            "vision.pixels",
            "vision.blocks.1.0.dw_mid.conv",
            "vision.blocks.2.11.attn.context",
            "vision.blocks.0.0.out",
            "vision.msfa.norm.input",
        ],
        "vision.blocks.2.11.attn.context",
    ),
)
def test_an_answer_goes_on(tower, step):
    """Of a depthwise convolution, of what a node reads, of a block that adds nothing, of the graph's input."""
    tower.forward(None)
    silent = tower.soft

    def answer(name, value):
        return Value(value.array * np.float32(1.5) + np.float32(0.1)) if name == step else value

    tower.forward(None, tap=ScopedTap(answer))
    assert (tower.soft != silent).any(axis=(1, 2)).all()


def test_a_graph_of_another_build_is_told(files, pixels):
    other = Tower(files, pixels, [*nodes(files[1]), Node("vision.new", "v.new.weight", "MUL")])
    other.forward(None)
    with pytest.raises(BackendUnavailable, match=r"step vision.new is MUL behind v.new.weight, and there is none"):
        other.forward(None, tap=ScopedTap(lambda name, value: value))


@pytest.mark.parametrize("failure", [ValueError("no"), KeyboardInterrupt()])
def test_what_a_tap_raises_is_raised_behind(tower, failure):
    def broken(name, value):
        if name == "vision.blocks.1.1.out":
            raise failure
        return value

    with pytest.raises(type(failure)):
        tower.forward(None, tap=ScopedTap(broken))
    tower.forward(None)


@pytest.mark.parametrize("file", ["mmproj.gguf", "vocabulary.gguf"])
@pytest.mark.parametrize("content", [None, b"", b"GGUF\x03\0\0\0", b"noise" * 100])
def test_files_that_cannot_be_loaded(files, tmp_path, pixels, file, content):
    for name in ("mmproj.gguf", "vocabulary.gguf"):
        (tmp_path / name).symlink_to(files[0] / name)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(UsageError, match=f"cannot load .*{file}") as raised:
        Tower((tmp_path, files[1]), pixels)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_from_exact_inputs_only_what_is_rounded_errs(files, tower, pixels, tmp_path):
    """In lockstep: activations from a table, and depthwise convolutions; nothing else is beyond its floors."""
    gallery = Gallery(tmp_path / "gallery", lambda dtype: Reference.load(files[1], dtype), pixels)
    judgement = gallery.judge(tower, "float32")
    statuses = {step.step: step.status for step in judgement.steps}
    assert len(statuses) == STEPS
    known = {name for name in statuses if TABLE.fullmatch(name) or HALF.fullmatch(name)}
    assert {name for name, status in statuses.items() if status == "introduced"} == known
    assert {statuses[name] for name in statuses.keys() - known} <= {"ok", "coarse", "inherited"}


@pytest.mark.slow
def test_from_exact_inputs_the_reference_edited_alike_sees_the_same(files, tower, pixels, tmp_path):
    """With GELU from the table, and pixels of depthwise convolutions in float16, nothing is left in lockstep."""

    def alike(dtype):
        reference = Reference.load(files[1], dtype)
        reference.vary([(name, EVERYWHERE) for name in ("vision-gelu-half-table", "vision-half-pixels")])
        return reference

    judgement = Gallery(tmp_path / "gallery", alike, pixels).judge(tower, "float32")
    assert len(judgement.steps) == STEPS
    left = {step.step: step.ratio for step in judgement.steps if step.status == "introduced"}
    assert left == {}
