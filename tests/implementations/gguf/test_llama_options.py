"""Options of the backend: what cannot be is refused in one line."""

import pytest

from implementations.gguf import Backend
from implementations.gguf.options import Options
from parity.errors import UsageError


def test_defaults():
    assert Options.parse({}) == Options(None, "f32", "off", 1, 512, 0)


def test_values(tmp_path):
    text, tower = tmp_path / "a.gguf", tmp_path / "b.gguf"
    text.touch(), tower.touch()
    files = {"file": str(text), "mmproj": str(tower)}
    given = {**files, "kv": "q8_0", "flash": "on", "threads": "2", "chunk": "64", "context": "99", "prompt": "libmtmd"}
    assert Options.parse(given) == Options(text, "q8_0", "on", 2, 64, 99, "mlx", "libmtmd", tower)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"speed": "9"}, "no option 'speed'"),
        ({"file": "nowhere.gguf"}, "file=nowhere.gguf is no file"),
        ({"mmproj": "nowhere.gguf"}, "mmproj=nowhere.gguf is no file"),
        ({"prompt": "mine"}, "prompt=mine is none of processor, libmtmd"),
        ({"kv": "f8"}, "kv=f8 is none of f32, f16"),
        ({"kv": "q8_0"}, "kv=q8_0 needs flash=on"),
        ({"flash": "maybe"}, "flash=maybe is none of off, on"),
        ({"threads": "0"}, "threads=0 is not a number from 1 to 1,024"),
        ({"chunk": "-1"}, "chunk=-1 is not"),
        ({"context": "9" * 5000}, "is not a number from 1"),
    ],
)
def test_what_cannot_be(option, said):
    with pytest.raises(UsageError, match=said):
        Backend.check(option)
