"""The survey: results that go on, words and page, and real architectures drawn, learned and judged in processes."""

from __future__ import annotations

import inspect
import json
import textwrap

import pytest

from parity.errors import ExitCode, UsageError
from parity.report.survey import outcome, totals
from parity.report.survey_page import markdown
from parity.running.progress import Silent
from parity.survey.examining import Examination
from parity.survey.result import Surveyed, SurveyedRun, SurveyHead, SurveyResults
from parity.survey.running import SurveyRequest, survey
from parity.weave import resolve
from reference.any_model.scenarios import survey_scenarios

HEAD = SurveyHead(
    reference="true", candidate="port", versions={"port": "1.0", "true": "2.0"}, dtypes=("float32",), limit=60
)


def run(code=ExitCode.PARITY, **fields):
    return SurveyedRun(**{"scenario": "decode", "dtype": "float32", "exit_code": code, "ratio": 2.0, **fields})


def found(*runs, **fields):
    return Surveyed(**{"model": "kind", "rows": 7, "paired": 20, "values": 21, "runs": runs, **fields})


WRONG = run(ExitCode.DIVERGED, first="layers.0.act", phase="prefill", ratio=1e4, why="introduced")


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (found(run()), "parity"),
        (found(run(), run(coarse=1)), "coarse"),
        (found(run(), run(ExitCode.INCOMPLETE)), "incomplete"),
        (found(run(), WRONG), "diverged, unproven"),
        (found(run(), WRONG.model_copy(update={"mended": False})), "diverged, unproven"),
        (found(run(), WRONG.model_copy(update={"mended": True})), "diverged, proven"),
        (found(WRONG, WRONG.model_copy(update={"mended": True})), "diverged, unproven"),
        (found(stage="learn", failure="a class is missing"), "not judged: learn"),
        (found(run(ExitCode.UNAVAILABLE)), "not judged: judge"),
        (found(run(ExitCode.UNAVAILABLE), run()), "parity"),
    ],
)
def test_the_outcome_of_an_architecture(one, said):
    assert outcome(one) == said


def test_results_go_on_behind_a_line_that_was_cut_off(tmp_path):
    file = tmp_path / "survey.jsonl"
    results = SurveyResults.begin(file, HEAD)
    results.add([found(run(ratio=float("inf")))])
    file.write_text(file.read_text() + '{"model": "oth')
    again = SurveyResults.begin(file, HEAD)
    assert [*again.by_model] == ["kind"]
    assert again.found == results.found
    assert len(file.read_text().splitlines()) == 2


def test_results_of_something_else_are_refused(tmp_path):
    file = tmp_path / "survey.jsonl"
    SurveyResults.begin(file, HEAD)
    with pytest.raises(UsageError, match="of another versions"):
        SurveyResults.begin(file, HEAD.model_copy(update={"versions": {"port": "1.1", "true": "2.0"}}))
    file.write_text("nothing of the kind\n")
    with pytest.raises(UsageError, match="holds no results of a survey"):
        SurveyResults.begin(file, HEAD)


def test_the_page_says_what_diverged_and_whether_it_is_proven(tmp_path):
    results = SurveyResults(
        tmp_path,
        HEAD,
        [
            found(WRONG.model_copy(update={"mended": True}), known=("It forgets `scale`.",), model="a"),
            found(WRONG, WRONG.model_copy(update={"scenario": "long", "phase": "decode.1"}), model="b"),
            found(stage="draw", failure="no `config`", model="c", runs=()),
            found(run(), run(ExitCode.UNAVAILABLE, scenario="batch", why="crashed at x"), model="d"),
        ],
    )
    meanings = {"decode": "some steps", "batch": "three rows", "chunked": "in parts"}
    page = markdown(results, ["a", "b", "c", "d", "e"], "parity survey port", meanings)
    assert "- `decode`: some steps\n- `batch`: three rows\n\n" in page
    assert "1 architecture: `e`." in page
    assert "| `a` | diverged, proven |" in page
    assert "| `b` | diverged, unproven |" in page
    assert "### b: unproven" in page
    assert "decode float32: first at `layers.0.act (prefill): 10,000 floors`. With the edit: parity." in page
    assert "- decode float32: first at `layers.0.act (prefill): 10,000 floors`.\n- long float32: first at" in page
    assert "- `c`: no small checkpoint, `no 'config'`" in page
    assert "decode: parity 2.0; batch: not judged" in page
    assert "- `d`, batch float32: not judged, `crashed at x`" in page
    assert "4 architectures, 3 learned and judged" in "\n".join(totals(results))


def test_an_architecture_with_a_window_is_judged_within_it_too():
    assert survey_scenarios({"sliding_window": 23}) == ("one-shot", "long", "batch")
    without = {"sliding_window": None, "use_sliding_window": True, "hidden_size": 120}
    assert survey_scenarios(without) == ("long", "batch")


def test_an_examination_that_takes_too_long_is_ended(tmp_path):
    """The next architecture gets a new process."""
    by = Examination("transformers", "mlx-lm", ("float32",))
    results = SurveyResults(tmp_path / "survey.jsonl", HEAD)
    survey(SurveyRequest(by, 1, 0.01), ["llama", "qwen3"], results, Silent())
    assert {one.model: one.failure for one in results.found} == dict.fromkeys(
        ("llama", "qwen3"), "no result after 0.01 s"
    )
    assert [json.loads(line)["stage"] for line in results.path.read_text().splitlines()] == ["examine"] * 2


def test_caches_of_recurrences_are_padded_too():
    """The package's own call for them knows padding on the right alone, and fails with padding on the left."""
    cache = pytest.importorskip("mlx_lm.models.cache")
    from implementations.mlx_lm.caches import caches

    class Hybrid:
        def make_cache(self):
            return [cache.ArraysCache(2), cache.CacheList(cache.ArraysCache(2), cache.KVCache()), cache.KVCache()]

    alone, both, attention = caches(Hybrid(), (0, 5, 2))
    assert [one.left_padding.tolist() for one in (alone, *both.caches, attention)] == [[0, 5, 2]] * 4


@pytest.mark.slow
def test_an_architecture_is_judged_and_its_divergence_proven(tmp_path):
    """mlx-lm's Gemma 3 rounds the embedding's scale. What transformers does not have is said, and the rest goes on."""
    pytest.importorskip("transformers")
    pytest.importorskip("mlx_lm")
    by = Examination("transformers", "mlx-lm", ("float32",))
    results = SurveyResults(tmp_path / "survey.jsonl", HEAD)
    survey(SurveyRequest(by, 1, 600), ["nonsense", "gemma3_text"], results, Silent())
    absent, gemma = results.found
    assert outcome(absent) == "not judged: draw"
    assert "transformers makes no small configuration" in absent.failure
    assert outcome(gemma) == "diverged, proven"
    assert {one.scenario: one.first for one in gemma.runs} == dict.fromkeys(
        ("one-shot", "batch", "long"), "model.embed_tokens"
    )
    assert gemma.bridged == 1


def test_every_edit_is_of_a_line_that_the_installed_package_has():
    """Once: an edit of several lines would prove another thing than it says."""
    pytest.importorskip("mlx_lm")
    from implementations.mlx_lm.any_patches import PATCHES

    edits = [edit for patches in PATCHES.values() for patch in patches for edit in patch.edits]
    sources = {edit: textwrap.dedent(inspect.getsource(resolve(edit.function))) for edit in edits}
    assert len(sources) > 20
    assert {edit: source.count(edit.old) for edit, source in sources.items()} == dict.fromkeys(sources, 1)
