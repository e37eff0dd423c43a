"""The torch modules that are converted, each to a package of its own; the ANE form of the model is inside them.

A part takes and gives tensors by name. Those that a later part takes have the same name there, so that whoever runs
the parts needs no more than one table of names: embeddings go in, states and logits come out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

from implementations.ane.attention import Shared
from implementations.ane.audio.host import AudioHost
from implementations.ane.decoder import TABLES, kinds, sort_tables
from implementations.ane.model import Gemma3n
from implementations.ane.shapes import Shapes
from implementations.gemma3n.config import AudioConfig, TextConfig
from parity.tap import SILENT, Tap

CACHES = ("keys", "values")
NEW = "_new"
"""Behind the name of a cache with a call's own tokens in it: an output has another name than an input."""
Sizes = dict[str, tuple[int, ...]]


class Part(nn.Module):
    """What becomes one package.

    Attributes:
        outputs: names of what `forward` gives, in order.
        states: names of the tensors that the package keeps from call to call, each a buffer of that name.
        tap: where steps go while it is traced.
        apart: makes an operation of its own of an output, whose operation is renamed, as a step's must not be.
    """

    outputs: tuple[str, ...]
    states: tuple[str, ...] = ()
    tap: Tap = SILENT
    apart: Callable[[Tensor], Tensor] = staticmethod(lambda x: x)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Run on what `sizes` names; gives what `outputs` names."""
        return tuple(map(self.apart, self.run(*tensors)))

    def run(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """What `forward` does."""
        raise NotImplementedError

    def sizes(self, tokens: int) -> Sizes:
        """Shapes of what `forward` takes in a call of so many tokens, by name and in order."""
        raise NotImplementedError


class DecoderPart(Part):
    """Layers of the decoder one behind the other; the first part begins with embeddings, the last ends with states.

    Args:
        model: of which the weights are.
        config: the language model's.
        layers: which of them.
        shapes: what is compiled.
        stateful: whether keys and values are states of the package, or else inputs and outputs.
    """

    def __init__(self, model: Gemma3n, config: TextConfig, layers: range, shapes: Shapes, *, stateful: bool) -> None:
        super().__init__()
        self.decoder = model.decoder
        self._config, self._layers, self._shapes = config, layers, shapes
        self._kinds = [kind for kind in kinds(config) if kind in {config.layer_types[layer] for layer in layers}]
        self._own = [layer for layer in layers if config.owns_keys(layer)]
        donors = {config.donor(layer) for layer in layers}
        self._borrowed = sorted(donors - set(layers))
        self._lent = sorted({config.donor(layer) for layer in range(layers.stop, config.num_hidden_layers)} & donors)
        self.states = tuple(names(self._own)) if stateful else ()
        for name in self.states:
            self.register_buffer(name, torch.zeros(self._cache(int(name.rpartition("_")[2]))))
        self.outputs = tuple(self._given())

    @property
    def is_first(self) -> bool:
        """Whether it begins with embeddings."""
        return self._layers.start == 0

    @property
    def is_last(self) -> bool:
        """Whether it ends with states."""
        return self._layers.stop == self._config.num_hidden_layers

    def sizes(self, tokens: int) -> Sizes:
        """Embeddings or streams, `TABLES` of each layer type, caches, and caches of earlier parts that it reads."""
        config, shapes = self._config, self._shapes
        count, ple = config.num_hidden_layers, config.hidden_size_per_layer_input
        found: Sizes = {}
        if self.is_first:
            found |= {"embedded": (1, config.hidden_size, 1, tokens), "token_term": (1, count * ple, 1, tokens)}
        else:
            streams = (1, config.altup_num_inputs, config.hidden_size, tokens)
            found |= {f"streams_{self._layers.start}": streams, "per_layer": (1, count, ple, tokens)}
        for kind in self._kinds:
            slots, angles = shapes.slots(kind), (1, 1, config.head_dim, tokens)
            tables = (angles, angles, (1, 1, tokens, slots), (1, 1, slots, tokens))
            found |= {f"{table}_{kind}": size for table, size in zip(TABLES, tables, strict=True)}
        for layer in () if self.states else self._own:
            found |= dict.fromkeys(names([layer]), self._cache(layer))
        for layer in self._borrowed:
            found |= dict.fromkeys(names([layer], NEW), self._cache(layer))
        return found

    def run(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The layers, behind what makes streams or before what makes states of them."""
        given = dict(zip(self.sizes(1), tensors, strict=True))
        given |= {name: getattr(self, name) for name in self.states}
        text = self.tap.into("text")
        streams, per_layer = self._begin(given, text)
        shared = self._shared(given)
        for layer in self._layers:
            streams = self.decoder.run_layer(layer, streams, per_layer[:, layer], shared, tap=text)
        for name in self.states:
            getattr(self, name)[:] = shared.caches[int(name.rpartition("_")[2])][name.startswith(CACHES[1])]
        found = {f"streams_{self._layers.stop}": streams, "per_layer": per_layer}
        found |= {
            f"{cache}_{layer}{NEW}": tensor
            for layer, pair in shared.caches.items()
            for cache, tensor in zip(CACHES, pair, strict=True)
        }
        if self.is_last:
            found["states"] = self.decoder.end(streams, tap=text)
        return tuple(found[name] for name in self.outputs)

    def _begin(self, given: dict[str, Tensor], text: Tap) -> tuple[Tensor, Tensor]:
        if not self.is_first:
            return given[f"streams_{self._layers.start}"], given["per_layer"]
        return self.decoder.begin(given["embedded"], given["token_term"], tap=text)

    def _shared(self, given: dict[str, Tensor]) -> Shared:
        tables = sort_tables(self._kinds, [given[f"{table}_{kind}"] for kind in self._kinds for table in TABLES])
        caches = {layer: (given[f"keys_{layer}"], given[f"values_{layer}"]) for layer in self._own}
        seen = {layer: (given[f"keys_{layer}{NEW}"], given[f"values_{layer}{NEW}"]) for layer in self._borrowed}
        return Shared(tables, caches, seen)

    def _given(self) -> Iterator[str]:
        yield "states" if self.is_last else f"streams_{self._layers.stop}"
        if self.is_first and not self.is_last:
            yield "per_layer"
        yield from names(self._lent if self.states else self._own, NEW)

    def _cache(self, layer: int) -> tuple[int, ...]:
        config = self._config
        return (1, config.num_key_value_heads, self._shapes.slots(config.layer_types[layer]), config.head_dim)


