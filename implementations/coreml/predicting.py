"""Packages run by Core ML itself, on macOS: what goes in and comes out is seen, and nothing between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from implementations.coreml.interpreter.untrusted import Outputs
from implementations.coreml.package.folder import Package
from implementations.coreml.package.program import chosen, read_functions
from implementations.coreml.package.tools import coremltools
from parity.errors import BackendUnavailable
from parity.tap import Tap

BORDERS = {
    "states": "text.norm",
    "logits": "text.logits",
    "image_features": "embed_vision.soft",
    "audio_features": "embed_audio.soft",
}
"""Outputs of packages that are steps of the contract."""


class Predicted:
    """One package, as `implementations.coreml.model.Interpreted`, in Core ML.

    Keys and values are states that Core ML holds; those that a call is given and gives are their places alone.

    Args:
        package: the folder that it is in.
        name: its name there.

    Raises:
        UsageError: for a package that cannot be read.
        BackendUnavailable: where there is no Core ML.
    """

    def __init__(self, package: Package, name: str) -> None:
        self.name, self._state = name, None
        files, programs = package.files(name), read_functions(package, name)
        self.programs = [*programs.values()]
        whole = len({*files.values()}) == len(files)
        self._models = [_model(str(files[function]), None if whole else function) for function in programs]

    @property
    def states(self) -> set[str]:
        """Names of the tensors that it keeps from call to call."""
        return {name for program in self.programs for name in program.states}

    def renew(self) -> None:
        """Begin a conversation."""
        self._state = None

    def run(self, given: Mapping[str, Tensor], *, tap: Tap) -> Outputs:
        """Outputs of a call.

        Raises:
            UsageError: where no function takes what is given.
        """
        number = chosen(self.name, self.programs, {name: tuple(tensor.shape) for name, tensor in given.items()})
        program, model = self.programs[number], self._models[number]
        feeds = {name: given[name].numpy().astype(typed.dtype) for name, typed in program.inputs.items()}
        found = model.predict(feeds, **self._kept(model))
        outputs = {name: torch.from_numpy(np.asarray(found[name], np.float32)) for name in program.outputs}
        shown = {name: tap(BORDERS[name], value) if name in BORDERS else value for name, value in outputs.items()}
        return Outputs(self.name, {**shown, **{name: given[name] for name in program.states}})

    def _kept(self, model: Any) -> dict[str, Any]:
        """The state of this conversation, where there is one."""
        if not self.states:
            return {}
        if self._state is None:
            self._state = model.make_state()
        return {"state": self._state}


def _model(file: str, function: str | None) -> Any:
    """A function of a package, loaded into Core ML."""
    model = coremltools.models.MLModel(file, function_name=function)
    if model.__proxy__ is None:
        raise BackendUnavailable("there is no Core ML here, which is a part of macOS; run with runtime=interpreter")
    return model
