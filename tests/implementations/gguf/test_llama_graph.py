"""Taps in llama.cpp's graph: what is read is what is computed, what is answered goes on, and nothing else changes."""

import re
from fnmatch import fnmatchcase

import numpy as np
import pytest

pytest.importorskip("xllamacpp")

from implementations.gguf.engine.tensors import Value
from implementations.gguf.graph import UNSEEN, Row, table
from implementations.gguf.watch import Watch
from parity.errors import BackendUnavailable, UsageError
from parity.golden.store import Store
from parity.tap import SILENT
from reference.goldens import catalogue
from tests.ports import collecting, distance, ids, logits

TOKENS = ids(1, 20)
"""More than the window of 16."""


def heard(backend, tokens=TOKENS, answer=lambda name, value: value):
    """Values of all steps by name, and the logits."""
    tap, steps = collecting(answer)
    found = logits(backend, [tokens], tap=tap)
    return {name: backend.tensors.to_numpy(value, None) for name, value in steps}, found


def own(name, value):
    """A new value that is the same, which is written back."""
    return Value(value.array.copy()) if isinstance(value, Value) else value


def test_what_listens_changes_nothing(backend):
    """To the bit."""
    assert np.array_equal(heard(backend)[1], logits(backend, [TOKENS], tap=SILENT))


@pytest.mark.parametrize("options", [{}, {"kv": "f16"}, {"flash": "on"}, {"flash": "on", "kv": "q8_0"}, {"chunk": "7"}])
def test_own_values_written_back_change_nothing(options, load):
    """To the bit, also where the cache rounds them; each in its place of a chunk that is computed in parts."""
    backend = load(**options)
    assert np.array_equal(heard(backend, answer=own)[1], logits(backend, [TOKENS]))


def test_every_step_of_the_contract_is_emitted_or_hidden(backend):
    """Each once, and hidden are only those of which a node cannot be: 1,225 of 1,229."""
    contract = Store(catalogue().folder).contract()
    expected = {step.name for step in contract if not step.needs}
    steps = set(heard(backend)[0])
    hidden = {name for name in expected - steps if any(fnmatchcase(name, pattern) for pattern in UNSEEN)}
    assert steps | hidden == expected
    assert (len(steps), len(hidden)) == (1225, 4)


def test_a_step_begins_from_its_answer(backend):
    """A wrong mean of a gate is in the cutoff that is made of it, and nowhere else."""
    right = heard(backend, answer=own)[0]

    def wrong(name, value):
        if not isinstance(value, Value):
            return value
        return Value(right[name] + np.float32(0.1 if name == "text.layers.3.mlp.gate_mean" else 0))

    found = heard(backend, answer=wrong)[0]
    changed = [name for name, value in found.items() if not np.array_equal(value, right[name])]
    assert changed == ["text.layers.3.mlp.gate_std", "text.layers.3.mlp.cutoff"]


@pytest.mark.parametrize(
    ("step", "change"),
    [
        ("text.layers.3.attn.keys", lambda array: array * 2),
        ("text.layers.22.attn.values", lambda array: array[..., ::-1]),
        ("text.mask.full_attention", lambda array: np.eye(array.shape[1])[None] > 0),
        ("text.altup.embed.target_magnitude", lambda array: array * 2),
        ("text.altup.embed.3.projection", lambda array: array[..., ::-1]),
    ],
)
def test_an_answer_is_read(step, change, backend):
    """What lies in the cache, in inputs of the graph, in a part of a node, or as another quantity."""
    found = heard(backend, answer=lambda name, value: Value(change(value.array)) if name == step else value)[1]
    assert distance(found, logits(backend, [TOKENS])) > 1e-5


def test_what_a_tap_raises_is_raised_when_the_graph_ends(backend):
    """And the next run is as if nothing had been."""

    def fail(name, value):
        raise KeyError(name)

    with pytest.raises(KeyError, match=r"text.layers.2.laurel.out"):
        heard(backend, answer=lambda name, value: fail(name, value) if name.endswith("2.laurel.out") else value)
    assert np.array_equal(heard(backend)[1], logits(backend, [TOKENS]))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (Row("a.step", "laurel_out-3", "MUL", "token hidden"), "a.step is MUL at node laurel_out-3; there is ADD"),
        (Row("a.step", "sides-3", "MUL", "token hidden"), "a.step is MUL at node sides-3; there is none"),
        (Row("a.step", "blk.3.ffn_gate.weight", "ADD", "token one", behind=7), r"ffn_gate.weight \+ 7; there is SCALE"),
        (Row("a.step", "modalities-3", "TANH", "token hidden", again=True), r"4 x 20 .*|20 x 128, at node modalities"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused(row, said, backend, monkeypatch):
    """Another build's nodes are never taken for others."""
    library = backend._program.watch._library
    watch = Watch(library, {False: [row]}, {})
    monkeypatch.setattr(backend._program, "watch", watch)
    monkeypatch.setattr(backend._program._session, "_shape", (0, 0))
    with pytest.raises(BackendUnavailable, match="does not fit") as caught:
        heard(backend)
    assert re.search(said, str(caught.value))
    monkeypatch.setattr(backend._program._session, "_shape", (0, 0))


def test_rows_of_unequal_length_are_as_each_alone(backend):
    """Computed together, left-padded, in two chunks; but that a GELU in float16 makes of the last bit its own 11th."""
    tokens, padding = ids(3, 12), (0, 9, 2)
    chunks = [tokens[:, :7], tokens[:, 7:]]
    together = logits(backend, chunks, padding)
    alone = [logits(backend, [tokens[row : row + 1, blank:]]) for row, blank in enumerate(padding)]
    assert distance(together, np.concatenate(alone)) < 5e-4


def test_keys_are_in_the_order_of_positions(backend):
    """Of a second chunk all that its queries see: a window before it, whose slots are used anew, and itself."""
    tokens = ids(1, 60)
    tap, steps = collecting()
    logits(backend, [tokens[:, :50], tokens[:, 50:]], tap=tap)
    found = [value for name, value in steps if name == "text.layers.3.attn.keys"]
    rotated = [value.array for name, value in steps if name == "text.layers.3.attn.k_rope"]
    every = np.moveaxis(np.concatenate(rotated, 1), 1, 2)
    assert np.array_equal(found[0].array, every[:, :, :50])
    assert np.array_equal(found[1].array, every[:, :, 35:])


def test_more_than_the_context_is_refused_before_it_is_computed(load):
    backend = load(context="30")
    with pytest.raises(UsageError, match="31 tokens, the context is 30"):
        logits(backend, [ids(1, 31)])
    with pytest.raises(UsageError, match="40 tokens, the context is 30"):
        logits(backend, [TOKENS, TOKENS])


def test_the_table_has_each_step_once(backend):
    for flash in ("off", "on"):
        text, pictures = (
            [row.step for row in table(backend._program.config.text, flash, soft=soft)] for soft in (False, True)
        )
        assert len(text) == len(set(text)) == 1225
        assert set(text) - set(pictures) == {"text.embed_tokens"}


def test_what_is_hidden_has_a_reason():
    assert all(len(reason) > 20 for reason in UNSEEN.values())
