"""The calibration: draws and their settings, results that go on, the bound, and the toy judged by it in processes."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
from itertools import islice, pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from parity.calibration.misses import Misses, read_misses
from parity.calibration.result import Head, Result, Results, WorstStep, outcome
from parity.calibration.running import CalibrationRequest, calibrate, require_known, single
from parity.calibration.settings import Entrant, Environment, entrants, setting_of, settings, stretches
from parity.calibration.summary import Summary, upper_bound
from parity.checkpoint import Checkpoint
from parity.errors import UsageError
from parity.judging.judgement import Judgement
from parity.judging.verdict import Deviation, Status, StepVerdict
from parity.report.calibration import command, totals
from parity.report.calibration_page import markdown
from parity.report.calibration_plot import svg
from parity.running.progress import Silent
from reference.common.drawn import WEIGHTS, drawn
from reference.gemma3n.scenarios import MEANINGS

HEAD = Head(
    seed=1, reference="toy", model="toy", weights="w", candidates=("a",), dtypes=("float32",),
    environments=("as it is",), allowed=4.0,
)  # fmt: skip
RIGHT, WRONG, REFUSING = (f"tests.calibrated:{name}" for name in ("Right", "Wrong", "Refusing"))


def result(draw, ratio, **fields):
    worst = WorstStep(step="text.norm", phase="prefill", ratio=ratio, whole=ratio / 2)
    made = {
        "draw": draw,
        "candidate": "a",
        "dtype": "float32",
        "environment": "as it is",
        "scenario": "s",
        "prompt": "p",
    }
    return Result(**(made | {"lockstep": worst} | fields))


@pytest.mark.parametrize(("seen", "of"), [(0, 3000), (1, 100), (3, 3000), (40, 50), (0, 1)])
def test_the_bound_is_clopper_and_pearson_s(seen, of):
    """By the quantile of the beta distribution; of none it is about 3 / n."""
    beta = pytest.importorskip("scipy.stats").beta
    assert upper_bound(seen, of) == pytest.approx(beta.ppf(0.95, seen + 1, of - seen), rel=1e-9)
    assert upper_bound(0, 3000) == pytest.approx(3 / 3000, rel=2e-3)
    assert upper_bound(of, of) == 1


def test_every_arithmetic_meets_every_environment():
    """Neighbours differ in it, so that a part of the draws has all."""
    found = settings(("f", "b"), (Environment("x"), Environment("y"), Environment("z")))
    assert len({(each.dtype, each.here) for each in found}) == 6
    assert all(one.dtype != two.dtype for one, two in pairwise(found))


def test_stretches_hold_every_draw_once_in_its_own_setting():
    """The setting depends on the number alone; draws that are done are left out."""
    among = settings(("f", "b"), (Environment("x"),))
    found = list(islice(stretches(among, 3, done=(0, 2, 4, 5)), 5))
    assert [stretch.draws for stretch in found] == [(1, 3), (6, 8, 10), (7, 9, 11), (12, 14, 16), (13, 15, 17)]
    assert all(setting_of(draw, among) == stretch.setting for stretch in found for draw in stretch.draws)


def test_a_candidate_that_is_the_baseline_runs_elsewhere_alone():
    others = (Environment("x"), Environment("y"))
    here = settings(("f",), (Environment(), *others))[1]
    assert list(entrants("ref", others, here, is_baseline=True)) == [Entrant("ref", others[1])]
    assert list(entrants("mlx", others, here, is_baseline=False)) == [Entrant("mlx"), Entrant("mlx", others[1])]
    assert list(entrants("mlx", (), here, is_baseline=False)) == [Entrant("mlx")]


def test_results_go_on_behind_the_last_whole_one(tmp_path):
    """A line that was cut off is dropped; an infinite ratio survives."""
    path = tmp_path / "results.jsonl"
    results = Results.begin(path, HEAD)
    results.add([result(0, math.inf), result(1, 2.0)])
    with path.open("a") as stream:
        stream.write('{"draw": 2, "cand')
    again = Results.begin(path, HEAD)
    assert [each.ratio for each in again.found] == [math.inf, 2.0]
    assert again.draws == {0, 1}
    assert path.read_text().count("\n") == 3


@pytest.mark.parametrize("change", [{"seed": 2}, {"weights": "other"}, {"allowed": 5.0}])
def test_results_of_something_else_are_refused(tmp_path, change):
    Results.begin(tmp_path / "results.jsonl", HEAD)
    with pytest.raises(UsageError, match=f"another {next(iter(change))}"):
        Results.begin(tmp_path / "results.jsonl", HEAD.model_copy(update=change))


def test_a_file_of_another_kind_is_refused(tmp_path):
    for text in ("", "{}\n", "no json\n", HEAD.model_dump_json() + '\n{"draw": 1}\n'):
        (tmp_path / "file").write_text(text)
        with pytest.raises(UsageError, match="holds no results"):
            Results.read(tmp_path / "file")


def test_coarse_steps_are_counted_apart():
    """The worst of a judgement is that of what is no coarse step; a missing step says so."""
    steps = (
        StepVerdict("prefill", "a", 0, Status.OK, Deviation(1e-7, 1e-7, 1.5), Deviation(1e-7, 1e-7, 1.0)),
        StepVerdict("prefill", "b", 0, Status.COARSE, None, Deviation(9e-7, 1e-7, 9.0)),
        StepVerdict("prefill", "c", 0, Status.UNCOVERED),
    )
    found = outcome(Judgement("x", "float32", "s", steps, (), 4.0))
    assert (found["free"].ratio, found["lockstep"].step, found["coarse"].ratio) == (1.5, "a", 9.0)
    assert found["counts"] == {"coarse": 1, "ok": 1, "uncovered": 1}
    assert found["failure"] == "c is uncovered"


def test_draws_are_the_same_for_a_seed_and_reach_every_scenario(tmp_path):
    """Media are files that are there."""
    once, again = ([drawn(random.Random(f"1 {n}"), tmp_path) for n in range(400)] for _ in range(2))
    assert once == again
    assert once[0] != drawn(random.Random("2 0"), tmp_path)
    assert set(WEIGHTS) == set(MEANINGS)
    assert {each.scenario for each in once} == set(MEANINGS)
    assert 8 < sum(bool(each.media) for each in once) < 40
    assert all(each.prompt for each in once)


def test_misses_are_read_of_scores(tmp_path):
    """Found without a ratio is beyond every K; missed without one is within; the harmless are left out."""
    rows = [
        {"ratio": ratio, "flagged": flagged, "equivalent": harmless, "sigmas": sigmas}
        for ratio, flagged, harmless, sigmas in (
            (9.0, True, "", 0), (1.0, True, "", 12.0), (None, True, "", 0), (None, False, "", 0),
            (1.0, False, "same", 0),
        )
    ]  # fmt: skip
    path = tmp_path / "score.json"
    path.write_text(json.dumps([{"schema": "parity-variants", "dtype": "float32", "scores": rows}]))
    (found,) = read_misses([path])
    assert found == Misses("float32", (9.0, 1.0, math.inf, 0.0), 1)
    assert [found.missed(allowed) for allowed in (0.5, 4, 10)] == [0.25, 0.5, 0.75]
    path.write_text('{"schema": "other"}')
    with pytest.raises(UsageError, match="no scores of variants"):
        read_misses([path])


def test_the_page_shows_alarms_the_bound_and_what_k_costs():
    results = [result(n, 1 + n / 100) for n in range(200)] + [result(200, 5.0, exit_code=1)]
    summary = Summary(HEAD, (*results, result(201, 0.0, refused="no pictures")))
    page = markdown(summary, [Misses("float32", (2.5, 100.0))], "parity calibrate", "figure.svg")
    assert "201 judgements of right candidates on 201 drawn inputs: 1 flagged, 0 with coarse steps" in page
    assert "at most 2.3 % of the judgements" in page  # of 1 in 201
    assert command(summary.whole.flagged[0], summary) in page
    assert "| 2.5 | 25 % | 50 % |" in page
    assert "left out: 1 input that a cannot run: no pictures" in page


def test_the_figure_is_whole():
    """A panel for false alarms and one for misses."""
    pytest.importorskip("vl_convert")
    summary = Summary(HEAD, tuple(result(n, 1 + n / 100) for n in range(200)))
    texts = [svg(summary, misses) for misses in ((), [Misses("float32", (2.5, 100.0))])]
    assert all(ElementTree.fromstring(text).tag.endswith("svg") for text in texts)
    assert ["known bugs that are missed" in text for text in texts] == [False, True]


def request(tmp_path, *candidates, judgements=4, workers=2):
    checkpoint = Checkpoint(tmp_path, "toy", "weights")
    reference = "tests.calibrated:Drawing"
    return CalibrationRequest(checkpoint, candidates, ("float32", "float16"), judgements, 1, workers, reference)


@pytest.mark.slow
def test_the_toy_is_calibrated_in_processes_and_goes_on(tmp_path):
    """Right ones pass, the wrong one is flagged where it is wrong, and who refuses is no judgement."""
    asked = request(tmp_path, RIGHT, WRONG, REFUSING)
    results = Results.begin(tmp_path / "results.jsonl", asked.head())
    calibrate(asked, results, Silent())
    assert len(results.judged) >= 4
    wrong = {(each.candidate, each.elsewhere) for each in results.found if each.flagged}
    assert (WRONG, "elsewhere") in wrong
    assert RIGHT not in {candidate for candidate, _ in wrong}
    assert {each.refused for each in results.found if each.candidate == REFUSING} == {"no input is good enough"}
    before = results.draws
    more = Results.begin(tmp_path / "results.jsonl", asked.head())
    calibrate(request(tmp_path, RIGHT, WRONG, REFUSING, judgements=len(more.judged) + 1, workers=1), more, Silent())
    assert before < more.draws
    assert len(more.found) == len({(each.draw, each.candidate, each.elsewhere) for each in more.found})


@pytest.mark.slow
def test_one_draw_alone_is_the_same_again(tmp_path):
    asked = request(tmp_path, RIGHT)
    (one,), (two,) = (list(single(asked, 3)) for _ in range(2))
    assert one == two
    assert (one.draw, one.dtype, one.environment) == (3, "float16", "as it is")


@pytest.mark.slow
def test_of_eleven_draws_one_has_bugs_below_the_noise_looked_for(tmp_path):
    """In an arithmetic in which they can hide."""
    asked = request(tmp_path, RIGHT)
    for number in (9, 11, 22, 33):
        (found,) = single(asked, number)
        assert found.faint == (number != 9 and found.dtype == "float16")
    assert {single_dtype(asked, number) for number in (11, 22, 33)} == {"float32", "float16"}


def test_the_page_says_how_often_bugs_below_the_noise_were_looked_for():
    group = Summary(HEAD, (result(1, 1.0), result(2, 1.0, faint=True), result(3, 1.0, faint=True, exit_code=1)))
    assert [found.draw for found in group.whole.faint.results] == [2, 3]
    assert any("in 2 judgements of these: 1 flagged" in text for text in totals(group))


def test_one_draw_alone_needs_its_own_arithmetic_only(tmp_path):
    """The command that a false alarm is printed with names all of the calibration, which choose the draw's."""
    checkpoint = Checkpoint(tmp_path, "toy", "weights")
    asked = CalibrationRequest(checkpoint, (RIGHT,), ("float32", "bfloat16"), 1, 1, 1, "tests.calibrated:Drawing")
    draws = {single_dtype(asked, number): number for number in range(4)}
    require_known(asked, draws["float32"])
    with pytest.raises(UsageError, match="has the dtype 'bfloat16'"):
        require_known(asked, draws["bfloat16"])
    with pytest.raises(UsageError, match="has the dtype 'bfloat16'"):
        require_known(asked)


