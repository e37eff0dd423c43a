"""What a table is learned of is text: no id that stands for a picture or a sound."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("transformers")

from reference.any_model.scenarios import build, facts_of


def configured(**text):
    """A configuration of transformers, as far as it is asked."""
    found = SimpleNamespace(sliding_window=None, max_position_embeddings=99, vocab_size=768, **text)
    return SimpleNamespace(get_text_config=lambda: found)


@pytest.mark.parametrize(("text", "most"), [({}, 768), ({"vocab_size_per_layer_input": 20}, 20)])
def test_drawn_ids_have_a_row_in_every_table_of_text(text, most):
    """Gemma 3n's ids beyond the table of per-layer inputs are looked up in its towers' tables."""
    facts = facts_of(configured(**text))
    rows = build("learn-long", [], facts).chunks[0].tokens
    assert 0.6 * most < max(token for row in rows for token in row) < most
    assert facts.ids == 768
