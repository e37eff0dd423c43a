"""A learned contract as a file that a person reads, edits and commits: one row a step, its places on both sides."""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from parity.contract import Contract, Step
from parity.errors import StaleTrace, UsageError
from parity.json_file import read_text
from parity.learning.layout import Rearrangement
from parity.learning.places import LAYER, in_layer
from parity.learning.sizes import ROW, TOKEN, VOCABULARY

FORMAT = 1
BY_HAND = "by hand"
"""The confidence of a row that a person wrote or changed: to learn again leaves it as it is."""
LOGITS = VOCABULARY
"""The axis by which the step is known that tokens are chosen from."""
APART = (ROW, TOKEN)
"""Axes that a step has apart where the reference lays rows one behind the other, as in front of a router of experts:
else nothing tells which of its values are a row's padding, where each side may compute what it likes."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Origin(_Strict):
    """One side: who ran, the versions of its libraries, and a digest of each source file that has places."""

    backend: str
    versions: dict[str, str]
    sources: dict[str, str]

    def require(self, sources: Mapping[str, str], table: str) -> None:
        """Refuse an installed source that is another than the one that was learned from.

        Raises:
            StaleTrace: naming what changed.
        """
        changed = [name for name in {**self.sources, **sources} if self.sources.get(name) != sources.get(name)]
        if changed:
            raise StaleTrace(f"table {table}: the source of {', '.join(sorted(changed)[:3])} changed; learn it again")


class _TableRow(_Strict):
    name: str
    reference: str
    candidate: str | list[str] = []
    layout: str
    layers: str = ""
    confidence: str


class _Content(_Strict):
    format: int
    model: str
    reference: Origin
    candidate: Origin
    step: list[_TableRow] = []


@dataclass(frozen=True)
class TableRow:
    """A step, or a step of several layers.

    Attributes:
        name: of the step; ``{layer}`` stands for the layer, here and in the places.
        reference: where the reference computes it.
        candidate: where the port does: one of these places, for it may have several ways to run; none where it does
            not show the step, which is then uncovered.
        layout: how the port's tensor becomes the reference's.
        layers: those that have it; none for a step outside of layers.
        confidence: ``content``, or ``by hand``.
    """

    name: str
    reference: str
    candidate: tuple[str, ...]
    layout: Rearrangement
    layers: tuple[int, ...]
    confidence: str

    @property
    def shown(self) -> tuple[Rearrangement, Rearrangement]:
        """How the reference's tensor and the port's become the step's."""
        step = self.layout.with_apart(APART)
        return Rearrangement(self.layout.reference, step.reference), step

    def members(self) -> Iterator[tuple[int, TableRow]]:
        """The row of each of its layers, with the number of that; -1 outside of layers."""
        if not self.layers:
            yield -1, self
        for layer in self.layers:
            name, place = in_layer(self.name, str(layer)), in_layer(self.reference, str(layer))
            ports = tuple(in_layer(port, str(layer)) for port in self.candidate)
            yield layer, replace(self, name=name, reference=place, candidate=ports, layers=())


