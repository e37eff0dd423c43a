"""The language model's tensors: each of the checkpoint's, and what it becomes in the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gguf import MODEL_ARCH, get_tensor_name_map

from implementations.gemma3n.config import Config
from implementations.gemma3n.weight_names import LANGUAGE, PUBLISHED, has_head, require_names, require_shape, unused
from implementations.gguf.convert.kinds import Kind
from implementations.gguf.convert.parts import Part, Source, Tensor, Zeros
from implementations.gguf.convert.shapes import STACKED, TABLES, Shape, text_shapes
from parity.weights.names import HEAD, text_alone
from parity.weights.stored import stored
from parity.weights.written import Stored

LEFT_OUT = {
    "model.vision_tower.": "it is no language model's; --mmproj writes it",
    "model.embed_vision.": "it is no language model's; --mmproj writes what llama.cpp has of it",
    "model.audio_tower.": "llama.cpp has no audio tower of Gemma 3n",
    "model.embed_audio.": "llama.cpp has no audio tower of Gemma 3n",
}
"""What names of tensors begin with that are no language model's, and what becomes of them."""
WEIGHT = ".weight"


@dataclass(frozen=True)
class Text:
    """The tensors of a checkpoint's language model.

    Attributes:
        config: the checkpoint's.
        found: all of its tensors, by the names that Hugging Face publishes.
    """

    config: Config
    found: Mapping[str, Stored]

    @classmethod
    def of(cls, checkpoint: Path, config: Config) -> Text:
        """Look at a checkpoint's tensors, reading none.

        Raises:
            UsageError: for a file or a tensor that is missing, unknown or misshapen.
        """
        text = cls(config, stored(checkpoint, PUBLISHED))
        wanted, own = text.shapes(), {name for name in text.found if not name.startswith(tuple(LEFT_OUT))}
        spare = {name for name in wanted if name.startswith(tuple(unused(config.text, ())))} - own
        require_names(own, wanted.keys() - spare, checkpoint)
        for name in own:
            require_shape(name, text.found[name].shape, wanted[name], checkpoint)
        return text

    def shapes(self) -> dict[str, Shape]:
        """Names and shapes of the tensors that the model has."""
        wanted = {LANGUAGE + name: shape for name, shape in text_shapes(self.config.text)}
        if has_head(self.config, self.found):
            wanted[HEAD] = wanted[LANGUAGE + TABLES[0]]
        return wanted

    def tensors(self, kind: Kind) -> Iterator[Tensor]:
        """Those of the file, in its order."""
        names = get_tensor_name_map(MODEL_ARCH.GEMMA3N, self.config.text.num_hidden_layers)
        for name, shape, parts, change in self._made():
            bare = text_alone(name.removeprefix(LANGUAGE)).removesuffix(WEIGHT)
            called = f"{names[bare]}{WEIGHT}"
            yield Tensor(called, shape, kind.of(called, shape, self.config.text.num_hidden_layers), parts, change)

    def _made(self) -> Iterator[tuple[str, Shape, tuple[Part, ...], str]]:
        """Name as in the checkpoint, shape, parts and change of each tensor of the file."""
        rows = self.config.text.vocab_size
        for name, shape in self.shapes().items():
            stack, _, rest = name.removeprefix(LANGUAGE).partition(".")
            if stack in STACKED:
                if rest.startswith("0."):
                    yield self._stacked(stack, shape)
            elif name not in self.found:
                yield name, shape, (Zeros(shape),), "zeros, never read: the layer has its donor's keys and values"
            elif name == LANGUAGE + TABLES[1] and shape[0] < rows:
                added = Zeros((rows - shape[0], shape[1]))
                what = f"rows of zeros from id {shape[0]:,} on, so that each id has one"
                yield name, (rows, shape[1]), (self._source(name), added), what
            else:
                yield name, shape, (self._source(name),), ""

    def _stacked(self, stack: str, shape: Shape) -> tuple[str, Shape, tuple[Part, ...], str]:
        count = self.config.text.altup_num_inputs - 1
        parts = tuple(self._source(f"{LANGUAGE}{stack}.{stream}{WEIGHT}") for stream in range(count))
        return f"{LANGUAGE}{stack}{WEIGHT}", (count, *shape), parts, f"{count} matrices in one tensor"

    def _source(self, name: str) -> Source:
        return Source(name, self.found[name])
