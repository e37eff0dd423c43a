"""Renewing goldens: made anew in a temporary folder, compared with the old ones, and put in their place at once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from parity.contract import Contract
from parity.errors import ParityError, UsageError
from parity.golden.difference import Change, difference
from parity.golden.format import Golden, read_golden, write_golden
from parity.golden.making import Maker
from parity.golden.sets import Entry, GoldenSet
from parity.golden.store import Store
from parity.golden.whole import require_undamaged
from parity.running.progress import Progress
from parity.scratch import scratch

Made = dict[str, Golden]


@dataclass(frozen=True)
class Update:
    """What an update did.

    Attributes:
        changes: one a golden, in the order of the set, and then those that were removed.
        size: bytes of the whole set now.
    """

    changes: tuple[Change, ...]
    size: int


def update(golden_set: GoldenSet, *, only: tuple[str, ...] = (), allow_ci: bool = False, progress: Progress) -> Update:
    """Make goldens anew; all of the set, and no others stay, or those of the names in `only`.

    Raises:
        UsageError: in CI without leave, for an unknown name, or where the folder cannot be written.
        BackendUnavailable: when the reference is not installed or crashes; the old goldens are untouched.
    """
    require_leave(allow_ci=allow_ci)
    entries = golden_set.select(only)
    store = Store(golden_set.folder)
    with scratch() as folder, store.locked():
        made, contract = _make(golden_set, entries, folder, progress)
        before = set(store.names())
        stay = frozenset(before if only else made)
        changes = [difference(_old(store, entry.name, contract), made[entry.name], contract) for entry in entries]
        changes += [Change(name, "removed") for name in sorted(before - stay)]
        store.replace(made, contract, stay)
    return Update(tuple(changes), store.size())


def require_leave(*, allow_ci: bool) -> None:
    """Refuse to renew goldens in CI, where nobody looks at what changed.

    Raises:
        UsageError: where the environment variable ``CI`` says so.
    """
    if not allow_ci and os.environ.get("CI", "").lower() not in ("", "0", "false"):
        raise UsageError("goldens are not renewed in CI (the variable CI is set); add --allow-ci if it must be")


def _make(golden_set: GoldenSet, entries: tuple[Entry, ...], folder: Path, progress: Progress) -> tuple[Made, Contract]:
    """The new goldens as they will be read: what is compared is what is kept."""
    made, contracts = {}, []
    for golden, contract in Maker(golden_set, folder / "traces", progress).make(entries):
        path = folder / golden.manifest.name
        write_golden(golden, path)
        made[golden.manifest.name] = again = read_golden(path)
        require_undamaged(again, contract, golden.manifest.name)
        contracts.append(contract)
    return made, contracts[0]


def _old(store: Store, name: str, contract: Contract) -> Golden | None:
    """The golden that is there; None where there is none, or none that can be read and compared."""
    try:
        golden = read_golden(store.folder / name) if name in store.names() else None
        if golden is not None and golden.manifest.contract == contract.digest:
            require_undamaged(golden, contract, name)
    except ParityError:
        return None
    return golden
