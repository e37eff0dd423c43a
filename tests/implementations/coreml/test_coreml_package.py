"""What is read of a folder of packages, and what is refused, in one line each."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("coremltools")

import torch

from implementations.coreml.interpreter.fewer_bits import believed, fewer_bits
from implementations.coreml.interpreter.run import Interpreter
from implementations.coreml.loading import load
from implementations.coreml.model import Interpreted
from implementations.coreml.options import Options
from implementations.coreml.package.folder import HEAD, MANIFEST, SIDECAR, Package
from implementations.coreml.package.meta import META
from implementations.coreml.package.program import chosen, read_program
from implementations.coreml.package.settings import Format, Settings
from parity.errors import UsageError
from parity.tap import SILENT, ScopedTap
from reference.tiny import path
from tests.implementations.coreml.conftest import MATRIX, converted
from tests.implementations.coreml.mil_text import write_compiled

STATES = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 64, 1, 4)).astype(np.float32))
WEIGHT = torch.from_numpy(MATRIX)
MODEL = "Data/com.apple.CoreML/model.mlmodel"
BLOBS = "Data/com.apple.CoreML/weights/weight.bin"


def same(x):
    return x


def expected(weight=WEIGHT):
    return torch.nn.functional.conv2d(STATES, weight).relu()


def test_a_saved_program_is_read_and_run(folder):
    """And its step is said."""
    package = Package.read(folder)
    heard = []
    found = Interpreted(package, HEAD, same).run(
        {"states": STATES}, tap=ScopedTap(lambda *each: heard.append(each) or each[1])
    )
    assert torch.allclose(found["logits"], expected(), atol=1e-5)
    ((step, value),) = heard
    assert step == "text.lm_head"
    assert value.min() < 0 <= found["logits"].min()


def test_what_was_written_is_read(folder):
    package = Package.read(folder)
    assert package.settings == Settings(context=64)
    assert (package.decoder, package.others) == ((), (HEAD,))
    assert package.steps == {HEAD: {"main": [("text.lm_head", "product")]}}


@pytest.mark.parametrize(
    ("weights", "system"),
    [*((each, "iOS18") for each in ("lut4", "lut6", "int4", "int8")), ("lut6", "iOS17"), ("int8", "iOS17")],
)
def test_weights_in_fewer_bits_are_their_numbers(weights, system, tmp_path):
    """Those that are read are those that the program computes with, and near the ones that they are of."""
    from implementations.coreml.convert.writing import compressed

    file = tmp_path / "it.mlpackage"
    compressed(converted(precision="FLOAT32", system=system), Format(weights)).save(str(file))
    (function,) = read_program(file).values()
    write_compiled(file, tmp_path / "it.mlmodelc")
    ((_, again, _),) = fewer_bits(tmp_path / "it.mlmodelc")
    ((_, values, rows),) = fewer_bits(file)
    found = Interpreter("it", function, {}, same).run({"states": STATES})["logits"]
    assert torch.allclose(found, expected(torch.from_numpy(values).float()[..., None, None]), atol=1e-5)
    assert np.array_equal(again, values)
    assert rows == (1 if weights.startswith("int") else 32)
    error = np.linalg.norm(values - MATRIX[..., 0, 0]) / np.linalg.norm(MATRIX)
    assert error < {"lut4": 0.2, "lut6": 0.06, "int4": 0.2, "int8": 0.01}[weights]
    assert np.array_equal(believed(values, MATRIX[..., 0, 0].astype(float), rows), values)


def palette(bits=4):
    """Numbers, and what k-means makes of them: each entry the mean of what is nearest to it."""
    stored = np.random.default_rng(2).normal(size=(8, 64))
    entries = np.quantile(stored, np.linspace(0.02, 0.98, 2**bits))
    for _ in range(100):
        places = np.abs(stored[..., None] - entries).argmin(-1)
        entries = np.bincount(places.ravel(), stored.ravel()) / np.bincount(places.ravel())
    return stored, entries, places


@pytest.mark.parametrize("fault", ["entry", "places", "scaled", "sign"])
def test_a_wrong_palette_is_not_believed(fault):
    """Then the checkpoint's own numbers are true; of several palettes only in the rows of the wrong one."""
    stored, entries, places = palette()
    right = entries[places]
    assert np.array_equal(believed(right, stored, 8), right)
    wrong = {
        "entry": np.where(np.arange(16) == 5, entries * 1.05, entries)[places],
        "places": entries[np.where(places == 3, 4, places)],
        "scaled": right * 1.01,
        "sign": -right,
    }[fault]
    assert np.array_equal(believed(wrong, stored, 8), stored)
    both = np.concatenate([right, wrong])
    assert np.array_equal(believed(both, np.concatenate([stored, stored]), 8), np.concatenate([right, stored]))


