"""docs/first-steps.md does what it says, in a clone whose model its reader edits."""

from __future__ import annotations

import pytest

from tests.pages import ROOT, clone, follow, wherever

ALTUP = "implementations/mlx/altup.py"


@pytest.mark.slow
def test_the_page(tmp_path):
    """From the first block to the last; the report is of the bug, and the model is mended to the byte."""
    clone(tmp_path)
    kinds = follow(ROOT / "docs" / "first-steps.md", tmp_path, wherever)
    assert [kinds.count(kind) for kind in ("diff", "console")] == [2, 4]
    report = (tmp_path / "reports" / "wrong" / "index.html").read_text(encoding="utf-8")
    assert "text.layers.0.altup.correct.coefs" in report
    assert "altup-no-plus-one" in report
    assert (tmp_path / ALTUP).read_bytes() == (ROOT / ALTUP).read_bytes()
