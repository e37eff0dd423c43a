"""Traces on disk: round trips, and what is refused in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from parity.errors import StaleTrace, UsageError
from parity.running.execute import Run, execute
from parity.traces.encoded import decode_sketch
from parity.traces.statistics import measure
from parity.traces.trace import Key, Trace
from parity.traces.writer import TraceWriter
from tests.toy import CONTRACT, SCENARIO, Toy, write


@pytest.fixture
def trace(tmp_path):
    """A whole trace of the toy."""
    return write(tmp_path, "trace", Toy("float32"), "float32")


def test_round_trip(trace):
    """Records, tensors, statistics, scenario and contract are read back as written."""
    assert [key.step for key in trace.records if key.phase == "prefill"] == [step.name for step in CONTRACT]
    assert trace.contract == CONTRACT
    assert trace.scenario.resolved
    key = Key("prefill", "embed")
    array = trace.tensor(key)
    assert array.dtype == np.float32
    assert trace.statistics(key) == measure(array)
    assert trace.records[key].axes == ["batch", "token", "hidden"]


def test_oracles_choice_is_kept(trace):
    """The decode step's token is the greedy one."""
    logits = trace.tensor(Key("prefill", "logits"))
    assert trace.scenario.chunks[1].tokens == ((int(np.argmax(logits[0, -1])),),)


def test_sketch_is_little_endian_float64(trace):
    """61 numbers, as docs/trace-format.md says."""
    assert len(decode_sketch(trace.records[Key("prefill", "embed")].sketch)) == 61


def test_statistics_only(tmp_path):
    """Without tensors there is no tensors folder and no tensor."""
    trace = write(tmp_path, "light", Toy(), keep_tensors=False)
    assert trace.tensor(Key("prefill", "embed")) is None
    assert not (trace.path / "tensors").exists()


def change_manifest(path, **fields):
    """Rewrite fields of a manifest."""
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, **fields}))


def test_another_format_version_is_stale(trace):
    """Exit 4, and what to do."""
    change_manifest(trace.path, version=99)
    with pytest.raises(StaleTrace, match="format version 99, this is 1; write the trace again"):
        Trace.read(trace.path)


def test_cut_off_records(trace):
    """A truncated list of records."""
    lines = (trace.path / "steps.jsonl").read_text().splitlines()
    (trace.path / "steps.jsonl").write_text("\n".join(lines[:-2]) + "\n")
    with pytest.raises(UsageError, match="cut off: 6 of 8 records"):
        Trace.read(trace.path)


def test_cut_off_line(trace):
    """A record that stops in the middle."""
    text = (trace.path / "steps.jsonl").read_text()
    (trace.path / "steps.jsonl").write_text(text[:-40])
    with pytest.raises(UsageError, match=r"steps.jsonl line 8"):
        Trace.read(trace.path)


@pytest.mark.parametrize("name", ["manifest.json", "steps.jsonl", "tensors/prefill.safetensors"])
def test_missing_file_is_named(trace, name):
    """Whatever file is gone."""
    (trace.path / name).unlink()
    with pytest.raises(UsageError, match=name.rpartition("/")[2]):
        Trace.read(trace.path)


def test_truncated_tensors(trace):
    """A tensor file that was cut off."""
    file = trace.path / "tensors" / "prefill.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UsageError, match="missing or cut off"):
        Trace.read(trace.path)


def test_tensor_of_another_shape(trace):
    """The record and its tensor must agree."""
    text = (trace.path / "steps.jsonl").read_text().replace('"shape": [1, 4, 96]', '"shape": [1, 4, 95]')
    (trace.path / "steps.jsonl").write_text(text)
    with pytest.raises(UsageError, match="embed is recorded as"):
        Trace.read(trace.path)


def test_phase_cannot_leave_the_folder(trace):
    """Phases name files, so a foreign trace may not put a path into one."""
    text = (trace.path / "steps.jsonl").read_text().replace('"phase": "prefill"', '"phase": "../../etc"')
    (trace.path / "steps.jsonl").write_text(text)
    with pytest.raises(UsageError, match="phase"):
        Trace.read(trace.path)


def change_records(path, old, new):
    """Rewrite a text in the first record that has it."""
    text = (path / "steps.jsonl").read_text()
    assert old in text
    (path / "steps.jsonl").write_text(text.replace(old, new, 1))


def test_two_records_of_one_key(trace):
    """The last would win."""
    change_records(trace.path, '"step": "embed"', '"step": "ids"')
    with pytest.raises(UsageError, match=r"two records of ids in prefill, occurrence 0; number them"):
        Trace.read(trace.path)


