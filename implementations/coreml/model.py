"""The packages of a folder as the parts of the ANE model: what `implementations.ane.program` calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from implementations.ane.audio.host import Tables
from implementations.ane.decoder import TABLES, kinds
from implementations.ane.embedder import Embedder
from implementations.ane.tensors import AneTensors
from implementations.coreml.convert.parts import NEW
from implementations.coreml.interpreter.run import Interpreter
from implementations.coreml.interpreter.untrusted import Outputs
from implementations.coreml.package import folder
from implementations.coreml.package.folder import AUDIO, HEAD, VISION, Package
from implementations.coreml.package.palettes import LOOKED_UP, PLACES, PaletteTable
from implementations.coreml.package.program import chosen, read_functions
from implementations.coreml.package.settings import Size
from implementations.coreml.predicting import Predicted
from implementations.gemma3n.config import Config
from parity.errors import UsageError
from parity.tap import SILENT, Tap

Rounded = Callable[[Tensor], Tensor]
Run = Callable[[Package, str], "Interpreted | Predicted"]
More = Callable[[Mapping[str, Size]], Package]
"""Converts a tower for `picture` or `sound` of `Settings`."""


class Interpreted:
    """One package: of its functions the one that is compiled for a call's shapes.

    Args:
        package: the folder that it is in.
        name: its name there.
        rounded: makes float16 numbers of a tensor's.

    Raises:
        UsageError: for a package that cannot be run.
    """

    def __init__(self, package: Package, name: str, rounded: Rounded) -> None:
        self.name = name
        programs, told = read_functions(package, name), package.steps[name]
        self.functions = [
            Interpreter(
                f"{name}.mlpackage, {function}", program, {value: step for step, value in told[function]}, rounded
            )
            for function, program in programs.items()
        ]
        for one in self.functions:
            one.require_steps()

    def run(self, given: Mapping[str, Tensor], *, tap: Tap) -> Outputs:
        """Outputs and states of a call.

        Raises:
            UsageError: where no function takes what is given.
        """
        shapes = {name: tuple(tensor.shape) for name, tensor in given.items()}
        return self.functions[chosen(self.name, [one.function for one in self.functions], shapes)].run(given, tap=tap)

    def renew(self) -> None:
        """Begin a conversation; its states are given with each call."""

    @property
    def states(self) -> set[str]:
        """Names of the tensors that it keeps from call to call."""
        return {name for one in self.functions for name in one.function.states}


class Decoder:
    """The decoder's packages, one behind the other.

    Attributes:
        inputs: what it takes, in the order of `implementations.ane.decoder`.
    """

    def __init__(self, config: Config, parts: Sequence[Interpreted | Predicted]) -> None:
        text, self._parts = config.text, parts
        self.inputs = (
            "embedded",
            "token_term",
            *(f"{table}_{kind}" for kind in kinds(text) for table in TABLES),
            *(f"{cache}_{layer}" for layer in range(text.first_shared_layer) for cache in ("keys", "values")),
        )
        self._caches = self.inputs[2 + len(TABLES) * len(kinds(text)) :]

    def run(self, *tensors: Tensor, tap: Tap) -> tuple[Tensor, ...]:
        """States, and keys and values behind the call."""
        values = Outputs("the decoder", dict(zip(self.inputs, tensors, strict=True)))
        for part in self._parts:
            values |= part.run(values, tap=tap)
        kept = set().union(*(part.states for part in self._parts))
        states = values.shaped("states", *values["embedded"].shape)
        return (states, *(values[name if name in kept else name + NEW] for name in self._caches))


class Packaged:
    """All of a folder, with the attributes of `implementations.ane.model.Gemma3n`.

    Args:
        config: the model's.
        package: the folder.
        run: makes what runs a package of a folder, by its name there.
        tensors: told which of several pictures is looked at.
        more: makes the package of a tower for media of another size; None where those of the folder are all.

    Raises:
        UsageError: for a package or a table that cannot be read, or is of another model.
    """

    def __init__(
        self, config: Config, package: Package, run: Run, tensors: AneTensors, more: More | None = None
    ) -> None:
        self._package, self._run, self._tensors, self._more, self._text = package, run, tensors, more, config.text
        self._parts = {name: run(package, name) for name in (*package.decoder, *package.others)}
        for name in (HEAD, *package.decoder):
            if name not in self._parts:
                raise UsageError(f"package {package.folder}: {folder.MANIFEST} names no {name}; convert it again")
        self.embedder = read_embedder(config, package)
        self.decoder = Decoder(config, [self._parts[name] for name in package.decoder])

    def renew(self) -> None:
        """Begin a conversation."""
        for part in self._parts.values():
            part.renew()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what `decode` takes, in order."""
        return self.decoder.inputs

    def decode(self, *tensors: Tensor, tap: Tap = SILENT) -> tuple[Tensor, ...]:
        """States and caches, of what `decoder` takes."""
        return self.decoder.run(*tensors, tap=tap)

    def score(self, states: Tensor, *, tap: Tap = SILENT) -> Tensor:
        """Logits ``[1, vocabulary, 1, token]`` of states ``[1, hidden, 1, token]``."""
        found = self._parts[HEAD].run({"states": states}, tap=tap)
        return found.shaped("logits", 1, self._text.vocab_size, 1, states.shape[3])

    def see(self, pixels: Tensor, *, tap: Tap = SILENT) -> Tensor:
        """Soft tokens of images ``[image, channel, height, width]``, one after the other."""
        tower = self._tower(VISION, "pictures", picture=(pixels.shape[2], pixels.shape[3]))
        found = []
        try:
            for number in range(len(pixels)):
                self._tensors.image = number if len(pixels) > 1 else None
                soft = tower.run({"pixels": pixels[number : number + 1]}, tap=tap)
                found.append(soft.shaped("image_features", 1, self._text.hidden_size, 1, None))
        finally:
            self._tensors.image = None
        return torch.cat(found)

    def hear(self, mel: Tensor, *tables: Tensor, tap: Tap = SILENT) -> Tensor:
        """Soft tokens of clips, of their mel features ``[clip, 1, frame, mel]`` and `Tables`."""
        tower = self._tower(AUDIO, "sounds", sound=(mel.shape[0], mel.shape[2]))
        given = {"mel": mel, **dict(zip(Tables._fields, tables, strict=True))}
        soft = tower.run(given, tap=tap)
        return soft.shaped("audio_features", len(mel), self._text.hidden_size, 1, None)

    def _tower(self, name: str, what: str, **size: Size) -> Interpreted | Predicted:
        """A tower for media of a size.

        Raises:
            UsageError: where there is none.
        """
        if self._more is None:
            if name not in self._parts:
                raise UsageError(f"package {self._package.folder} has no {name}.mlpackage, so that it takes no {what}")
            return self._parts[name]
        key = f"{name} {size}"
        if key not in self._parts:
            self._parts[key] = self._run(self._more(size), name)
        return self._parts[key]


def read_embedder(config: Config, package: Package) -> Embedder:
    """What the host looks up, its text tables in palettes where the folder has them so.

    Raises:
        UsageError: for a file that cannot be read, or is of another model.
    """
    file, form = package.folder / folder.TABLES, package.settings.embeddings
    with torch.device("meta"):
        found = Embedder(config, package.settings.alpha)
        for name in LOOKED_UP if form.weights else ():
            rows, columns = getattr(found, name).weight.shape
            setattr(found, name, PaletteTable(rows, columns, form))
    try:
        tensors = {name: each.float() if each.is_floating_point() else each for name, each in load_file(file).items()}
        for name, tensor in tensors.items():
            if tensor.dtype != (torch.uint8 if name.endswith(PLACES) else torch.float32):
                raise ValueError(f"{name} is of {tensor.dtype}")
        found.load_state_dict(tensors, assign=True)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"package file {file} cannot be read ({reason}); convert it again") from error
    return found.requires_grad_(False).eval()
