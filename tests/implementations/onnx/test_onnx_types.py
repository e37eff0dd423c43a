"""Number formats of graphs: what becomes of a small one, and what its weights are held to be."""

from __future__ import annotations

import logging

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("torch")

import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from implementations.onnx.package.folder import DECODER, EMBEDDER, read_steps, write_steps
from implementations.onnx.package.graph import Tapped
from implementations.onnx.package.types import BLOCKS, INTEGER, TYPES
from implementations.onnx.quantization.arithmetic import blocks, integer, per_block, per_tensor
from implementations.onnx.quantization.converting import CONVERSIONS, convert
from implementations.onnx.quantization.half import halved
from implementations.onnx.quantization.integers import of_eight_bits, of_four_bits
from implementations.onnx.quantization.products import arithmetic_of, with_accuracy
from implementations.onnx.quantization.rounding import believed
from implementations.onnx.quantization.values import held
from parity.errors import UsageError
from parity.weights.overlay import Codes

WEIGHT = "layers.0.mlp.up_proj.weight.transposed"
DRAW = np.random.default_rng(0)
MATRIX = DRAW.normal(size=(96, 8)).astype(np.float32)
GIVEN = DRAW.normal(size=(2, 5, 96)).astype(np.float32)


def tensor(name, *shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(*nodes, inputs, outputs, **constants):
    """A graph of nodes; names of constants have dots, written as two underscores here."""
    held_here = [numpy_helper.from_array(value, name.replace("__", ".")) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "it", inputs, outputs, held_here)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def product():
    """``x @ W``."""
    node = helper.make_node("MatMul", ["x", WEIGHT], ["y"], "product")
    return model(node, inputs=[tensor("x", "b", "t", 96)], outputs=[tensor("y", "b", "t", 8)], **{WEIGHT: MATRIX})


def run(made, **given):
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(made.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return session.run(None, given)[0]


def error(found, true):
    return np.linalg.norm(found - true) / np.linalg.norm(true)


class Stored:
    """A checkpoint's tensor."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def read(self, rows=slice(None)):
        return self.array[rows]


ORIGINAL = Stored(MATRIX.T)


def of(made, folder):
    """The one quantised weight of a graph."""
    ((name, found),) = held(made, folder)
    assert name == "layers.0.mlp.up_proj.weight"
    return found


def test_four_bits_are_what_the_runtime_multiplies_by(tmp_path):
    """The numbers read out of the graph give its product to float32's rounding."""
    made = of_four_bits(product())
    values = of(made, tmp_path).values()
    assert error(run(made, x=GIVEN), GIVEN @ values.T) < 1e-6
    assert 0.05 < error(values, MATRIX.T) < 0.2


@pytest.mark.parametrize("signed", [True, False])
def test_eight_bits_are_what_the_runtime_multiplies_by(signed, tmp_path):
    """With its other factor rounded as the arithmetic rounds it."""
    made = of_eight_bits(product(), ("MatMul",), signed=signed)
    values = torch.from_numpy(of(made, tmp_path).values())
    rounded = per_tensor(torch.from_numpy(GIVEN)).double()
    assert error(run(made, x=GIVEN), (rounded @ values.T).numpy()) < 1e-6
    assert 1e-3 < error(GIVEN @ values.numpy().T, (rounded @ values.T).numpy()) < 5e-2


def test_blocks_of_eight_bits_are_those_of_accuracy_level_4(tmp_path):
    made = with_accuracy(of_four_bits(product()), 4)
    values = torch.from_numpy(of(made, tmp_path).values())
    rounded = per_block(torch.from_numpy(GIVEN)).double()
    assert error(run(made, x=GIVEN), (rounded @ values.T).numpy()) < 1e-6
    assert error(GIVEN @ values.numpy().T, (rounded @ values.T).numpy()) > 1e-3


def test_a_quantiser_says_nothing(capfd):
    """It logs a line for each node, and has all programs log theirs."""
    handlers = [*logging.root.handlers]
    of_four_bits(product())
    of_eight_bits(product(), ("MatMul",), signed=True)
    assert logging.root.handlers == handlers
    assert logging.root.manager.disable == logging.NOTSET
    assert "".join(capfd.readouterr()) == ""


def changed(tensor_name, change):
    """A fault in one tensor of a graph of 4 bits."""

    def plant(made):
        (found,) = (one for one in made.graph.initializer if one.name == WEIGHT + tensor_name)
        found.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(found).copy()), found.name))

    return plant


