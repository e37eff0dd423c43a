"""A framework that nobody knows: its arrays have nothing of NumPy's but what the array API standard asks for."""

from __future__ import annotations

import sys

import numpy as np

from parity.dtypes import name_of, numpy_dtype


class Traced:
    """What stands for an array while something is compiled: a shape and a dtype, and no numbers."""

    shape, dtype = (4, 5), "strange.float32"

    def __array__(self, dtype=None, copy=None):
        raise TypeError("there are no numbers yet")


class Array:
    """Numbers of a shape and a dtype."""

    device = "strange"

    def __init__(self, held):
        self._held = np.asarray(held)
        self._held.setflags(write=False)

    @property
    def shape(self):
        return self._held.shape

    @property
    def dtype(self):
        return f"strange.{name_of(self._held)}"

    def __array__(self, dtype=None, copy=None):
        return np.array(self._held, dtype, copy=copy)

    def __array_namespace__(self, api_version=None):
        return sys.modules[__name__]

    def __dlpack_device__(self):
        return 1, 0


def _by(name):
    """A method that computes as NumPy's does."""
    return lambda self, *given: Array(getattr(self._held, name)(*map(_plain, given)))


for _name in ("add", "radd", "mul", "rmul", "sub", "truediv", "rtruediv", "matmul", "neg", "getitem"):
    setattr(Array, f"__{_name}__", _by(f"__{_name}__"))
for _name in ("reshape", "transpose", "repeat"):
    setattr(Array, _name, _by(_name))


def _plain(given):
    return given._held if isinstance(given, Array) else given


def asarray(numbers, dtype=None, device=None, copy=None):
    """As the standard has it."""
    assert device in (None, Array.device)
    return Array(np.array(_plain(numbers), dtype and numpy_dtype(dtype.rpartition(".")[2])))


def applied(function, *arrays, **how):
    """A function of NumPy's."""
    return Array(function(*map(_plain, arrays), **how))


def joined(arrays, axis):
    """One behind the other."""
    return Array(np.concatenate([*map(_plain, arrays)], axis))
