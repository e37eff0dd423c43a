"""What names of files may be, and every door at which that is asked."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from parity.errors import UsageError
from parity.golden.sets import Entry
from parity.names import LONGEST, file_name, require_name
from parity.scenario import Scenario
from parity.traces.trace import Trace
from parity.traces.writer import TraceWriter
from tests.toy import Port, Toy, write

OUTSIDE = (
    "../../victim/model", "/etc/passwd", "..", ".", "", ".hidden", "a/b", "a\\b", "a\0b", "a\n", "-rf", "a b", "ü",
    "a" * (LONGEST + 1), 7, None,
)  # fmt: skip


@pytest.mark.parametrize("name", ["prefill", "decode.1", "image.one-shot", "A_b-c.9", "a" * LONGEST])
def test_a_name_of_the_alphabet_stays(name):
    assert require_name("a phase", name) == name


@pytest.mark.parametrize("name", OUTSIDE)
def test_any_other_is_refused_in_one_short_line(name):
    with pytest.raises(UsageError, match="may not name a file: give it") as error:
        require_name("a phase", name)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("party", "name"),
    [
        ("transformers@variant=attn-scale-sqrt-d", "transformers@variant=attn-scale-sqrt-d"),
        ("my_port:Backend", "my_port:Backend"),
        ("../../x:B", "_.._.._x:B"),
        ("a b/ü\0:B", "a_b___:B"),
    ],
)
def test_a_partys_files_stay_in_their_folder(party, name):
    assert file_name(party) == name


def test_long_names_of_parties_stay_apart():
    one, other = (file_name(f"port:B@weights={'x' * 300}{end}") for end in "ab")
    assert one != other
    assert len(one) == LONGEST


@pytest.mark.parametrize("phase", OUTSIDE)
def test_a_scenario_is_a_door(phase):
    """Of plain data, from a manifest, a job or a golden."""
    plain = {"name": "s", "chunks": [{"phase": phase, "tokens": [[1]]}], "padding": [0], "cache": True}
    with pytest.raises(UsageError, match="a chunk of a scenario is called"):
        Scenario.from_json(plain)
    with pytest.raises(UsageError, match="a scenario is called"):
        Scenario.from_json({**plain, "name": phase})


def test_a_trace_writer_is_a_door(tmp_path):
    """Whatever came before it; nothing is left behind."""
    victim = tmp_path / "victim.safetensors"
    victim.write_text("whole")
    with (
        pytest.raises(UsageError, match="may not name a file"),
        TraceWriter(tmp_path / "trace", keep_tensors=True) as writer,
    ):
        writer.begin("../../victim")
    assert [path.name for path in tmp_path.iterdir()] == ["victim.safetensors"]
    assert victim.read_text() == "whole"


@pytest.mark.parametrize("absolute", [True, False])
def test_an_oracle_with_such_a_phase_writes_nothing(tmp_path, absolute):
    """`parity trace --oracle` of somebody else's folder: its manifest says where tensors would go."""
    victim = tmp_path / "victim" / "model.safetensors"
    victim.parent.mkdir()
    victim.write_text("whole")
    oracle = write(tmp_path, "oracle", Toy())
    path = oracle.path / "manifest.json"
    manifest = json.loads(path.read_text())
    phase = str(victim.with_suffix("")) if absolute else "../../victim/model"
    manifest["scenario"]["chunks"][0]["phase"] = phase
    path.write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match=r"trace .*oracle.* is called '.*victim/model'"):
        write(tmp_path, "out", Port("float32"), "float32", oracle=oracle.path)
    assert victim.read_text() == "whole"
    assert not list(tmp_path.glob("*out*"))


def test_a_record_is_a_door(tmp_path):
    """Its phase names the file that its tensor is read from."""
    trace = write(tmp_path, "trace", Toy())
    path = trace.path / "steps.jsonl"
    path.write_text(path.read_text().replace('"phase": "prefill"', '"phase": "../../etc"'))
    with pytest.raises(UsageError, match=r"steps\.jsonl line 1: phase"):
        Trace.read(trace.path)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_golden_set_is_a_door(name):
    with pytest.raises(UsageError, match="a golden is called"):
        Entry(name, "toy", None)
    with pytest.raises(UsageError, match="a golden is called"):
        replace(Entry("toy", "toy", None), name=name)
