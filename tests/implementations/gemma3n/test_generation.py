"""The generation loop and its tokenizer: greedy, streamed on whole characters, stopped where the model says."""

import json

import numpy as np
import pytest

from implementations.gemma3n import generation
from implementations.gemma3n.generation import generate_ids, prefill
from implementations.gemma3n.preprocessing.tokenizer import Tokenizer, stop_ids
from parity.discovery import find
from parity.errors import UsageError
from parity.generation import Message, Sampling
from parity.media import Part
from reference.tiny import path

tokenizers = pytest.importorskip("tokenizers")

TEXT = "Grüße aus 東京 – 3 €, 𝄞!"


@pytest.fixture(scope="module")
def tokenizer():
    """The embedded checkpoint's."""
    return Tokenizer.from_directory(path())


class Script:
    """A model that says a fixed sequence of ids; notes the chunks that it was given."""

    def __init__(self, *ids):
        self.ids, self.chunks = list(ids), []

    def __call__(self, chunk):
        self.chunks.append(chunk)
        scores = np.zeros(768, dtype=np.float32)
        scores[self.ids[0]] = 1
        if len(chunk) == 1 or len(self.chunks) == 1:
            self.ids = self.ids[1:] or [0]
        return scores


def test_exactly_one_bos(tokenizer):
    once = tokenizer.encode("Hello")
    assert once[0] == tokenizer.bos
    assert once.count(tokenizer.bos) == 1
    assert tokenizer.encode("<bos>Hello") == once


def test_text_survives_encoding(tokenizer):
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT


def test_pieces_end_on_whole_characters(tokenizer):
    """Characters that the vocabulary lacks are several byte tokens."""
    pieces = list(tokenizer.stream(tokenizer.encode(TEXT)))
    assert "".join(pieces) == TEXT
    assert len(pieces) > 5
    assert not any("\ufffd" in piece for piece in pieces)


def test_pieces_come_as_soon_as_they_can(tokenizer):
    """Nothing is held back but bytes of a character: after n tokens their text is out."""
    ids = tokenizer.encode("a plain text")
    for count in range(1, len(ids)):
        assert "".join(tokenizer.stream(ids[:count])) == tokenizer.decode(ids[:count])


def test_bytes_that_are_no_character_do_not_hold_the_stream(tokenizer):
    """An unfinished character at the end is shown as what it is, and a run of bad bytes does not wait for ever."""
    bad = tokenizer._tokenizer.token_to_id("<0xE2>")
    assert "".join(tokenizer.stream([bad])) == "\ufffd"
    seen = []

    def source():
        for index in range(8):
            seen.append(index)
            yield bad

    next(tokenizer.stream(source()))
    assert len(seen) <= 4


def written(model, prompt, *, stops=(), **sampling):
    """Ids that follow a prompt."""
    return list(generate_ids(model, prefill(model, prompt), sampling=Sampling(**sampling), stops=stops))


def test_stops_before_the_stop_id():
    model = Script(50, 60, 6, 70)
    assert written(model, [2, 9], max_tokens=10, stops={1, 6}) == [50, 60]
    assert model.chunks == [[2, 9], [50], [60]]


def test_at_most_so_many_tokens():
    """And the model is not run for a token that is not wanted."""
    model = Script(50, 60, 70)
    assert written(model, [2], max_tokens=2) == [50, 60]
    assert model.chunks == [[2], [50]]
    assert written(Script(50), [2], max_tokens=0) == []


def test_a_long_prompt_is_run_in_chunks(monkeypatch):
    monkeypatch.setattr(generation, "PREFILL", 4)
    model = Script(50)
    written(model, list(range(10, 19)), max_tokens=1)
    assert model.chunks == [[10, 11, 12, 13], [14, 15, 16, 17], [18]]


def test_nothing_to_generate_from():
    with pytest.raises(UsageError, match="no tokens"):
        prefill(Script(1), [])


@pytest.mark.parametrize(
    ("generation_file", "config_file", "expected"),
    [({"eos_token_id": [1, 106]}, {}, {1, 106}), ({"eos_token_id": 1}, {}, {1}), ({}, {"eos_token_id": 3}, {3}),
     (None, {}, set())],
)  # fmt: skip
def test_stop_ids(tmp_path, generation_file, config_file, expected):
    if generation_file is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation_file))
    (tmp_path / "config.json").write_text(json.dumps(config_file))
    assert stop_ids(tmp_path) == expected


@pytest.mark.parametrize("content", ["{", '{"eos_token_id": "end"}'])
def test_stop_ids_that_cannot_be_read(tmp_path, content):
    (tmp_path / "generation_config.json").write_text(content)
    with pytest.raises(UsageError, match=r"generation_config\.json"):
        stop_ids(tmp_path)


@pytest.mark.parametrize("content", [None, "{}", "no"])
def test_a_tokenizer_that_cannot_be_read(tmp_path, content):
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(UsageError, match=r"tokenizer\.json"):
        Tokenizer.from_directory(tmp_path)


def test_a_tokenizer_of_another_model(tmp_path):
    tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UsageError, match="<bos>"):
        Tokenizer.from_directory(tmp_path)


@pytest.mark.parametrize(("name", "framework"), [("mlx", "mlx.core"), ("ane", "torch")])
def test_a_backend_says_what_its_forward_pass_says(name, framework, tokenizer):
    """The streamed text is that of the argmax of whole forward passes, without a cache."""
    pytest.importorskip(framework)
    backend, ids = find(name).load(path(), "float32"), tokenizer.encode("Hello")
    said = "".join(backend.generate([Message("text", (Part("text", "Hello"),))], Sampling(max_tokens=8)))
    count = len(ids)
    for _ in range(8):
        backend.start(padding=(0,), cache=False)
        ids.append(int(backend.forward(np.array([ids]))[0, -1].argmax()))
        if ids[-1] in stop_ids(path()):
            ids.pop()
            break
    assert said == tokenizer.decode(ids[count:])
