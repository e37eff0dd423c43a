"""The range of each step, the alpha that keeps it, and the command that says so."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from implementations.ane import peaks
from implementations.ane.engine.limits import LIMIT
from implementations.ane.peaks import Peak, judge, peaks_of
from implementations.ane.range import as_dict, print_range
from parity.report.console import console
from parity.traces.trace import Trace
from tests import residual
from tests.harness import Harness

PROMPT = "Hello world"


def peak(value: float, *, carries: bool = True, family: str = "text.layers.{0-9}.out") -> Peak:
    """A peak in layer 4."""
    return Peak(family, value, family.replace("{0-9}", "4"), "prefill", carries)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The oracle's trace of a checkpoint whose residual stream peaks near 100,000."""
    folder = tmp_path_factory.mktemp("residual")
    harness = Harness(folder, residual.write(folder / "checkpoint"))
    return harness.oracle_trace("one-shot", PROMPT)


@pytest.mark.parametrize(
    ("value", "alpha"),
    [(1.0, 1.0), (16376.0, 1.0), (16377.0, 0.5), (32752.0, 0.5), (32753.0, 0.25), (100_000.0, 0.125), (0.0, 1.0)],
)
def test_alpha_is_the_largest_power_of_two_within_half_the_limit(value, alpha):
    found = judge([peak(5.0), peak(value)], LIMIT)
    assert found.alpha == alpha
    assert value * alpha <= LIMIT / 2
    assert alpha == 1 or 2 * value * alpha > LIMIT / 2
    assert (found.deciding is None) == (alpha == 1)
    assert found.beyond == ()


def test_what_alpha_does_not_reach_is_told():
    """It neither decides alpha nor is kept by it; nor is what is not finite."""
    gate, head = peak(40_000.0, carries=False, family="gate"), peak(20_000.0, carries=False, family="head")
    found = judge([peak(10.0), gate, head], LIMIT)
    assert (found.alpha, found.beyond) == (1.0, (gate,))
    broken = peak(math.inf)
    assert judge([broken], LIMIT).beyond == (broken,)


def test_the_embedded_checkpoint_is_in_range(harness):
    found = judge(peaks_of(harness.oracle_trace("one-shot")), LIMIT)
    assert (found.alpha, found.deciding, found.beyond) == (1.0, None, ())


def test_peaks_are_the_recorded_ones(harness):
    """Of each family the largest layer; of every step that is a float, and of no mask."""
    trace: Trace = harness.oracle_trace("one-shot")
    found = {each.family: each for each in peaks_of(trace)}
    layer = found["text.layers.{0-24}.out"]
    values = {record.step: record.abs_max for record in trace.records.values() if record.step.endswith(".out")}
    assert layer.value == max(value for step, value in values.items() if step.count(".") == 3 and "layers" in step)
    assert layer.value == values[layer.step]
    assert layer.carries
    assert not found["text.logits"].carries
    assert not any("mask" in family or "ids" in family for family in found)


def test_steps_that_are_not_finite_have_no_peak(harness):
    trace = harness.oracle_trace("one-shot")
    key, record = next((key, each) for key, each in trace.records.items() if key.step == "text.logits")
    records = {**trace.records, key: record.model_copy(update={"nan_count": 1})}
    found = judge(peaks_of(replace(trace, records=records)), LIMIT)
    assert [each.step for each in found.beyond] == ["text.logits"]
    assert "null" in json.dumps(as_dict(found))


def test_a_large_residual_stream_is_brought_into_range(large):
    """Its streams leave fp16, nothing else does; the proposed alpha keeps every step within the limit."""
    measured = peaks_of(large)
    found = judge(measured, LIMIT)
    stream = next(each for each in measured if each.family == "text.layers.{0-24}.out")
    assert 60_000 < stream.value < 200_000
    assert found.alpha == 0.125
    assert found.deciding is not None
    assert found.beyond == ()
    assert all(each.at(found.alpha) <= LIMIT / 2 for each in measured if each.carries)
    assert judge([replace(each, carries=False) for each in measured], LIMIT).beyond


def test_the_report_names_the_step_that_decides(large, capsys):
    found = judge(peaks_of(large), LIMIT)
    print_range(found, console(width=160))
    said = capsys.readouterr().out
    assert f"alpha      0.125, a power of two: {found.deciding.step} reaches" in said
    assert "beyond" not in said
    print_range(judge([peak(70_000.0, carries=False)], LIMIT), console(width=160))
    said = capsys.readouterr().out
    assert "text.layers.4.out reaches 70,000, beyond the limit of 32,752; alpha does not scale it" in said


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "parity", "ane-range", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_command(tmp_path):
    """From a checkpoint to JSON, through a worker; a lower limit asks for a smaller alpha."""
    checkpoint = residual.write(tmp_path / "checkpoint")
    done = run("--model", checkpoint, "--prompt", PROMPT, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["alpha"], told["beyond"]) == (0.125, [])
    assert {each["step"]: each["value"] for each in told["peaks"]}[told["deciding"]] > 2 * LIMIT


def test_a_limit_that_is_no_limit():
    done = run("--limit", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "not positive" in done.stderr


def test_the_module_imports_without_torch():
    """`parity --help` lists the command where torch is not installed."""
    program = "import sys; sys.modules['torch'] = None; import implementations.ane.range"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])


def test_float16_overflows_where_the_peak_says_so(large):
    """The limit is the arithmetic's own."""
    from implementations.ane.arithmetic import Float16Ane

    assert peaks.MARGIN < 1
    assert Float16Ane().rounded(torch.tensor(max(each.value for each in peaks_of(large)))).isinf()