def zeros_off(made):
    """Seven for the eight that there is where none is written."""
    made.graph.initializer.append(numpy_helper.from_array(np.full((8, 2), 0x77, np.uint8), "zeros"))
    made.graph.node[0].input.append("zeros")


def larger(scales):
    scales.flat[3] *= np.float32(1.1)
    return scales


FAULTS = {
    "zeros": (zeros_off, np.ones((8, 96), bool)),
    "constant": (changed("_Q4", lambda codes: np.full_like(codes, 0x99)), np.ones((8, 96), bool)),
    "a scale": (changed("_scales", larger), None),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_weight_that_is_no_rounding_is_not_believed(fault, tmp_path):
    """Where it is one its numbers are true, else the checkpoint's."""
    plant, wrong = FAULTS[fault]
    right = of(of_four_bits(product()), tmp_path)
    assert believed(right, ORIGINAL) is right
    made = of_four_bits(product())
    plant(made)
    found = of(made, tmp_path)
    true = believed(found, ORIGINAL)
    if wrong is None:
        block = np.flatnonzero((found.scales != right.scales).ravel())[0]
        wrong = np.zeros((8, 3, 32), bool)
        wrong.reshape(24, 32)[block] = True
        wrong = wrong.reshape(8, 96)
    assert np.array_equal(true, np.where(wrong, MATRIX.T, found.values()))


def test_halves_that_are_no_rounding_are_not_believed():
    """Nor where float16 has none: the converter makes the smallest number of what would be zero."""
    right = MATRIX.T.astype(np.float16)
    assert believed(right, ORIGINAL) is right
    wrong = right.copy()
    wrong[2, 5] *= np.float16(1.5)
    true = believed(wrong, ORIGINAL)
    assert true[2, 5] == MATRIX[5, 2]
    assert (true == right).sum() == right.size - 1
    tiny = np.array([2.0**-24, 65504], np.float16)
    assert believed(tiny, Stored(np.array([1e-12, 1e6], np.float32))) is tiny


def test_a_matrix_whose_last_block_is_shorter(tmp_path):
    """Blocks are of 32 along the sum, whatever is left for the last."""
    node = helper.make_node("MatMul", ["x", WEIGHT], ["y"], "product")
    short = MATRIX[:70]
    made = of_four_bits(model(node, inputs=[tensor("x", "t", 70)], outputs=[tensor("y", "t", 8)], **{WEIGHT: short}))
    found = of(made, tmp_path)
    assert (found.codes.shape, found.scales.shape, found.packs) == ((8, 70), (8, 3), False)
    assert error(run(made, x=GIVEN[0, :, :70]), GIVEN[0, :, :70] @ found.values().T) < 1e-6
    assert believed(found, Stored(short.T)) is found


def rotated():
    """Angles, a norm, and a product behind both."""
    nodes = [
        helper.make_node("Cast", ["positions"], ["wide"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["wide", "frequencies"], ["angles"], "angle"),
        helper.make_node("Cos", ["angles"], ["cos"], "cosine"),
        helper.make_node("Mul", ["x", "x"], ["square"], "squared"),
        helper.make_node("ReduceMean", ["square", "last"], ["mean"], "averaged"),
        helper.make_node("Add", ["mean", "eps"], ["above"], "raised"),
        helper.make_node("Sqrt", ["above"], ["root"], "rooted"),
        helper.make_node("Div", ["x", "root"], ["normed"], "divided"),
        helper.make_node("Mul", ["normed", "cos"], ["y"], "product"),
    ]
    return model(
        *nodes,
        inputs=[tensor("x", "t", 96), tensor("positions", "t", 1, kind=TensorProto.INT64)],
        outputs=[tensor("y", "t", 96)],
        frequencies=np.linspace(0.5, 1, 96, dtype=np.float32),
        last=np.array([-1]),
        eps=np.array(1e-6, np.float32),
    )


def test_angles_and_squares_stay_in_float32():
    """At position 5,000 float16 is off by radians, and the square of 3,000 is beyond it."""
    x, positions = GIVEN[0] * 1000, np.array([[0], [1], [2047], [5000], [9999]])
    found, wide = halved(rotated())
    true = run(rotated(), x=x, positions=positions)
    assert error(run(found, x=x.astype(np.float16), positions=positions), true) < 2e-3
    assert {"angles", "wide", "square", "mean", "above"} <= wide
    assert not {"cos", "root", "normed", "y"} & wide
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*found.graph.input, *found.graph.output)}
    assert kinds == {"x": TensorProto.FLOAT16, "positions": TensorProto.INT64, "y": TensorProto.FLOAT16}


