"""Parties in the test's own process, around models that are loaded already: loading costs more than what is tested.

Workers in processes of their own are covered by tests/test_compare.py, and by tests/diagnosis/test_diagnosis.py with
variants.
"""

from __future__ import annotations

import threading
from typing import Any

from parity.discovery import REFERENCES
from parity.running.party import Party
from parity.running.started import Start
from parity.running.worker import Worker
from reference.gemma3n.huggingface import Reference

ALONE = threading.Lock()
"""Weaving changes functions that all models share, so one party works at a time."""


def bring_near(harness: Any, monkeypatch: Any) -> None:
    """Have commands run the reference inside this process, on the harness's models."""

    class Near(Worker):
        def __init__(self, backend: str) -> None:
            self._start = Start(backend, REFERENCES, {}, [], socket=-1)
            self._backend = None

        def tell(self, event: str, **fields: Any) -> None:
            """Nobody listens."""

        def do_load(self, job: Any) -> None:
            """Take a loaded model, with the variant that the options name."""
            dtype, options = job["dtype"], dict(self._choice.options)
            loaded = harness.oracle if dtype == "float64" else harness.baseline(dtype)
            self._backend = Reference(loaded._model, harness.checkpoint, dtype)
            self._backend.vary([(options["variant"], options["at"])] if options else [])

    class NearParty(Party):
        def __init__(
            self, name: str, backend: str, *, group: str, progress: Any, environment: Any, timeout: Any
        ) -> None:
            self.name, self.backend = name, backend
            self._progress = progress
            self._worker = Near(backend)

        @property
        def dtypes(self) -> tuple[str, ...]:
            """Those of the reference, whatever it is called."""
            return Reference.dtypes

        @property
        def has_weights(self) -> bool:
            """It computes with the checkpoint's."""
            return False

        def call(self, op: str, **fields: Any) -> Any:
            """Do the job at once."""
            with ALONE:
                return getattr(self._worker, f"do_{op}")(fields)

        def close(self) -> None:
            """Nothing was started."""

    monkeypatch.setattr("parity.running.parties.Party", NearParty)
