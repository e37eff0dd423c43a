"""What a calibration runs: the numbers of its draws, and the environments in which they are run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice

ASIS = "as it is"
"""The environment that changes nothing."""


@dataclass(frozen=True)
class Environment:
    """What a machine is made to be: an instruction set, a number of threads.

    Attributes:
        name: what reports call it.
        variables: of the environment of every worker, on top of the backend's own.
    """

    name: str = ASIS
    variables: tuple[tuple[str, str], ...] = ()

    @classmethod
    def all_of(cls, found: Mapping[str, Mapping[str, str]]) -> tuple[Environment, ...]:
        """The machine as it is, and what else a reference can make of it."""
        return (cls(), *(cls(name, tuple(variables.items())) for name, variables in found.items()))


@dataclass(frozen=True)
class Setting:
    """What the draws of a stretch share, so that their parties are loaded once.

    Attributes:
        dtype: arithmetic of candidates and baseline.
        here: where the comparison runs.
        turn: which of its other environments a candidate runs in besides.
    """

    dtype: str
    here: Environment
    turn: int = 0


@dataclass(frozen=True)
class Entrant:
    """A candidate somewhere.

    Attributes:
        candidate: its name and options.
        elsewhere: an environment of its own; None for where the comparison runs.
    """

    candidate: str
    elsewhere: Environment | None = None


@dataclass(frozen=True)
class Stretch:
    """Draws of one setting, by number."""

    setting: Setting
    draws: tuple[int, ...]


def settings(dtypes: Sequence[str], environments: Sequence[Environment]) -> tuple[Setting, ...]:
    """Every arithmetic in every environment; neighbours differ in both, so that a part of them is a fair sample."""
    size = len(environments)
    places = [(dtype, (turn + at) % size) for turn in range(size) for at, dtype in enumerate(dtypes)]
    return tuple(Setting(dtype, environments[at], at) for dtype, at in places)


def entrants(
    candidate: str, others: Sequence[Environment], setting: Setting, *, is_baseline: bool
) -> Iterator[Entrant]:
    """Where a candidate runs: here, unless it would be the baseline again, and in another environment of its own."""
    if not is_baseline:
        yield Entrant(candidate)
    if left := [other for other in others if other != setting.here]:
        yield Entrant(candidate, left[setting.turn % len(left)])


def setting_of(number: int, among: Sequence[Setting]) -> Setting:
    """The setting of a draw, which depends on nothing but its number."""
    return among[number % len(among)]


def stretches(among: Sequence[Setting], length: int, done: Iterable[int] = ()) -> Iterator[Stretch]:
    """All draws that are not done, without end, in stretches of at most `length` of the same setting.

    Those of lower numbers go first, as far as that is so: after each round every setting had equally many.
    """
    left_out, size = set(done), len(among)
    for start in count(0, size * length):
        for at in range(size):
            numbers = islice(count(start + at, size), length)
            if left := tuple(number for number in numbers if number not in left_out):
                yield Stretch(setting_of(left[0], among), left)
