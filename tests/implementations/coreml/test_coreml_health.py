"""The health of a conversion: what is told of each package, and which operations leave the engine."""

from __future__ import annotations

import math
import re
from collections import Counter
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("coremltools")

from rich.console import Console
from typer.testing import CliRunner

from implementations.coreml.command import app
from implementations.coreml.health.engine import FLOAT32, leaving, reason
from implementations.coreml.health.looking import HOST, Health, PartHealth, Worst, _parts, _Seen
from implementations.coreml.health.page import print_health, rows, write_page
from implementations.coreml.package.folder import TABLES, Package
from implementations.coreml.package.program import Function, Operation, Typed
from implementations.coreml.package.settings import Format, Settings
from parity.cost.result import Cost
from parity.errors import UsageError
from parity.judging.judge import judge
from tests.report_samples import parity
from tests.toy import Toy, runs, write


def operation(kind, dtype="float16"):
    return Operation(kind, {}, (Typed("it", dtype, (1, 4)),))


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("gather_along_axis", "CPU"),
        ("scatter_nd", "no path"),
        ("gru", "recurrent"),
        ("topk", "largest"),
        ("cos", "A15"),
    ],
)
def test_an_operation_that_leaves_the_engine_has_its_reason(kind, word):
    """With an address, for Apple has no list."""
    found = reason(operation(kind))
    assert word in found.why
    assert found.source.startswith("https://")


def test_what_the_engine_runs_has_none():
    assert [reason(operation(kind)) for kind in ("conv", "layer_norm", "gatherer", "cosh")] == [None] * 4
    assert reason(operation("conv", "float32")) == FLOAT32
    assert reason(operation("cast", "int32")) is None


def test_those_that_leave_are_counted():
    of = lambda *operations: Function({}, {}, operations, (), {})  # noqa: E731
    functions = [of(operation("gather"), operation("conv")), of(operation("gather"), operation("add", "float32"))]
    assert [(kind, count) for kind, count, _ in leaving(functions)] == [("gather", 2), ("add", 1)]


def seen(tmp_path, wrong, alpha=1.0):
    """What is kept of a toy's comparison, whose steps are of two packages and of the host."""
    steps = {"decoder_1of1": {"main": [("embed", "a")]}, "head": {"infer": [("logits", "b")]}}
    package = Package(tmp_path, Settings(alpha=alpha), ("decoder_1of1",), ("head",), steps)
    oracle = write(tmp_path, "oracle", Toy())
    baseline = runs(tmp_path, "baseline", Toy("float32"), oracle, "float32")
    candidate = runs(tmp_path, "it", Toy("float32", wrong), oracle, "float32")
    found = _Seen(package)
    verdict = judge(oracle=oracle, baseline=baseline, candidate=candidate)
    found(verdict, oracle=oracle, baseline=baseline, candidate=candidate)
    return found, candidate


def test_each_part_has_its_own_worst_step(tmp_path):
    """A step ten times too large is the peak of its package, and its error; the others keep theirs."""
    right, _ = seen(tmp_path / "right", {})
    wrong, candidate = seen(tmp_path / "wrong", {"embed": lambda value: value * np.float32(10)})
    assert wrong.peaks.keys() == {"decoder_1of1", "head", HOST}
    assert wrong.peaks["decoder_1of1"].step == "embed"
    assert wrong.peaks["decoder_1of1"].value == pytest.approx(10 * right.peaks["decoder_1of1"].value)
    largest = max(record.abs_max for record in candidate.free.records.values() if record.step == "embed")
    assert wrong.peaks["decoder_1of1"].value == largest
    assert right.floors["decoder_1of1"].value < 4
    assert wrong.floors["decoder_1of1"].value > 1e5
    assert wrong.floors["head"].step == "logits"


def test_what_is_not_finite_has_no_room(tmp_path):
    found, _ = seen(tmp_path, {"logits": lambda value: value * np.float32(np.inf)})
    assert found.peaks["head"].value == math.inf
    assert part(peak=found.peaks["head"]).room == 0


def part(**changes):
    return PartHealth(**{
        "name": "head", "size": 2_500_000, "functions": {"prefill": 3, "infer": 2}, "kinds": Counter(conv=4, tanh=1),
        "leaving": (), "floors": Worst(1.5, "text.logits"), "peak": Worst(8188.0, "text.lm_head"), **changes,
    })  # fmt: skip


def health(*parts):
    (judgement,) = parity().judgements
    cost = Cost("coreml", "float16-ane", "tiny", 64, 640, 630, 1e-4, 0.01, 0.02, ())
    settings = Settings("fp16", 256, decoder=Format("lut6"), head=Format("lut4", 16), caches="states")
    return Health("<made>", settings, judgement, cost, parts)


def test_a_peak_beyond_half_the_range_is_marked():
    tight, roomy, idle = rows(health(part(peak=Worst(20_000.0, "x")), part(), part(peak=Worst(), floors=Worst())))
    assert (tight.tight, roomy.tight, idle.tight) == (True, False, False)
    assert roomy.cells == ("head", "2.5", "5", "1.5", "text.logits", "8,188", "4x", "text.lm_head")
    assert idle.cells[3:] == ("-",) * 5


def test_it_is_printed():
    out = StringIO()
    gone = ("gather", 3, reason(operation("gather")))
    print_health(health(part(), part(name="vision", leaving=(gone,))), Console(file=out, width=200))
    text = out.getvalue()
    assert "<made> parity. " in text
    assert "of 640 greedy tokens in 64 prompts 98.4 % are kept" in text
    assert re.search(r"head +2\.5 +5 +1\.5 +text\.logits +8,188 +4x +text\.lm_head", text)
    assert "vision: 3 gather reading at places" in text
    assert "no operation is known" not in text


def test_the_page_stands_alone(tmp_path):
    """A folder's name is text, and what leaves the engine has its source."""
    page = tmp_path / "health.html"
    write_page(health(part(), part(leaving=(("add", 7, FLOAT32),))), "parity coreml health <made>", page)
    text = page.read_text(encoding="utf-8")
    assert "<made>" not in text
    assert "Health of &lt;made&gt;" in text
    assert "decoder lut6, head lut4, keys and values as states (iOS18)" in text
    assert f'href="{FLOAT32.source}"' in text
    assert "conv 4, tanh 1" in text
    assert "prefill 3, infer 2" in text
    assert "<script" not in text


def test_packages_are_read(folder):
    (folder / TABLES).write_bytes(b"123")
    found, host = _parts(Package.read(folder))
    assert (host.name, host.size, host.functions, host.leaving) == (HOST, 3, {}, ())
    assert (found.name, found.functions, found.kinds) == ("head", {"main": 2}, {"conv": 1, "relu": 1})
    assert [(kind, why) for kind, _, why in found.leaving] == [("conv", FLOAT32), ("relu", FLOAT32)]
    assert found.size == sum(
        file.stat().st_size for file in Path(folder / "head.mlpackage").rglob("*") if file.is_file()
    )


def test_what_is_no_conversion_is_refused(tmp_path):
    found = CliRunner().invoke(app, ["health", str(tmp_path)])
    assert isinstance(found.exception, UsageError)
    assert "no manifest.json; is it one that `parity coreml convert` wrote?" in str(found.exception)
