"""Golden fixtures on a toy model: made, kept, judged against, renewed, and refused when they are stale."""

from __future__ import annotations

import functools
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from ml_dtypes import bfloat16 as BF16
from safetensors.numpy import load_file, save_file

from parity.dtypes import unit_roundoff
from parity.errors import ExitCode, StaleTrace, UsageError
from parity.golden import store as store_module
from parity.golden.checking import check, require_fresh
from parity.golden.format import read_golden
from parity.golden.packing import stored_floors
from parity.golden.sets import Entry, GoldenSet
from parity.golden.sketches import FOLDED, distance, folded, packed, unpacked
from parity.golden.store import Store
from parity.golden.updating import update
from parity.judging.verdict import Status
from parity.media import Part, digest
from parity.running.progress import Silent
from parity.traces.sketch import BUCKETS, estimated_norm
from tests.toy import CONTRACT, Toy

TOY = "tests.toy:Toy"


class Louder(Toy):
    """Embeds a millionth too loud."""

    def __init__(self, dtype="float64"):
        super().__init__(dtype, {"embed": lambda x: (x.astype(np.float64) * (1 + 1e-6)).astype(x.dtype)})


class Wrong(Toy):
    """Embeds a thousandth too loud."""

    def __init__(self, dtype="float64"):
        super().__init__(dtype, {"embed": lambda x: x * np.asarray(1.001, x.dtype)})


class Broken(Toy):
    """Has a NaN in its mean."""

    def __init__(self, dtype="float64"):
        super().__init__(dtype, {"layers.0.mean": lambda x: x * np.asarray(np.nan, x.dtype)})


class Changed(Toy):
    """A reference of other weights."""

    def __init__(self, dtype="float64"):
        super().__init__(dtype, {"logits": lambda x: x[..., ::-1]})


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A checkpoint, of which the toy reads nothing, and a set of one golden, made once: it takes four processes."""
    folder = tmp_path_factory.mktemp("golden")
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "config.json").write_text('{"model_type": "toy"}')
    save_file({"w": np.zeros(1, np.float32)}, folder / "checkpoint" / "model.safetensors")
    catalogue = GoldenSet(folder / "goldens", (Entry("toy", "toy", None),), str(folder / "checkpoint"), TOY)
    update(catalogue, allow_ci=True, progress=Silent())
    return folder, catalogue


@pytest.fixture
def made(original, tmp_path, monkeypatch):
    """A copy of it."""
    monkeypatch.delenv("CI", raising=False)
    folder, catalogue = original
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return replace(catalogue, folder=tmp_path / "goldens", model=str(tmp_path / "checkpoint"))


def judged(catalogue, name, dtype="float32"):
    """The judgement of a backend of this module, or of the toy's."""
    backend = f"tests.golden.test_golden:{name}" if name in globals() and name != "Toy" else f"tests.toy:{name}"
    return check(catalogue, backend, dtype, progress=Silent()).judgements[0]


