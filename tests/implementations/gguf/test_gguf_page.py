"""docs/gguf.md does what it says."""

import pytest

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

from tests.pages import ROOT, follow


def test_each_output_is_printed(tmp_path):
    assert follow(ROOT / "docs" / "gguf.md", tmp_path, columns=200) == ["console", "console", "sh", "sh"]
