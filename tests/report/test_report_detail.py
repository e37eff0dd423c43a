"""What is taken from traces: statistics, maps and worst elements are right, small, and bounded."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.axes import USUAL
from parity.judging.judge import judge
from parity.judging.judgement import Comparison
from parity.report.chosen import INTRODUCED, WORST, chosen
from parity.report.gather import Gatherer
from parity.report.html.figures import histogram_figure
from parity.report.json import dumps_report, read_report, write_whole
from parity.report.matrix import MAP_COLUMNS, MAP_ROWS, channel_map, difference, error_histogram, value_histogram
from parity.report.vocabulary import label, read_vocabulary
from parity.traces.runs import Runs
from tests import report_pages as pages
from tests import report_samples as samples
from tests.toy import Toy, runs, write

PIECES = {1: "one", 2: " two"}


def off_by_one_channel(value):
    """Wrong in channel 5 of token 2 alone."""
    wrong = value.copy()
    wrong[:, min(2, value.shape[1] - 1), 5] += 1
    return wrong


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    """An oracle, a baseline, and a candidate whose embedding is wrong in one place."""
    folder = tmp_path_factory.mktemp("traces")
    oracle = write(folder, "oracle", Toy())
    candidate = runs(folder, "candidate", Toy("float32", {"embed": off_by_one_channel}), oracle)
    return oracle, runs(folder, "baseline", Toy("float32"), oracle), candidate


@pytest.fixture(scope="module")
def report(evidence):
    """What is gathered of it."""
    oracle, baseline, candidate = evidence
    judgement = judge(oracle=oracle, baseline=baseline, candidate=candidate)
    gatherer = Gatherer(lambda: PIECES)
    gatherer.look(judgement, oracle=oracle, baseline=baseline, candidate=candidate)
    return gatherer.report(Comparison(oracle.contract, oracle.manifest, (judgement,)))


def test_the_worst_element_is_the_one_that_is_wrong(report):
    """Index, token, and the three parties' values."""
    first = report.details[0]
    assert (first.step, first.phase, first.mode) == ("embed", "prefill", "lockstep")
    worst = first.worst[0]
    assert worst.index == (0, 2, 5)
    assert worst.token == "2: #3"
    assert worst.candidate - worst.reference == pytest.approx(1, abs=1e-6)
    assert worst.baseline == pytest.approx(worst.reference, abs=1e-6)
    assert len(first.worst) == 10


def test_the_map_lights_up_where_the_error_is(report):
    """Tokens are the rows, by name; 96 channels in 64 columns."""
    heat = report.details[0].channels
    assert heat.rows == ("0: one", "1:  two", "2: #3", "3: #4")
    assert len(heat.columns) == MAP_COLUMNS
    values = np.array(heat.values)
    row, column = np.unravel_index(values.argmax(), values.shape)
    first, _, last = heat.columns[column].partition("-")
    assert row == 2
    assert int(first) <= 5 <= int(last or first)
    assert values.max() > 1e4
    assert np.median(values) < 4


def test_statistics_side_by_side(report):
    """The parties of both runs, the reference first and without an error."""
    columns = report.details[0].columns
    assert [(column.role, column.mode) for column in columns] == [
        ("reference", "free"), ("baseline", "lockstep"), ("baseline", "free"),
        ("candidate", "lockstep"), ("candidate", "free"),
    ]  # fmt: skip
    assert columns[0].error is None
    assert columns[1].error < 1e-6
    assert columns[3].error > 1e-3


def test_json_round_trip(report, tmp_path):
    """A file holds all of it, as strict JSON, and one without details is still a report."""
    path = write_whole(tmp_path / "report.json", dumps_report(report))
    json.loads(path.read_text(), parse_constant=pytest.fail)
    assert read_report(path) == report
    assert read_report(tmp_path).pieces == {1: "one", 2: " two"}
    bare = json.loads(path.read_text())
    for name in ("details", "scenarios", "pieces"):
        del bare[name]
    path.write_text(json.dumps(bare))
    assert read_report(path).details == ()
    assert read_report(path).comparison == report.comparison


def test_nan_in_a_map_survives(tmp_path):
    """JSON has no NaN; a map's gap is one."""
    path = write_whole(tmp_path / "report.json", dumps_report(pages.diverged()))
    assert math.isnan(read_report(path).details[0].channels.values[0][0])


def test_without_tensors_there_is_no_map(evidence, tmp_path):
    """Sketches give statistics and verdicts alone."""
    oracle, baseline, _ = evidence
    wrong = Toy("float32", {"embed": off_by_one_channel})
    candidate = Runs(write(tmp_path, "free", wrong, "float32", oracle=oracle.path, keep_tensors=False), None)
    judgement = judge(oracle=oracle, baseline=baseline, candidate=candidate)
    gatherer = Gatherer()
    gatherer.look(judgement, oracle=oracle, baseline=baseline, candidate=candidate)
    first = gatherer.report(Comparison(oracle.contract, oracle.manifest, (judgement,))).details[0]
    assert first.channels is first.values is None
    assert first.mode == "free"
    assert first.columns