def contents(folder):
    """Every file's bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_reference_itself_is_at_parity(made, dtype):
    """Every step of both chunks, in each arithmetic that floors were measured in, and every token."""
    judgement = judged(made, "Toy", dtype)
    assert judgement.exit_code is ExitCode.PARITY
    assert len(judgement.steps) == 2 * len(CONTRACT)
    assert [token.same for token in judgement.tokens] == [True] * 5


def test_first_divergence_is_the_only_one_that_is_sure(made):
    """What is beyond its floor behind it may stem from it, and the verdict says so."""
    judgement = judged(made, "Wrong")
    assert judgement.exit_code is ExitCode.DIVERGED
    assert [(step.step, step.phase) for step in judgement.introduced] == [("embed", "prefill")]
    later = [step for step in judgement.steps if step.status is Status.INHERITED]
    assert {step.step for step in later} == {"embed", "layers.0.mean", "logits"}
    assert all("only a lockstep run tells" in step.note for step in later)


def test_a_millionth_is_seen(made):
    """An error of 1e-6 in float32, whose own roundoff is 6e-8."""
    first = judged(made, "Louder").first_divergence
    assert first.step == "embed"
    assert first.free.error == pytest.approx(1e-6, rel=0.4)


def test_not_finite(made):
    """A NaN is named."""
    first = judged(made, "Broken").first_divergence
    assert (first.step, first.status) == ("layers.0.mean", Status.NONFINITE)


def test_missing_step_is_incomplete(made):
    """Absence is never a pass."""
    assert judged(made, "Deaf").exit_code is ExitCode.INCOMPLETE


@pytest.mark.parametrize("name", ["Killed", "Throwing", "Unloadable"])
def test_crash_is_a_verdict(made, name):
    """A backend that dies, or refuses, is never at parity."""
    judgement = judged(made, name)
    assert judgement.exit_code is ExitCode.UNAVAILABLE
    assert ("failed: architecture 'other'" if name == "Unloadable" else "crashed at") in judgement.crash


def test_arithmetic_without_floors_is_refused(made):
    """What was not measured is not judged."""
    update(replace(made, dtypes=("float32",)), progress=Silent())
    with pytest.raises(UsageError, match=r"no floors of float16; it has those of float32"):
        judged(made, "Toy", "float16")


def test_folding_keeps_differences():
    """It is linear, and the estimate of a norm is within 25 % in 95 of 100 cases."""
    draw = np.random.default_rng(0)
    sketches = draw.normal(size=(400, BUCKETS))  # of tensors of norm sqrt(61)
    first, second = sketches[0], sketches[1]
    assert len(folded(first)) == FOLDED
    assert folded(first - second) == pytest.approx(folded(first) - folded(second), abs=1e-6)
    ratios = np.array([estimated_norm(folded(one)) for one in sketches]) / np.sqrt(BUCKETS)
    assert np.mean(np.abs(ratios - 1) < 0.25) > 0.93


def test_packing_keeps_24_bits():
    """Relative to the largest number; zeros stay zeros, and whole numbers can still be told apart."""
    sketches = np.random.default_rng(1).normal(size=(50, FOLDED)) * np.geomspace(1e-20, 1e20, 50)[:, None]
    sketches[7] = 0.0
    integers, scales = packed(sketches)
    assert (integers.shape, integers.dtype.itemsize) == ((50, 93), 1)
    errors = np.abs(unpacked(integers, scales) - sketches).max(axis=1)
    assert np.all(errors <= np.abs(sketches).max(axis=1) * 2.0**-23)
    whole = np.random.default_rng(2).integers(-100_000, 100_000, size=(1, FOLDED)).astype(np.float64)
    kept = unpacked(*packed(whole))[0]
    assert distance(oracle=kept, candidate=whole[0], exact=True) == 0.0
    assert distance(oracle=kept, candidate=whole[0] + np.eye(FOLDED)[3], exact=True) == pytest.approx(1, rel=0.1)


class TestOnDisk:
    """What is committed."""

    def test_made_again_it_is_the_same_bytes(self, made):
        """Neither time nor machine nor folder is in it."""
        before = contents(made.folder)
        assert [change.word for change in update(made, progress=Silent()).changes] == ["the same"]
        assert contents(made.folder) == before

    def test_read_and_written(self, made):
        """The files that the format describes, tokens with margins and noise among them."""
        golden = read_golden(made.folder / "toy")
        names = ("manifest.json", "tokens.tsv", "floors.tsv", "prefill.safetensors", "decode.1.safetensors")
        assert set(contents(made.folder)) == {"contract.json", *(f"toy/{name}" for name in names)}
        assert golden.manifest.dtypes == ["float32", "float16"]
        assert [(choice.phase, choice.token) for choice in golden.choices[:2]] == [("prefill", 0), ("prefill", 1)]
        assert all(choice.margin > choice.noise[0] > 0 for choice in golden.choices)
        floors = {floor.family: floor for floor in golden.floors}
        assert floors["ids"].free == (0, 0)
        assert floors["embed"].lockstep[0] < floors["embed"].lockstep[1]

    @pytest.mark.parametrize(
        "name", ["toy/manifest.json", "toy/prefill.safetensors", "toy/tokens.tsv", "contract.json"]
    )
    def test_cut_off_file_is_named(self, made, name):
        """One line, no traceback."""
        path = made.folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(UsageError, match=r"cannot be read .*make"):
            judged(made, "Toy")


def manifest_of(made, change):
    """Rewrite a golden's manifest."""
    path = made.folder / "toy" / "manifest.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def arrays_of(made, **changed):
    """Put other arrays into the first chunk's file; None takes one out."""
    file = made.folder / "toy" / "prefill.safetensors"
    arrays = load_file(file) | {name.replace("_", "."): value for name, value in changed.items()}
    save_file({name: value for name, value in arrays.items() if value is not None}, file)


