"""Files that nobody should have written: each is refused in one line, or ends the party's own process."""

import struct

import pytest

pytest.importorskip("xllamacpp")

from parity.errors import ExitCode, UsageError
from tests.implementations.gguf.seeing import seeing


def number_at(raw, key, value, form="<I"):
    """The file with another number behind a key or a name and so many further bytes."""
    name, further = key
    place = raw.index(name) + len(name) + further
    return raw[:place] + struct.pack(form, value) + raw[place + struct.calcsize(form) :]


LEFT = b"blk.3.laurel_l.weight"
WINDOW, LAYERS, HEADS = (
    (b"gemma3n." + key, 4) for key in (b"attention.sliding_window", b"block_count", b"attention.head_count")
)
BAD = {
    "nothing": (lambda raw: b"", "failed to read magic"),
    "text": (lambda raw: b"hello there\n" * 9, "invalid magic"),
    "half": (lambda raw: raw[: len(raw) // 2], "not within the file bounds"),
    "half a header": (lambda raw: raw[:3000], "failed to read"),
    "a version to come": (lambda raw: raw[:4] + struct.pack("<I", 99) + raw[8:], "version 99"),
    "another architecture": (lambda raw: raw.replace(b"gemma3n", b"gemma9n"), "unknown model architecture: 'gemma9n'"),
    "endless tensors": (lambda raw: raw[:8] + struct.pack("<Q", 2**62) + raw[16:], "number of tensors"),
    "endless keys": (lambda raw: raw[:16] + struct.pack("<Q", 2**62) + raw[24:], "key"),
    "an endless key": (lambda raw: raw[:24] + struct.pack("<Q", 2**62) + raw[32:], "string length"),
    "no heads": (lambda raw: number_at(raw, HEADS, 0), "wrong shape"),
    "endless heads": (lambda raw: number_at(raw, HEADS, 2**31), "wrong shape"),
    "one layer more": (lambda raw: number_at(raw, LAYERS, 26), "wrong shape"),
    "an endless axis": (lambda raw: number_at(raw, (LEFT, 4), 2**40, "<Q"), "offset"),
    "an unknown type": (lambda raw: number_at(raw, (LEFT, 20), 77), "invalid ggml type 77"),
    "a tensor elsewhere": (lambda raw: number_at(raw, (LEFT, 24), 2**60, "<Q"), "offset"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_in_one_line(name, load, file, tmp_path):
    """With llama.cpp's own reason."""
    change, said = BAD[name]
    (tmp_path / "bad.gguf").write_bytes(change(file.read_bytes()))
    with pytest.raises(UsageError, match=said) as caught:
        load(file=str(tmp_path / "bad.gguf"))
    assert str(caught.value).startswith(f"llama.cpp cannot load {tmp_path / 'bad.gguf'}: ")
    assert "\n" not in str(caught.value)


def test_the_file_of_a_vision_tower_is_no_language_model(load, tmp_path):
    """Nor is there an option for one: the backend makes the tower's file of the checkpoint itself."""
    from implementations.gguf.convert.conversion import Conversion

    Conversion.of(seeing(tmp_path), "tiny", tower=True).write_tower(tmp_path / "mmproj.gguf", lambda what: None)
    with pytest.raises(UsageError, match="CLIP cannot be used as main model") as caught:
        load(file=str(tmp_path / "mmproj.gguf"))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_an_abort_is_the_partys_end_alone(file, tmp_path, parity):
    """llama.cpp ends its process where a number of layers is none: exit 3, with its reason."""
    (tmp_path / "bad.gguf").write_bytes(number_at(file.read_bytes(), LAYERS, 2**31 - 1))
    candidate = f"llama-cpp@file={tmp_path / 'bad.gguf'}"
    code, out, _ = parity("compare", "--candidates", candidate, "--prompt", "Hello")
    assert code == ExitCode.UNAVAILABLE
    assert "crashed before its first step: SIGABRT" in out
    assert "n_layer_all" in out
