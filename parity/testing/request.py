"""What a test asks for: its ``parity`` markers, with the options of the command line on top."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import pytest

from parity.entries import targets
from parity.errors import ParityError, UsageError
from parity.golden.sets import GOLDENS, Entry, GoldenSet, find_set
from parity.golden.store import Store

DEFAULT_SCENARIOS = ("one-shot",)


@dataclass(frozen=True)
class Asked:
    """The marker's arguments.

    Attributes:
        candidate: the backend, by installed name or ``module:Class``.
        model: a checkpoint's folder (beside the test, or from where pytest was started) or hub id; None: the embedded.
        scenarios: of the reference, or names of goldens; None: one-shot, or all goldens of an installed set.
        golden: a folder beside the test, or the name of an installed set; None: the reference runs.
        reference: the backend that is true; None for the installed one of the checkpoint's type of model.
        beside: the folder of the test's file.
        test: the test's id.
    """

    candidate: str
    model: str | None = None
    scenarios: Sequence[str] | None = None
    dtype: str = "float32"
    prompt: str | None = None
    reference: str | None = None
    golden: str | None = None
    beside: Path = field(default_factory=Path)
    test: str = ""

    @classmethod
    def of(cls, item: pytest.Item) -> Asked:
        """What the markers of a test, its class and its module ask for; the nearest one wins.

        Raises:
            UsageError: for a marker that cannot be understood.
        """
        marks = [*item.iter_markers("parity")]  # the nearest first
        given = {name: value for mark in reversed(marks) for name, value in mark.kwargs.items()}
        _require_known(given, marks)
        for name, option in (("candidate", "backend"), ("dtype", "dtype")):
            given[name] = item.config.getoption(f"parity_{option}") or given.get(name)
        if not given["candidate"]:
            raise UsageError("nobody is to be judged: give the marker a candidate='module:Class', or --parity-backend")
        if given.get("scenarios") in ((), []):
            raise UsageError("the marker parity names no scenario; nothing would be compared")
        if isinstance(given.get("scenarios"), str):
            given["scenarios"] = (given["scenarios"],)
        stated = {name: value for name, value in given.items() if value is not None}
        return cls(**stated, beside=item.path.parent, test=item.nodeid)

    @property
    def checkpoint(self) -> str | None:
        """The model; a folder beside the test comes before one of the same name elsewhere."""
        if self.model is None:
            return None
        beside = self.beside / self.model
        return str(beside) if beside.is_dir() else self.model

    @property
    def names(self) -> tuple[str, ...]:
        """The scenarios that are asked for; none for all goldens of an installed set."""
        if self.scenarios is None:
            return () if self._installed else DEFAULT_SCENARIOS
        return tuple(self.scenarios)

    @property
    def golden_set(self) -> GoldenSet:
        """The goldens that are asked for.

        Raises:
            UsageError: for an unknown set.
        """
        assert self.golden is not None
        if self._installed:
            return find_set(self.golden)
        entries = tuple(Entry(name, name, self.prompt) for name in self.names)
        again = f"pytest {self.test.partition('[')[0]!r} --parity-update-golden".replace("{", "{{").replace("}", "}}")
        return GoldenSet(self.beside / self.golden, entries, self.checkpoint, self.reference, renew=again)

    @property
    def _installed(self) -> bool:
        return self.golden in targets(GOLDENS) and not (self.beside / str(self.golden)).is_dir()


def _require_known(given: Mapping[str, object], marks: Iterable[pytest.Mark]) -> None:
    known = [one.name for one in fields(Asked) if one.name not in ("beside", "test")]
    if any(mark.args for mark in marks):
        raise UsageError(f"the marker parity takes names with values: {', '.join(known)}")
    if unknown := [name for name in given if name not in known]:
        raise UsageError(f"the marker parity has no argument {unknown[0]!r}; it has {', '.join(known)}")


def survey(items: Iterable[pytest.Item]) -> dict[str, dict[str, list[str]]]:
    """The goldens of each folder that tests name: those that they need, and those that are there."""
    found: dict[str, dict[str, list[str]]] = {}
    for item in items:
        try:
            asked = Asked.of(item)
            if not asked.golden:
                continue
            golden_set = asked.golden_set
        except ParityError:
            continue  # the test itself will say what is wrong with it
        folder = str(golden_set.folder)
        there = found.setdefault(folder, {"needed": [], "there": list(Store(golden_set.folder).names())})
        there["needed"] += asked.names or [entry.name for entry in golden_set.entries]
    return found
