"""A folder is written whole or not at all, and what goes wrong is told by the name that it was asked for."""

import os

import pytest

from implementations.gemma3n.new_folder import new_folder
from parity.errors import CannotWrite

COMMANDS = {"onnx": "export", "gguf": "convert"}
"""That write such a folder."""


@pytest.mark.parametrize("command", COMMANDS.items())
def test_a_folder_that_is_there(parity, tmp_path, command):
    code, out, said = parity(*command, "tiny", tmp_path)
    assert (code, out) == (2, "")
    assert said == f"parity: {tmp_path} is there already; name a folder that is not\n"


@pytest.mark.parametrize("command", COMMANDS.items())
def test_a_folder_in_no_folder(parity, tmp_path, command):
    code, _, said = parity(*command, "tiny", tmp_path / "a" / "b")
    assert code == 2
    assert "there is no folder" in said


def test_a_folder_that_is_whole(tmp_path):
    with new_folder(tmp_path / "it") as made:
        (made / "file").write_text("whole")
        assert not (tmp_path / "it").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["it"]
    assert (tmp_path / "it" / "file").read_text() == "whole"


def test_a_place_where_no_folder_can_be_made(tmp_path, monkeypatch):
    """As in /proc, where there is no hidden one either."""

    def refuse(name, mode=0o777):
        raise FileNotFoundError(2, "No such file or directory", name)

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(CannotWrite) as raised, new_folder(tmp_path / "it"):
        pass
    assert str(raised.value) == f"{tmp_path / 'it'} cannot be written: No such file or directory"


def test_a_name_that_is_taken_meanwhile(tmp_path):
    with pytest.raises(CannotWrite) as raised, new_folder(tmp_path / "it"):
        (tmp_path / "it").write_text("mine")
    assert str(raised.value).startswith(f"{tmp_path / 'it'} cannot be written: ")
    assert (tmp_path / "it").read_text() == "mine"


def test_a_file_in_it_that_cannot_be_written(tmp_path):
    with pytest.raises(CannotWrite) as raised, new_folder(tmp_path / "it") as made:
        raise CannotWrite(f"{made / 'file'} cannot be written: No space left on device")
    assert str(raised.value) == f"{tmp_path / 'it' / 'file'} cannot be written: No space left on device"
    assert not list(tmp_path.iterdir())
