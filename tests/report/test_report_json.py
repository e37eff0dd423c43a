"""The JSON report: strict JSON, a lossless round trip, whole files or none."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.errors import StaleTrace, UsageError
from parity.judging.verdict import Deviation, Status, StepVerdict, Worst
from parity.report.json import FILE, dumps, prepare, read_comparison, to_json, write_whole
from tests import report_samples as samples

floats = st.floats(allow_nan=False, allow_infinity=True)
worst = st.builds(
    Worst,
    look=st.sampled_from(("place", "part", "channel")),
    where=st.lists(st.tuples(st.text(), st.integers(0, 9)), max_size=3).map(tuple),
    error=floats,
    floor=floats,
    ratio=floats,
)
deviations = st.builds(
    Deviation,
    error=floats,
    floor=floats,
    ratio=floats,
    worst=st.lists(worst, max_size=3).map(tuple),
)
verdicts = st.builds(
    StepVerdict,
    phase=st.text(),
    step=st.text(),
    occurrence=st.integers(0, 3),
    status=st.sampled_from(Status),
    free=st.none() | deviations,
    lockstep=st.none() | deviations,
    note=st.text(),
)


def refuse(name):
    """JSON has neither NaN nor Infinity."""
    raise AssertionError(name)


def write_comparison(comparison, folder):
    """What ``--json`` prints, as a file."""
    prepare(folder)
    return write_whole(folder / FILE, dumps(comparison))


@pytest.mark.parametrize("name", samples.SAMPLES)
def test_round_trip(name, tmp_path):
    """What is written is read back equal."""
    comparison = samples.SAMPLES[name]()
    assert read_comparison(write_comparison(comparison, tmp_path)) == comparison
    assert read_comparison(tmp_path) == comparison
    assert os.listdir(tmp_path) == [FILE]


@given(verdict=verdicts, prompt=st.text())
def test_round_trip_of_any_value(verdict, prompt, tmp_path_factory):
    """Infinities and any text survive, and the file is strict JSON."""
    comparison = samples.comparison(replace(samples.judgement(), steps=(verdict,)))
    comparison = replace(comparison, prompt=prompt)
    folder = tmp_path_factory.mktemp("report")
    path = write_comparison(comparison, folder)
    json.loads(path.read_text(), parse_constant=refuse)
    assert read_comparison(path) == comparison


def test_nan_survives(tmp_path):
    """NaN is unequal to itself, so its text is compared."""
    odd = Deviation(float("nan"), 0.0, float("nan"))
    comparison = samples.comparison(
        samples.judgement(samples.change("prefill", "text.logits", Status.INTRODUCED, lockstep=odd))
    )
    assert dumps(read_comparison(write_comparison(comparison, tmp_path))) == dumps(comparison)
    assert '"NaN"' in dumps(comparison)


def test_what_other_programs_read():
    """The head, and what is derived for readers without our code."""
    data = to_json(samples.diverged())
    assert (data["schema"], data["version"], data["exit_code"], data["verdict"]) == (
        "parity-comparison", 2, 1, "diverged",
    )  # fmt: skip
    (judgement,) = data["judgements"]
    assert judgement["counts"]["introduced"] == 31
    assert judgement["first_divergence"] == {"phase": "prefill", "step": "text.layers.0.attn.q_rope", "occurrence": 0}
    assert judgement["steps"][0]["status"] == "ok"
    assert to_json(samples.parity())["judgements"][0]["first_divergence"] is None
    assert data["contract"]["steps"][0]["axes"] == ["batch", "token"]
    assert data["oracle"]["versions"]["torch"] == "2.15.0"


@pytest.mark.parametrize(
    ("text", "failure", "message"),
    [
        ("{", UsageError, "cannot be read"),
        ("[1]", UsageError, "no report of parity"),
        ('{"schema": "other"}', UsageError, "no report of parity"),
        ('{"schema": "parity-comparison", "version": 1}', StaleTrace, "version 1, this is 2"),
        ('{"schema": "parity-comparison", "version": 2}', UsageError, "contract: Field required"),
    ],
)
def test_unreadable(text, failure, message, tmp_path):
    """What is no report, or another version's, is refused in one line."""
    (tmp_path / FILE).write_text(text)
    with pytest.raises(failure, match=message) as caught:
        read_comparison(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing(tmp_path):
    """A missing file is named."""
    with pytest.raises(UsageError, match=r"none\.json cannot be read"):
        read_comparison(tmp_path / "none.json")


def test_unwritable_folder(tmp_path):
    """A folder that cannot be written to is refused beforehand."""
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(UsageError, match="cannot write to"):
            prepare(folder)


def test_a_failure_leaves_the_old_report(tmp_path, monkeypatch):
    """A report is replaced whole, or stays."""
    write_comparison(samples.parity(), tmp_path)

    def fail(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("parity.report.json.os.replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_comparison(samples.diverged(), tmp_path)
    assert read_comparison(tmp_path) == samples.parity()
    assert os.listdir(tmp_path) == [FILE]


def test_others_may_read_it(tmp_path):
    """The file has the permissions that any new file would have."""
    mode = write_comparison(samples.parity(), tmp_path).stat().st_mode
    (tmp_path / "other").write_text("")
    assert stat.S_IMODE(mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)
