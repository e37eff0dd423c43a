"""Pictures and sounds through the towers' packages against the reference; and weights in fewer bits.

All of it is slow: a tower is converted for each size, and the packages of each number format.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("coremltools")

from implementations.coreml import Backend
from implementations.coreml.interpreter.run import Interpreter
from parity.checkpoint import Checkpoint, with_overlay
from parity.errors import ExitCode
from parity.media import Part
from tests.harness import PROMPT, QUESTION, WEIGHTS, Harness, require_parity

pytestmark = pytest.mark.slow
SAMPLES = Path(__file__).parents[3] / "samples"
PICTURE = Part("image", str(SAMPLES / "gradient.png"))
OTHER = Part("image", str(SAMPLES / "three-blue-squares.png"))
SOUND = Part("audio", str(SAMPLES / "rising-chirp.wav"))
CHUNKS = {"float32": "1", "float16-ane": "3"}
"""Of the decoder, as all tests convert it: one conversion for each arithmetic serves the whole run."""


@pytest.fixture(scope="module")
def coreml(harness):
    """The packages, loaded once for each arithmetic and set of options: of the parts that the other tests convert."""

    @functools.cache
    def load(dtype, **options):
        return Backend.load(harness.checkpoint, dtype, context="256", chunks=CHUNKS[dtype], **options)

    return load


@pytest.mark.parametrize(
    ("dtype", "media"),
    [
        pytest.param("float16-ane", (PICTURE, SOUND), id="both in float16"),
        pytest.param("float32", (PICTURE, SOUND), id="both", marks=pytest.mark.exhaustive),
        pytest.param("float32", (PICTURE, OTHER), id="two pictures", marks=pytest.mark.exhaustive),
    ],
)
def test_parity(dtype, media, coreml, harness):
    """Several pictures are a call each, of the one package that there is for their size."""
    require_parity(harness.judge(coreml(dtype), dtype, "one-shot", QUESTION, media))


@pytest.fixture(scope="module")
def held(harness, tmp_path_factory):
    """A harness whose reference has the numbers of a package's palettes or integers."""

    @functools.cache
    def of(weights, what="weights"):
        folder = tmp_path_factory.mktemp(weights)
        Backend.write_weights(
            harness.checkpoint, folder / "overlay.safetensors", {what: weights, "context": "256", "chunks": "3"}
        )
        own = with_overlay(Checkpoint(harness.checkpoint, "tiny", WEIGHTS), folder / "overlay.safetensors")
        return Harness(folder, own.path)

    return of


@pytest.mark.exhaustive
@pytest.mark.parametrize("weights", ["lut4", "lut6", "int8"])
def test_parity_in_fewer_bits(weights, coreml, held):
    """Held to a reference with the package's own numbers, as the next one is, which shows it of all steps but one."""
    require_parity(held(weights).judge(coreml("float16-ane", weights=weights), "float16-ane", "one-shot", PROMPT))


@pytest.mark.exhaustive
def test_parity_with_tables_in_palettes(coreml, held):
    """What the host looks up is the reference's too; the head that they stand for is the checkpoint's."""
    found = held("lut6", "embeddings").judge(
        coreml("float16-ane", embeddings="lut6"), "float16-ane", "one-shot", PROMPT
    )
    require_parity(found)


@pytest.mark.exhaustive
def test_parity_with_caches_as_inputs(coreml, harness):
    """In float16, as on iOS 17; in float32 they are inputs in every test."""
    for scenario in ("one-shot", "decode"):
        require_parity(harness.judge(coreml("float16-ane", caches="inputs"), "float16-ane", scenario, PROMPT))


def test_a_wrong_entry_of_a_palette_is_found(coreml, held, monkeypatch):
    candidate = coreml("float16-ane", weights="lut4")
    compiled = candidate._program.model._parts["decoder_1of3"]
    monkeypatch.setattr(compiled, "functions", [*map(spoilt, compiled.functions)])
    judgement = held("lut4").judge(candidate, "float16-ane", "one-shot", PROMPT)
    assert judgement.exit_code is ExitCode.DIVERGED
    assert {found.step for found in judgement.introduced} == {"text.layers.3.mlp.up_proj"}


def spoilt(right):
    """One entry of 16 of one palette is a fifth larger."""
    name = next(
        operation.inputs["lut"][0]
        for operation in right.function.operations
        if operation.outputs and operation.outputs[0].name.startswith("decoder_layers_3_mlp_up_proj")
        and operation.kind == "constexpr_lut_to_dense"
    )  # fmt: skip
    palette = right.function.constants[name].copy()
    palette[..., np.argmax(np.abs(palette).ravel()), 0] *= 1.2
    function = replace(right.function, constants={**right.function.constants, name: palette})
    return Interpreter(right.name, function, right._steps, right._rounded)
