"""What the page may do, as a content-security policy: run its own script, use its own style, and nothing else at all.

A prompt or a step's name that slipped through the escaping would still not run, load or send anything.
"""

from __future__ import annotations

import base64
import hashlib


def policy(*, script: str, style: str) -> str:
    """The policy of a page with that one script and that one style, each allowed by its hash alone."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
