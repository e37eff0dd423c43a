"""Files around a tokenizer as people have them: read as transformers' processor reads them, or refused in a line."""

import json
import shutil

import pytest

pytest.importorskip("transformers")

from implementations.gemma3n.preprocessing.preprocessor import Preprocessor  # behind importorskip
from parity.checkpoint import find_checkpoint
from parity.errors import UsageError
from parity.generation import Message
from parity.media import Part
from reference.common.processing import Processing
from reference.gemma3n.steps.inputs import EXTRACTOR
from reference.tiny import path

PROMPT = (Part("image", "samples/red-circle.png"), Part("text", "Hi"))
TEMPLATE = (path() / "chat_template.jinja").read_text()
OTHER = TEMPLATE.replace("model", "modul")
ROLES = ("audio_token", "boa_token", "boi_token", "eoa_token", "eoi_token", "image_token")
GENERAL = ("bos_token", "eos_token", "mask_token", "pad_token", "unk_token")


@pytest.fixture
def folder(tmp_path):
    """The embedded checkpoint without its weights."""
    return shutil.copytree(path(), tmp_path / "copy", ignore=shutil.ignore_patterns("*.safetensors"))


def change(file, **fields):
    """Other fields of a JSON file, which need not be there yet; None removes one."""
    data = {**(json.loads(file.read_text()) if file.exists() else {}), **fields}
    file.write_text(json.dumps({name: value for name, value in data.items() if value is not None}))


def ours(folder):
    """Token ids of the prompt by our own preprocessing."""
    preprocessor = Preprocessor(folder)
    return preprocessor.encode([preprocessor.turn(Message("user", PROMPT))])


def theirs(folder):
    """By transformers'."""
    return Processing(folder, EXTRACTOR, (32, (2, 2, 4))).dialogue([("user", PROMPT)])


def processor(folder):
    change(folder / "processor_config.json", chat_template=OTHER)


def old_file(folder):
    change(folder / "chat_template.json", chat_template=OTHER)


def tokenizer(template):
    def write(folder):
        (folder / "chat_template.jinja").unlink()
        change(folder / "tokenizer_config.json", chat_template=template)

    return write


def named(*names):
    return [{"name": name, "template": OTHER if name == "default" else TEMPLATE} for name in names]


@pytest.mark.parametrize("write", [processor, old_file, tokenizer(OTHER), tokenizer(named("tool_use", "default"))])
def test_the_template_that_is_heard(folder, write):
    """One of five places, and the one that is called default."""
    usual = ours(folder)
    write(folder)
    assert ours(folder) == theirs(folder) != usual


def test_an_old_file_alone(folder):
    (folder / "chat_template.jinja").unlink()
    old_file(folder)
    assert ours(folder) == theirs(folder)


def several(folder):
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "rag.jinja").write_text(TEMPLATE)


def several_alone(folder):
    several(folder)
    (folder / "chat_template.jinja").unlink()


def several_and_an_old_file(folder):
    several(folder)
    old_file(folder)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (tokenizer(named("rag")), "has chat templates rag; name one of them 'default'"),
        (several_alone, "has chat templates rag; name one of them 'default'"),
        (several_and_an_old_file, "exclude each other"),
        (tokenizer(3), "no text and no list"),
    ],
)
def test_templates_of_which_none_is_heard(folder, write, said):
    write(folder)
    with pytest.raises(UsageError, match=said):
        ours(folder)
    with pytest.raises(UsageError):
        theirs(folder)


def test_further_templates(folder):
    """Leave the default as it is."""
    usual = ours(folder)
    several(folder)
    assert ours(folder) == theirs(folder) == usual


@pytest.mark.parametrize("roles", [ROLES, ROLES + GENERAL])
def test_roles_in_the_older_file_alone(folder, roles):
    usual = ours(folder)
    change(folder / "tokenizer_config.json", extra_special_tokens=None, **dict.fromkeys(roles))
    assert ours(folder) == theirs(folder) == usual


def test_roles_nowhere(folder):
    """Where the newer file lists the added tokens, the older one is not read."""
    change(folder / "tokenizer_config.json", extra_special_tokens=None, added_tokens_decoder={}, **dict.fromkeys(ROLES))
    with pytest.raises(UsageError, match="has no image_token"):
        ours(folder)
    with pytest.raises(UsageError, match="processor cannot be loaded"):
        theirs(folder)


FILES = ("config.json", "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json", "processor_config.json")


@pytest.mark.parametrize("name", [*FILES, "chat_template.jinja"])
def test_lines_that_end_as_on_windows(folder, name):
    usual = ours(folder)
    (folder / name).write_bytes((folder / name).read_bytes().replace(b"\n", b"\r\n"))
    assert ours(folder) == theirs(folder) == usual


@pytest.mark.parametrize("name", FILES)
def test_a_byte_order_mark(folder, name):
    """Transformers finds no JSON behind it."""
    (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes())
    with pytest.raises(UsageError, match=f"{name} begins with a byte-order mark; save it without one"):
        ours(folder)
    with pytest.raises(UsageError) as raised:
        theirs(folder)
    assert "\n" not in str(raised.value)


def test_a_byte_order_mark_is_seen_before_anything_is_started(folder):
    shutil.copy(path() / "model.safetensors", folder)
    (folder / "config.json").write_bytes(b"\xef\xbb\xbf" + (folder / "config.json").read_bytes())
    with pytest.raises(UsageError, match="begins with a byte-order mark"):
        find_checkpoint(str(folder))
