"""The encoders that are written for export, as parties of the harness and as graphs in ONNX Runtime."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx_ir.passes.common import CommonSubexpressionEliminationPass, RemoveUnusedNodesPass
from onnxscript.optimizer import fold_constants
from torch import nn

from implementations.gemma3n.config import Config
from implementations.gemma3n.weight_names import PUBLISHED
from implementations.onnx.audio.encoder import AudioEncoder, AudioTower
from implementations.onnx.vision.encoder import VisionEncoder
from parity.backend import Backend, Tensors
from parity.contract import Step
from parity.tap import SILENT, ScopedTap, Tap
from parity.weights.stored import stored

OPSET = 20
SEEN = {"pixel_values": (0,)}
HEARD = {"input_features": (0, 1), "input_features_mask": (0, 1)}
"""The inputs of a graph, and which of their axes have any length."""


class PlainTensors(Tensors):
    """Values are in the contract's axes, masks boolean, True = sound."""

    def to_numpy(self, value: torch.Tensor, step: Step | None) -> NDArray[Any]:
        """The array."""
        return value.detach().numpy()

    def from_numpy(self, array: NDArray[Any], like: torch.Tensor, step: Step | None) -> torch.Tensor:
        """A copy."""
        return torch.from_numpy(array.copy()).to(like.dtype)


class Encoder(Backend):
    """A module on the inputs of every chunk, in torch.

    Args:
        module: an encoder, or a tower, whose scope is `scope`.
        inputs: what it is given.
        scope: of the module's taps.
    """

    name = "onnx"
    dtypes = ("float32",)
    tensors = PlainTensors()

    def __init__(self, module: nn.Module, *inputs: NDArray[Any], scope: str = "") -> None:
        self.module, self._scope = module, scope
        self.inputs = tuple(map(torch.from_numpy, inputs))

    @classmethod
    def versions(cls) -> dict[str, str]:
        """Of no matter here."""
        return {}

    @classmethod
    def load(cls, checkpoint: Path, dtype: str, **options: str) -> Encoder:
        """Parties are made around modules."""
        raise NotImplementedError

    def start(self, *, padding: tuple[int, ...], cache: bool) -> None:
        """There is no conversation."""

    @torch.inference_mode()
    def forward(self, token_ids: NDArray[np.int64], *, prompts: Any = (), tap: Tap = SILENT) -> NDArray[Any]:
        """Run on the inputs."""
        self.module(*self.inputs, tap=tap.into(self._scope) if self._scope else tap)
        return np.zeros((1, 1, 2))


class Tapped(nn.Module):
    """A module whose taps become nodes of its graph.

    Args:
        module: which is given its inputs by name.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Run with a node for each tap."""
        return self.module(**inputs, tap=ScopedTap(_node))


def _node(name: str, value: torch.Tensor) -> torch.Tensor:
    how: Any = {"attrs": {"name": name}, "dtype": value.dtype, "shape": value.shape, "version": 1}
    return torch.onnx.ops.symbolic("parity::Tap", (value,), **how)


def vision(checkpoint: Path) -> VisionEncoder:
    """The vision encoder of a checkpoint."""
    config = Config.from_directory(checkpoint)
    return loaded(lambda: VisionEncoder(config.vision, config.text.hidden_size), checkpoint)


def audio(checkpoint: Path) -> AudioEncoder:
    """The audio encoder of a checkpoint."""
    config = Config.from_directory(checkpoint)
    sizes = config.text.hidden_size, config.audio_soft_tokens_per_image
    return loaded(lambda: AudioEncoder(config.audio, *sizes), checkpoint)


def audio_tower(checkpoint: Path) -> AudioTower:
    """The audio tower of a checkpoint that has nothing else."""
    config = Config.from_directory(checkpoint)
    return loaded(lambda: AudioTower(config.audio), checkpoint, "model.audio_tower.")


def loaded(build: Callable[[], Any], checkpoint: Path, prefix: str = "model.") -> Any:
    """A module with its tensors in float32, by the checkpoint's names; none is drawn before."""
    with torch.device("meta"):
        module = build()
    tensors = stored(checkpoint, PUBLISHED)
    state = {name: torch.from_numpy(tensors[prefix + name].read().astype(np.float32)) for name in module.state_dict()}
    module.load_state_dict(state, assign=True)
    return module.requires_grad_(False).eval()


def idle(module: nn.Module, *inputs: torch.Tensor) -> list[str]:
    """Steps, floats alone, whose answers do not move what the module gives: lockstep would not judge what follows."""
    moves: dict[str, torch.Tensor] = {}
    random = torch.Generator().manual_seed(0)

    def answer(name: str, value: torch.Tensor) -> torch.Tensor:
        if not value.is_floating_point():
            return value
        moves[name] = torch.zeros((), requires_grad=True)
        return value + moves[name] * torch.randn(value.shape, generator=random)

    features = module(*inputs, tap=ScopedTap(answer))
    (features * torch.randn(features.shape, generator=random)).sum().backward()
    return [name for name, move in moves.items() if move.grad is None or not move.grad]


def export(module: nn.Module, inputs: Mapping[str, Sequence[int]], *examples: torch.Tensor) -> onnx.ModelProto:
    """The graph of an encoder whose `inputs` have any length along those axes.

    The exporter's own optimisation tries each of a hundred rules at each node, which is half of its time; constants are
    folded without it, and ONNX Runtime has rules of its own.
    """
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    axes: Any = {name: dict.fromkeys(places, torch.export.Dim.DYNAMIC) for name, places in inputs.items()}
    given = dict(zip(inputs, examples, strict=True))
    how: Any = {"dynamic_shapes": {"inputs": axes} if isinstance(module, Tapped) else axes, "verbose": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        program = torch.onnx.export(module, kwargs=given, dynamo=True, opset_version=OPSET, optimize=False, **how)
    assert program is not None
    fold_constants(program.model)
    CommonSubexpressionEliminationPass()(program.model)
    RemoveUnusedNodesPass()(program.model)
    return program.model_proto


def expose(graph: onnx.GraphProto) -> dict[str, str]:
    """Make an output of each tap; returns the tensors' names by those of the steps, in order."""
    found, outputs = {}, {output.name for output in graph.output}
    for node in graph.node:
        if node.op_type == "Tap":
            (name,) = (attribute.s.decode() for attribute in node.attribute if attribute.name == "name")
            found[name] = node.output[0]
            node.op_type, node.domain = "Identity", ""
            del node.attribute[:]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in found.values() if name not in outputs)
    return found


class Session:
    """A graph in ONNX Runtime."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        file, providers = model.SerializeToString(), ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(file, options, providers=providers)

    def run(self, *inputs: torch.Tensor) -> dict[str, NDArray[Any]]:
        """All outputs by name."""
        names = [wanted.name for wanted in self._session.get_inputs()]
        given = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
        outputs = [output.name for output in self._session.get_outputs()]
        return dict(zip(outputs, self._session.run(outputs, given), strict=True))


def distance(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Norm of the difference over the norm of what is expected."""
    assert found.shape == expected.shape
    difference = np.linalg.norm(found.astype(np.float64) - expected)
    return float(difference / max(np.linalg.norm(expected.astype(np.float64)), 1e-30))
