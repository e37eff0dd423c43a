"""llama.cpp's own tokenizer, from a file's header, gives the ids that the reference's gives."""

import json
import random
from dataclasses import replace

import pytest

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")
pytest.importorskip("transformers")

from gguf import GGUFReader, TokenType

from implementations.gguf.convert.conversion import Conversion
from implementations.gguf.convert.kinds import KINDS
from implementations.gguf.convert.vocabulary import Vocabulary
from implementations.gguf.engine.library import library
from parity.errors import UsageError
from reference.tiny import path
from tests.bad_input.inputs import checkpoint, edited

DECLARATIONS = """
int32_t llama_tokenize(const void * vocab, const char * text, int32_t length, int32_t * tokens, int32_t room,
                       bool add_special, bool parse_special);
"""
PROMPTS = (
    "Hello world",
    "  two  blanks, and one behind ",
    "a\n\nb\n\n\nc\td",
    "<start_of_turn>user\nWhat is it?<end_of_turn>\n<start_of_turn>model\n",
    "<start_of_image><image_soft_token><end_of_image> and <unused7>",
    "na\u00efve, \u6f22\u5b57, \U0001f600 and a\u0301",
    "<0x41> is no byte, \u2581 is no blank, <unk> <pad> <mask>",
    "1234567890 + 0.5 = {'x': [1, 2]}",
    "",
)


def encoder(file):
    """Ids of a text by llama.cpp, of a file that has a vocabulary alone."""
    llama = library()
    llama.ffi.cdef(DECLARATIONS, override=True)
    params = llama.c.llama_model_default_params()
    params.vocab_only = True
    model = llama.c.llama_model_load_from_file(str(file).encode(), params)
    assert model != llama.ffi.NULL, llama.last_error()
    model = llama.ffi.gc(model, llama.c.llama_model_free)

    def encoded(text):
        content, room = text.encode(), len(text.encode()) + 8
        ids = llama.ffi.new("int32_t[]", room)
        vocabulary = llama.c.llama_model_get_vocab(model)
        count = llama.c.llama_tokenize(vocabulary, content, len(content), ids, room, True, True)
        return list(ids[0:count])

    return encoded


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """Ids by llama.cpp, of the embedded checkpoint's tokenizer."""
    file = tmp_path_factory.mktemp("gguf") / "vocabulary.gguf"
    Conversion.of(path(), "tiny").write_vocabulary(file)
    return encoder(file)


@pytest.fixture(scope="module")
def reference():
    """Ids of a text by the tokenizer of transformers."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path())
    return lambda text: tokenizer(text).input_ids


@pytest.mark.parametrize("prompt", PROMPTS)
def test_of_prompts(tokens, reference, prompt):
    assert tokens(prompt) == reference(prompt)


def test_of_random_texts(tokens, reference):
    """Words of the vocabulary in any order, and letters."""
    draw = random.Random(0)
    vocabulary = json.loads((path() / "tokenizer.json").read_text())["model"]["vocab"]
    words = [word.replace("\u2581", " ") for word in vocabulary if not word.startswith("<")]
    letters = sorted({letter for word in words for letter in word} | set("\n\t\u00e9\u00df\u6f22'\"<>"))
    for pieces in (words, letters) * 400:
        text = "".join(draw.choice(pieces) for _ in range(draw.randint(1, 30)))
        assert tokens(text) == reference(text), text


def test_other_scores_would_be_seen(tokens, tmp_path):
    """Of two neighbours the pair goes first that tokenizer.json lists first; not, if scores rise with its lines."""
    conversion = Conversion.of(path(), "tiny")
    upside_down = replace(conversion.vocabulary, scores=[-score for score in conversion.vocabulary.scores])
    replace(conversion, vocabulary=upside_down).write_vocabulary(tmp_path / "other.gguf")
    other = encoder(tmp_path / "other.gguf")
    assert any(other(prompt) != tokens(prompt) for prompt in PROMPTS)


def test_types_of_tokens():
    told = Vocabulary.of(path(), 770)
    kinds = dict(zip(told.tokens, told.types, strict=True))
    assert kinds["<unk>"] == TokenType.UNKNOWN
    assert kinds["<start_of_turn>"] == kinds["<image_soft_token>"] == TokenType.CONTROL
    assert kinds["<0x41>"] == TokenType.BYTE
    assert kinds["\u2581the"] == kinds["\n\n"] == TokenType.NORMAL
    assert kinds["[PAD769]"] == TokenType.UNUSED
    assert told.special == {"bos": 2, "eos": 1, "unk": 3, "pad": 0, "mask": 4}
    assert told.open == []


def test_added_tokens_that_are_shown(tmp_path):
    """They are looked for in a text before it is split, unless they have what stands for a blank."""
    folder = checkpoint(tmp_path)
    entry = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"] += [{**entry, "id": 292, "content": "\u2581the"}, {**entry, "id": 265, "content": "\n\n"}]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    told = Vocabulary.of(folder, 768)
    assert (told.types[265], told.types[292]) == (TokenType.USER_DEFINED, TokenType.NORMAL)


def test_pairs_that_llama_cpp_merges_and_the_reference_does_not(tmp_path):
    """They are told in the account: of such a text the ids may differ."""
    folder = checkpoint(tmp_path)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    gone = tokenizer["model"]["merges"].pop()
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    conversion = Conversion.of(folder, "tiny")
    assert list(conversion.vocabulary.open) == [tuple(gone)]
    (tmp_path / "files").mkdir()
    conversion.write(tmp_path / "files", {"q4_0": KINDS["q4_0"]}, lambda what: None)
    told = (tmp_path / "files" / "tensors.txt").read_text()
    assert f"{gone[0]!r} and {gone[1]!r} make a token that no merge makes" in told


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("model",), {"type": "WordLevel", "vocab": {"<bos>": 0}, "unk_token": "<unk>"}, "is a WordLevel tokenizer"),
        (("model", "byte_fallback"), False, "is without tokens of bytes"),
        (("normalizer",), {"type": "Lowercase"}, "normalizes otherwise"),
        (("model", "merges", 0), ["no", "token"], "tokenizer.json cannot be read"),
        (("model", "vocab"), [], "tokenizer.json cannot be read"),
    ],
)
def test_what_llama_cpp_has_no_tokenizer_for(tmp_path, place, value, said):
    folder = checkpoint(tmp_path)
    edited(*place, value=value)(folder / "tokenizer.json")
    with pytest.raises(UsageError, match=said) as raised:
        Vocabulary.of(folder, 768)
    assert "\n" not in str(raised.value)


def spoilt(folder, spoil):
    """What is said of a tokenizer.json that is spoilt."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    spoil(tokenizer)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(UsageError) as raised:
        Vocabulary.of(folder, 768)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ignore_merges", True, "ignore_merges True, there merges make every token"),
        ("dropout", 0.5, "dropout 0.5, there no merge is left out by chance"),
        ("fuse_unk", False, "fuse_unk False, in Gemma 3n true"),
        ("continuing_subword_prefix", "##", "continuing_subword_prefix '##', there a token has none"),
        ("end_of_word_suffix", "</w>", "end_of_word_suffix '</w>', there a token has none"),
        ("unk_token", "<nothing>", "unk_token '<nothing>' is no token"),
    ],
)
def test_settings_by_which_ids_would_differ(tmp_path, capfd, name, value, said):
    """The library, which crashes on a prefix that is longer than a token, is not asked first."""
    told = spoilt(checkpoint(tmp_path), lambda tokenizer: tokenizer["model"].update({name: value}))
    assert told.endswith(f"tokenizer.json is none that llama.cpp has: {said}")
    assert capfd.readouterr() == ("", "")


