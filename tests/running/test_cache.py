"""What the reference computed stays, by all that it depends on; a hit is the same as a run, byte for byte."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from parity.checkpoint import Checkpoint, find_checkpoint
from parity.discovery import REFERENCES
from parity.errors import UsageError
from parity.running import identity as identities
from parity.running.cache import Cache, cache, write_folder
from parity.running.cached import CachedParty
from parity.running.identity import identity
from parity.running.party import Party
from parity.running.plan import plan_of
from parity.running.progress import Silent

TOY = "tests.toy:Toy"


def fill(text):
    return lambda content: content.write_text(text)


def test_what_is_kept_is_found_by_all_of_its_key(tmp_path):
    kept = Cache(tmp_path / "cache")
    assert kept.find({"a": 1}) is None
    kept.keep({"a": 1, "b": [2]}, fill("one"))
    assert kept.find({"b": [2], "a": 1}).read_text() == "one"
    assert kept.find({"a": 1}) is None
    assert [entry.key for entry in kept.entries()] == [{"a": 1, "b": [2]}]


def test_the_oldest_go_first(tmp_path):
    """What was asked for lately stays, though it was written first."""
    kept = Cache(tmp_path, limit=10_000)
    for number in range(3):
        kept.keep({"n": number}, fill("x" * 3000))
        os.utime(kept.find({"n": number}).parent, (number, number))
    kept.find({"n": 0})
    kept.keep({"n": 3}, fill("x" * 3000))
    assert [number for number in range(4) if kept.find({"n": number})] == [0, 2, 3]


def test_one_makes_it_and_the_others_wait(tmp_path):
    """What it made is then there for them; nothing else is left."""
    kept, key, entered = Cache(tmp_path / "cache"), {"n": 1}, threading.Event()

    def ask():
        with kept.making(key):
            entered.set()
            return kept.find(key)

    with ThreadPoolExecutor(1) as other:
        with kept.making(key):
            asked = other.submit(ask)
            assert not entered.wait(0.2)
            kept.keep(key, fill("made"))
        assert asked.result().read_text() == "made"
    assert [path.name for path in kept.folder.iterdir()] == [kept.find(key).parent.name]


def test_where_nothing_can_be_written_each_makes_its_own(tmp_path):
    (tmp_path / "file").touch()
    with Cache(tmp_path / "file").making({"n": 1}), Cache(tmp_path / "file").making({"n": 1}):
        pass


def test_what_is_small_outlasts_what_is_large(tmp_path):
    """Exported graphs went for runs a hundred times as large, and took minutes again."""
    kept = Cache(tmp_path, limit=10_000)
    for number, size in enumerate((50, 4000, 4000)):
        kept.keep({"n": number}, fill("x" * size))
        os.utime(kept.find({"n": number}).parent, (1000 + number, 1000 + number))
    kept.keep({"n": 3}, fill("x" * 4000))
    assert [number for number in range(4) if kept.find({"n": number})] == [0, 2, 3]


def test_a_folder_is_made_once_and_copied_then(tmp_path, monkeypatch):
    """A copy is left when the entry goes; without a cache it is made each time."""
    monkeypatch.setenv("PARITY_CACHE", str(tmp_path / "cache"))
    made = []

    def make(folder):
        made.append(folder.name)
        (folder / "file").write_text("content")

    for name in ("a", "b"):
        write_folder(tmp_path / name, {"n": 1}, make)
    cache().clear()
    assert [(tmp_path / name / "file").read_text() for name in ("a", "b")] == ["content", "content"]
    assert made == ["a"]
    monkeypatch.setenv("PARITY_CACHE", "off")
    write_folder(tmp_path / "c", {"n": 1}, make)
    assert made == ["a", "c"]


def test_clear_removes_its_own_alone(tmp_path):
    kept = Cache(tmp_path)
    kept.keep({"n": 1}, fill("x"))
    (tmp_path / "mine.txt").write_text("keep")
    (tmp_path / "abc").mkdir()
    kept.clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["abc", "mine.txt"]


def test_a_write_that_fails_keeps_nothing(tmp_path):
    """Neither an entry nor half of one; the run goes on."""
    kept = Cache(tmp_path)

    def full(content):
        content.write_text("half")
        raise OSError(28, "No space left on device")

    kept.keep({"n": 1}, full)
    assert kept.find({"n": 1}) is None
    assert not [*tmp_path.iterdir()]


def test_a_killed_write_is_swept_later(tmp_path):
    (tmp_path / ".partial-dead").mkdir()
    os.utime(tmp_path / ".partial-dead", (1, 1))
    (tmp_path / ".partial-living").mkdir()
    Cache(tmp_path).keep({"n": 1}, fill("x"))
    assert sorted(path.name for path in tmp_path.glob(".*")) == [".partial-living"]


def _write_often(folder):
    kept = Cache(folder, limit=5_000)
    for number in range(60):
        kept.keep({"n": number % 7}, fill(f"{number % 7}" * 1000))
        for other in range(7):
            if found := kept.find({"n": other}):
                try:
                    assert found.read_text() == f"{other}" * 1000
                except FileNotFoundError:
                    continue  # the other process made room between the two lines


def test_processes_share_it(tmp_path):
    """Of whatever they find each is whole."""
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_write_often, args=(tmp_path,)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert sum(entry.size for entry in Cache(tmp_path).entries()) <= 5_000


def test_the_environment_says_where_and_how_much(monkeypatch, tmp_path):
    monkeypatch.setenv("PARITY_CACHE", "off")
    assert cache() is None
    monkeypatch.setenv("PARITY_CACHE", str(tmp_path))
    monkeypatch.setenv("PARITY_CACHE_SIZE", "0.5")
    assert (cache().folder, cache().limit) == (tmp_path, 0.5e9)
    monkeypatch.delenv("PARITY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert str(cache().folder) == "/somewhere/parity/runs"
    monkeypatch.setenv("PARITY_CACHE_SIZE", "much")
    with pytest.raises(UsageError, match="PARITY_CACHE_SIZE='much' is no number of gigabytes"):
        cache()


@pytest.fixture
def remembered(tmp_path):
    """Makes an oracle and a baseline that share a cache; one that must not start has no process to start."""

    def make(dtype, *, starts=True, **identity):
        def party():
            assert starts, "nothing new was to be asked"
            return Party("it", TOY, group=REFERENCES, progress=Silent())

        kept, who = Cache(tmp_path / "cache"), {"who": "toy", "dtype": dtype, **identity}
        made = CachedParty(party, name="it", backend=TOY, cache=kept, identity=who, progress=Silent())
        return made.load(Checkpoint(tmp_path, "toy", "weights"), dtype)

    return make


def asked(folder, oracle, baseline):
    """All that a comparison asks of the reference."""
    with oracle, baseline:
        true = oracle.run(folder / "oracle", scenario=plan_of(oracle, "toy", None, ()))
        runs = [baseline.run(folder / mode, oracle=true, mode=mode) for mode in ("free", "lockstep")]
        gap = frozenset({next(iter(runs[0].records))})
        baseline.run(folder / "gap", oracle=true, mode="lockstep", missing=gap)
        return baseline.executions(), baseline.measure("", oracle=true, mode="free", missing=gap)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_hit_is_the_same_as_a_run(remembered, tmp_path):
    """Byte for byte, and no process is started."""
    first = asked(tmp_path / "one", remembered("float64"), remembered("float32"))
    again = asked(tmp_path / "two", remembered("float64", starts=False), remembered("float32", starts=False))
    assert first == again
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("other", [{"dtype": "float16"}, {"who": "another"}])
def test_another_identity_runs_anew(remembered, tmp_path, other):
    asked(tmp_path / "one", remembered("float64"), remembered("float32"))
    dtype = other.pop("dtype", "float32")
    with pytest.raises(AssertionError, match="nothing new"):
        asked(tmp_path / "two", remembered("float64", starts=False), remembered(dtype, starts=False, **other))


def test_a_damaged_entry_is_computed_anew(remembered, tmp_path):
    """Whatever of it is cut off; and kept again."""
    asked(tmp_path / "one", remembered("float64"), remembered("float32"))
    for file in (tmp_path / "cache").glob("*/content/steps.jsonl"):
        text = file.read_text()
        file.unlink()  # the traces that were given have the same file
        file.write_text(text[: len(text) // 2])
    for file in (tmp_path / "cache").glob("*/content"):
        if file.is_file():
            file.write_text(file.read_text()[:3])
    asked(tmp_path / "two", remembered("float64"), remembered("float32"))
    asked(tmp_path / "three", remembered("float64", starts=False), remembered("float32", starts=False))
    assert contents(tmp_path / "one") == contents(tmp_path / "three")


def test_nothing_is_written_over(remembered, tmp_path):
    """What has the output's name stays, whether the run is kept or not."""
    oracle = remembered("float64")
    with oracle:
        plan = plan_of(oracle, "toy", None, ())
        oracle.run(tmp_path / "true", scenario=plan)
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "file").write_text("keep")
        with pytest.raises(UsageError, match="mine exists already; remove it or name another folder"):
            oracle.run(tmp_path / "mine", scenario=plan)
    assert (tmp_path / "mine" / "file").read_text() == "keep"


