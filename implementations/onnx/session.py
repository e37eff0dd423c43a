"""A graph in ONNX Runtime: as it ships, and with taps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, ValueInfoProto, helper

from implementations.onnx.options import LEVELS, Options
from implementations.onnx.package.folder import no_step
from implementations.onnx.package.graph import Tapped, exposed
from parity.errors import BackendUnavailable, UsageError
from parity.tap import AS_IT_IS, Tap

ERRORS_ONLY = 3
"""ONNX Runtime's level of messages: it warns of every output that nothing in the graph reads."""
FILES = "session.model_external_initializers_file_folder_path"
"""ONNX Runtime's setting of the folder of large tensors, for a graph that is not read from a file."""

Feeds = Mapping[str, NDArray[Any]]
Values = dict[str, NDArray[Any]]


class Graph:
    """A graph and what it is loaded as.

    Args:
        name: what messages call it.
        model: without its large tensors; its open axes lose their names.
        folder: where these are.
        steps: of the contract that it computes, in order.
        options: how it is run.

    Attributes:
        model: as it was given.
        steps: as they were given.
    """

    def __init__(self, name: str, model: ModelProto, folder: Path, steps: Sequence[Tapped], options: Options) -> None:
        self.name, self.model = name, model
        _forget_names_of_axes(model)
        self.inputs = [value.name for value in model.graph.input]
        self.outputs = [value.name for value in model.graph.output]
        self._types = {value.name: _numpy(value) for value in model.graph.input}
        self._folder, self.steps, self._options = folder, steps, options
        self._inside = [one for one in steps if one.tensor not in self.inputs]
        self._plain: onnxruntime.InferenceSession | None = None
        self._tapped: tuple[object, onnxruntime.InferenceSession] | None = None

    def size(self, name: str) -> tuple[int, ...]:
        """The shape of an input, 0 along the axes that are left open."""
        (found,) = (value for value in self.model.graph.input if value.name == name)
        return tuple(axis.dim_value for axis in found.type.tensor_type.shape.dim)

    def run(self, feeds: Feeds) -> Values:
        """What the graph gives as it ships."""
        if self._plain is None:
            self._plain = self._session(self.model)
        return dict(zip(self.outputs, self._plain.run(self.outputs, self._fed(feeds)), strict=True))

    def observed(self, feeds: Feeds, tap: Tap, *, last: Sequence[str] = ()) -> Values:
        """What the graph gives, with each step emitted.

        Where all steps' own values go on, what the graph gives are the values of the graph as it ships: an exposed one
        fuses less, so that its last bits may be others. Of an output that is a step, what the tap answers is given.

        Args:
            feeds: the inputs.
            tap: where steps go.
            last: names of steps of which the last token alone is emitted.
        """
        taken = [one for one in self.steps if one.tensor in self.inputs]
        feeds = {**feeds, **{one.tensor: tap(one.step, feeds[one.tensor]) for one in taken}}
        ahead = {one: tap.ahead(one.step) for one in self._inside}
        answers = {one: value for one, value in ahead.items() if not isinstance(value, float)}
        factors = {one.step: value for one, value in ahead.items() if isinstance(value, float) and value != AS_IT_IS}
        values = self._look(feeds, answers, factors)
        if not answers and not factors:
            values |= self.run(feeds)
        for one in self._inside:
            value = values[one.tensor]
            value = value[:, -1:] if one.step in last else value
            changes = one in answers or one.step in factors
            values[one.tensor] = tap(one.step, value)
            if values[one.tensor] is not value and not changes:
                raise UsageError(f"step {one.step} was answered with a value that its tap did not tell ahead")
        return {name: values[name] for name in self.outputs}

    def _look(self, feeds: Feeds, answers: Mapping[Tapped, NDArray[Any]], factors: Mapping[str, float]) -> Values:
        """All outputs and steps, where some steps are answered and some scaled."""
        answered = [one.step for one in answers]
        key = (frozenset(answered), tuple(factors.items()))
        if self._tapped is None or self._tapped[0] != key:
            self._tapped = None  # first: two sessions at once would be twice the memory
            model = exposed(self.model, self._inside, answered=answered, factors=factors)
            self._tapped = key, self._exposing(model)
        session = self._tapped[1]
        given = {one.answer: np.ascontiguousarray(value, dtype=one.type) for one, value in answers.items()}
        names = [*dict.fromkeys([*self.outputs, *(one.tensor for one in self._inside)])]
        return dict(zip(names, session.run(names, {**self._fed(feeds), **given}), strict=True))

    def _exposing(self, model: ModelProto) -> onnxruntime.InferenceSession:
        """A session of an exposed graph; only the runtime knows what a tensor is of that the graph does not describe.

        Raises:
            UsageError: for a step of other numbers than its tensor's.
        """
        try:
            return self._session(model)
        except BackendUnavailable as error:
            for one in self._inside:
                if one.tensor not in self.outputs and f"output arg ({one.tensor})" in str(error):
                    why = f"tensor {one.tensor!r} is not of {one.type}"
                    raise no_step(one, self._folder / self.name, why) from error
            raise

    def _fed(self, feeds: Feeds) -> Feeds:
        """The inputs in the number formats that the graph takes."""
        return {name: array.astype(self._types[name], copy=False) for name, array in feeds.items()}

    def _session(self, model: ModelProto) -> onnxruntime.InferenceSession:
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = self._options.threads
        settings.log_severity_level = ERRORS_ONLY
        level = LEVELS[self._options.optimization]
        settings.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
        settings.add_session_config_entry(FILES, str(self._folder))
        provider = self._options.installed()
        try:
            session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=[provider])
        except Exception as error:  # its errors are of classes that have nothing but Exception in common
            reason = " ".join(str(error).split())
            raise BackendUnavailable(f"ONNX Runtime cannot load {self.name}: {reason}") from error
        if provider not in session.get_providers():  # it goes on with the processor, without a word
            raise BackendUnavailable(f"ONNX Runtime has {provider}, which does not start here; is its device there?")
        return session


def _numpy(value: ValueInfoProto) -> np.dtype[Any]:
    return np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def _forget_names_of_axes(model: ModelProto) -> None:
    """Have no two open axes be the same to the runtime, which puts one tensor in another's memory where they are.

    Keys of the past are as many as the loop feeds: of sliding layers fewer than the name that all layers share says.
    """
    for value in (*model.graph.input, *model.graph.output):
        for axis in value.type.tensor_type.shape.dim:
            axis.ClearField("dim_param")
