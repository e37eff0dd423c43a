"""The page to try a server with: one answer of the server's own, which fetches nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from importlib import resources

from parity.report.html.page import policy, static

_STATIC = resources.files("parity.serving") / "static"


def _static(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")


STYLE = static("palette.css") + _static("page.css")
SCRIPT = _static("page.js")


@cache
def page() -> str:
    """The page, with its style and its script in it."""
    return _static("page.html").replace("/* style */", STYLE).replace("/* script */", SCRIPT)


POLICY = f"{policy(script=SCRIPT, style=STYLE)}; img-src data:; connect-src 'self'; frame-ancestors 'none'"
"""As a report's, and besides: the pictures that a user chose, questions to this server, and no frame around it."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