def single_dtype(asked, number):
    """The arithmetic of a draw."""
    return setting_of(number, asked.settings()).dtype


POOL = """
import multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor
from parity.calibration.running import _begin
if __name__ == "__main__":
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_begin) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        sys.stdin.read()
"""


def test_a_process_ends_with_its_parent(tmp_path):
    """Also where that is killed and can say nothing."""
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
        # the pipe's other end is the child's too: it closes when that has ended
        assert parent.communicate(timeout=60) == ("", None)
    assert not is_alive(child)


def is_alive(process):
    """Whether there is such a process, and not what is left of one for its parent to ask."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def test_a_failing_worker_ends_the_calibration(tmp_path):
    """Not in a wait for ever."""
    asked = request(tmp_path, "tests.calibrated:Right@option=x")
    results = Results.begin(tmp_path / "results.jsonl", asked.head())
    with pytest.raises(UsageError, match="has no option"):
        calibrate(asked, results, Silent())


class Interrupted(Silent):
    """An interrupt comes with the first judgement."""

    def __init__(self):
        self.come = False

    def start(self, *said):
        if not self.come:
            self.come = True
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.slow
def test_an_interrupt_ends_the_calibration_behind_the_draws_at_hand(tmp_path):
    """What they found is kept, and the next start goes on behind it."""
    asked = request(tmp_path, RIGHT, judgements=100_000)
    results = Results.begin(tmp_path / "results.jsonl", asked.head())
    with pytest.raises(KeyboardInterrupt):
        calibrate(asked, results, Interrupted())
    judged = len(results.judged)
    assert 0 < judged < 100
    assert len(Results.begin(tmp_path / "results.jsonl", asked.head()).judged) == judged


def test_an_arithmetic_that_nobody_has_is_refused(tmp_path):
    checkpoint = Checkpoint(tmp_path, "toy", "weights")
    with pytest.raises(UsageError, match="has the dtype"):
        require_known(CalibrationRequest(checkpoint, (RIGHT,), ("bfloat16",), 1, 1, 1, "tests.calibrated:Drawing"))
    with pytest.raises(UsageError, match="oracle's arithmetic"):
        require_known(CalibrationRequest(checkpoint, (RIGHT,), ("float64",), 1, 1, 1, "tests.calibrated:Drawing"))
