"""A survey as a page of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from parity.report.markdown import code, text
from parity.report.numbers import count, ratio
from parity.report.survey import divergence, outcome, totals, verdict
from parity.survey.result import Surveyed, SurveyedRun, SurveyResults

INTRODUCTION = """\
# {candidate} against {reference}, architecture by architecture

Written by `{command}`; do not edit.

Of {versions}.

Every text architecture that both installed packages have, as they say themselves; no list was written by hand. A
small random checkpoint is drawn of each, the contract learned of it ([how](any-model.md)), and the port judged in
{dtypes}:

{scenarios}

Nothing here was trained: a divergence says that the two compute different numbers from the same weights and
configuration, not what that does to a text.

{totals}

An architecture is `diverged` where any of its runs is; *proven* where the divergence goes away with an edit of the
package's source in memory, *unproven* where there is no such edit here. `coarse`: only the plain order of sums explains
it. `incomplete`: a step of the table was not reached in a run, or the port does not show the reference's result.

To repeat a line, with the name of the architecture for MODEL:

```console
$ parity draw MODEL checkpoint
$ parity compare --reference {reference} --candidates {candidate} --model checkpoint --scenario RUN --dtype DTYPE
```"""


def markdown(results: SurveyResults, models: Sequence[str], command: str, meanings: Mapping[str, str]) -> str:
    """The page.

    Args:
        results: what was found until now.
        models: all types of model that both have.
        command: that wrote it.
        meanings: of the scenarios, by their names.
    """
    found = [*results.by_model.values()]
    left = [model for model in models if model not in results.by_model]
    lines = [_introduction(results, len(left), command, meanings), "", *_table(found, results.head.dtypes), ""]
    if wrong := [one for one in found if one.diverged]:
        lines += ["## Divergences", "", *_divergences(wrong)]
    if ended := [one for one in found if any(run not in one.diverged and run.why for run in one.runs)]:
        lines += ["## Runs without a verdict", "", *_unfinished(ended)]
    if missing := [one for one in found if not one.judged and not one.runs]:
        lines += ["## Not judged", "", *_missing(missing)]
    if left:
        lines += ["## Not run yet", "", f"{count(len(left), 'architecture')}: {', '.join(map(code, left))}.", ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _introduction(results: SurveyResults, left: int, command: str, meanings: Mapping[str, str]) -> str:
    head, ran = results.head, {run.scenario for one in results.found for run in one.runs}
    lines = [*totals(results), *([f"not run yet: {left}"] if left else [])]
    return INTRODUCTION.format(
        candidate=head.candidate,
        reference=head.reference,
        command=command,
        versions=", ".join(f"{name} {number}" for name, number in head.versions.items()),
        dtypes=" and ".join(head.dtypes),
        scenarios="\n".join(f"- `{name}`: {meaning}" for name, meaning in meanings.items() if name in ran),
        totals="\n".join(f"- {line}" for line in lines),
    )


def _table(found: Iterable[Surveyed], dtypes: Iterable[str]) -> Iterator[str]:
    """A line an architecture; in each arithmetic what became of each run, those of one word together."""
    heads = ("architecture", "outcome", "rows", "bridged", "values paired", *dtypes, "s")
    yield from (f"| {' | '.join(heads)} |", f"| --- | --- | --: | --: | --: |{' --- |' * (len(heads) - 6)} --: |")
    for one in found:
        runs = [_runs(one, dtype) for dtype in dtypes]
        paired = f"{one.paired} of {one.values}" if one.rows else "-"
        cells = (code(one.model), outcome(one), str(one.rows or "-"), str(one.bridged or "-"), paired, *runs)
        yield f"| {' | '.join(cells)} | {one.seconds:.0f} |"


def _runs(one: Surveyed, dtype: str) -> str:
    """``parity``, or with what it is in each run where these differ."""
    found: dict[str, list[SurveyedRun]] = {}
    for run in one.runs:
        if run.dtype == dtype:
            found.setdefault(verdict(run), []).append(run)
    if len(found) < 2:
        return next((_worst(word, runs) for word, runs in found.items()), "-")
    return "; ".join(f"{', '.join(run.scenario for run in runs)}: {_worst(word, runs)}" for word, runs in found.items())


def _worst(word: str, runs: Iterable[SurveyedRun]) -> str:
    """A verdict with its worst ratio, in floors."""
    return f"{word} {ratio(max(run.ratio for run in runs))}" if word in ("parity", "coarse") else word


def _divergences(found: Iterable[Surveyed]) -> Iterator[str]:
    for one in found:
        yield from (f"### {one.model}: {'proven' if one.proven else 'unproven'}", "")
        yield from one.known
        yield from ("", *_firsts(one), "") if one.known else (*_firsts(one), "")


def _firsts(one: Surveyed) -> Iterator[str]:
    """The first divergence of each run; runs with the same step and phase together."""
    groups: dict[tuple[str, str, bool | None], list[SurveyedRun]] = {}
    for run in one.diverged:
        groups.setdefault((run.first or run.why, run.phase, run.mended), []).append(run)
    for runs in groups.values():
        worst = max(runs, key=lambda run: run.ratio)
        where = ", ".join(f"{run.scenario} {run.dtype}" for run in runs)
        cause = f". The diagnosis: {text(worst.cause)}" if worst.cause else ""
        mended = {True: ". With the edit: parity", False: ". With the edit: no parity", None: ""}[worst.mended]
        yield f"- {where}: first at {code(divergence(worst))}{cause}{mended}."


def _unfinished(found: Iterable[Surveyed]) -> Iterator[str]:
    for one in found:
        groups: dict[str, list[SurveyedRun]] = {}
        for run in one.runs:
            if run not in one.diverged and run.why:
                groups.setdefault(run.why, []).append(run)
        for why, runs in groups.items():
            where = ", ".join(f"{run.scenario} {run.dtype}" for run in runs)
            yield f"- {code(one.model)}, {where}: {verdict(runs[0])}, {code(why)}"
    yield ""


def _missing(found: Iterable[Surveyed]) -> Iterator[str]:
    yield "As the side said it that refused the small checkpoint, which may have another form than published ones.\n"
    stages = {"draw": "no small checkpoint", "learn": "no table", "judge": "no judgement", "examine": "no result"}
    for one in found:
        yield f"- {code(one.model)}: {stages[one.stage]}, {code(one.failure)}"
    unwoven = sum(one.unwoven for one in found)
    yield f"\n{count(unwoven, 'function')} could not be woven." if unwoven else ""
