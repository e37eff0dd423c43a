"""The embedded checkpoint's tokenizer: total, reversible, and the same through both libraries."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import tiny
from tools.tiny import config, tokenizer

# Lone surrogates have no UTF-8. U+2581 stands for the space inside, so it decodes to a space, as in every Gemma.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581"))
SPECIAL = st.sampled_from([tokenizer.vocabulary()[index] for index in tokenizer.special_ids()])


@pytest.fixture(scope="module")
def plain() -> Any:
    """tokenizer.json through the `tokenizers` library alone."""
    tokenizers = pytest.importorskip("tokenizers", reason="needs the [hf] extra")
    return tokenizers.Tokenizer.from_file(str(tiny.path() / "tokenizer.json"))


@pytest.fixture(scope="module")
def auto() -> Any:
    """The tokenizer as transformers builds it."""
    transformers = pytest.importorskip("transformers", reason="needs the [hf] extra")
    return transformers.AutoTokenizer.from_pretrained(tiny.path())


@given(text=TEXT)
def test_any_text_round_trips(plain: Any, text: str) -> None:
    """Decoding undoes encoding, whatever the script."""
    assert plain.decode(plain.encode(text).ids) == text


@given(pieces=st.lists(st.one_of(TEXT, SPECIAL)))
def test_text_with_special_tokens_round_trips(plain: Any, pieces: list[str]) -> None:
    """Special tokens in the text survive where they are asked for."""
    text = "".join(pieces)
    ids = plain.encode(text, add_special_tokens=False).ids
    assert plain.decode(ids, skip_special_tokens=False) == text


@given(pieces=st.lists(st.one_of(TEXT, SPECIAL)))
def test_transformers_agrees(plain: Any, auto: Any, pieces: list[str]) -> None:
    """transformers rebuilds the tokenizer from its parts; the ids are those of the file."""
    text = "".join(pieces)
    ids = plain.encode(text).ids
    assert auto(text).input_ids == ids
    assert auto.decode(ids, skip_special_tokens=False) == "<bos>" + text


def test_vocabulary(plain: Any, auto: Any) -> None:
    """768 different tokens, in both libraries."""
    tokens = tokenizer.vocabulary()
    assert len(set(tokens)) == config.VOCAB == plain.get_vocab_size() == len(auto)
    assert [plain.id_to_token(index) for index in range(config.VOCAB)] == tokens
    assert auto.convert_ids_to_tokens(list(range(config.VOCAB))) == tokens


@pytest.mark.parametrize("piece", tokenizer.PIECES)
def test_every_piece_is_reachable(plain: Any, piece: str) -> None:
    """Each piece's own text becomes that piece: no merge is dead."""
    assert plain.encode(piece.replace("▁", " "), add_special_tokens=False).tokens == [piece]


@pytest.mark.parametrize("text", ["What", " world", "Hello", "\n\n"])
def test_single_tokens(plain: Any, text: str) -> None:
    """Prompts that the harness uses are short."""
    assert len(plain.encode(text, add_special_tokens=False).ids) == 1


def test_hello_world(plain: Any) -> None:
    """BOS comes first, by the post-processor."""
    assert plain.encode("Hello world").tokens == ["<bos>", "Hello", "▁world"]


def test_byte_fallback(plain: Any) -> None:
    """A character without a piece becomes its UTF-8 bytes."""
    assert plain.encode("語", add_special_tokens=False).tokens == ["<0xE8>", "<0xAA>", "<0x9E>"]


def test_special_ids(auto: Any) -> None:
    """The tokenizer's special tokens have the ids that config.json names."""
    assert (auto.pad_token_id, auto.eos_token_id, auto.bos_token_id, auto.unk_token_id) == (0, 1, 2, 3)
    assert auto.image_token_id == config.IMAGE_TOKEN
    assert auto.audio_token_id == config.AUDIO_TOKEN
    edges = [auto.boi_token, auto.eoi_token, auto.boa_token, auto.eoa_token]
    expected = [config.START_OF_IMAGE, config.END_OF_IMAGE, config.START_OF_AUDIO, config.END_OF_AUDIO]
    assert auto.convert_tokens_to_ids(edges) == expected
