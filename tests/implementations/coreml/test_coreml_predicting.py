"""Packages that Core ML itself runs, which is stood in for: what it is given, and what is made of its outputs."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("coremltools")

import torch

from implementations.coreml.package.folder import HEAD, Package
from implementations.coreml.package.tools import coremltools
from implementations.coreml.predicting import Predicted
from parity.errors import BackendUnavailable
from parity.tap import ScopedTap

STATES = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 64, 1, 4)).astype(np.float32))


class Model:
    """Stands in for Core ML's: keeps what it was asked, and counts its states."""

    made = 0

    def __init__(self, file, function_name):
        self.__proxy__ = self
        self.asked = []

    def make_state(self):
        Model.made += 1
        return f"state {Model.made}"

    def predict(self, feeds, state=None):
        self.asked.append((feeds, state))
        return {"logits": np.full((1, 32, 1, 4), 2, np.float16)}


REAL = coremltools.models.MLModel


def standing(file, *, function_name=None, skip_model_load=False):
    """Only what is loaded into Core ML is stood in for."""
    return REAL(file, skip_model_load=True) if skip_model_load else Model(file, function_name)


def test_core_ml_is_given_arrays_and_its_outputs_are_steps(folder, monkeypatch):
    monkeypatch.setattr("coremltools.models.MLModel", standing)
    package, heard = Package.read(folder), []
    part = Predicted(package, HEAD)
    found = part.run({"states": STATES}, tap=ScopedTap(lambda *each: heard.append(each[0]) or each[1]))
    assert found["logits"].dtype == torch.float32
    assert found["logits"].unique().tolist() == [2]
    assert heard == ["text.logits"]
    ((feeds, state),) = part._models[0].asked
    assert feeds["states"].dtype == np.float32
    assert np.array_equal(feeds["states"], STATES.numpy())
    assert state is None


def test_a_conversation_has_a_state_of_its_own(folder, monkeypatch):
    part = object.__new__(Predicted)
    part.renew()
    monkeypatch.setattr(Predicted, "states", {"keys_0"})
    model = Model("", None)
    first = part._kept(model)
    assert part._kept(model) == first
    part.renew()
    assert part._kept(model) != first


def test_without_core_ml_it_is_said(folder):
    with pytest.raises(BackendUnavailable, match=r"there is no Core ML here.*; run with runtime=interpreter"):
        Predicted(Package.read(folder), HEAD)
