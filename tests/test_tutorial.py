"""docs/port-your-own-model.md does what it says: its files are written, its commands run, its output compared."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

from parity.tap import ScopedTap
from tests.pages import BLOCK, ROOT, follow, wherever


@pytest.mark.slow
def test_the_page(tmp_path):
    """From the first block to the last."""
    kinds = follow(ROOT / "docs" / "port-your-own-model.md", tmp_path)
    assert [kinds.count(kind) for kind in ("python", "diff", "console")] == [8, 1, 7]


@pytest.mark.slow
def test_the_page_of_any_model(tmp_path):
    """A checkpoint is drawn, a table learned, a planted bug found; figures depend on the machine."""
    kinds = follow(ROOT / "docs" / "any-model.md", tmp_path, wherever)
    assert [kinds.count(kind) for kind in ("python", "console")] == [1, 5]


@pytest.mark.slow
def test_the_page_of_dumps(tmp_path):
    """Another tool's tensors are paired with the steps of an oracle, right ones and wrong ones."""
    kinds = follow(ROOT / "docs" / "dumps.md", tmp_path, wherever)
    assert [kinds.count(kind) for kind in ("python", "console")] == [2, 4]


def test_the_readme_s_tap_records_and_gives_back():
    """Its Python is run: silent it computes attention, and in lockstep it goes on with the scores that it is given."""
    (source,) = [text for kind, _, text in BLOCK.findall((ROOT / "README.md").read_text()) if kind == "python"]
    found: dict = {}
    exec(source, found)
    queries, keys, values = np.random.default_rng(0).standard_normal((3, 4, 8))
    weights = scipy.special.softmax(queries @ keys.T, axis=-1)
    np.testing.assert_allclose(found["attend"](queries, keys, values), weights @ values, rtol=1e-12)
    seen = {}
    given = ScopedTap(lambda name, value: np.zeros_like(value) if name == "scores" else seen.setdefault(name, value))
    found["attend"](queries, keys, values, given)
    np.testing.assert_allclose(seen["context"], np.broadcast_to(values.mean(0), (4, 8)), rtol=1e-12)
