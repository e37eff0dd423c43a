"""How backends are found: by the name that they are installed under, or as ``module:Class``, with options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.backend import Backend, Reference
from parity.checkpoint import Checkpoint
from parity.entries import load, place_of, require_survivable, target_of, targets
from parity.errors import UsageError

BACKENDS = "parity.backends"
REFERENCES = "parity.references"
OF_ANY_MODEL = ".any-model"
"""Behind the name of a group: the backends of that for any model, by a learned table. One that is given a table is
looked up there."""
TABLE = "table"
"""The option that names a table."""


@dataclass(frozen=True)
class Choice:
    """A backend as users write it: ``NAME``, or ``NAME@option=value:option=value``.

    Attributes:
        name: an installed name, or ``module:Class`` for one that is not installed.
        options: names and values for `Backend.load`.
    """

    name: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def suffix(self) -> str:
        """The options as they are written behind a name, but for the table, which says nothing of what computes."""
        shown = ":".join(f"{name}={value}" for name, value in self.options if name != TABLE)
        return f"@{shown}" if shown else ""

    @property
    def shown(self) -> str:
        """What reports call it."""
        return self.name + self.suffix

    @property
    def served(self) -> str:
        """What is imported for it, whatever its options are: its class depends on whether there is a table."""
        return self.name + (f"@{TABLE}=*" if any(name == TABLE for name, _ in self.options) else "")

    def group(self, group: str) -> str:
        """The group of entry points that it is looked up in."""
        return group + OF_ANY_MODEL if any(name == TABLE for name, _ in self.options) else group

    @classmethod
    def parse(cls, spec: str) -> Choice:
        """Read what a user wrote.

        Raises:
            UsageError: for an option without a value, or one given twice.
        """
        name, _, text = spec.partition("@")
        pairs = [part.partition("=") for part in text.split(":") if part]
        if wrong := [key for key, equals, value in pairs if not (key and equals and value)]:
            raise UsageError(f"backend {spec!r}: option {wrong[0]!r} has no value; write {name}@option=value")
        if len({key for key, _, _ in pairs}) < len(pairs):
            raise UsageError(f"backend {spec!r} gives an option twice")
        return cls(name, tuple((key, value) for key, _, value in pairs))


def available(group: str = BACKENDS) -> Mapping[str, str]:
    """Names and targets of the installed backends."""
    return targets(group)


def is_installed(spec: str, group: str = BACKENDS) -> bool:
    """Whether `spec` is the name of an installed backend, and not ``module:Class``."""
    choice = Choice.parse(spec)
    return choice.name in available(choice.group(group))


def require(spec: str, group: str = BACKENDS) -> None:
    """Look at what a user wrote without importing it.

    Raises:
        UsageError: for an unknown name, or options that are written wrong.
    """
    choice = Choice.parse(spec)
    target_of(choice.name, choice.group(group), "backend")


def source_of(spec: str) -> Path:
    """What a backend is written in, without importing it: the folder of its outermost package, or its single file.

    Raises:
        UsageError: for an unknown name, or a module that is nowhere.
    """
    choice = Choice.parse(spec)
    return place_of(choice.name, choice.group(BACKENDS), "backend")


def require_dtype(spec: str, known: Sequence[str], dtype: str) -> None:
    """Refuse an arithmetic that a backend does not have.

    Raises:
        UsageError: where it is not among those that are known.
    """
    if dtype not in known:
        raise UsageError(f"backend {spec} has no dtype {dtype!r}; it has {', '.join(known)}")


def find(spec: str, group: str = BACKENDS) -> type[Backend]:
    """The backend class that `spec` names (see `Choice`); the backend has checked its options.

    Raises:
        UsageError: for an unknown name, a target that is not a backend, or options that cannot be.
    """
    choice = Choice.parse(spec)
    group = choice.group(group)
    found = load(choice.name, group, "backend")
    if not (isinstance(found, type) and issubclass(found, Backend)):
        target = available(group).get(choice.name, choice.name)
        raise UsageError(f"backend {choice.name!r}: {target} is not a subclass of parity.backend.Backend")
    if unknown := [name for name, _ in choice.options if name not in found.options]:
        known = ", ".join(found.options) or "none"
        raise UsageError(f"backend {choice.name} has no option {unknown[0]!r}; it has {known}")
    found.check(dict(choice.options))
    return found


def find_reference(spec: str) -> type[Reference]:
    """The reference class that `spec` names.

    Raises:
        UsageError: for an unknown name, or a backend that is no reference.
    """
    choice = Choice.parse(spec)
    require_survivable(choice.name, choice.group(REFERENCES), "backend")
    found = find(spec, REFERENCES)
    if not issubclass(found, Reference):
        raise UsageError(f"backend {spec!r} is no reference: it has no contract and no scenarios")
    return found


def with_table(spec: str, table: str) -> str:
    """A backend as users write it, for any model by a table."""
    return f"{spec}{':' if '@' in spec else '@'}{TABLE}={table}"


def is_learnable(spec: str) -> bool:
    """Whether a candidate can be given a table: one for any model, or a user's own class, which says so itself."""
    name = Choice.parse(spec).name
    return ":" in name or name in available(BACKENDS + OF_ANY_MODEL)


def usual_for_any_model(group: str) -> str:
    """The first side of a group that is installed for any model.

    Raises:
        UsageError: where none is.
    """
    for name in available(group + OF_ANY_MODEL):
        return name
    raise UsageError(f"nothing is installed for any model in {group}; name a side")


def reference_by_learning(checkpoint: Checkpoint, spec: str | None = None) -> str | None:
    """The reference for any model that stands in where no contract was written for a checkpoint's type of model.

    Args:
        checkpoint: whose contract is asked for.
        spec: the reference that a user named.

    Returns:
        Its name, to be given a table; None where there is a contract, or no such reference.
    """
    if spec is None:
        return None if [*references_of(checkpoint)] else next(iter(available(REFERENCES + OF_ANY_MODEL)), None)
    choice = Choice.parse(spec)
    if choice.group("") or choice.name not in available(REFERENCES + OF_ANY_MODEL):
        return None
    known = choice.name in available(REFERENCES) and checkpoint.model_type in find_reference(spec).model_types
    return None if known else spec


def reference_of(checkpoint: Checkpoint, spec: str | None = None) -> str:
    """The reference that is named, or the first installed one that is true for models of the checkpoint's type.

    Raises:
        UsageError: where none is named and none is for such models, or what is named is no reference.
    """
    if spec is not None:
        find_reference(spec)
        return spec
    for name in references_of(checkpoint):
        return name
    known, model_type = ", ".join(available(REFERENCES)) or "none", checkpoint.model_type
    raise UsageError(f"no installed reference is for models of type {model_type!r}; name one of {known}, or your own")


def references_of(checkpoint: Checkpoint) -> Iterator[str]:
    """The installed references that are true for models of the checkpoint's type."""
    model_type = checkpoint.model_type
    return (name for name in available(REFERENCES) if model_type in find_reference(name).model_types)