def lines_of(made, change):
    """Rewrite the lines of tokens.tsv, the manifest's number of them too."""
    path = made.folder / "toy" / "tokens.tsv"
    head, *lines = path.read_text().splitlines()
    lines = change(lines)
    path.write_text("\n".join([head, *lines]) + "\n")
    manifest_of(made, lambda data: data.update(tokens=len(lines)))


DAMAGES = {
    "a chunk lost by the scenario": (
        lambda made: manifest_of(made, lambda data: data["scenario"]["chunks"].pop()),
        "its scenario has the chunks prefill, and kept are prefill, decode.1",
    ),
    "a chunk lost": (
        lambda made: manifest_of(made, lambda data: data["chunks"].pop()),
        "has the chunks prefill, decode.1, and kept are prefill",
    ),
    "a chunk twice": (
        lambda made: manifest_of(made, lambda data: data["chunks"].append(data["chunks"][0])),
        "and kept are prefill, decode.1, prefill",
    ),
    "a chunk twice in the scenario": (
        lambda made: manifest_of(made, lambda data: data["scenario"]["chunks"].append(data["scenario"]["chunks"][0])),
        "scenario toy has two chunks called prefill",
    ),
    "a path for a phase": (
        lambda made: manifest_of(made, lambda data: data["scenario"]["chunks"][0].update(phase="../x")),
        "a chunk of a scenario is called '../x'",
    ),
    "a path for a name": (
        lambda made: manifest_of(made, lambda data: data.update(name="../../x")),
        "manifest.json: name: String should match pattern",
    ),
    "another's name": (
        lambda made: manifest_of(made, lambda data: data.update(name="other")),
        "manifest.json calls it other",
    ),
    "padding that leaves nothing": (
        lambda made: manifest_of(made, lambda data: data["scenario"].update(padding=[5])),
        "pads its rows by [5] of 5 tokens",
    ),
    "tokens that await a choice": (
        lambda made: manifest_of(made, lambda data: data["scenario"]["chunks"][1].update(tokens=None)),
        "its scenario lacks tokens",
    ),
    "a floor beyond its arithmetic": (
        lambda made: arrays_of(made, floor_float32=np.array([0, 1e6, 1e-7, 1e-7], BF16)),
        "prefill has a floor of 1.0e+06 in float32, where correct arithmetic errs at most 3.9e-03",
    ),
    "a floor that is no number": (
        lambda made: arrays_of(made, floor_float16=np.array([0, np.nan, 1e-3, 1e-3], BF16)),
        "prefill has a floor of nan in float16, where correct arithmetic errs at most 1.0e+00",
    ),
    "no floors": (lambda made: arrays_of(made, floor_float32=None), "prefill has none floor.float32"),
    "no shapes": (lambda made: arrays_of(made, shape=None), "prefill: no array shape"),
    "sketches of wrong length": (
        lambda made: arrays_of(made, sketch=np.zeros((4, 90), np.uint8)),
        "prefill has (4, 90) sketch, of shape (4, 93) it should be",
    ),
    "a token lost": (lambda made: lines_of(made, lambda lines: lines[1:]), "tokens.tsv lacks prefill, row 0, token 0"),
    "a token twice": (
        lambda made: lines_of(made, lambda lines: [*lines, lines[-1]]),
        "tokens.tsv has decode.1, row 0, token 0 twice",
    ),
    "a token of no chunk": (
        lambda made: lines_of(made, lambda lines: [*lines, lines[-1].replace("decode.1", "decode.2")]),
        "tokens.tsv has decode.2, row 0, token 0, which the scenario lacks",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_golden_is_refused(made, damage):
    """Each let a candidate pass on less than all; one line, and what to do. An update makes it anew."""
    change, said = DAMAGES[damage]
    change(made)
    with pytest.raises(UsageError, match=re.escape(said)) as error:
        require_fresh(made)
    assert "golden" in str(error.value)
    assert "make it again" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_update_mends_a_damaged_golden(made):
    """Nothing can be said of what changed."""
    DAMAGES["a chunk lost"][0](made)
    assert [change.word for change in update(made, progress=Silent()).changes] == ["new"]
    require_fresh(made)


class TestStale:
    """Exit code 4, and the command that helps."""

    def refused(self, catalogue, said, only=()):
        with pytest.raises(StaleTrace, match=said) as error:
            require_fresh(catalogue, only)
        assert error.value.exit_code is ExitCode.STALE
        assert "parity golden update" in str(error.value)

    def test_other_weights(self, made):
        """The checkpoint was trained on."""
        save_file({"w": np.ones(1, np.float32)}, f"{made.model}/model.safetensors")
        self.refused(made, "golden toy is stale, made from other weights")

    def test_another_contract(self, made):
        """The set's contract, or the table that it is made from."""
        self.refused(replace(made, steps="other"), "made with another contract")
        path = made.folder / "contract.json"
        path.write_text(path.read_text().replace('"ids"', '"identifiers"'))
        self.refused(made, "made with another contract")

    def test_another_format(self, made):
        """A version that this program does not read."""
        path = made.folder / "toy" / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "version": 0}))
        self.refused(made, "format version 0, this is 1")

    def test_another_prompt(self, made):
        """The table asks for something else now."""
        self.refused(replace(made, entries=(Entry("toy", "toy", "Hello"),)), "another prompt")

    def test_missing(self, made):
        """In the table, not on the disk."""
        self.refused(
            replace(made, entries=(*made.entries, Entry("new", "toy", None))), "golden new is missing.*--only new"
        )

    def test_unused(self, made):
        """On the disk, not in the table; unless one golden alone is asked for."""
        shutil.copytree(made.folder / "toy", made.folder / "gone")
        self.refused(made, "golden gone is unused, no scenario has that name")
        require_fresh(made, ("toy",))

    def test_update_removes_the_unused(self, made):
        """A whole update does, one of a single golden does not."""
        shutil.copytree(made.folder / "toy", made.folder / "gone")
        assert [change.name for change in update(made, only=("toy",), progress=Silent()).changes] == ["toy"]
        assert [(change.name, change.word) for change in update(made, progress=Silent()).changes] == [
            ("toy", "the same"),
            ("gone", "removed"),
        ]
        require_fresh(made)


