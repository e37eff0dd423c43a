"""The vision tower and its projector, as libmtmd reads them: the tensors of a file, and its header."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gguf import GGMLQuantizationType, GGUFWriter

from implementations.gemma3n.config import Config
from implementations.gemma3n.preprocessing.settings import ImageSettings
from implementations.gemma3n.preprocessing.settings_reader import ProcessorSettings
from implementations.gemma3n.weight_names import PUBLISHED, require_names, require_shape
from implementations.gguf.convert.limits import beyond_float32
from implementations.gguf.convert.parts import Part, Scaled, Source, Tensor, Zeros
from implementations.gguf.convert.shapes import Shape
from implementations.gguf.convert.tower_shapes import tower_shapes
from implementations.gguf.vision.graph import WIDTH
from parity.errors import UsageError
from parity.weights.stored import stored
from parity.weights.written import Stored

TOWER_ARCHITECTURE, PROJECTOR = "clip", "gemma3nv"
RESOLUTION = 16
"""Height and width of the fused map."""
STEPS = 256
"""Sides of pictures are multiples of it: the map of the third stage, of a 16th, is divided by `RESOLUTION`."""
TOWER, EMBEDDER = "model.vision_tower.timm_model.", "model.embed_vision."
PROJECTION, NORM = f"{EMBEDDER}embedding_projection.weight", f"{EMBEDDER}soft_embedding_norm.weight"
NAMES = {PROJECTION: "mm.input_projection.weight", NORM: "mm.soft_emb_norm.weight"}
DEPTHWISE = (".dw_start.conv.", ".dw_mid.conv.", ".down_conv.")
"""Convolutions of each channel alone, which ggml computes with half-precision weights only."""
CHANNELS = ("conv_stem.conv.bias", "layer_scale.gamma")
"""A number for each channel, in the axes of a map."""
UNUSED = {
    f"{EMBEDDER}embedding.": "llama.cpp has no embeddings of the ids of pictures",
    f"{EMBEDDER}hard_embedding_norm.": "llama.cpp has no embeddings of the ids of pictures",
}


@dataclass(frozen=True)
class Tower:
    """The tensors of a checkpoint's vision tower.

    Attributes:
        config: the checkpoint's.
        image: how its pictures are made.
        found: all of its tensors, by the names that Hugging Face publishes.
    """

    config: Config
    image: ImageSettings
    found: Mapping[str, Stored]

    @classmethod
    def of(cls, checkpoint: Path, config: Config) -> Tower:
        """Look at a checkpoint's tensors, reading none.

        Raises:
            UsageError: for a language model alone, a tensor that is missing, unknown or misshapen, or a geometry that
                libmtmd does not have.
        """
        image = ProcessorSettings.from_directory(checkpoint).image
        if image is None:
            raise UsageError(f"checkpoint {checkpoint} is a language model alone; it has no --mmproj")
        _require_geometry(checkpoint, config, image)
        tower = cls(config, image, stored(checkpoint, PUBLISHED))
        wanted = tower.shapes()
        own = {
            name for name in tower.found if name.startswith((TOWER, EMBEDDER)) and not name.startswith(tuple(UNUSED))
        }
        require_names(own, wanted, checkpoint)
        for name in own:
            require_shape(name, tower.found[name].shape, wanted[name], checkpoint)
        return tower

    @property
    def factor(self) -> float:
        """What soft tokens are too large by in the file: the norm behind the projection is over all channels there."""
        return math.sqrt(WIDTH / self.config.text.hidden_size)

    def shapes(self) -> dict[str, Shape]:
        """Names and shapes of the tensors that the tower and its projector have."""
        tower = {TOWER + name: shape for name, shape in tower_shapes(self.config.vision.channel_multiplier)}
        width = self.config.vision.hidden_size
        return tower | {PROJECTION: (self.config.text.hidden_size, width), NORM: (width,)}

    def tensors(self) -> Iterator[Tensor]:
        """Those of the file."""
        for name, shape in self.shapes().items():
            source = Source(name, self.found[name])
            if name == PROJECTION and shape[0] < WIDTH:
                parts: tuple[Part, ...] = (Scaled(source, self.factor), Zeros((WIDTH - shape[0], shape[1])))
                change = f"times {self.factor:g}, and rows of zeros up to {WIDTH:,}"
                yield Tensor(NAMES[name], (WIDTH, shape[1]), GGMLQuantizationType.F32, parts, change)
            elif name.endswith(CHANNELS):
                yield Tensor(_called(name), (1, *shape, 1, 1), GGMLQuantizationType.F32, (source,), "axes of a map")
            else:
                half = any(part in name for part in DEPTHWISE)
                kind = GGMLQuantizationType.F16 if half else GGMLQuantizationType.F32
                yield Tensor(_called(name), shape, kind, (source,))

    def describe(self, writer: GGUFWriter) -> None:
        """Add the header's keys.

        libmtmd reads no number of blocks, heads and widths of this tower, but asks for them.
        """
        mean, deviation = self.image.mean or (0.0,) * 3, self.image.deviation or (1.0,) * 3
        writer.add_type("mmproj")
        writer.add_clip_has_vision_encoder(True)
        writer.add_clip_projector_type(PROJECTOR)
        writer.add_vision_projection_dim(WIDTH)
        writer.add_vision_image_size(self.image.height)
        writer.add_vision_patch_size(self.image.height // STEPS)
        writer.add_vision_embedding_length(self.config.vision.hidden_size)
        writer.add_vision_feed_forward_length(4 * WIDTH)
        writer.add_vision_block_count(128)
        writer.add_vision_head_count(8)
        writer.add_vision_attention_layernorm_eps(self.config.vision.rms_norm_eps)
        writer.add_vision_image_mean(mean)
        writer.add_vision_image_std(deviation)
        writer.add_vision_use_gelu(True)


def _called(name: str) -> str:
    """A tensor's name in the file."""
    bare = name.removeprefix(TOWER)
    return NAMES.get(name, f"v.{bare.replace('blocks.', 'blk.', 1)}")


def _require_geometry(checkpoint: Path, config: Config, image: ImageSettings) -> None:
    """Refuse what libmtmd computes otherwise.

    Raises:
        UsageError: naming all of it.
    """
    found: list[str] = []
    if (resolution := config.vision.msfa_output_resolution) != RESOLUTION:
        found.append(f"msfa_output_resolution {resolution}, there always {RESOLUTION}")
    if image.height != image.width or image.height % STEPS:
        found.append(f"pictures of {image.height} by {image.width}, there squares of a multiple of {STEPS}")
    if config.text.hidden_size > WIDTH:
        found.append(f"hidden_size {config.text.hidden_size}, there at most {WIDTH}")
    if not math.isclose(image.rescale_factor, 1 / 255):
        found.append(f"rescale_factor {image.rescale_factor}, there 1/255")
    found += beyond_float32("vision_config.rms_norm_eps", config.vision.rms_norm_eps)
    for name, values in (("image_mean", image.mean), ("image_std", image.deviation)):
        found += [said for value in values or () for said in beyond_float32(name, value)]
    if found:
        raise UsageError(f"checkpoint {checkpoint} has a tower that libmtmd does not compute: {'; '.join(found)}")