def test_only_a_few_steps_have_a_page():
    """The first divergence, one of each family of faults, the worst; never more than are left."""
    (judgement,) = samples.diverged().judgements
    picked = chosen(judgement)
    assert picked[0] == judgement.first_divergence
    assert len(picked) <= 1 + INTRODUCED + WORST
    assert [step.step for step in picked[:2]] == [
        "text.layers.0.attn.q_rope", "text.layers.4.altup.correct.router_input",
    ]  # fmt: skip
    assert chosen(judgement, left=1) == picked[:1]
    assert chosen(judgement, left=0) == ()


@pytest.mark.parametrize(
    ("axes", "shape", "form"),
    [
        (("batch", "token", "head", "dim"), (2, 3, 4, 5), (6, 20)),
        (("stream", "batch", "token", "hidden"), (4, 2, 3, 5), (6, 20)),
        (("batch", "kv_head", "key", "dim"), (2, 3, 4, 5), (8, 15)),
        (("height", "width", "channel"), (2, 3, 4), (6, 4)),
        (("frequency",), (7,), (1, 7)),
        ((), (), (1, 1)),
        (("unknown",), (2, 3), (1, 6)),
    ],
)
def test_matrix(axes, shape, form):
    """Places are rows; what has none has its last axis across."""
    array = np.arange(math.prod(shape)).reshape(shape)
    matrix = USUAL.layout(axes, shape).matrix(array)
    assert matrix.shape == form
    assert sorted(matrix.reshape(-1)) == sorted(array.reshape(-1))


@given(rows=st.integers(1, 130), columns=st.integers(1, 200))
def test_maps_are_bounded_and_lose_nothing(rows, columns):
    """However large the tensor, the map is small; the root mean square of all cells is the tensor's."""
    error = np.random.default_rng(0).normal(size=(rows, columns))
    labels = [str(row) for row in range(rows)]
    heat = channel_map(error, scale=1.0, floor=1.0, labels=labels, valid=np.ones_like(error, dtype=bool))
    assert len(heat.rows) == len(heat.values) <= MAP_ROWS
    assert len(heat.columns) == len(heat.values[0]) <= MAP_COLUMNS
    assert heat.rows[0].startswith("0")
    assert heat.rows[-1].endswith(labels[-1])
    if not heat.grouped:
        assert np.mean(np.square(heat.values)) == pytest.approx(np.mean(np.square(error)), rel=0.02)


def test_what_is_not_finite_is_infinitely_wrong():
    """Unless the oracle has the same there."""
    oracle = np.array([1.0, np.nan, np.inf, 2.0, np.inf])
    candidate = np.array([np.nan, np.nan, np.inf, 2.5, -np.inf])
    assert difference(oracle=oracle, candidate=candidate).tolist() == [np.inf, 0.0, 0.0, 0.5, -np.inf]


def test_histograms():
    """Every finite element is counted; exact ones have no error's exponent; one value alone is no distribution."""
    values = {"reference": np.array([[0.0, 1.0, np.nan]]), "candidate": np.array([[0.5, 2.0, np.inf]])}
    histogram = value_histogram(values)
    assert [sum(counts) for counts in histogram.counts] == [2, 2]
    assert value_histogram({"reference": np.ones((2, 2))}) is None
    assert value_histogram({"reference": np.array([[1.0, np.nextafter(1.0, 2.0)]])}) is None
    close = value_histogram({"reference": np.array([[1.0, 1.0 + 1e-9]])})
    assert histogram_figure(close).ticks[-1][0] == 100
    errors = error_histogram({"candidate": np.array([[0.0, 1e-3, 1e-5]])}, scale=1.0)
    assert sum(errors.counts[0]) == 2
    assert (errors.edges[0], errors.edges[-1]) == (-5, -3)
    assert error_histogram({"candidate": np.zeros((2, 2))}, scale=1.0) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": {"vocab": []}}', '{"model": {"vocab": {"a": "b"}}}'])
def test_a_foreign_tokenizer_names_nothing(text, tmp_path):
    """Labels do without."""
    (tmp_path / "tokenizer.json").write_text(text)
    assert read_vocabulary(tmp_path) == {}
    assert read_vocabulary(tmp_path / "missing") == {}


def test_vocabulary(tmp_path):
    """Pieces and added tokens by id; the mark of a blank is a blank."""
    data = {"model": {"vocab": {"▁a": 5, "b": 6}}, "added_tokens": [{"id": 7, "content": "<bos>"}]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    pieces = read_vocabulary(tmp_path)
    assert pieces == {5: " a", 6: "b", 7: "<bos>"}
    assert label(3, 5, pieces) == "3:  a"
    assert label(3, 9, pieces, row=1) == "1/3: #9"
    assert label(3, None, pieces) == "3"