def folder(path, name, made, tensors):
    """A package's folder with one graph."""
    (path / f"{name}.onnx").write_bytes(made.SerializeToString())
    steps = {EMBEDDER: [], DECODER: []} | {name: [Tapped(f"step.{one}", one, "float32") for one in tensors]}
    write_steps(path, steps)
    return path


@pytest.mark.parametrize("kind", CONVERSIONS)
def test_every_type_keeps_its_steps(kind, tmp_path):
    """Under their names, in the number format that the graph has them in."""
    steps = convert(folder(tmp_path, DECODER, rotated(), ("normed", "angles")), DECODER, kind)
    half = "float16" if TYPES[kind].dtype == "float16" else "float32"
    assert [(one.step, one.tensor, one.type) for one in steps] == [
        ("step.normed", "normed", half),
        ("step.angles", "angles", "float32"),
    ]
    assert (tmp_path / f"{DECODER}{TYPES[kind].suffixes[0]}.onnx").is_file()


def test_a_step_that_is_lost_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(CONVERSIONS, "q4", lambda name, made, steps: (product(), [*steps]))
    with pytest.raises(UsageError, match=r"decoder_model_merged_q4.onnx would have no tensor of step step.normed"):
        convert(folder(tmp_path, DECODER, rotated(), ("normed",)), DECODER, "q4")


def test_steps_are_read_by_suffix(tmp_path):
    one = Tapped("a", "b", "float32")
    write_steps(tmp_path, {EMBEDDER: [], DECODER: [], f"{EMBEDDER}_q4": [], f"{DECODER}_q4": [one]})
    assert read_steps(tmp_path, "_q4")[DECODER] == (one,)
    assert read_steps(tmp_path)[DECODER] == ()
    with pytest.raises(UsageError, match=r"steps.json cannot be read"):
        read_steps(tmp_path, "_fp16")


def test_arithmetics_of_graphs():
    """As what they have in them computes."""
    assert arithmetic_of([product()]) == "float32"
    assert arithmetic_of([of_four_bits(product())]) == "float32"
    assert arithmetic_of([with_accuracy(of_four_bits(product()), 4)]) == BLOCKS
    assert arithmetic_of([product(), of_eight_bits(product(), ("MatMul",), signed=True)]) == INTEGER
    half, _ = halved(product())
    assert arithmetic_of([half]) == "float16"
    with pytest.raises(UsageError, match="have no arithmetic here; give accuracy=0"):
        arithmetic_of([with_accuracy(of_four_bits(half), 4)])
    assert arithmetic_of([with_accuracy(with_accuracy(of_four_bits(half), 4), 0)]) == "float16"


@pytest.mark.parametrize(("made", "rounded"), [(integer, per_tensor), (blocks, per_block)])
def test_products_alone_round(made, rounded):
    """Of a product the factor that is no weight; neither sums nor the host's products."""
    x, weight, arithmetic = torch.from_numpy(GIVEN), torch.from_numpy(MATRIX.T.copy()), made()
    exact = torch.nn.functional.linear(x, weight)
    with arithmetic.running():
        found = torch.nn.functional.linear(x, weight)
        assert torch.equal(x + x, 2 * x)
        with arithmetic.suspended():
            assert torch.equal(torch.nn.functional.linear(x, weight), exact)
    assert torch.equal(found, torch.nn.functional.linear(rounded(x), weight))
    assert not torch.equal(found, exact)


def test_rounded_by_chance_it_is_right_on_average():
    x, weight, arithmetic = torch.from_numpy(GIVEN), torch.eye(96), integer()
    found = []
    for seed in range(200):
        with arithmetic.running(), arithmetic.by_chance(seed):
            found.append(torch.nn.functional.linear(x, weight))
    with arithmetic.running():
        nearest = torch.nn.functional.linear(x, weight)
    off = [one - x for one in found]
    assert torch.stack(off).mean(0).norm() < 0.15 * (nearest - x).norm()
    assert 1.2 < torch.stack(off).square().mean().sqrt() / (nearest - x).square().mean().sqrt() < 1.6


def test_a_factor_of_zeros_stays():
    for rounded in (per_tensor, per_block):
        assert torch.equal(rounded(torch.zeros(2, 64)), torch.zeros(2, 64))
        assert rounded(torch.ones(1, 70)).shape == (1, 70)


def test_codes_are_numbers():
    codes = Codes(np.array([[0, 15, 8, 9]], np.uint8), np.array([[2.0, 0.5]]), np.array([[8, 8]]), 4, 2)
    assert codes.values().tolist() == [[-16, 14, 0, 0.5]]
