"""How long a browser takes until a large report can be used, against a small one, alternating in one run.

Run by ``make bench``. What both take is chromium's own start of a page.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from parity.report.html import render
from tests import report_pages as pages
from tests import report_samples as samples
from tests.browser import Sheet, browser

ROUNDS = 7


def seconds(chromium, path: Path) -> float:
    """From opening the page until a step that may be clicked is there."""
    start = time.perf_counter()
    sheet = Sheet(chromium, path)
    sheet.page.locator(".reader output a").first.wait_for()
    taken = time.perf_counter() - start
    sheet.context.close()
    return taken


def ratio(chromium, small: Path, large: Path) -> float:
    """Median over neighbouring openings, so that a busy machine disturbs both alike; the first pair warms up."""
    pairs = [(seconds(chromium, small), seconds(chromium, large)) for _ in range(ROUNDS + 1)]
    return statistics.median(slow / quick for quick, slow in pairs[1:])


def test_large_report_opens(benchmark, tmp_path):
    """2,000 steps and 5 candidates."""
    large, small = tmp_path / "large.html", tmp_path / "small.html"
    large.write_text(render(pages.large()), encoding="utf-8")
    small.write_text(render(pages.with_details(samples.parity())), encoding="utf-8")
    with browser() as chromium:
        found = benchmark.pedantic(ratio, args=(chromium, small, large), rounds=1, iterations=1)
    benchmark.extra_info["large / small"] = found
    print(f"\na report of 2,000 steps and 5 candidates: {found:.2f} x a small one")
