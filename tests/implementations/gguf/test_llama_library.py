"""The library: found without importing its package, of one build alone, and heard where it complains."""

from types import SimpleNamespace

import pytest

pytest.importorskip("xllamacpp")

from importlib.metadata import PackageNotFoundError

from implementations.gguf import Backend
from implementations.gguf.engine import library as module
from implementations.gguf.engine.library import VERSION, Library, library, located
from implementations.gguf.options import Options
from implementations.gguf.program import _require_same
from implementations.gguf.session import Session
from parity.errors import BackendUnavailable, UsageError


def test_the_package_is_not_imported():
    """As a package it would begin a runtime of its own."""
    import subprocess
    import sys

    program = (
        "import sys; from implementations.gguf.engine.library import library\n"
        "library(); print('xllamacpp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_a_package_that_is_not_installed(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(module, "distribution", missing)
    with pytest.raises(BackendUnavailable, match=r"pip install 'gemma3n-parity\[gguf\]'"):
        located()


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (SimpleNamespace(version="2020.1.1", files=[]), f"needed as xllamacpp {VERSION}; 2020.1.1 is installed"),
        (SimpleNamespace(version=VERSION, files=[]), "has 0 shared objects instead of one"),
    ],
)
def test_another_build(found, said, monkeypatch):
    monkeypatch.setattr(module, "distribution", lambda name: found)
    with pytest.raises(BackendUnavailable, match=said):
        located()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OBJECT_HEADER", 40, "a tensor takes 368 bytes instead of 376"),
        ("MODEL_DEFAULTS", {"main_gpu": 7}, "the default of main_gpu is 0 instead of 7"),
        ("CONTEXT_DEFAULTS", {"defrag_thold": 0.5}, "the default of defrag_thold is -1.0 instead of 0.5"),
    ],
)
def test_other_layouts_are_refused(name, value, said, monkeypatch):
    """Before anything is passed: a field that stands elsewhere is another."""
    monkeypatch.setattr(module, name, value)
    with pytest.raises(BackendUnavailable, match=said):
        Library(located())


def test_what_is_no_library(tmp_path):
    (tmp_path / "it.so").write_bytes(b"nothing")
    with pytest.raises(BackendUnavailable, match="cannot be loaded"):
        Library(tmp_path / "it.so")


def test_errors_are_kept_and_not_printed(tmp_path, capfd):
    """The first, which says why; and each once."""
    llama = library()
    params = llama.c.llama_model_default_params()
    (tmp_path / "no.gguf").write_bytes(b"nothing at all")
    assert llama.c.llama_model_load_from_file(str(tmp_path / "no.gguf").encode(), params) == llama.ffi.NULL
    assert "invalid magic" in llama.reason()
    assert llama.reason() == "llama.cpp says no more"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([(4, "no tensor 'a\n\nb' in it\n"), (4, "failed\n")], "no tensor 'a\n\nb' in it"),
        ([(4, "no tensor"), (5, " 'a'"), (2, "fine\n"), (5, "too\n"), (4, "failed\n")], "no tensor 'a'"),
        ([(4, "\n"), (4, "why\n")], "why"),
        ([(4, "a" * 1000)], "a" * 300),
        ([(2, "fine\n"), (5, "too\n")], "llama.cpp says no more"),
    ],
)
def test_the_reason_is_the_first_message_whole(messages, said):
    llama = library()
    llama.reason()
    for level, text in messages:
        llama.logger(level, llama.ffi.new("char[]", text.encode()), llama.ffi.NULL)
    assert llama.reason() == said


def test_a_file_that_cannot_be_loaded_has_a_cure(tmp_path):
    (tmp_path / "no.gguf").write_bytes(b"nothing at all")
    with pytest.raises(UsageError, match=r"no\.gguf: .*invalid magic.*; write it again with parity gguf convert$"):
        Session(library(), tmp_path / "no.gguf", Options())


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (("Linux", "x86_64", ("glibc", "2.36"), ""), "pip install 'gemma3n-parity[gguf]'"),
        (("Linux", "aarch64", ("glibc", "2.17"), ""), "pip install"),
        (("Darwin", "arm64", ("", ""), "14.2.1"), "pip install"),
        (("Windows", "AMD64", ("", ""), ""), "pip install"),
        (("Linux", "x86_64", ("glibc", "2.12"), ""), "no wheel for Linux on x86_64 before glibc 2.17: run"),
        (("Linux", "x86_64", ("", ""), ""), "no wheel for Linux on x86_64 without glibc: run"),
        (("Linux", "riscv64", ("glibc", "2.36"), ""), "no wheel for Linux on riscv64: run"),
        (("Darwin", "arm64", ("", ""), "12.7"), "no wheel for Darwin on arm64 before macOS 13: run"),
        (("Windows", "ARM64", ("", ""), ""), "no wheel for Windows on ARM64: run"),
    ],
)
def test_what_to_do_where_it_is_not_installed(where, said, monkeypatch):
    """To install it; where no wheel fits, to run it elsewhere. Doctor says it, and whoever loads it."""
    system, machine, libc, mac = where
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("platform.libc_ver", lambda: libc)
    monkeypatch.setattr("platform.mac_ver", lambda: (mac, ("", "", ""), machine))
    monkeypatch.setattr("implementations.gguf.engine.library.PACKAGE", "not-installed")
    monkeypatch.setattr(module, "library", located)
    (good, _, found), *_ = Backend.doctor()
    assert (good, said in found, "\n" in found) == (False, True, False)


def test_doctor():
    assert all(good for good, _, _ in Backend.doctor())


def test_doctor_of_another_build(monkeypatch):
    def refuse():
        raise BackendUnavailable("another build")

    monkeypatch.setattr(module, "library", refuse)
    (good, what, said), *_ = Backend.doctor()
    assert (good, what, said) == (False, "xllamacpp", "another build")


def test_a_file_of_another_checkpoint():
    text = SimpleNamespace(hidden_size=128, num_hidden_layers=25, vocab_size=768)
    session = SimpleNamespace(hidden=2048, layers=25, vocabulary=768)
    with pytest.raises(UsageError, match="hidden_size 2,048, the checkpoint 128"):
        _require_same(session, SimpleNamespace(text=text))