class TestUpdate:
    """Renewing."""

    def test_says_by_how_many_floors(self, made):
        """Tokens, values and floors that changed, in words."""
        (change,) = update(replace(made, reference="tests.golden.test_golden:Changed"), progress=Silent()).changes
        text = "\n".join(change.lines)
        assert change.word == "changed"
        assert "greedy tokens: 5 of 5 differ; first at prefill, row 0, token 0" in text
        assert "ids and masks: 1 differ, first ids (decode.1)" in text
        assert re.search(r"values: 4 of 8 steps moved, the most by .* floors of float32 at ", text)

    @pytest.mark.parametrize("value", ["true", "1"])
    def test_refused_in_ci(self, made, monkeypatch, value):
        """Unless allowed."""
        monkeypatch.setenv("CI", value)
        with pytest.raises(UsageError, match=r"not renewed in CI .*--allow-ci"):
            update(made, progress=Silent())
        update(made, allow_ci=True, progress=Silent())

    def test_failure_leaves_the_old_set(self, made, monkeypatch):
        """A crash of the reference, and a full disk while the new set is written."""
        before = contents(made.folder)
        with pytest.raises(Exception, match="crashed at"):
            update(replace(made, reference="tests.toy:Throwing"), progress=Silent())
        assert contents(made.folder) == before

        def full(golden, folder):
            folder.mkdir()
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(store_module, "write_golden", full)
        with pytest.raises(UsageError, match=r"cannot write goldens to .*: No space left"):
            update(replace(made, reference="tests.golden.test_golden:Changed"), progress=Silent())
        assert contents(made.folder) == before

    def test_interrupted_between_the_renames(self, made):
        """Whoever comes next puts the old set back."""
        before = contents(made.folder)
        made.folder.rename(made.folder.with_name(".goldens.old"))
        assert Store(made.folder).names() == ("toy",)
        assert contents(made.folder) == before

    def test_unknown_name(self, made):
        """The names that there are."""
        with pytest.raises(UsageError, match="unknown golden 'nope'; there are toy"):
            update(made, only=("nope",), progress=Silent())