SPLIT = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}


@pytest.mark.parametrize(
    "found", [{"type": "Whitespace"}, SPLIT | {"pattern": {"Regex": r"\d"}}, SPLIT | {"invert": True}]
)
def test_texts_that_are_split_before_they_are_merged(tmp_path, found):
    told = spoilt(checkpoint(tmp_path), lambda tokenizer: tokenizer.update(pre_tokenizer=found))
    assert f"pre_tokenizer {found['type']!r} splits otherwise" in told


@pytest.mark.parametrize("found", [None, SPLIT])
def test_texts_that_are_not_split(tmp_path, found):
    folder = checkpoint(tmp_path)
    edited("pre_tokenizer", value=found)(folder / "tokenizer.json")
    assert Vocabulary.of(folder, 768).scores == Vocabulary.of(path(), 768).scores


def added(**changes):
    """One more of the tokens that are added, like another one but for what is named."""
    return lambda tokenizer: tokenizer["added_tokens"].append(tokenizer["added_tokens"][5] | changes)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda tokenizer: tokenizer["model"]["vocab"].update(zzz=300), "and 'zzz' both have the id 300"),
        (added(content="more"), "'<start_of_turn>' and 'more' both have the id 5"),
        (added(id=300), "'<start_of_turn>' has the ids 5 and 300"),
        (lambda tokenizer: tokenizer["added_tokens"][5].update(id=300), "'<start_of_turn>' has the ids 5 and 300"),
        (added(content="more", id=768), "has a token 768; config.json has 768 ids"),
        (
            lambda tokenizer: tokenizer["added_tokens"][5].update(lstrip=True),
            "lstrip of the added token '<start_of_turn>'",
        ),
        (lambda tokenizer: tokenizer["model"]["vocab"].pop("<0x41>"), "is without tokens of bytes"),
    ],
)
def test_tokens_that_an_id_does_not_tell(tmp_path, spoil, said):
    assert said in spoilt(checkpoint(tmp_path), spoil)


def test_a_token_that_is_added_twice_alike(tmp_path):
    folder = checkpoint(tmp_path)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    added()(tokenizer)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert Vocabulary.of(folder, 768) == Vocabulary.of(path(), 768)


def test_the_file_of_a_vocabulary_has_no_tensors(tmp_path):
    Conversion.of(path(), "tiny").write_vocabulary(tmp_path / "vocabulary.gguf")
    reader = GGUFReader(tmp_path / "vocabulary.gguf")
    assert not reader.tensors
    assert reader.fields["gemma3n.embedding_length"].contents() == 2048