def test_wrong_integers_are_not_believed():
    stored = np.random.default_rng(3).normal(size=(4, 256))
    scale = np.abs(stored).max(1, keepdims=True) / 127
    right = np.rint(stored / scale) * scale
    assert np.array_equal(believed(right, stored, 1), right)
    wrong = right * np.array([[1], [1.02], [1], [1]])
    assert np.array_equal(believed(wrong, stored, 1)[1], stored[1])
    assert np.array_equal(believed(wrong, stored, 1)[[0, 2, 3]], right[[0, 2, 3]])


def test_a_function_is_chosen_by_shapes(product):
    (function,) = read_program(product).values()
    assert chosen("head", [function], {"states": (1, 64, 1, 4)}) == 0
    with pytest.raises(
        UsageError, match=r"head.mlpackage is compiled for states of \[1, 64, 1, 4\], not of \[1, 64, 1, 1\]"
    ):
        chosen("head", [function], {"states": (1, 64, 1, 1)})
    with pytest.raises(UsageError, match=r"head.mlpackage takes states, which no package before it gives"):
        chosen("head", [function], {})


def refused(action, words):
    with pytest.raises(UsageError, match=words) as told:
        action()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("file", [MODEL, BLOBS])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_package_that_is_cut_off_is_refused(file, share, folder):
    whole = (folder / f"{HEAD}.mlpackage" / file).read_bytes()
    (folder / f"{HEAD}.mlpackage" / file).write_bytes(whole[: int(share * len(whole))])
    refused(lambda: Interpreted(Package.read(folder), HEAD, same), r"head.mlpackage cannot be read: .")


def test_a_package_without_its_weights_is_refused(folder):
    (folder / f"{HEAD}.mlpackage" / BLOBS).unlink()
    refused(lambda: Interpreted(Package.read(folder), HEAD, same), r"head.mlpackage cannot be read: .")


def test_a_package_that_is_missing_is_refused(folder):
    shutil.rmtree(folder / f"{HEAD}.mlpackage")
    refused(lambda: Package.read(folder), r"no head.mlpackage, which manifest.json names; convert it again")


@pytest.mark.parametrize("name", [MANIFEST, SIDECAR])
def test_a_folder_of_something_else_is_refused(name, folder):
    (folder / name).write_text("[1")
    refused(lambda: Package.read(folder), rf"{name} cannot be read \(.*\); convert it again")
    (folder / name).write_text('{"format": 99}')
    refused(
        lambda: Package.read(folder), rf"{name} cannot be read \(it is no JSON object of format 3\); convert it again"
    )
    (folder / name).unlink()
    refused(lambda: Package.read(folder), rf"no {name}; is it one that `parity coreml convert` wrote\?")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["settings"], None, r"manifest.json says no settings, which are alpha, batch, "),
        (["settings", "context"], 0, r"context is 0, no number of 1 or more"),
        (["settings", "batch"], True, r"batch is True, no number of 1 or more"),
        (["settings", "precision"], "fp8", r"precision 'fp8' is none of fp32, fp16"),
        (["settings", "alpha"], -1, r"alpha is -1, no positive number"),
        (["settings", "decoder"], {"weights": "lut5", "group": 0}, r"decoder has weights 'lut5' in groups of 0"),
        (["settings", "head"], {"weights": "lut4"}, r"head is \{.*\}, no weights in groups"),
        (["settings", "picture"], [192], r"picture is \[192\], no pair of whole numbers"),
        (["settings", "caches"], "states", r"caches 'states' are none that fp32 has"),
        (["settings", "text"], 1, r"text is 1, neither true nor false"),
        (["others"], "head", r"others is no list of names of packages"),
        (["others"], ["../head"], r"others is no list of names of packages"),
        (["others"], ["head", "head"], r"others names a package twice"),
        (["decoder"], ["decoder_1of2"], r"no decoder_1of2.mlpackage, which manifest.json names"),
    ],
)
def test_a_manifest_that_lies_is_refused(path, value, words, folder):
    told = json.loads((folder / MANIFEST).read_text())
    inner = told
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (folder / MANIFEST).write_text(json.dumps(told))
    refused(lambda: Package.read(folder), words)


