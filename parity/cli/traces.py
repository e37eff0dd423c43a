"""Traces that a command is given: who ran each, which belong together, and the judgements that they allow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from parity.errors import UsageError

if TYPE_CHECKING:
    from parity.traces.runs import Runs
    from parity.traces.trace import Trace

Who = tuple[str, str]
"""Backend and dtype."""

ORACLE = "oracle"
"""What `parity compare --keep` calls the oracle's trace."""


@dataclass(frozen=True)
class Recorded:
    """A candidate's runs, with what they are judged against."""

    name: str
    oracle: Trace
    baseline: Runs | None
    candidate: Runs


def parties(paths: Iterable[Path]) -> dict[Who, Runs]:
    """Traces grouped by who ran, each group with its free run and its lockstep run.

    Raises:
        UsageError: when two are of the same party and mode.
    """
    from parity.traces.runs import Runs
    from parity.traces.trace import Trace

    found: dict[Who, dict[str, Trace]] = {}
    for path in paths:
        trace = Trace.read(path)
        runs = found.setdefault((trace.manifest.backend, trace.manifest.dtype), {})
        mode = trace.manifest.mode
        if mode in runs:
            raise UsageError(
                f"{runs[mode].path} and {path} are both a {mode} run of {trace.manifest.backend}; give one"
            )
        runs[mode] = trace
    return {party: Runs(free=runs.get("free"), lockstep=runs.get("lockstep")) for party, runs in found.items()}


def by_dtype(found: Mapping[Who, Runs]) -> dict[str, Runs]:
    """Baselines by their arithmetic.

    Raises:
        UsageError: when two parties claim the same.
    """
    baselines: dict[str, Runs] = {}
    for (backend, dtype), runs in found.items():
        if dtype in baselines:
            raise UsageError(f"two baselines in {dtype}, one of them of {backend}; give the reference's alone")
        baselines[dtype] = runs
    return baselines


def require_candidates(oracle: Trace, candidates: Iterable[Path]) -> None:
    """Refuse the reference as what is judged: its traces are the oracle's and the baseline's.

    Raises:
        UsageError: naming the first such trace.
    """
    from parity.traces.trace import Trace

    reference = oracle.manifest.backend
    for path in candidates:
        if Trace.read(path).manifest.backend == reference:
            raise UsageError(
                f"{path} is a trace of {reference}, which candidates are judged against; give it as --baseline {path}, "
                "and a port's traces as candidates"
            )


def recorded(oracle: Path, candidates: Iterable[Path], baselines: Iterable[Path]) -> Iterator[Recorded]:
    """Single traces, as what is judged, one a party.

    Raises:
        UsageError: when there is no baseline in a candidate's dtype though there are others, or it cannot be one.
    """
    from parity.traces.trace import Trace

    true, floors = Trace.read(oracle), by_dtype(parties(baselines))
    for (backend, dtype), runs in parties(candidates).items():
        if floors and dtype not in floors:
            raise UsageError(f"no baseline in {dtype}, as {backend} has; a floor holds for its own arithmetic only")
        yield _admitted(Recorded(backend, true, floors.get(dtype), runs))


def _admitted(case: Recorded) -> Recorded:
    from parity.judging.admission import require_baseline

    if case.baseline is not None:
        require_baseline(oracle=case.oracle, baseline=case.baseline, candidate=case.candidate)
    return case


def floors_of_dump(oracle: Trace, baselines: Sequence[Path]) -> Trace | None:
    """The reference's free run in a dump's arithmetic, where it is given.

    Raises:
        UsageError: for a trace that is no such run.
    """
    from parity.judging.admission import require_baseline
    from parity.traces.runs import Runs
    from parity.traces.trace import Trace

    if not baselines:
        return None
    found = Trace.read(baselines[0])
    if found.manifest.mode != "free":
        raise UsageError(f"trace {found.path} is a lockstep run, and a dump is of a free one; give that as --baseline")
    runs = Runs(found, None)
    require_baseline(oracle=oracle, baseline=runs, candidate=runs)
    return found


def kept_recorded(folder: Path) -> Iterator[Recorded]:
    """What ``parity compare --keep`` left in a folder, by scenario (and dtype, where there were several).

    Raises:
        UsageError: when there is nothing of the kind.
    """
    found = sorted(
        path.parent for depth in ("", "*/", "*/*/") for path in folder.glob(f"{depth}{ORACLE}/manifest.json")
    )
    if not found:
        raise UsageError(f"{folder} is neither a report nor a trace nor a folder of traces (compare --keep)")
    for oracle in found:
        yield from _beside(oracle)


def _beside(oracle: Path) -> Iterator[Recorded]:
    """What is judged of one scenario: an oracle, its baseline, and whoever else has a trace beside them."""
    from parity.judging.baseline import NAME, kept

    groups: dict[str, list[Path]] = {}
    for path in sorted(oracle.parent.iterdir()):
        if path != oracle and not path.name.startswith(NAME) and (path / "manifest.json").is_file():
            groups.setdefault(path.name.rpartition(".")[0] or path.name, []).append(path)
    for name, paths in groups.items():
        for case in recorded(oracle, paths, []):
            yield _admitted(Recorded(name, case.oracle, kept(case.oracle, case.candidate), case.candidate))