class HeadPart(Part):
    """States to logits."""

    outputs = ("logits",)

    def __init__(self, model: Gemma3n, config: TextConfig) -> None:
        super().__init__()
        self.model, self._hidden = model, config.hidden_size

    def sizes(self, tokens: int) -> Sizes:
        """States alone."""
        return {"states": (1, self._hidden, 1, tokens)}

    def run(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Run on states ``[1, hidden, 1, token]``."""
        return (self.model.score(*tensors, tap=self.tap),)


class SeeingPart(Part):
    """Pixels of one picture to soft tokens: the vision tower, and what brings its features to the language model."""

    outputs = ("image_features",)

    def __init__(self, model: Gemma3n, size: tuple[int, int]) -> None:
        super().__init__()
        self.model, self._size = model, size

    def sizes(self, tokens: int) -> Sizes:
        """Pixels alone, however many tokens the text has."""
        return {"pixels": (1, 3, *self._size)}

    def run(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Run on pixels ``[1, 3, height, width]``."""
        return (self.model.see(*tensors, tap=self.tap),)


class HearingPart(Part):
    """Mel features of clips to soft tokens: the audio tower, and what brings its features to the language model.

    Args:
        model: of which the weights are.
        config: the tower's.
        size: clips, and mel frames of each.
    """

    outputs = ("audio_features",)

    def __init__(self, model: Gemma3n, config: AudioConfig, size: tuple[int, int]) -> None:
        super().__init__()
        self.model, self._config, self._size = model, config, size

    def sizes(self, tokens: int) -> Sizes:
        """Mel features and the host's tables of so many clips, however many tokens the text has."""
        clips, frames = self._size
        heard = torch.ones(clips, frames, dtype=torch.bool)
        tables, _ = AudioHost(self._config, lambda x: x).prepare(heard, tap=SILENT)
        mel = {"mel": (clips, 1, frames, self._config.input_feat_size)}
        return mel | {name: tuple(table.shape) for name, table in tables._asdict().items()}

    def run(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Run on mel features ``[clip, 1, frame, mel]`` and `Tables`."""
        return (self.model.hear(*tensors, tap=self.tap),)


def names(layers: list[int], end: str = "") -> Iterator[str]:
    """Names of the keys and values of some layers."""
    return (f"{cache}_{layer}{end}" for layer in layers for cache in CACHES)


def split(layers: int, count: int) -> list[range]:
    """So many parts of the layers, as equal as can be, the longer ones first."""
    ends = [-(-layers * number // count) for number in range(count + 1)]
    return [range(first, stop) for first, stop in pairwise(ends)]
