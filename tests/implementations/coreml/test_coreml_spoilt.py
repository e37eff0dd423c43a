"""Whatever a package says, it is run, or refused in one line: spoilt at random, and in ways that were found."""

from __future__ import annotations

import shutil

import pytest

pytest.importorskip("coremltools")

import torch
from hypothesis import HealthCheck, given, settings
from safetensors.numpy import load_file

from implementations.ane.engine.rounding import round_half
from implementations.coreml.anemll.dumping import write_dump
from implementations.coreml.anemll.folder import Folder
from implementations.coreml.interpreter.fewer_bits import fewer_bits
from implementations.coreml.interpreter.run import Interpreter
from implementations.coreml.package.compiled import read_package
from parity.cli.guard import guarded
from parity.errors import ExitCode
from tests.fuzz.limits import frugal
from tests.fuzz.spoiling import blindly, spoilt
from tests.implementations.coreml.anemll_folder import CONTEXT, Chunk, save
from tests.implementations.coreml.mil_text import write_compiled
from tests.implementations.coreml.spoilt_program import of_program
from tests.implementations.coreml.test_coreml_anemll import model

SAVED, COMPILED = "chunk.mlpackage", "chunk.mlmodelc"
FILES = {
    "program": (f"{SAVED}/Data/com.apple.CoreML/model.mlmodel", (blindly, of_program, of_program, of_program), 50),
    "weights": (f"{SAVED}/Data/com.apple.CoreML/weights/weight.bin", (blindly,), 15),
    "text": (f"{COMPILED}/model.mil", (blindly,), 15),
}
"""The file, how it is spoilt, and how often."""


@pytest.fixture(scope="module")
def chunk(tmp_path_factory):
    """A folder with a package of one layer: states, palettes, 21 kinds of operations; and the same compiled."""
    folder, qwen = tmp_path_factory.mktemp("spoilt"), model()
    part = Chunk(qwen.config, qwen.state_dict(), range(1), norm=True)
    shapes = {
        "hidden_states": (1, 1, 24), "position_ids": (1,), "causal_mask": (1, 1, 1, CONTEXT), "current_pos": (1,),
    }  # fmt: skip
    save(part, folder / SAVED, shapes, ["output_hidden_states"], bits=4)
    write_compiled(folder / SAVED, folder / COMPILED)
    return folder


def told(action, capfd):
    """What a command prints that does this: nothing, or one line of whoever gave the file."""
    capfd.readouterr()
    with frugal(), torch.no_grad():
        code = guarded(lambda: action() or ExitCode.PARITY)
    complaint = capfd.readouterr().err
    assert code == (ExitCode.USAGE if complaint else ExitCode.PARITY)
    assert complaint.count("\n") == bool(complaint)
    assert "internal error" not in complaint, complaint
    return complaint