@dataclass(frozen=True)
class LearnedTable:
    """What was learned of a reference and a port.

    Attributes:
        model: the checkpoint's type of model.
        reference: the side that is true.
        candidate: the port.
        rows: in execution order, those of layers beside each other.
    """

    model: str
    reference: Origin
    candidate: Origin
    rows: tuple[TableRow, ...]

    def members(self) -> list[TableRow]:
        """A row a step, in execution order: layer by layer between what is before and behind the layers."""
        layered = [at for at, row in enumerate(self.rows) if row.layers]
        first, last = (layered[0], layered[-1]) if layered else (len(self.rows), len(self.rows))

        def order(at: int, layer: int) -> tuple[int, int, int]:
            return (0, 0, at) if at < first else (2, 0, at) if at > last else (1, max(layer, 0), at)

        found = [(order(at, layer), member) for at, row in enumerate(self.rows) for layer, member in row.members()]
        return [member for _, member in sorted(found, key=lambda one: one[0])]

    def contract(self) -> Contract:
        """The steps that a port is held to."""
        members = self.members()
        steps = tuple(
            Step(row.name, row.shown[1].axes, "float", f"the port: {' or '.join(row.candidate) or '-'}", row.reference)
            for row in members
        )
        logits = [row.name for row in members if row.layout.axes[-1:] == (LOGITS,)]
        return Contract(self.model, steps, logits[-1] if logits else "")

    def write(self, path: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            UsageError: where that cannot be.
        """
        partial = path.with_name(f"{path.name}.partial")
        try:
            partial.write_text("\n".join(self._lines()), encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise UsageError(f"table {path} cannot be written: {error.strerror}") from error

    def _lines(self) -> Iterator[str]:
        yield f"# {self.model}: the places of {self.reference.backend} that {self.candidate.backend} shows too."
        yield '# Change a row and call it "by hand": to learn again leaves it so.'
        yield from (f"format = {FORMAT}", f"model = {json.dumps(self.model)}", "")
        for side, party in (("reference", self.reference), ("candidate", self.candidate)):
            yield from (f"[{side}]", f"backend = {json.dumps(party.backend)}")
            yield from (f"{field} = {_inline(getattr(party, field))}" for field in ("versions", "sources"))
            yield ""
        for row in self.rows:
            yield "[[step]]"
            ports: Any = row.candidate[0] if len(row.candidate) == 1 else [*row.candidate]
            fields = {**vars(row), "candidate": ports, "layout": str(row.layout), "layers": ranges(row.layers)}
            yield from (
                f"{field} = {json.dumps(given, ensure_ascii=False)}" for field, given in fields.items() if given
            )
            yield ""

    @classmethod
    def read(cls, path: Path) -> LearnedTable:
        """Read what `write` wrote and people changed.

        Raises:
            UsageError: for a file that is no table.
        """
        try:
            content = _Content.model_validate(tomllib.loads(read_text(path)))
            if content.format != FORMAT:
                raise UsageError(f"format {content.format} is not {FORMAT}; learn it again")
            rows = tuple(_row(row) for row in content.step)
            table = cls(content.model, content.reference, content.candidate, rows)
            table.contract()
        except FileNotFoundError as error:
            raise UsageError(f"table {path}: there is no such file; write one with parity learn") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UsageError(f"table {path}: {where}: {first['msg']}; mend it, or learn it again") from error
        except (ValueError, UsageError) as error:
            raise UsageError(f"table {path}: {error}") from error
        return table


def _inline(texts: Mapping[str, str]) -> str:
    return "{ " + ", ".join(f"{json.dumps(key)} = {json.dumps(text)}" for key, text in texts.items()) + " }"


def _row(row: _TableRow) -> TableRow:
    layers = read_ranges(row.layers)
    if bool(layers) != (LAYER in row.name) or bool(layers) != (LAYER in row.reference):
        raise UsageError(f"step {row.name!r}: name and place have {LAYER} where there are layers, and only there")
    ports = (row.candidate,) if isinstance(row.candidate, str) else tuple(row.candidate)
    return TableRow(row.name, row.reference, ports, Rearrangement.parse(row.layout), layers, row.confidence)


def ranges(numbers: Iterable[int]) -> str:
    """Numbers in ascending order as people write them: ``0-3, 5``."""
    runs = itertools.groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0])
    ends = [(found[0][1], found[-1][1]) for found in (list(run) for _, run in runs)]
    return ", ".join(str(one) if one == other else f"{one}-{other}" for one, other in ends)


def read_ranges(text: str) -> tuple[int, ...]:
    """The numbers that `ranges` wrote.

    Raises:
        UsageError: for another text.
    """
    found: list[int] = []
    for part in filter(None, text.replace(" ", "").split(",")):
        one, dash, other = part.partition("-")
        ends: list[Any] = [one, other if dash else one]
        if not all(end.isascii() and end.isdigit() and len(end) < 5 for end in ends):
            raise UsageError(f"layers {text!r} are no numbers such as 0-3, 5")
        found += range(int(one), int(ends[1]) + 1)
    return tuple(found)
