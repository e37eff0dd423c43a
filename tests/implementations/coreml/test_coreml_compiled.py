"""Compiled packages, whose program is text, are the same programs as the saved ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("coremltools")

from implementations.coreml.package.compiled import read_compiled
from implementations.coreml.package.program import Operation, Typed, read_program
from parity.errors import UsageError
from tests.implementations.coreml.mil_text import write_compiled

TEXT = """program(1.3)
[buildInfo = dict<string, string>({{"coremlc-component-MIL", "3520.4.1"}, {"coremlc-version", "3520.5.1"}})]
{
    func main<ios18>(tensor<fp16, [1, ?]> t1, state<tensor<fp16, [2, 8]>> kept)
        [FlexibleShapeInformation = tuple<tuple<string, dict<string, tensor<int32, [?]>>>>((("D", {{"t1", [1, 1]}})))] {
        tensor<fp16, [1, 8]> t0 = const()[name = string("t0"),
            val = tensor<fp16, [1, 8]>([[0x1.8p+1, -0x1p-2, inf, -inf, 1.5, 2, 3e-2, nan]])];
        bool f = const()[name = string("f"), val = bool(false)];
        int32 axis = const()[name = tensor<string, []>("axis"), val = tensor<int32, []>(-1)];
        string mode = const()[name = string("mode"), val = string("an \\"exact\\" one")];
        tensor<fp16, [1, 8]> t2 = add(x = t1, y = t0)[name = string("t2")];
        write_state(data = t2, input = kept)[name = string("w")];
        tensor<fp16, [1, 8]> one, tensor<fp16, [1, 8]> two = split(axis = -1, num_splits = int32(2), x = t2)[];
        tensor<fp16, [1, 16]> t3 = concat(axis = axis, interleave = f, values = (one, two))[name = string("t3")];
    } -> (t3, two);
    func other<ios18>(tensor<int32, [1]> a) { } -> (a);
}
"""


def compiled(folder, text):
    folder.mkdir()
    (folder / "model.mil").write_text(text)
    return folder


def test_all_that_a_program_says(tmp_path):
    """Types, states, constants of every kind, values that are written where they are read, several outputs."""
    found = read_compiled(compiled(tmp_path / "x.mlmodelc", TEXT))
    assert [*found] == ["main", "other"]
    main = found["main"]
    assert main.inputs == {"t1": Typed("t1", "float16", (1, 0))}
    assert main.states == {"kept": Typed("kept", "float16", (2, 8))}
    assert main.outputs == ("t3", "two")
    np.testing.assert_array_equal(
        main.constants.pop("t0"), np.array([[3, -0.25, math.inf, -math.inf, 1.5, 2, 3e-2, math.nan]], np.float16)
    )
    assert main.constants == {
        "f": False, "axis": -1, "mode": 'an "exact" one', "one.axis": -1, "one.num_splits": 2,
    }  # fmt: skip
    assert main.operations[1] == Operation("write_state", {"data": ("t2",), "input": ("kept",)}, ())
    assert main.operations[2].inputs == {"axis": ("one.axis",), "num_splits": ("one.num_splits",), "x": ("t2",)}
    assert [each.name for each in main.operations[2].outputs] == ["one", "two"]
    assert main.operations[3].inputs["values"] == ("one", "two")


def test_the_same_as_the_saved_one(product, tmp_path):
    """A whole program with weights in a file."""
    write_compiled(product, tmp_path / "product.mlmodelc")
    (saved,), (found,) = read_program(product).values(), read_compiled(tmp_path / "product.mlmodelc").values()
    assert (found.inputs, found.states, found.operations) == (saved.inputs, saved.states, saved.operations)
    assert found.outputs == saved.outputs
    assert found.constants.keys() == saved.constants.keys()
    for name, value in saved.constants.items():
        np.testing.assert_array_equal(found.constants[name], value)
        assert np.asarray(found.constants[name]).dtype.kind == np.asarray(value).dtype.kind


REFUSED = {
    "cut off": (lambda text: text[: len(text) // 2], "Unexpected token"),
    "no program": (lambda text: "{}", "Unexpected token"),
    "blocks": (lambda text: text.replace("add(x = t1, y = t0)", "cond(x = t1) { }"), "Unexpected token"),
    "an unknown format": (lambda text: text.replace("bool(false)", "quux(false)"), "numbers in quux"),
    "too few numbers": (lambda text: text.replace("nan]]", "nan, 1]]"), "cannot reshape array of size 9"),
    "weights that are not there": (
        lambda text: text.replace("bool(false)", 'bool(BLOBFILE(path = string("../../w.bin"), offset = uint64(64)))'),
        "there is no w.bin, which it reads weights of",
    ),
    "a constant without a value": (lambda text: text.replace(", val = bool(false)", ""), "'val'"),
}


@pytest.mark.parametrize("damage", REFUSED)
def test_what_is_no_program_is_refused(tmp_path, damage):
    """In one line, with the package."""
    change, why = REFUSED[damage]
    with pytest.raises(UsageError) as refusal:
        read_compiled(compiled(tmp_path / "x.mlmodelc", change(TEXT)))
    assert why in str(refusal.value)
    assert str(refusal.value).startswith(f"Core ML package {tmp_path}/x.mlmodelc: model.mil cannot be read: ")
    assert "\n" not in str(refusal.value)


def test_a_folder_without_a_program_is_refused(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_compiled(tmp_path)


def test_weights_that_are_cut_off_are_refused(product, tmp_path):
    write_compiled(product, tmp_path / "x.mlmodelc")
    weights = next((tmp_path / "x.mlmodelc" / "weights").iterdir())
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UsageError, match="no weights in fp32 at 64 of"):
        read_compiled(tmp_path / "x.mlmodelc")