def test_what_a_bug_computes_is_not_kept(remembered, tmp_path):
    """Nor is it taken from what was computed without."""
    oracle = remembered("float64")
    with oracle:
        plan = plan_of(oracle, "toy", None, ())
        true = oracle.run(tmp_path / "true", scenario=plan)
        oracle._is_varied = True
        before = len([*Cache(tmp_path / "cache").entries()])
        oracle.run(tmp_path / "wrong", scenario=plan)
        oracle.run(tmp_path / "wrong.free", oracle=true)
        assert len([*Cache(tmp_path / "cache").entries()]) == before


def test_a_bug_is_noted(remembered):
    """By the job that gives it, or takes it back."""
    oracle = remembered("float64")
    with oracle:
        with pytest.raises(UsageError, match="has no variants"):
            oracle.call("vary", variants=[["a", ""]])
        assert oracle._is_varied
        oracle.call("vary", variants=[])
        assert not oracle._is_varied


@pytest.fixture
def copied(tmp_path):
    """A copy of the embedded checkpoint."""
    shutil.copytree(find_checkpoint(None).path, tmp_path / "copy")
    return tmp_path / "copy"


def test_what_an_identity_is_made_of(copied, monkeypatch):
    """The checkpoint's files, variables that choose code, lines of our own; not the user's other variables."""
    of = lambda **environment: identity("transformers", find_checkpoint(str(copied)), environment)  # noqa: E731
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)  # the tests themselves may run on other code
    first = of()
    monkeypatch.setenv("EDITOR", "ed")
    assert of() == first
    assert of(OMP_NUM_THREADS="7") != first
    assert of(ATEN_CPU_CAPABILITY="default") != first
    template = copied / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    assert of() != first


