"""Every kind of dump is read, number for number; names tell its file and its place in that."""

from __future__ import annotations

import io
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from parity.dumps.files import TENSORS, is_dump, tensors_of_dump
from parity.errors import UsageError

NUMBERS = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7
HALF = NUMBERS.astype(ml_dtypes.bfloat16)


def read(path):
    """The arrays of a dump by their names, in float64."""
    found = {tensor.name: (tensor.shape, tensor.read().astype(np.float64)) for tensor in tensors_of_dump(path)}
    assert all(shape == array.shape for shape, array in found.values())
    return {name: array for name, (_, array) in found.items()}


def same(found, wanted):
    """Whether names, their order and all numbers are the same."""
    assert [*found] == [*wanted]
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array.astype(np.float64))


def test_numpy(tmp_path):
    """In either order of axes; bfloat16 as NumPy saves it; what is no real numbers is left out."""
    np.save(tmp_path / "x.npy", np.asfortranarray(NUMBERS))
    same(read(tmp_path / "x.npy"), {"tensor": NUMBERS})
    arrays = {"layers.0.out": NUMBERS, "half": HALF, "ids": np.arange(30), "complex": np.ones(20, complex)}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **arrays)
        same(read(tmp_path / "x.npz"), {"layers.0.out": NUMBERS, "half": HALF})


def test_safetensors_as_mlx_writes_them(tmp_path):
    """No axis is moved, as in a checkpoint of convolutions."""
    save_file({"a": NUMBERS, "b": HALF, "ids": np.arange(30)}, tmp_path / "x.safetensors", metadata={"format": "mlx"})
    same(read(tmp_path / "x.safetensors"), {"a": NUMBERS, "b": HALF})


def test_torch(tmp_path):
    """Tensors in dictionaries, lists and tuples, in any layout and format."""
    torch = pytest.importorskip("torch")
    states = tuple(torch.from_numpy(NUMBERS + layer).transpose(0, 2) for layer in range(2))
    content = {"value": torch.from_numpy(NUMBERS).bfloat16(), "meta": {"name": "q", "step": 3}, "hidden_states": states}
    torch.save(content, tmp_path / "x.pt")
    wanted = {"value": HALF} | {f"hidden_states.{at}": (NUMBERS + at).transpose(2, 1, 0) for at in range(2)}
    same(read(tmp_path / "x.pt"), wanted)


def test_a_folder(tmp_path):
    """Files of all kinds, in the order of their numbers; others are not looked at."""
    (tmp_path / "rank_0").mkdir()
    for number in (10, 2):
        np.save(tmp_path / "rank_0" / f"pass_{number}.npy", NUMBERS + number)
    save_file({"q": NUMBERS}, tmp_path / "rank_0" / "pass_3.safetensors")
    (tmp_path / "notes.txt").write_text("not a tensor")
    wanted = {"rank_0.pass_2": NUMBERS + 2, "rank_0.pass_3.q": NUMBERS, "rank_0.pass_10": NUMBERS + 10}
    same(read(tmp_path), wanted)
    assert is_dump(tmp_path)
    (tmp_path / "manifest.json").touch()
    assert not is_dump(tmp_path)


def packed(file, size):
    """A NumPy archive whose member says that it has more numbers than it has."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (size,)})
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(400))


def test_sizes_that_a_file_only_promises(tmp_path):
    """Nothing is made of that size."""
    packed(tmp_path / "x.npz", 100)
    assert read(tmp_path / "x.npz")["x"].shape == (100,)
    packed(tmp_path / "x.npz", 10**15)
    with pytest.raises(UsageError, match=r"x\.npz cannot be read: array 'x' of .* is cut off"):
        read(tmp_path / "x.npz")
    torch = pytest.importorskip("torch")
    torch.save({"wide": torch.zeros(1).expand(10**12), "x": torch.from_numpy(NUMBERS)}, tmp_path / "x.pt")
    same(read(tmp_path / "x.pt"), {"x": NUMBERS})


def test_too_many_tensors(tmp_path, monkeypatch):
    """A bound that tests lower."""
    assert TENSORS == 100_000
    monkeypatch.setattr("parity.dumps.files.TENSORS", 2)
    np.savez(tmp_path / "x.npz", a=NUMBERS, b=NUMBERS, c=NUMBERS)
    with pytest.raises(UsageError, match="more than 2 tensors"):
        read(tmp_path / "x.npz")


class Bomb:
    """Would run when it is unpickled."""

    def __reduce__(self):
        return (print, ("it ran",))


def test_nothing_in_a_file_is_run(tmp_path, capfd):
    """Neither torch's pickle nor NumPy's."""
    torch = pytest.importorskip("torch")
    torch.save({"x": torch.from_numpy(NUMBERS), "bomb": Bomb()}, tmp_path / "x.pt")
    np.savez(tmp_path / "x.npz", bomb=np.array([Bomb()], dtype=object))
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Bomb()))
    for name, reason in {"x.pt": "UnpicklingError", "x.npz": "no tensor of real numbers", "plain.pt": "zip"}.items():
        with pytest.raises(UsageError, match=reason):
            read(tmp_path / name)
    assert capfd.readouterr() == ("", "")


def test_a_packed_part_of_torchs_file(tmp_path):
    """It may unfold to any size."""
    torch = pytest.importorskip("torch")
    torch.save(torch.from_numpy(NUMBERS), tmp_path / "x.pt")
    with (
        zipfile.ZipFile(tmp_path / "x.pt") as plain,
        zipfile.ZipFile(tmp_path / "y.pt", "w", zipfile.ZIP_DEFLATED) as to,
    ):
        for name in plain.namelist():
            to.writestr(name, plain.read(name))
    with pytest.raises(UsageError, match="is packed, which torch never does"):
        read(tmp_path / "y.pt")
