"""The parties that are run together: the reference as often as needed, and candidates; each is loaded once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from parity.checkpoint import Checkpoint
from parity.discovery import BACKENDS, REFERENCES, Choice
from parity.media import Part
from parity.running.cache import Cache
from parity.running.cached import CachedParty
from parity.running.identity import identity
from parity.running.party import Party
from parity.running.plan import ORACLE_DTYPE, plan_job, plan_of
from parity.running.progress import Progress
from parity.traces.trace import Trace


class Parties:
    """Processes that load one checkpoint. Use as a context: it ends them, whatever they are doing.

    A party is opened, which starts its process, and then loaded: many can be opened first and loaded side by side.

    Args:
        checkpoint: of all parties.
        reference: the backend that is true.
        progress: told of each party's work.
        environment: further variables of every party's environment, as `parity.running.party.Party` takes them.
        timeout: seconds without a word after which one counts as stuck; None for the usual.
        kept: what the reference computed before; None to compute all.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        reference: str,
        progress: Progress,
        *,
        environment: Mapping[str, str] | None = None,
        timeout: float | None = None,
        kept: Cache | None = None,
    ) -> None:
        self._checkpoint, self._reference, self._progress = checkpoint, reference, progress
        self._true = checkpoint
        self._environment, self._timeout, self._cache = environment, timeout, kept
        self._dtypes: dict[Party, str] = {}
        self._candidates: set[Party] = set()

    def hold_to(self, checkpoint: Checkpoint) -> None:
        """Have the reference, which is not opened yet, load the same model with other weights."""
        self._true = checkpoint

    @cached_property
    def oracle(self) -> Party:
        """The reference in true float64."""
        return self.reference("oracle", ORACLE_DTYPE)

    def reference(self, name: str, dtype: str) -> Party:
        """Open the reference once more, in an arithmetic; what it computed before comes from the user's cache."""
        if self._cache is None or self._identity is None:
            return self._noted(self._opened(name, self._reference, REFERENCES), dtype)
        return self._noted(
            CachedParty(
                lambda: self._opened(name, self._reference, REFERENCES),
                name=name,
                backend=self._reference,
                cache=self._cache,
                identity={**self._identity, "dtype": dtype},
                progress=self._progress,
            ),
            dtype,
        )

    def candidate(self, name: str, dtype: str, environment: Mapping[str, str] | None = None) -> Party:
        """Open a backend that is judged, by its name and options; `environment` is its own in place of the others'."""
        party = self._noted(self._opened(Choice.parse(name).shown, name, BACKENDS, environment), dtype)
        self._candidates.add(party)
        return party

    def load(self, party: Party, *, wake: bool = True) -> Party:
        """Load the checkpoint into an open party, in its arithmetic; one that may know all may sleep on."""
        true = self._true
        party.load(
            replace(true, path=self._checkpoint.path) if party in self._candidates else true, self._dtypes[party]
        )
        if wake:
            party.wake()
        return party

    def know(self, scenarios: Sequence[str], prompt: str | None, media: Sequence[Part]) -> bool:
        """Whether all these scenarios were planned before, so that most of what will be asked may be known."""
        return all(self.oracle.knows("scenario", **plan_job(name, prompt, media)) for name in scenarios)

    def oracle_run(self, folder: Path, scenario: str, prompt: str | None, media: Sequence[Part]) -> Trace:
        """What is true in a scenario, for a prompt behind pictures and sounds."""
        plan = plan_of(self.oracle, scenario, prompt, media)
        return self.oracle.run(folder / "oracle", scenario=plan)

    def end(self, party: Party) -> None:
        """End one before the others."""
        del self._dtypes[party]
        party.close()

    def __iter__(self) -> Iterator[Party]:
        """Those that are open, in the order in which they were opened."""
        return iter([*self._dtypes])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with ExitStack() as stack:  # whatever fails, the others are closed
            for party in self:
                stack.callback(party.close)

    def _opened(self, name: str, backend: str, group: str, environment: Mapping[str, str] | None = None) -> Party:
        variables = self._environment if environment is None else environment
        how: dict[str, Any] = {"group": group, "progress": self._progress, "environment": variables}
        return Party(name, backend, **how, timeout=self._timeout)

    def _noted(self, party: Party, dtype: str) -> Party:
        self._dtypes[party] = dtype
        return party

    @cached_property
    def _identity(self) -> dict[str, Any] | None:
        return identity(self._reference, self._true, self._environment or {})
