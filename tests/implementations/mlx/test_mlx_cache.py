"""Caches, masks and rotary embedding of the MLX model, each against its definition."""

import numpy as np
import pytest

mx = pytest.importorskip("mlx.core")

from hypothesis import given  # noqa: E402  # behind importorskip
from hypothesis import strategies as st  # noqa: E402

from implementations.gemma3n.config import Config  # noqa: E402
from implementations.gemma3n.rope import Rope  # noqa: E402
from implementations.mlx.attention import Attention, Shared  # noqa: E402
from implementations.mlx.cache import Cache, Conversation, seen  # noqa: E402
from implementations.mlx.masks import positions, visible  # noqa: E402
from implementations.mlx.operations.layers import mean, rms_norm  # noqa: E402
from reference.tiny import path  # noqa: E402


def chunk_of(begin, count, rows=2):
    """Keys whose values tell their row, head and position; ``[rows, 2, count, 3]``."""
    index = np.arange(begin, begin + count)[None, None, :, None]
    tags = 1000 * np.arange(rows)[:, None, None, None] + 100 * np.arange(2)[None, :, None, None]
    return mx.array(np.broadcast_to(index + tags, (rows, 2, count, 3)).astype(np.float32))


@given(st.lists(st.integers(1, 20), min_size=1, max_size=12), st.sampled_from([None, 1, 2, 5, 8]))
def test_any_chunking_presents_the_last_positions_in_order(chunks, window):
    """Cached then new, in position order, whatever the chunks; keys and values alike."""
    cache, begin = Cache(window), 0
    for count in chunks:
        past = begin if window is None else min(begin, window - 1)
        assert cache.past == past
        keys, values = cache.update(chunk_of(begin, count), -chunk_of(begin, count))
        expected = np.array(chunk_of(begin - past, past + count))
        np.testing.assert_array_equal(np.array(keys), expected)
        np.testing.assert_array_equal(np.array(values), -expected)
        begin += count


def test_what_was_presented_stays_as_it_was():
    """A recorder reads a chunk's keys at its end: later writes must not reach them."""
    cache = Cache(4)
    first, _ = cache.update(chunk_of(0, 3), chunk_of(0, 3))
    for begin in range(3, 20):
        cache.update(chunk_of(begin, 1), chunk_of(begin, 1))
    np.testing.assert_array_equal(np.array(first), np.array(chunk_of(0, 3)))


def test_a_sliding_cache_does_not_grow():
    """Its buffer holds twice the window, also after a chunk that is longer."""
    cache = Cache(8)
    for begin, count in [(0, 50), *[(50 + i, 1) for i in range(40)]]:
        cache.update(chunk_of(begin, count), chunk_of(begin, count))
    assert [array.shape[2] for array in cache.state] == [16, 16]


def test_a_conversation_caches_only_layers_that_own_keys():
    config = Config.from_directory(path()).text
    assert len(Conversation(config, padding=(0,), cache=True).caches) == 20
    assert Conversation(config, padding=(0,), cache=False).caches == []


def naive_mask(start, tokens, padding, window):
    """The definition, position by position."""
    past = seen(start, window)
    mask = np.zeros((len(padding), tokens, past + tokens), dtype=bool)
    for row, pad in enumerate(padding):
        for i in range(tokens):
            for j in range(past + tokens):
                query, key = start + i, start - past + j
                inside = window is None or key > query - window
                mask[row, i, j] = key <= query and inside and (key >= pad or key == query)
    return mask


@given(
    start=st.integers(0, 20),
    tokens=st.integers(1, 12),
    padding=st.lists(st.integers(0, 6), min_size=1, max_size=3),
    window=st.sampled_from([None, 1, 3, 8]),
)
def test_masks(start, tokens, padding, window):
    """Causal, within the window, real tokens only; no row is empty."""
    pads, past = mx.array(padding, dtype=mx.int32), seen(start, window)
    queries, keys = positions(start, tokens, pads), positions(start - past, past + tokens, pads)
    mask = np.array(visible(queries, keys, window=window, padded=any(padding)))
    np.testing.assert_array_equal(mask, naive_mask(start, tokens, padding, window))
    assert mask.dtype == bool
    assert mask.any(axis=-1).all()


@given(st.lists(st.integers(-5, 40), min_size=1, max_size=4), st.integers(1, 5))
def test_rope_turns_each_row_from_its_own_offset(offsets, tokens):
    """Row r, token t is turned by ``(offset[r] + t) * frequency``; half the head is paired with the other half."""
    config = Config.from_directory(path()).text
    table = Rope(10_000.0).inverse_frequencies(config.head_dim)
    kind = config.layer_types[0]
    shared = Shared(mx.array(offsets, dtype=mx.int32), {kind: 1.0 / mx.array(table)}, {}, [])
    x = np.random.default_rng(0).normal(size=(len(offsets), tokens, 2, config.head_dim)).astype(np.float32)
    turned = np.array(Attention(config, 0)._rotate(mx.array(x), shared))
    angle = (np.array(offsets)[:, None] + np.arange(tokens))[..., None, None] * table.astype(np.float64)
    left, right = np.split(x.astype(np.float64), 2, axis=-1)
    cos, sin = np.cos(angle), np.sin(angle)
    expected = np.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)
    np.testing.assert_allclose(turned, expected, atol=2e-5)


@pytest.mark.parametrize("width", [1, 3, 7, 32, 96, 128, 2048])
def test_mean_and_norm_are_exact_to_a_few_units(width):
    """Whatever the width, a power of two or not; plain summation is off by up to 37 units at 2048."""
    x = np.random.default_rng(0).normal(size=(200, width)).astype(np.float32)
    squares = x.astype(np.float64) ** 2
    error = np.abs(np.array(mean(mx.array(squares.astype(np.float32))))[:, 0] / squares.mean(-1) - 1)
    assert error.mean() < 3 * 2**-24
    expected = x / np.sqrt(squares.mean(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(np.array(rms_norm(mx.array(x), None, 1e-6)), expected, rtol=12 * 2**-24)
