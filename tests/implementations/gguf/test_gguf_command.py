"""`parity gguf convert`: a whole folder or none, and what became of each tensor beside the files."""

import json

import pytest

pytest.importorskip("gguf")

from gguf import GGUFReader

from tests.bad_input.inputs import checkpoint
from tests.implementations.gguf.test_llama_files import BAD


@pytest.fixture
def quiet(monkeypatch):
    """A slow machine is told of no progress."""
    monkeypatch.setattr("parity.report.progress.TerminalProgress.__init__.__kwdefaults__", {"delay": 600.0})


@pytest.mark.usefixtures("quiet")
def test_files_and_account(parity, tmp_path):
    folder = tmp_path / "files"
    code, out, said = parity("gguf", "convert", "tiny", folder, "--types", "F32, q8_0")
    assert (code, said) == (0, "")
    assert sorted(file.name for file in folder.iterdir()) == ["model-f32.gguf", "model-q8_0.gguf", "tensors.txt"]
    assert out.splitlines() == [
        f"{folder}/model-f32.gguf: 46.9 MB",
        f"{folder}/model-q8_0.gguf: 16.5 MB",
        f"{folder}/tensors.txt: 0.3 MB",
        "f32: 604 F32, 7 F32 changed, 627 left out",
        "q8_0: 378 F32, 6 F32 changed, 226 Q8_0, 1 Q8_0 changed, 627 left out",
    ]
    told = (folder / "tensors.txt").read_text().splitlines()
    assert [line for line in told if line.startswith("#")] == ["# f32", "# q8_0"]
    assert len(told) == 2 * (604 + 7 + 627 + 2)
    assert all(" -> " in line or "left out, " in line for line in told[1:1239])
    assert len(GGUFReader(folder / "model-f32.gguf").tensors) == 607


def test_a_type_that_is_not_known(parity, tmp_path):
    code, _, said = parity("gguf", "convert", "tiny", tmp_path / "files", "--types", "f32,q3")
    assert (code, said) == (2, "parity: no number type 'q3'; there are f32, bf16, f16, q8_0, q4_0, q4_k_m\n")


@pytest.mark.parametrize("edit", [{"model_type": "llama"}, {"text_config": {"laurel_rank": 16}}, None])
def test_what_cannot_be_converted_leaves_nothing(parity, tmp_path, edit):
    given = checkpoint(tmp_path)
    if edit is None:
        (given / "model.safetensors").unlink()
    else:
        config = json.loads((given / "config.json").read_text())
        (given / "config.json").write_text(json.dumps(config | edit))
    code, out, said = parity("gguf", "convert", given, tmp_path / "files")
    assert (code, out, said.count("\n")) == (2, "", 1)
    assert [file.name for file in tmp_path.iterdir()] == [given.name]


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_what_is_broken_off_leaves_nothing(parity, tmp_path, monkeypatch, failure):
    """After one of two files."""
    from implementations.gguf.convert.conversion import Conversion

    write = Conversion.write_text

    def broken(self, file, kind, told):
        if "q8_0" in file.name:
            raise failure
        write(self, file, kind, told)

    monkeypatch.setattr(Conversion, "write_text", broken)
    code, _, said = parity("gguf", "convert", "tiny", tmp_path / "files", "--types", "q4_0,q8_0")
    assert (code, said.count("\n")) == (130 if failure is KeyboardInterrupt else 2, 1)
    assert not list(tmp_path.iterdir())


def test_progress_is_on_standard_error(parity, tmp_path, monkeypatch):
    monkeypatch.setattr("parity.report.progress.DELAY", 0.0)
    monkeypatch.setattr("parity.report.progress.TerminalProgress.__init__.__kwdefaults__", {"delay": 0.0})
    code, out, said = parity("gguf", "convert", "tiny", tmp_path / "files", "--types", "q8_0")
    assert code == 0
    assert "gguf: " in said
    assert "gguf: token" not in out


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The embedded checkpoint in float32 and in bfloat16, which its numbers are exact in, and in 8 bits."""
    from implementations.gguf.convert import write_text
    from reference.tiny import path

    folder = tmp_path_factory.mktemp("two")
    for kind in ("f32", "bf16", "q8_0"):
        write_text(path(), folder / f"{kind}.gguf", kind)
    return folder


def test_two_files_of_the_same_numbers(parity, two):
    code, out, _ = parity("gguf", "diff", two / "f32.gguf", two / "f32.gguf")
    assert (code, out) == (0, "607 tensors in both, 607 the same to the bit\n")
    code, out, _ = parity("gguf", "diff", two / "f32.gguf", two / "bf16.gguf")
    *told, last = out.splitlines()
    assert (code, last) == (0, "607 tensors in both, 302 the same to the bit")
    assert len(told) == 607 - 302
    assert all(line.endswith(": F32 and BF16, the same numbers") for line in told)


def test_two_files_that_differ(parity, two, tmp_path):
    """In rounding; in a tensor's number, its shape and its name; in one file alone."""
    code, out, _ = parity("gguf", "diff", two / "f32.gguf", two / "q8_0.gguf")
    assert code == 1
    assert "blk.3.ffn_up.weight: F32 and Q8_0, relative error 5." in out
    other = (two / "f32.gguf").read_bytes()
    tensor = GGUFReader(two / "f32.gguf").get_tensor(0)
    place = other.index(b"blk.3.laurel_l.weight")
    assert other[place + 21 + 4 : place + 21 + 20] == (128).to_bytes(8, "little") + (64).to_bytes(8, "little")
    swapped = (64).to_bytes(8, "little") + (128).to_bytes(8, "little")
    other = other[: place + 25] + swapped + other[place + 41 :]
    other = other.replace(b"blk.4.laurel_l.weight", b"blk.4.laurel_x.weight")
    other = other[: tensor.data_offset] + b"\0\0\0\x7f" + other[tensor.data_offset + 4 :]
    (tmp_path / "other.gguf").write_bytes(other)
    code, out, _ = parity("gguf", "diff", two / "f32.gguf", tmp_path / "other.gguf")
    assert code == 1
    assert out.splitlines() == [
        f"{tensor.name}: F32, relative error 1.0e+00",
        "blk.3.laurel_l.weight: [64, 128] and [128, 64]",
        f"blk.4.laurel_l.weight: in {two / 'f32.gguf'} alone",
        f"blk.4.laurel_x.weight: in {tmp_path / 'other.gguf'} alone",
        "606 tensors in both, 604 the same to the bit",
    ]


@pytest.mark.parametrize("name", [*BAD, "no file"])
def test_a_bad_file_is_not_held_against_another(parity, two, tmp_path, name):
    """Each is told in one line; what a model cannot be is no matter here."""
    if name != "no file":
        (tmp_path / "bad.gguf").write_bytes(BAD[name][0]((two / "f32.gguf").read_bytes()))
    code, _, said = parity("gguf", "diff", two / "f32.gguf", tmp_path / "bad.gguf")
    if name in ("another architecture", "no heads", "endless heads", "one layer more"):
        assert (code, said) == (0, "")
        return
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith(f"parity: {tmp_path / 'bad.gguf'} is no GGUF file that can be read: ")
