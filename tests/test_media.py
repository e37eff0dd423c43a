"""Prompts with pictures and sounds: kept with the trace, named by their content, refused when they were changed."""

from pathlib import Path

import pytest

from parity.contract import Contract, Step
from parity.errors import UsageError
from parity.media import Part, keep, resolve
from parity.scenario import Chunk, Scenario

PICTURE = b"no real picture; the engine never looks inside"


@pytest.fixture
def prompt(tmp_path: Path):
    (tmp_path / "A cat.PNG").write_bytes(PICTURE)
    return (Part("text", "What is it?"), Part("image", str(tmp_path / "A cat.PNG")))


def test_a_trace_keeps_the_file_under_its_content(tmp_path, prompt):
    kept = keep(prompt, tmp_path / "trace")
    assert kept[0] == prompt[0]
    assert Path(kept[1].value).suffix == ".png"
    assert (tmp_path / "trace" / "media" / kept[1].value).read_bytes() == PICTURE
    found = resolve(kept, tmp_path / "trace")
    assert Path(found[1].value).read_bytes() == PICTURE


def test_a_changed_file_is_refused(tmp_path, prompt):
    kept = keep(prompt, tmp_path / "trace")
    (tmp_path / "trace" / "media" / kept[1].value).write_bytes(b"another picture")
    with pytest.raises(UsageError, match="was changed"):
        resolve(kept, tmp_path / "trace")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "", "0" * 32 + ".png"])
def test_a_trace_names_no_file_outside_itself(tmp_path, name):
    (tmp_path / "secret").write_bytes(b"secret")
    with pytest.raises(UsageError, match="lacks its file"):
        resolve((Part("image", name),), tmp_path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.png cannot be read"):
        keep((Part("image", str(tmp_path / "nowhere.png")),), tmp_path / "trace")


def test_scenario_round_trip_with_prompts(prompt):
    scenario = Scenario("picture", (Chunk("prefill", ((1, 2),), (prompt,)), Chunk("decode.1", None)))
    assert Scenario.from_json(scenario.to_json()) == scenario
    assert scenario.chunks[0].holds == {"prompt", "image"}
    assert scenario.chunks[1].holds == set()


def test_a_prompt_for_each_row(prompt):
    with pytest.raises(UsageError, match="for a batch of 2"):
        Scenario("picture", (Chunk("prefill", ((1,), (2,)), (prompt,)),), (0, 0))


def test_steps_of_a_medium_are_expected_where_it_is():
    steps = (Step("ids", (), "integer", "", "", needs="prompt"), Step("pixels", (), "float", "", "", needs="image"),
             Step("logits", (), "float", "", ""))  # fmt: skip
    contract = Contract("toy", steps, "logits")
    assert [step.name for step in contract.expected(())] == ["logits"]
    assert [step.name for step in contract.expected({"prompt", "audio"})] == ["ids", "logits"]
    assert contract.expected({"prompt", "image"}) == steps
