"""Variants: known bugs as code. Each is a named deviation of the reference, with the step at which it must be found.

What they are is the reference's business: the engine finds its catalogue through an entry point of `parity.variants`,
asks the loaded reference to behave as one (`parity.backend.Reference.vary`), and judges it as it judges any candidate.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Self

from parity.entries import make
from parity.errors import UsageError
from parity.media import Medium, Part
from parity.site import Edit

VARIANTS = "parity.variants"

PLACE = "{place}"
"""In a variant's first step and module: where it is planted."""

_KINDS: dict[str, Medium] = {".png": "image", ".jpg": "image", ".wav": "audio"}


@dataclass(frozen=True)
class Degree:
    """What is wrong by degrees: a number that is another.

    Its effect is proportional to how far it is off, if that is little.

    Attributes:
        true: the number that is right.
        wrong: the one that the variant has.
        says: the meaning with ``{}`` for any other number.
    """

    true: float
    wrong: float
    says: str

    @property
    def size(self) -> float:
        """How far the variant's number is off."""
        return self.wrong - self.true

    def at(self, alpha: float) -> float:
        """The number whose effect is `alpha` times the variant's."""
        return self.true + alpha * (self.wrong - self.true)


@dataclass(frozen=True)
class Variant:
    """One known bug.

    Attributes:
        name: in small letters, words joined by hyphens.
        component: the part of the model that it is in.
        meaning: one line.
        first: the step at which it must be found; ``{place}`` stands for where it is planted.
        edits: the lines of the reference that are wrong; `DEVIANT` in them holds in `module` alone.
        module: path of the one module that deviates, which may hold ``{place}``; empty where all do.
        place: where it is planted unless told otherwise, a layer's number or a module's path; empty where it can be in
            one place alone.
        scenario: what it needs to show.
        media: names of sample files that go before the prompt.
        source: where it was seen, repository and number of an issue, several with commas; empty for the plausible.
        equivalent: why it is the same by algebra, so that it must not be flagged; empty for a bug.
        dtypes: arithmetics in which it shows; none for all.
        elsewhere: further steps where the same lines may be as wrong, each with its module; ``{place}`` in both is one
            word or number. The place of such a variant is the step's whole name.
        degree: the number that is wrong, where any other would be the same mistake.
    """

    name: str
    component: str
    meaning: str
    first: str
    edits: tuple[Edit, ...]
    module: str = ""
    place: str = ""
    scenario: str = "one-shot"
    media: tuple[str, ...] = ()
    source: str = ""
    equivalent: str = ""
    dtypes: tuple[str, ...] = ()
    elsewhere: tuple[tuple[str, str], ...] = ()
    degree: Degree | None = None

    @property
    def away(self) -> bool:
        """Whether it is at a step of another kind than its own."""
        return any(matched(self.place, first) is not None for first, _ in self.elsewhere)

    def at(self, place: str = "") -> Self:
        """The variant in a place; by default in its own.

        Raises:
            UsageError: for a place, where it can be in one alone.
        """
        if place and not self.place:
            raise UsageError(f"variant {self.name} can be in one place alone; leave the option at out")
        where = place or self.place
        for first, module in self.elsewhere:
            if where and (inside := matched(where, first)) is not None:
                return replace(self, first=where, module=module.format(place=inside), place=where)
        return replace(self, first=self.first.format(place=where), module=self.module.format(place=where), place=where)

    def shows_in(self, dtype: str) -> bool:
        """Whether it is a bug that can be seen in that arithmetic."""
        return not self.equivalent and (not self.dtypes or dtype in self.dtypes)


def matched(step: str, pattern: str) -> str | None:
    """What stands in a step's name for the pattern's ``{place}``, empty where it has none; None where it is another."""
    before, somewhere, after = pattern.partition(PLACE)
    if not somewhere:
        return "" if step == pattern else None
    place = step[len(before) : len(step) - len(after)]
    return place if place and step == f"{before}{place}{after}" else None


@dataclass(frozen=True)
class Catalogue:
    """All variants of a reference.

    Attributes:
        variants: in the order of the forward pass.
        prompt: the text that they are judged with.
        samples: folder of the files that `Variant.media` names.
        reference: the backend that they are variants of.

    Raises:
        UsageError: when two have the same name.
    """

    variants: tuple[Variant, ...]
    prompt: str
    samples: Path
    reference: str

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise UsageError(f"several variants have the same name: {', '.join(doubled)}")

    @property
    def digest(self) -> str:
        """Short hash of everything that is said of the variants: a score is of this catalogue and no other."""
        return hashlib.sha256(repr(self.variants).encode()).hexdigest()[:12]

    @property
    def components(self) -> tuple[str, ...]:
        """The parts of the model that there are variants of."""
        return tuple(dict.fromkeys(variant.component for variant in self.variants))

    def get(self, name: str) -> Variant:
        """The variant of that name.

        Raises:
            UsageError: for an unknown name, with the nearest.
        """
        known = {variant.name: variant for variant in self.variants}
        if name not in known:
            raise UsageError(f"unknown variant {name!r}; {_nearest(name, known)}; see parity variants list")
        return known[name]

    def of(self, component: str) -> tuple[Variant, ...]:
        """The variants of one component.

        Raises:
            UsageError: when there is none.
        """
        if component not in self.components:
            raise UsageError(f"no variants of component {component!r}; there are {', '.join(self.components)}")
        return tuple(variant for variant in self.variants if variant.component == component)

    def like(self, pattern: str) -> tuple[Variant, ...]:
        """The variants whose name matches a pattern with asterisks.

        Raises:
            UsageError: when there is none.
        """
        found = tuple(variant for variant in self.variants if fnmatchcase(variant.name, pattern))
        if not found:
            names = [variant.name for variant in self.variants]
            raise UsageError(f"no variant matches {pattern!r}; {_nearest(pattern, names)}")
        return found

    def parts(self, variant: Variant) -> tuple[Part, ...]:
        """The pictures and sounds that a variant needs.

        Raises:
            UsageError: for a sample that is not there.
        """
        try:
            return self.files(variant.media)
        except UsageError as error:
            raise UsageError(f"variant {variant.name} needs {error}") from error

    def files(self, names: Iterable[str]) -> tuple[Part, ...]:
        """Sample files as parts of a prompt.

        Raises:
            UsageError: for one that is not there.
        """
        files = [self.samples / name for name in names]
        if missing := [file for file in files if not file.is_file()]:
            raise UsageError(f"{missing[0]}, which is not there")
        return tuple(Part(_KINDS[file.suffix], str(file)) for file in files)


def sample(variants: Sequence[Variant], number: int, of: int) -> tuple[Variant, ...]:
    """Every `of`-th variant, beginning with the `number`-th, so that large components have more and no two the same.

    Raises:
        UsageError: when `number` is not from 1 to `of`.
    """
    if not 1 <= number <= of:
        raise UsageError(f"no sample {number}/{of}; the first number is from 1 to the second")
    return tuple(sorted(variants, key=lambda variant: variant.component)[number - 1 :: of])


def find_variants(name: str) -> Catalogue:
    """The installed catalogue of that reference; its entry point is a function that makes it.

    Raises:
        UsageError: for an unknown name, or a target that makes no catalogue.
    """
    return make(name, VARIANTS, "catalogue of variants", Catalogue)


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)
    return f"the nearest: {', '.join(close)}" if close else "no name is like it"
