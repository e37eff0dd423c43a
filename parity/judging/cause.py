"""Why a step errs, as far as it is known."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """What a step's error is, or is like.

    Attributes:
        name: of the variant, or of the generic cause.
        meaning: one line.
        alpha: how many times what it would cause the error is, in least squares; 1 for a cause that is just that.
        explained: the share of the error's energy that is explained so (of several causes: by all together).
        variant: whether it is a known bug; else a generic cause.
        source: where the bug was seen.
        alike: further causes that would look the same.
    """

    name: str
    meaning: str
    alpha: float
    explained: float
    variant: bool
    source: str = ""
    alike: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """Why a step errs from exact inputs.

    Attributes:
        step: the first of `steps`.
        steps: those that are evidence, several of one family where one alone did not say it.
        phases: those that are evidence.
        values: number of values that the evidence is.
        noise: the share of the error's energy that correct arithmetic would have.
        causes: what is named with confidence; several where they add up. Nothing but noise is left without them.
        nearest: where nothing is named, what explains most.
        tried: how many known bugs of that step were tried.
        where: the places that hold the whole error; empty where it is everywhere.
        sigmas: of a bug below the noise of each step: how many standard deviations it is from none; else 0.
        rows: how many rows of values say so.
    """

    step: str
    steps: tuple[str, ...]
    phases: tuple[str, ...]
    values: int
    noise: float
    causes: tuple[Cause, ...] = ()
    nearest: tuple[Cause, ...] = ()
    tried: int = 0
    where: str = ""
    sigmas: float = 0.0
    rows: int = 0