class TestCommand:
    """`parity golden`."""

    @pytest.fixture
    def parity(self, made, parity, monkeypatch):
        """Runs the command on the toy's goldens."""
        monkeypatch.setattr("parity.golden.sets.find_set", lambda name: made)
        monkeypatch.setenv("COLUMNS", "160")
        return functools.partial(parity, "golden")

    def test_check(self, parity, tmp_path):
        """Parity, and a divergence with the command that shows more; the report is written."""
        code, out, _ = parity("check", "--backend", TOY, "--report", str(tmp_path / "report"))
        assert (code, (tmp_path / "report" / "index.html").exists()) == (ExitCode.PARITY, True)
        assert "8 of 8 steps covered" in out
        code, out, _ = parity("check", "--backend", "tests.golden.test_golden:Wrong")
        assert code == ExitCode.DIVERGED
        again = "parity compare --candidates tests.golden.test_golden:Wrong --dtype float32 --scenario toy"
        assert f"next       {again}" in out

    def test_json(self, parity):
        """What `parity compare --json` prints."""
        code, out, _ = parity("check", "--backend", TOY, "--json")
        assert (code, json.loads(out)["verdict"]) == (ExitCode.PARITY, "parity")

    @pytest.mark.parametrize(
        ("arguments", "code", "said"),
        [
            (("check", "--only", "nope", "--backend", TOY), ExitCode.USAGE, "unknown golden 'nope'; there are toy"),
            (("check", "--backend", "nope"), ExitCode.USAGE, "unknown backend 'nope'"),
            (("check", "--backend", TOY, "--dtype", "float8"), ExitCode.USAGE, "has no floors of float8"),
            (("update", "--only", ","), ExitCode.USAGE, "--only names nothing"),
        ],
    )
    def test_refusals(self, parity, arguments, code, said):
        """One line, before anything starts."""
        found, out, complaint = parity(*arguments)
        assert (found, out) == (code, "")
        assert said in complaint

    def test_stale(self, parity, made):
        """Exit code 4."""
        save_file({"w": np.ones(1, np.float32)}, f"{made.model}/model.safetensors")
        code, _, complaint = parity("check", "--backend", TOY)
        assert (code, complaint.strip().endswith("renew: parity golden update")) == (ExitCode.STALE, True)

    def test_update(self, parity):
        """What changed; here, nothing."""
        code, out, _ = parity("update", "--only", "toy")
        assert (code, out) == (ExitCode.PARITY, "toy: the same\nnothing changed\n")


def test_a_picture_that_changed_makes_a_golden_stale(made, tmp_path):
    """The golden keeps a copy of its own, and knows it from another; where the sample is not there, the copy serves."""
    picture = tmp_path / "cat.png"
    asked = replace(made, entries=(Entry("toy", "toy", None, (Part("image", str(picture)),)),))
    require_fresh(asked)
    picture.write_bytes(b"a cat")
    with pytest.raises(StaleTrace, match="another picture or sound"):
        require_fresh(asked)
    (made.folder / "toy" / "media").mkdir()
    shutil.copy(picture, made.folder / "toy" / "media" / f"{digest(picture)}.png")
    require_fresh(asked)


def test_every_floor_is_at_least_the_roundoff(made):
    """No step is held to less than rounding once, but ids, which must be equal."""
    golden = read_golden(made.folder / "toy")
    floors = stored_floors(golden, Store(made.folder).contract(), "float32")
    assert {floor.relative > 0 for key, floor in floors.items() if key.step != "ids"} == {True}
    assert min(floor.relative for key, floor in floors.items() if key.step != "ids") >= 0.99 * unit_roundoff("float32")
    assert {floor.relative for key, floor in floors.items() if key.step == "ids"} == {0.0}