def holds(file, ways, count, action, capfd):
    """So many times a file is spoilt, and the action goes well or is refused."""
    complaints = []

    @settings(max_examples=count, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(spoilt(file.read_bytes(), *ways))
    def each(content):
        file.write_bytes(content)
        complaints.append(told(action, capfd))

    each()
    assert len({*complaints}) > 2


EMBEDDINGS, CHUNK, HEAD = "x_embeddings", "x_FFN_PF_chunk_01of01", "x_lm_head"
META = """model_info:
  parameters: {model_prefix: x, num_chunks: 1, context_length: 4, batch_size: 2}
"""
STATES = "tensor<fp16, [1, 1, 4]>"
TEXTS = {
    EMBEDDINGS: f"""func main<ios18>(tensor<int32, [1, 1]> input_ids) {{
    tensor<fp16, [2, 4]> table = const()[name = string("table"),
        val = tensor<fp16, [2, 4]>([[1, 2, 3, 4], [5, 6, 7, 8]])];
    {STATES} hidden_states = gather(axis = 0, batch_dims = 0, indices = input_ids, x = table)[];
    }} -> (hidden_states);""",
    CHUNK: f"""func infer<ios18>({STATES} hidden_states, state<tensor<fp16, [1, 1, 4]>> kept) {{
    {STATES} before = read_state(input = kept)[];
    {STATES} output_hidden_states = add(x = hidden_states, y = before)[];
    write_state(data = output_hidden_states, input = kept)[];
    }} -> (output_hidden_states);""",
    HEAD: f"""func main<ios18>({STATES} hidden_states) {{
    {STATES} logits1 = mul(x = hidden_states, y = fp16(0.5))[];
    }} -> (logits1);""",
}
"""The packages of a folder: states are sums of rows, logits their halves."""


def written(folder, texts):
    """A folder of compiled packages."""
    (folder / "meta.yaml").write_text(META)
    for name, text in texts.items():
        (folder / f"{name}.mlmodelc").mkdir()
        (folder / f"{name}.mlmodelc" / "model.mil").write_text(f"program(1.3) {{ {text} }}")
    return folder


def dumped(folder):
    """What a conversation of two tokens writes."""
    output = folder / "dump"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    write_dump(Folder.read(folder), [0, 1], "infer", output, lambda: None)
    return output


def test_the_folder_is_run(tmp_path):
    found = load_file(dumped(written(tmp_path, TEXTS)) / "logits.safetensors")["logits"]
    assert found.reshape(2, 4).tolist() == [[0.5, 1, 1.5, 2], [3, 4, 5, 6]]


OF_KEPT, HALVED = "read_state(input = kept)", "mul(x = hidden_states, y = fp16(0.5))"
LIES = {
    "no states": (EMBEDDINGS, "-> (hidden_states)", "-> ()", "main gives nothing"),
    "states by another name": (EMBEDDINGS, "hidden_states", "states", "x_embeddings gives no hidden_states"),
    "other inputs": (EMBEDDINGS, "input_ids", "current_pos", "x_embeddings takes current_pos, which it is not given"),
    "a chunk that takes ids": (CHUNK, "(x = hidden_states", "(x = input_ids", "nothing before it gives 'input_ids'"),
    "an unknown output": (CHUNK, "-> (output_", "-> (kept, output_", "is to give 'kept', which nothing in it computes"),
    "a state that is none": (CHUNK, "input = kept)[];\n    }", "input = before)[];\n    }", "it has no 'before'"),
    "a state of no size": (CHUNK, "kept) {", "kept, state<tensor<fp16, [0, 9]>> more) {", "state more has no number"),
    "a cycle": (CHUNK, OF_KEPT, "relu(x = output_hidden_states)", "nothing before it gives 'output_hidden_states'"),
    "itself": (CHUNK, OF_KEPT, "relu(x = before)", "nothing before it gives 'before'"),
    "a word": (HEAD, "y = fp16(0.5)", 'y = string("x")', "logits1 (mul) cannot be run"),
    "two tensors of one": (HEAD, "logits1 =", "logits1, fp16 more =", "gives 1 tensors, of which the program names 2"),
    "a number without axes": (HEAD, "mul(x = hidden_states", "reduce_sum(x = hidden_states", "gives logits1 of []"),
    "a format that is none": (HEAD, f"{STATES} logits1", "tensor<fp8, [1]> logits1", "numbers in fp8 are not computed"),
    "a division by zero": (HEAD, HALVED, "split(x = hidden_states, axis = 2, num_splits = 0)", "logits1 (split)"),
    "a number beyond all": (HEAD, HALVED, "softmax(x = hidden_states, axis = 1e300)", "logits1 (softmax)"),
    "nothing": (HEAD, TEXTS[HEAD], "", "it has no function"),
    "brackets": (HEAD, "fp16(0.5)", f"fp16({'[' * 5000}0.5{']' * 5000})", "model.mil cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_folder_that_lies_is_refused(lie, tmp_path, capfd):
    """Whichever of its packages does."""
    name, right, wrong, words = LIES[lie]
    assert right in TEXTS[name]
    folder = written(tmp_path, {**TEXTS, name: TEXTS[name].replace(right, wrong)})
    complaint = told(lambda: dumped(folder), capfd)
    assert complaint
    assert words in complaint


@pytest.mark.parametrize("name", TEXTS)
def test_a_folder_is_run_or_refused(name, tmp_path, capfd):
    """Of packages that are spoilt at random."""
    file = written(tmp_path, TEXTS) / f"{name}.mlmodelc" / "model.mil"
    holds(file, (blindly,), 20, lambda: dumped(tmp_path) and None, capfd)


PALETTE = """func main<ios18>() {
    tensor<uint4, [4, 2]> places = const()[val = tensor<uint4, [4, 2]>([[0, 1], [1, 0], [0, 0], [1, 1]])];
    tensor<fp16, [2, 1, 2, 1]> palettes = const()[val = tensor<fp16, [2, 1, 2, 1]>([[[[1], [2]]], [[[3], [4]]]])];
    tensor<fp16, [4, 2]> weight = constexpr_lut_to_dense(indices = places, lut = palettes)[];
    } -> (weight);"""
WRONG_PALETTES = {
    "no palettes": ("lut = palettes", "axis = palettes", "it has no 'lut'"),
    "palettes that are gone": ("lut = palettes", "lut = gone", "'gone'"),
    "no places": ("indices = places, ", "", "it has no 'indices'"),
    "palettes without axes": ("lut = palettes", "lut = fp16(1)", "palettes [] of places [4, 2]"),
    "too many": ("fp16, [2, 1, 2, 1]>([[[[1], [2]]], [[[3], [4]]]])", "fp16, [8, 1, 1, 1]>([1, 2, 3, 4, 5, 6, 7, 8])",
                 "weight (constexpr_lut_to_dense) cannot be run: "),
    "places beyond": ("[0, 1], [1, 0]", "[0, 1], [9, 0]", "out of bounds"),
    "words": ("tensor<uint4, [4, 2]>([[0, 1], [1, 0], [0, 0], [1, 1]])", 'string("x")', "cannot be run"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_PALETTES)
def test_a_palette_that_lies_is_refused(wrong, tmp_path, capfd):
    """As its numbers are read, of which a checkpoint is made."""
    right, lie, words = WRONG_PALETTES[wrong]
    assert right in PALETTE
    package = written(tmp_path, {"x": PALETTE}) / "x.mlmodelc"
    ((name, values, rows),) = fewer_bits(package)
    assert (name, values.tolist(), rows) == ("weight", [[1, 2], [2, 1], [3, 3], [4, 4]], 2)
    (package / "model.mil").write_text((package / "model.mil").read_text().replace(right, lie))
    assert words in told(lambda: run(package, {}), capfd)
    assert words in told(lambda: [*fewer_bits(package)] and None, capfd)


def run(package, given):
    for name, function in read_package(package).items():
        Interpreter(f"{package.name}, {name}", function, {}, round_half).run(given)
    for _ in fewer_bits(package):
        pass


@pytest.mark.parametrize("kind", FILES)
def test_a_package_is_run_or_refused(kind, chunk, tmp_path, capfd):
    """With what the whole one takes, so that what is spoilt is its own."""
    name, ways, count = FILES[kind]
    shutil.copytree(chunk, tmp_path / "it")
    file, package = tmp_path / "it" / name, tmp_path / "it" / name.partition("/")[0]
    (function,) = read_package(package).values()
    fed = {name: torch.zeros(typed.shape) for name, typed in {**function.inputs, **function.states}.items()}
    assert told(lambda: run(package, fed), capfd) == ""
    holds(file, ways, count, lambda: run(package, fed), capfd)