@pytest.mark.parametrize(
    ("right", "text", "words"),
    [
        (
            "context_length: 64",
            "context_length: 32",
            r"meta.yaml says context_length is 32, the manifest 64; convert it",
        ),
        ("lut_ffn: none", "lut_ffn: 4", r"meta.yaml says lut_ffn is 4, the manifest 'none'; convert it again"),
        ("batch_size: 64", "batch_size: '64'", r"meta.yaml says batch_size is '64', the manifest 64; convert it again"),
        (
            "num_chunks: 0",
            "num_chunks: [0]",
            r"meta.yaml says num_chunks is no number or word, the manifest 0; convert",
        ),
        ("num_chunks", "chunks", r"meta.yaml says num_chunks is None, the manifest 0; convert it again"),
        ("parameters", "others", r"meta.yaml has no model_info with parameters; convert it again"),
        ("model_info:", "- model_info", r"meta.yaml cannot be read \(.*\); convert it again"),
        ("model_info:", "model_info: " + "[" * 2000, r"meta.yaml cannot be read \(.*\); convert it again"),
        ("model_info:", "# " + "x" * 70_000 + "\nmodel_info:", r"meta.yaml cannot be read \(70,... characters, more"),
    ],
)
def test_a_meta_yaml_that_lies_is_refused(right, text, words, folder):
    """It is for others' programs, which would take its word."""
    told = (folder / META).read_text()
    assert right in told
    (folder / META).write_text(told.replace(right, text))
    refused(lambda: Package.read(folder), words)


def test_a_folder_without_meta_yaml_is_refused(folder):
    (folder / META).unlink()
    refused(lambda: Package.read(folder), r"no meta.yaml; is it one that `parity coreml convert` wrote\?")


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ({}, r"steps.json says nothing of head"),
        ([], r"steps is no object of packages and their functions"),
        ({HEAD: {"main": [["text.norm"]]}}, r"\['text.norm'\] is no pair of a step and a value"),
        ({HEAD: {"infer": []}}, r"no head_infer.mlpackage, which manifest.json names"),
        ({HEAD: {"main": [["text.norm", "gone"]]}}, r"has no value 'gone', which is said to be step text.norm"),
    ],
)
def test_steps_that_lie_are_refused(steps, words, folder):
    (folder / SIDECAR).write_text(json.dumps({"format": 3, "steps": steps}))
    refused(lambda: Interpreted(Package.read(folder), HEAD, same), words)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"chunk": "3"}, r"backend coreml has no option 'chunk'; it has package, chunks"),
        ({"chunks": "0"}, r"chunks=0 is not a number from 1 to 1,000"),
        ({"package": "/nowhere"}, r"package=/nowhere is no folder; `parity coreml convert` writes one"),
        ({"package": "/", "chunks": "2"}, r"chunks is settled by the package; convert another one"),
        ({"weights": "lut5"}, r"weights=lut5 is none of "),
        ({"runtime": "onnx"}, r"runtime=onnx is none of interpreter, coreml"),
        ({"caches": "outputs"}, r"caches=outputs is none of "),
        ({"alpha": "0"}, r"alpha=0 is not positive and finite"),
    ],
)
def test_an_option_that_cannot_be_is_refused(texts, words):
    refused(lambda: Options.parse(texts), words)


def test_decoder_and_head_have_formats_of_their_own():
    """The head's is the decoder's where nothing is said of it."""
    both, apart = Options.parse({"weights": "lut4", "group": "16"}), Options.parse({"weights": "lut4", "head": "int8"})
    assert both.converted("float16-ane").decoder == both.converted("float16-ane").head == Format("lut4", 16)
    assert apart.converted("float16-ane").head == Format("int8")
    plain = Options.parse({"weights": "lut4", "head": "none"})
    assert (plain.fewer_bits, plain.head, Options().fewer_bits) == (True, Format(), False)
    assert Options.parse({"head": "lut6"}).fewer_bits


def test_weights_in_fewer_bits_are_of_one_arithmetic():
    options = Options.parse({"weights": "lut4"})
    assert options.converted("float16-ane").decoder.weights == "lut4"
    refused(lambda: options.converted("float32"), r"weights=lut4 compute in float16-ane; give --dtype float16-ane")


def test_a_package_is_of_one_arithmetic(folder):
    options = Options.parse({"package": str(folder)})
    refused(lambda: load(path(), options, "float16-ane"), r"computes in float32; give --dtype float32")


def test_the_last_token_alone_is_silent_too(folder):
    found = Interpreted(Package.read(folder), HEAD, same).run({"states": STATES}, tap=SILENT)
    assert found.keys() == {"logits"}
