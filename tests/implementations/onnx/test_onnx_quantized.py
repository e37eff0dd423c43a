"""Packages in every number format against the reference that has their weights, and faults planted in their files.

All of it is slow: the graphs are exported first, which takes two minutes of the first run.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

import onnx
from onnx import numpy_helper

from implementations.onnx import Backend
from implementations.onnx.package.folder import DECODER, FOLDER, Package
from implementations.onnx.package.types import BLOCKS, TYPES
from parity.checkpoint import OVERLAY, find_checkpoint, with_overlay
from parity.errors import ExitCode, UsageError
from reference.tiny import path
from tests.harness import Harness, require_parity
from tests.marks import every_change

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The embedded checkpoint in all number formats."""
    from implementations.onnx.command import export

    folder = tmp_path_factory.mktemp("types") / "package"
    assert export("tiny", folder, types="all") == 0
    return folder


def judge(package, kind, scenario, tmp_path, dtype="", **options):
    """A package's verdict, by a reference that has the numbers of its weights."""
    given = {"package": str(package), "type": kind, **options}
    assert Backend.has_weights(given)
    Backend.write_weights(path(), tmp_path / OVERLAY, given)
    harness = Harness(tmp_path, with_overlay(find_checkpoint(None), tmp_path / OVERLAY).path)
    dtype = dtype or TYPES[kind].dtype
    return harness.judge(Backend.load(path(), dtype, threads="1", **given), dtype, scenario)


@pytest.mark.parametrize("scenario", every_change(["one-shot", "decode"], "one-shot"))
@pytest.mark.parametrize("kind", every_change([kind for kind in TYPES if kind != "fp32"], "fp16", "q4", "int8"))
def test_parity(kind, scenario, package, tmp_path):
    """Every step covered, none introduced, worst ratio at most 4 floors of its own arithmetic."""
    require_parity(judge(package, kind, scenario, tmp_path))


def test_keys_of_sliding_layers_are_fewer(package, tmp_path):
    """Behind the window a float16 graph once put a sliding layer's keys in the memory of a full one's."""
    require_parity(judge(package, "q4f16", "decode", tmp_path))


def test_products_of_eight_bits(package, tmp_path):
    require_parity(judge(package, "q4", "one-shot", tmp_path, BLOCKS, accuracy="4"))


def test_a_package_is_whole_in_every_type(package):
    """Steps as many as in float32, tensors all there, and files as published."""
    plain = Package.read(package)
    for kind, told in TYPES.items():
        found = Package.read(package, kind)
        assert found.suffix == told.suffixes[0], kind
        steps = {name: [one.step for one in taps] for name, taps in found.steps.items()}
        assert steps == {name: [one.step for one in taps] for name, taps in plain.steps.items()}
        for name in found.steps:
            found.graph(name)
    sizes = {
        kind: (package / FOLDER / f"{DECODER}{TYPES[kind].suffixes[0]}.onnx_data").stat().st_size for kind in TYPES
    }
    assert sizes["q4f16"] < sizes["q4"] < sizes["int8"] < sizes["fp16"] < sizes["fp32"]


def test_another_arithmetic_than_the_graphs_is_refused(package):
    with pytest.raises(UsageError, match="type=int8 computes in float32-onnx-int8; give --dtype float32-onnx-int8"):
        Backend.load(path(), "float32", package=str(package), type="int8")


def changed(name, change):
    """A fault in one tensor of the decoder."""

    def plant(graph):
        (found,) = (one for one in graph.initializer if one.name == name)
        found.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(found).copy()), name))

    return plant


def zeros_off(graph):
    """Seven in place of the eight that no zeros mean."""
    node = next(one for one in graph.node if one.op_type == "MatMulNBits" and "layers.3.mlp.gate_proj" in one.input[1])
    rows = next(attribute.i for attribute in node.attribute if attribute.name == "N")
    graph.initializer.append(numpy_helper.from_array(np.full((rows, 2), 0x77, np.uint8), "zeros"))
    node.input.append("zeros")


def larger(scales):
    scales.flat[7] *= np.float32(1.1)
    return scales


O_PROJ = "layers.5.self_attn.o_proj.weight.transposed"
FAULTS = {
    "zeros": ("q4", zeros_off, "text.layers.3.mlp.gate_proj"),
    "constant": ("q4", changed(f"{O_PROJ}_Q4", lambda codes: np.full_like(codes, 0x99)), "text.layers.5.attn.o_proj"),
    "a scale": (
        "q4",
        changed("layers.2.mlp.down_proj.weight.transposed_scales", larger),
        "text.layers.2.mlp.down_proj",
    ),
    "constant, int8": (
        "int8",
        changed(f"{O_PROJ}_quantized", lambda codes: np.full_like(codes, 25)),
        "text.layers.5.attn.o_proj",
    ),
    "a gain in float16": (
        "fp16",
        changed("layers.4.laurel.post_laurel_norm.weight", lambda gain: gain * np.float16(1.1)),
        "text.layers.4.laurel.normed",
    ),
}


@pytest.mark.parametrize("fault", every_change(FAULTS, *(name for name in FAULTS if name != "constant")))
def test_a_fault_is_found_at_its_step(fault, package, tmp_path):
    """And nowhere else, though the reference takes its weights from that package."""
    kind, plant, step = FAULTS[fault]
    spoilt = tmp_path / "spoilt"
    shutil.copytree(package, spoilt)
    file = spoilt / FOLDER / f"{DECODER}{TYPES[kind].suffixes[0]}.onnx"
    model = onnx.load(file)
    plant(model.graph)
    data = file.with_name(f"{file.name}_data")
    data.unlink()
    onnx.save(model, file, save_as_external_data=True, location=data.name)
    judgement = judge(spoilt, kind, "one-shot", tmp_path)
    assert judgement.exit_code is ExitCode.DIVERGED
    assert [found.step for found in judgement.introduced] == [step]


@pytest.mark.exhaustive  # `test_own_weights` shows it of a toy
def test_a_comparison_holds_each_candidate_to_its_own_weights(package, parity):
    """One with the checkpoint's weights and one with its own, side by side, as a user asks for them."""
    candidates = f"onnx@threads=1,onnx@package={package}:type=q4:threads=1"
    code, out, _ = parity("compare", "--candidates", candidates, "--prompt", "Hello", "--no-diagnosis")
    assert code == 0
    assert out.count("1,229 of 1,229") == 4  # each in the table and in its own part
