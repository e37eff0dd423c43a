"""The page to try a server with: one answer of the server's own, which fetches nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources

_STATIC = resources.files("parity.serving") / "static"


def _static(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """What a policy calls an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def page() -> str:
    """The page, with its style and its script in it."""
    return _static("page.html").replace("/* style */", _static("page.css")).replace("/* script */", _static("page.js"))


POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src {_source(_static('page.css'))}",
        f"script-src {_source(_static('page.js'))}",
        "img-src data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
