"""A report as a folder: ``index.html``, ``report.md``, ``report.json``, and ``model-explorer/``."""

from __future__ import annotations

from pathlib import Path

from parity.report.detail import Report
from parity.report.explorer import dumps, file_name, graph, overlay
from parity.report.html import render
from parity.report.json import FILE, dumps_report, prepare, write_whole
from parity.report.markdown import markdown

PAGE, COMMENT, EXPLORER = "index.html", "report.md", "model-explorer"


def write_report(report: Report, folder: Path) -> Path:
    """Write all of it, each file whole or not at all; returns the page.

    Raises:
        UsageError: where the folder cannot be written to, or jinja2 is not installed.
    """
    prepare(folder)
    page = render(report)  # first: it is what can fail
    write_whole(folder / FILE, dumps_report(report))
    write_whole(folder / COMMENT, markdown(report))
    _write_overlays(report, folder / EXPLORER)
    return write_whole(folder / PAGE, page)


def _write_overlays(report: Report, folder: Path) -> None:
    """Of an earlier report in the same folder only files of these very names are replaced."""
    prepare(folder)
    contract = report.comparison.contract
    write_whole(folder / "graph.json", dumps(graph(contract)))
    for number, judgement in enumerate(report.comparison.judgements, 1):
        if judgement.steps:
            write_whole(folder / file_name(judgement, number), dumps(overlay(judgement, contract)))
