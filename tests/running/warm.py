"""Imported by the process that commands are forked of: it measures the toy, so that all is imported and compiled."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.toy import Port, Toy, runs, write

for late in ("tests.killed", "parity.cli.app", "parity.compare", "parity.golden.updating", "parity.report.html"):
    import_module(late)
with TemporaryDirectory() as folder:
    runs(Path(folder), "port", Port("float32"), write(Path(folder), "oracle", Toy()))
