"""What else a report is: a comment for a pull request, overlays for Model Explorer, a folder, a command."""

from __future__ import annotations

import json
import re
import sys

import pytest

from parity.report.explorer import INFINITE, LEVEL_COLOURS, file_name, graph, overlay
from parity.report.json import read_report
from parity.report.levels import LEVELS
from parity.report.markdown import markdown
from parity.reports import write_report
from tests import report_pages as pages
from tests import report_samples as samples
from tests.toy import Toy, runs, write

FILES = ["index.html", "model-explorer", "report.json", "report.md"]


@pytest.mark.parametrize("name", samples.SAMPLES)
def test_markdown(name, snapshot):
    """The comment reads as it was reviewed, and is short."""
    text = markdown(pages.with_details(samples.SAMPLES[name]()))
    assert text == snapshot
    assert len(text) < 10_000


def test_markdown_of_others_text():
    """Names and prompts are no markup, no HTML, no mention, no line of their own."""
    text = markdown(pages.hostile())
    outside = re.sub(r"`[^`\n]*`", "", text)
    assert "<script" not in outside
    assert "<img" not in outside
    assert "\u202e" not in text
    assert not re.search(r"(?<!\\)\[", outside)


def test_overlay():
    """A number and a colour for every step that was measured, keyed by the graph's nodes; infinity has a number."""
    comparison = samples.broken()
    nodes = graph(comparison.contract)["graphs"][0]["nodes"]
    (judgement,) = comparison.judgements
    data = overlay(judgement, comparison.contract)["gemma3n"]
    assert set(data["results"]) <= {node["id"] for node in nodes}
    assert data["results"]["text.input_ids"] == {"value": INFINITE}
    limits = [threshold["value"] for threshold in data["thresholds"]]
    assert limits == sorted(limits)
    assert len(limits) == len(LEVEL_COLOURS) == LEVELS
    assert nodes[1]["incomingEdges"] == [{"sourceNodeId": "text.input_ids"}]
    assert nodes[1]["namespace"] == "text/layers/0"


def test_file_names_are_safe():
    """Whatever a candidate is called, its overlay stays in the folder."""
    (judgement, _) = pages.hostile().comparison.judgements
    assert re.fullmatch(r"[A-Za-z0-9_-]+\.json", file_name(judgement, 3))
    assert file_name(samples.judgement(), 1) == "01-mlx-float32-one-shot.json"


def test_folder(tmp_path):
    """All files at once, readable again, and the same when they are written again."""
    report = pages.diverged()
    assert write_report(report, tmp_path) == tmp_path / "index.html"
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    assert sorted(path.name for path in (tmp_path / "model-explorer").iterdir()) == [
        "01-mlx-float32-one-shot.json", "graph.json",
    ]  # fmt: skip
    before = (tmp_path / "index.html").read_bytes()
    write_report(read_report(tmp_path), tmp_path)
    assert (tmp_path / "index.html").read_bytes() == before


def test_command_renders_a_comparison(tmp_path, parity):
    """`parity report DIR` renders beside the file, or where it is told; no framework is needed."""
    write_report(pages.diverged(), tmp_path)
    before = (tmp_path / "index.html").read_bytes()
    (tmp_path / "index.html").unlink()
    assert parity("report", tmp_path / "report.json") == (0, f"{tmp_path / 'index.html'}\n", "")
    assert (tmp_path / "index.html").read_bytes() == before
    assert parity("report", tmp_path, "--output", tmp_path / "new")[0] == 0
    assert (tmp_path / "new" / "index.html").read_bytes() == before


@pytest.fixture
def traces(tmp_path):
    """What `compare --keep` leaves of a toy."""
    folder = tmp_path / "kept" / "toy"
    oracle = write(folder, "oracle", Toy())
    runs(folder, "baseline", Toy("float32"), oracle)
    runs(folder, "tests.toy:Wrong", Toy("float32", {"embed": lambda value: value * 1.01}), oracle)
    return folder


def test_command_renders_kept_traces(traces, tmp_path, parity):
    """A folder of scenarios is judged and rendered, candidates by the names of their folders."""
    code, out, err = parity("report", traces.parent, "--output", tmp_path / "out")
    assert (code, out, err) == (0, f"{tmp_path / 'out' / 'index.html'}\n", "")
    (judgement,) = read_report(tmp_path / "out").comparison.judgements
    assert judgement.candidate == "tests.toy:Wrong"
    assert not judgement.unmeasured
    assert judgement.first_divergence.step == "embed"


def test_command_renders_single_traces(traces, tmp_path, parity):
    """The oracle's is found by its contract; baselines are named."""
    given = [traces / "tests.toy:Wrong.free", traces / "oracle", traces / "tests.toy:Wrong.lockstep"]
    floors = ["--baseline", traces / "baseline.free", "--baseline", traces / "baseline.lockstep"]
    assert parity("report", *given, *floors, "--output", tmp_path / "out")[0] == 0
    (judgement,) = read_report(tmp_path / "out").comparison.judgements
    assert not judgement.unmeasured
    assert judgement.first_divergence.step == "embed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "does not exist"),
        (["toy/baseline.free/tensors"], "neither a report nor a trace nor a folder of traces"),
        (["toy/baseline.free", "toy/baseline.lockstep"], "0 of these traces are an oracle's"),
        (["toy/oracle"], "no candidate's trace|neither a report nor"),
    ],
)
def test_command_refuses(arguments, message, traces, parity, monkeypatch):
    """What cannot be rendered is refused in one line."""
    monkeypatch.chdir(traces.parent)
    code, _, err = parity("report", *arguments)
    assert code == 2
    assert re.search(message, err)
    assert err.count("\n") == 1


def test_command_starts_without_frameworks(tmp_path, parity, monkeypatch):
    """Nothing of a model's is imported to render."""
    write_report(pages.diverged(), tmp_path)
    for name in ("torch", "transformers", "mlx"):
        monkeypatch.setitem(sys.modules, name, None)
    assert parity("report", tmp_path)[0] == 0
    assert json.loads((tmp_path / "report.json").read_text())["verdict"] == "diverged"