def test_a_record_of_no_chunk(trace):
    """Nobody would look at it."""
    manifest = json.loads((trace.path / "manifest.json").read_text())
    manifest["scenario"]["chunks"].pop()
    change_manifest(trace.path, scenario=manifest["scenario"])
    with pytest.raises(UsageError, match=r"has ids in decode\.1, a phase that the manifest's scenario lacks; it has"):
        Trace.read(trace.path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"padding": [4]}, None),
        ({"padding": [5]}, "leaves nothing of a row to compare; give paddings of 0 to 4"),
        ({"padding": [-1]}, "give paddings of 0 to 4"),
        ({"padding": []}, "rows of"),
        ({"chunks": []}, "nothing to run"),
        ({"chunks": [{"phase": "prefill", "tokens": []}]}, "nothing to run"),
        ({"chunks": [{"phase": "prefill", "tokens": [[1, 2, 3, 4]]}] * 2}, "two chunks called prefill"),
        ({"chunks": [{"phase": "prefill", "tokens": [[float("inf")]]}]}, "cannot be read"),
        ({"scaled": {"*": 0}}, "cannot be scaled by 0"),
    ],
)
def test_a_scenario_that_leaves_nothing_to_compare(trace, changes, said):
    """Each would end in a verdict on less than all, or on nothing."""
    manifest = json.loads((trace.path / "manifest.json").read_text())
    change_manifest(trace.path, scenario=manifest["scenario"] | changes)
    with pytest.raises(UsageError, match=said or "which is all of prefill; leave at least one real token") as error:
        Trace.read(trace.path)
    assert str(error.value).startswith(f"trace {trace.path}: ")


def spoil(path, phase, step, change):
    """Change a tensor on disk, and nothing else."""
    file = path / "tensors" / f"{phase}.safetensors"
    save_file({name: change(value) if name == step else value for name, value in load_file(file).items()}, file)


@pytest.mark.parametrize("change", [lambda x: x * np.float32(1.001), lambda x: x.view(np.int32)])
def test_a_tensor_that_was_changed_on_disk(trace, change):
    """Its digest no longer fits, or its dtype does not; the others can still be read."""
    spoil(trace.path, "prefill", "embed", change)
    changed = Trace.read(trace.path)
    assert changed.tensor(Key("prefill", "logits")) is not None
    with pytest.raises(UsageError, match="the tensor of embed in prefill is not the one that was recorded"):
        changed.tensor(Key("prefill", "embed"))


def test_a_writer_may_give_no_digests(trace):
    """As docs/trace-format.md says."""
    lines = [json.loads(line) for line in (trace.path / "steps.jsonl").read_text().splitlines()]
    for line in lines:
        del line["digest"]
    (trace.path / "steps.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert Trace.read(trace.path).tensor(Key("prefill", "embed")) is not None


def test_a_contract_that_is_not_the_manifests(trace):
    """A step that nobody needs any more would not be compared."""
    path = trace.path / "contract.json"
    path.write_text(path.read_text().replace('"needs": ""', '"needs": "nothing"', 1))
    with pytest.raises(UsageError, match=r"contract\.json is not the contract that the trace was written with"):
        _ = trace.contract


def test_a_contract_whose_logits_are_no_step(trace):
    """No token would be compared."""
    path = trace.path / "contract.json"
    path.write_text(path.read_text().replace('"logits": "logits"', '"logits": "nope"'))
    with pytest.raises(UsageError, match=r"the logits of the contract of toy, 'nope', are none of its steps"):
        _ = trace.contract


def test_not_json(trace):
    """A manifest that is not JSON."""
    (trace.path / "manifest.json").write_text("{")
    with pytest.raises(UsageError, match="not JSON"):
        Trace.read(trace.path)


def test_only_an_oracle_has_a_contract(tmp_path, trace):
    """A candidate's trace carries none."""
    candidate = write(tmp_path, "candidate", Toy("float32"), "float32", oracle=trace.path)
    with pytest.raises(UsageError, match=r"no oracle's trace: it has no contract\.json"):
        _ = candidate.contract


def test_nothing_half_written_stays(tmp_path):
    """A run that fails in the middle leaves no folder behind."""

    def fail(x):
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        execute(Toy(wrong={"logits": fail}), Run(tmp_path / "t", "m", "w", "float64", scenario=SCENARIO), print)
    assert not list(tmp_path.iterdir())


def test_existing_trace_is_not_overwritten(trace):
    """Nothing is lost."""
    with pytest.raises(UsageError, match="exists already"):
        TraceWriter(trace.path, keep_tensors=True)


def test_full_disk(tmp_path, monkeypatch):
    """One line, and no half-written trace."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("parity.traces.spool.save_file", full)
    with pytest.raises(UsageError, match=r"cannot write a trace to .*: No space left on device"):
        write(tmp_path, "t", Toy())
    assert not list(tmp_path.iterdir())


def test_folder_that_cannot_be_made(tmp_path):
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write a trace"):
        TraceWriter(tmp_path / "file" / "trace", keep_tensors=True)
