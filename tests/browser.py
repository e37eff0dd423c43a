"""A real browser for the tests of pages: chromium with the network off, which remembers all that it complained of."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
VIOLATIONS = """async () => {
  const found = await axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]});
  return found.violations.map(one => `${one.id}: ${one.nodes.length} x ${one.nodes[0].html.slice(0, 160)}: `
    + one.nodes[0].failureSummary);
}"""


@contextmanager
def browser():
    """Chromium, headless; without one the tests are skipped, but never in CI, where it is part of what is checked."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        missing = "no chromium: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e '.[test]'")
    with playwright.sync_playwright() as driver:
        # in a container, root has no sandbox to give; the pages are our own
        started = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


class Sheet:
    """One page, opened from disk without a network, or a server's by its URL.

    `complaints` are errors of script, style and policy, and every request but the server's own.
    """

    def __init__(self, started, path, *, script=True, width=1280, scheme="light"):
        served = isinstance(path, str)
        self.context = started.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            offline=not served,
            java_script_enabled=script,
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(30_000)
        self.complaints = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda request: self._asked(request.url))
        self.url = path if served else path.as_uri()
        self._own = (self.url, "data:") if served else (self.url,)
        self.page.goto(self.url)

    def _asked(self, url):
        if not url.startswith(self._own):
            self.complaints.append(f"request: {url}")

    def open(self, fragment):
        """Go to a part of the page."""
        self.page.evaluate("fragment => { location.hash = fragment }", fragment)
        self.page.wait_for_timeout(50)

    def violations(self):
        """What axe finds against WCAG 2.2, level A and AA."""
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        return self.page.evaluate(VIOLATIONS)