def test_a_line_of_the_source_is_part_of_it(tmp_path, monkeypatch):
    (tmp_path / "somewhere").mkdir()
    line = tmp_path / "somewhere" / "line.py"
    line.write_text("x = 1")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    digests = [identities.source_digest("somewhere"), identities._stamp("somewhere")]
    line.write_text("x = 22")
    again = [identities.source_digest("somewhere"), identities._stamp("somewhere")]
    assert digests[0] != again[0]
    assert digests[1] != again[1]


def test_nobody_knows_what_a_users_own_reference_depends_on(tmp_path):
    assert identity(TOY, Checkpoint(tmp_path, "toy", "weights"), {}) is None


def test_the_command_shows_and_clears(parity, tmp_path, monkeypatch):
    monkeypatch.setenv("PARITY_CACHE", str(tmp_path / "cache"))
    key = {"checkpoint": ["tiny", "1", "2"], "dtype": "float32", "op": "run", "mode": "lockstep"}
    Cache(tmp_path / "cache").keep(key, fill("x" * 100_000))
    Cache(tmp_path / "cache").keep({"checkpoint": ["tiny", "1"], "op": "package"}, fill("x" * 200_000))
    code, out, _ = parity("cache", "show")
    assert code == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    assert ["tiny", "float32", "lockstep run", "1", "0.1 MB"] in rows
    assert ["tiny", "-", "package", "1", "0.2 MB"] in rows
    assert parity("cache", "clear")[0] == 0
    assert not [*Cache(tmp_path / "cache").entries()]
    monkeypatch.setenv("PARITY_CACHE", "off")
    assert "switched off by PARITY_CACHE=off" in parity("cache", "show")[1]
