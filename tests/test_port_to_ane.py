"""docs/port-to-ane.md does what it says, in a clone whose model its reader edits."""

from __future__ import annotations

import pytest

pytest.importorskip("coremltools")

from tests.pages import ROOT, clone, follow, wherever

LAUREL = "implementations/ane/laurel.py"


@pytest.mark.slow
def test_the_page(tmp_path):
    """From the first block to the last; the model is mended to the byte, and the page of health is there."""
    clone(tmp_path)
    kinds = follow(ROOT / "docs" / "port-to-ane.md", tmp_path, wherever, columns=200)
    assert [kinds.count(kind) for kind in ("diff", "console")] == [2, 7]
    assert (tmp_path / LAUREL).read_bytes() == (ROOT / LAUREL).read_bytes()
    page = (tmp_path / "health.html").read_text(encoding="utf-8")
    assert "decoder_3of3" in page
    assert "lut6" in page
