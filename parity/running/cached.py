"""A reference's party that computes nothing twice: what it ran before comes from the cache, and it may never start."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import xxhash

from parity.checkpoint import Checkpoint
from parity.discovery import find_reference, require_dtype
from parity.errors import ParityError
from parity.media import content_name, parse
from parity.running.cache import Cache
from parity.running.party import Party
from parity.running.progress import Progress
from parity.scenario import Scenario
from parity.traces.coverage import NOTHING, Missing
from parity.traces.measure import Error
from parity.traces.measured import from_text, to_text
from parity.traces.trace import Key, Mode, Trace
from parity.traces.writer import adopted, linked, require_new

STEADY = ("contract", "scenario", "executions")
"""Jobs whose answers are small, and the same whenever they are asked."""


class CachedParty(Party):
    """A party of the reference that answers from the cache; what is new it has computed by a party with a process.

    Args:
        party: makes that party, when the first thing is new.
        name: what reports and progress call it.
        backend: the reference.
        cache: where all that is computed is kept.
        identity: what the reference is (see `parity.running.identity.identity`), in which arithmetic.
        progress: told of what is not computed.
    """

    def __init__(
        self,
        party: Callable[[], Party],
        *,
        name: str,
        backend: str,
        cache: Cache,
        identity: dict[str, Any],
        progress: Progress,
    ) -> None:
        self.name, self.backend = name, backend
        self._party, self._cache, self._identity, self._progress = party, cache, identity, progress
        self._is_varied = False

    @cached_property
    def _real(self) -> Party:
        """The party with a process, loaded."""
        return self._party().load(self._checkpoint, self._dtype)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Those of the class, which the harness has imported: it must know the reference's variants."""
        return find_reference(self.backend).dtypes

    def load(self, checkpoint: Checkpoint, dtype: str) -> Self:
        """Remember what to load."""
        require_dtype(self.backend, self.dtypes, dtype)
        self._checkpoint, self._dtype = checkpoint, dtype
        return self

    def wake(self) -> None:
        """Load it, for something new will be asked."""
        _ = self._real

    def call(self, op: str, **fields: Any) -> Any:
        """Give one job, or say what it gave before."""
        if op == "vary":
            self._is_varied = bool(fields["variants"])
        if op not in STEADY:
            return self._real.call(op, **fields)
        return self._value(_asked(op, fields), lambda: self._real.call(op, **fields))

    def knows(self, op: str, **fields: Any) -> bool:
        """Whether the answer is kept."""
        key = self._key(**_asked(op, fields))
        return key is not None and self._cache.find(key) is not None

    def run(
        self, output: Path, *, oracle: Trace | None = None, scenario: dict[str, Any] | None = None, **how: Any
    ) -> Trace:
        """Run, or give what a run of the same left.

        Raises:
            UsageError: when something has the output's name.
        """
        require_new(output)
        key = self._key(op="run", of=_oracle(oracle), scenario=_by_content(scenario), **how)
        if key and (found := self._cache.find(key)):
            if kept := self._given(found, output):
                return kept
            self._cache.drop(key)
        trace = self._real.run(output, oracle=oracle, scenario=scenario, **how)
        if key:
            self._cache.keep(key, lambda content: _shared(output, content))
        return trace

    def measure(self, execution: str, *, oracle: Trace, mode: Mode, missing: Missing = NOTHING) -> dict[Key, Error]:
        """Measure, or say what was measured before."""
        asked = {"op": "measure", "execution": execution, "of": _oracle(oracle), "mode": mode, "missing": missing}
        text = self._value(
            asked,
            lambda: to_text(self._real.measure(execution, oracle=oracle, mode=mode, missing=missing)),
        )
        return from_text(text)

    def stream(self, op: str, **fields: Any) -> Generator[str, None, Any]:
        """Give one job and yield the text that it sends; nothing of it is kept."""
        return self._real.stream(op, **fields)

    def close(self) -> None:
        """End the worker, if there is one."""
        if "_real" in self.__dict__:
            self._real.close()

    def _key(self, **asked: Any) -> dict[str, Any] | None:
        """All that an answer depends on; None while it depends on bugs that the reference was given."""
        if self._is_varied:
            return None
        missing = sorted(map(list, asked.pop("missing", ())))
        return {**self._identity, **asked, "missing": missing}

    def _value(self, asked: dict[str, Any], ask: Callable[[], Any]) -> Any:
        """A small answer, kept as JSON."""
        key = self._key(**asked)
        if key and (found := self._cache.find(key)):
            with suppress(OSError, ValueError):
                return json.loads(found.read_text(encoding="utf-8"))
            self._cache.drop(key)
        value = ask()
        if key:
            self._cache.keep(key, lambda content: _write(content, value))
        return value

    def _given(self, found: Path, output: Path) -> Trace | None:
        """A kept trace under the name that is asked for; None where it is damaged, or was removed this moment."""
        self._progress.start(self.name, 0, "kept run")
        try:
            adopted(found, output, sys.argv[1:])
            return Trace.read(output)
        except (OSError, ParityError):
            shutil.rmtree(output, ignore_errors=True)
            return None
        finally:
            self._progress.done(self.name)


def _asked(op: str, fields: dict[str, Any]) -> dict[str, Any]:
    """A job with what is in the files that it names; its answer names them too."""
    files = [content_name(Path(part.value)) for part in parse(fields.get("media", ()))]
    return {"op": op, **fields, "files": files}


def _oracle(trace: Trace | None) -> str:
    """An oracle's trace by its content: its records have the digests of its tensors."""
    if trace is None:
        return ""
    state = xxhash.xxh3_128((trace.path / "steps.jsonl").read_bytes())
    state.update(json.dumps([trace.manifest.scenario, trace.manifest.contract], sort_keys=True).encode())
    return state.hexdigest()


def _by_content(scenario: dict[str, Any] | None) -> Any:
    """A scenario in which pictures and sounds are what is in them, wherever they lie."""
    if scenario is None:
        return None
    named = lambda part: part if part.kind == "text" else replace(part, value=content_name(Path(part.value)))  # noqa: E731
    return Scenario.from_json(scenario).mapped(lambda prompt: tuple(map(named, prompt))).to_json()


def _shared(trace: Path, content: Path) -> None:
    """The same files under two names, so nobody may write into them."""
    linked(trace, content)
    for file in content.rglob("*"):
        if file.is_file():
            file.chmod(0o444)


def _write(content: Path, value: Any) -> None:
    content.write_text(json.dumps(value), encoding="utf-8")
