"""Keys and values as states of packages (iOS 18), or as inputs and outputs (iOS 17): the same numbers, to the bit."""

from __future__ import annotations

import shutil

import pytest

pytest.importorskip("coremltools")

import torch

from implementations.ane.engine.rounding import round_half
from implementations.ane.loading import compiled
from implementations.ane.options import Options as AneOptions
from implementations.coreml.command import _caches
from implementations.coreml.convert.parts import NEW, DecoderPart
from implementations.coreml.convert.tracing import convert
from implementations.coreml.convert.writing import _save
from implementations.coreml.interpreter.run import READ, WRITE, Interpreter
from implementations.coreml.model import Interpreted
from implementations.coreml.options import Options
from implementations.coreml.package.folder import HEAD, Package
from implementations.coreml.package.program import read_program
from implementations.coreml.package.settings import INPUTS, STATES, Settings
from parity.errors import UsageError
from parity.tap import SILENT, ScopedTap
from reference.tiny import path
from tests.implementations.coreml.test_coreml_package import STATES as GIVEN
from tests.implementations.coreml.test_coreml_package import expected, refused, same


def test_caches_are_of_an_arithmetic():
    """Core ML has states in float16 alone."""
    either, states = Options.parse({"caches": "inputs"}), Options.parse({"caches": "states"})
    for dtype in ("float32", "float16-ane"):
        assert (either.converted(dtype).stateful, either.converted(dtype).system) == (False, "iOS17")
    assert states.converted("float16-ane") == Options().converted("float16-ane")
    assert (Options().converted("float16-ane").stateful, Options().converted("float32").stateful) == (True, False)
    refused(lambda: states.converted("float32"), r"caches=states are of float16-ane; give --dtype float16-ane")


@pytest.mark.parametrize("caches", [None, STATES, INPUTS])
def test_the_command_asks_for_caches(caches):
    """By default they are what the precision has."""
    assert _caches("fp16", caches) == (caches or STATES)
    if caches == STATES:
        with pytest.raises(UsageError, match="--caches has no 'states' of --precision fp32; inputs"):
            _caches("fp32", caches)
    else:
        assert _caches("fp32", caches) == INPUTS


def test_functions_in_packages_of_their_own(tmp_path, product):
    """As before iOS 18: they are one part, and each is what its package has."""
    for function in ("prefill", "infer"):
        shutil.copytree(product, tmp_path / f"{HEAD}_{function}.mlpackage")
    steps = {HEAD: {function: [("text.lm_head", "product")] for function in ("prefill", "infer")}}
    Package(tmp_path, Settings("fp16", 64), (), (HEAD,), steps).write()
    package = Package.read(tmp_path)
    part = Interpreted(package, HEAD, same)
    assert [one.name for one in part.functions] == ["head.mlpackage, prefill", "head.mlpackage, infer"]
    assert torch.allclose(part.run({"states": GIVEN}, tap=SILENT)["logits"], expected(), atol=1e-5)
    shutil.rmtree(tmp_path / f"{HEAD}_infer.mlpackage")
    refused(lambda: Package.read(tmp_path), r"no head_infer.mlpackage, which manifest.json names; convert it again")


@pytest.mark.parametrize("caches", [STATES, INPUTS])
def test_functions_are_together_from_ios_18_on(caches, tmp_path, product):
    """Before, there is no package of several."""
    files = {}
    for function in ("prefill", "infer"):
        files[function] = shutil.copytree(product, tmp_path / "apart" / f"{function}.mlpackage")
    steps = {HEAD: {function: [("text.lm_head", "product")] for function in files}}
    package = Package(tmp_path, Settings("fp16", 64, caches=caches), (), (HEAD,), steps)
    _save(files, package, HEAD)
    package.write()
    names = ["head.mlpackage"] if caches == STATES else ["head_infer.mlpackage", "head_prefill.mlpackage"]
    assert sorted(file.name for file in tmp_path.glob("*.mlpackage")) == names
    part = Interpreted(Package.read(tmp_path), HEAD, same)
    assert {one.name for one in part.functions} == {"head.mlpackage, prefill", "head.mlpackage, infer"}
    assert torch.allclose(part.run({"states": GIVEN}, tap=SILENT)["logits"], expected(), atol=1e-5)


LAYERS, TOKENS = range(3, 5), {"prefill": 8, "infer": 1}
"""One with a window and one without."""


class Run:
    """Layers converted with their caches as they are asked for, and what they compute of the same calls."""

    def __init__(self, one, folder, caches):
        self.functions = {}
        for function, tokens in TOKENS.items():
            part = DecoderPart(one.model, one.config.text, LAYERS, one.shapes, stateful=caches == STATES)
            found = convert(part, tokens, Settings("fp16", caches=caches))
            found.model.save(str(folder / f"{caches}_{function}.mlpackage"))
            self.specification = found.model.get_spec()
            (program,) = read_program(folder / f"{caches}_{function}.mlpackage").values()
            self.functions[function] = Interpreter(function, program, {v: step for step, v in found.steps}, round_half)
        self.sizes = {function: part.sizes(tokens) for function, tokens in TOKENS.items()}

    def values(self):
        """Every step and output of a prefill call and two of one token, and the caches behind each."""
        heard, caches = [], {}
        tap = ScopedTap(lambda *step: heard.append(step) or step[1])
        for number, function in enumerate(("prefill", "infer", "infer")):
            program = self.functions[function].function
            given = {name: drawn(name, size, number) for name, size in self.sizes[function].items()}
            kept = {name: torch.zeros(typed.shape) for name, typed in program.states.items()}
            found = self.functions[function].run({**kept, **given, **caches}, tap=tap)
            caches = {f"{c}_{n}": found[f"{c}_{n}" + NEW * (not kept)] for c in ("keys", "values") for n in LAYERS}
            heard += [("streams", found["streams_5"]), *sorted(caches.items())]
        return heard


def drawn(name, size, number):
    """Numbers of a name and a call; caches are empty at first."""
    if name.startswith(("keys", "values")):
        return torch.zeros(size)
    generator = torch.Generator().manual_seed(sum(name.encode()) + number)
    return round_half(torch.randn(size, generator=generator) / 4)


@pytest.mark.slow
def test_states_and_inputs_are_the_same_numbers(tmp_path):
    """Of two layers of the embedded checkpoint, every step of which is in both programs."""
    one = compiled(path(), "float16-ane", AneOptions(context=32, batch=8), lambda name: "decoder" in name)
    states, inputs = (Run(one, tmp_path, caches) for caches in (STATES, INPUTS))
    assert (states.specification.specificationVersion, inputs.specification.specificationVersion) == (9, 8)
    kinds = {operation.kind for it in inputs.functions.values() for operation in it.function.operations}
    assert not kinds & {READ, WRITE}
    assert not any(it.function.states for it in inputs.functions.values())
    found, expected_ = inputs.values(), states.values()
    assert [name for name, _ in found] == [name for name, _ in expected_]
    assert len({name for name, _ in found}) > 90
    for (name, value), (_, other) in zip(found, expected_, strict=True):
        assert torch.equal(value, other), name
