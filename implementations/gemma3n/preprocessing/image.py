"""An image file to the pixels that the vision tower takes, in every bit those of the reference's processor.

The reference is `SiglipImageProcessor` of transformers, given the upright image: RGB, resampled in 8-bit integers, then
times 1/255 in float32. Where it has no one answer, this module does what the image's author saw:

- Transparency lies on white, as the reference has it for images in memory. Given a path, it drops the alpha channel
  instead, and shows whatever colours were stored under transparent pixels.
- 16-bit greys are scaled to 8 bits. The reference clips them at 255, which leaves almost white pictures.
- Samples without a known white (32-bit integers, floating point), which the reference clips likewise, are refused.
- The first frame of an animation counts. Colour profiles are ignored, as the reference does.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.preprocessing.media_file import Source, name_of, opened, requires
from implementations.gemma3n.preprocessing.resize import resize
from implementations.gemma3n.preprocessing.settings import ImageSettings
from parity.errors import UsageError
from parity.media import PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

FORMATS = ("AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP")
"""What people store pictures in, decoded inside this process; some others of Pillow's run programs."""
MOST_PIXELS = 178_956_970
"""Where Pillow, too, takes an image for a decompression bomb: half a gigabyte of RGB."""
LONGEST_SIDE = 65_535
"""JPEG's own limit; bounds the resampling weights."""


@dataclass(frozen=True)
class Image:
    """An image as the vision tower takes it.

    Attributes:
        source: where it came from, for messages.
        pixels: ``[channel=3 height width]``, float32, red first, in [0, 1] unless the checkpoint normalises.
    """

    source: str
    pixels: NDArray[np.float32] = field(repr=False)


def load_image(source: Source, settings: ImageSettings) -> Image:
    """Decode, turn upright and resize an image of any size; a single pixel is an image too.

    Raises:
        UsageError: for a file that is missing, truncated, no image or too large.
        BackendUnavailable: where Pillow is not installed.
    """
    return Image(name_of(source), pixel_values(decode(source), settings))


def decode(source: Source) -> PilImage:
    """The upright image, 8 bits red, green and blue.

    Raises:
        UsageError: for a file that is missing, truncated, no image or too large.
    """
    with requires("pillow"):
        import PIL.Image
        import PIL.ImageOps
    # Pillow warns of odd metadata and of large images; the limits below decide, and the caller has no use for the rest.
    with warnings.catch_warnings(), opened(source, "image") as stream:
        warnings.simplefilter("ignore")
        try:
            image = PIL.Image.open(stream, formats=FORMATS)
        except PIL.UnidentifiedImageError as error:
            known = ", ".join(FORMATS)
            raise UsageError(f"image {name_of(source)}: not an image of a known format ({known})") from error
        except PIL.Image.DecompressionBombError as error:  # Pillow's own limit may be above ours, and tells another
            raise UsageError(f"image {name_of(source)}: too many pixels; at most {_most_pixels()} in all") from error
        _require_size(image, source)
        image.load()
        PIL.ImageOps.exif_transpose(image, in_place=True)
        return _rgb(image, source)


def pixel_values(image: PilImage, settings: ImageSettings) -> NDArray[np.float32]:
    """Resize an RGB image and scale it: ``[channel=3 height width]``, float32."""

    def read(begin: int, end: int) -> NDArray[np.uint8]:
        strip = image.crop((0, begin, image.width, end))
        return np.frombuffer(strip.tobytes(), np.uint8).reshape(end - begin, image.width, 3)

    levels = resize(read, (image.height, image.width), height=settings.height, width=settings.width)
    if settings.mean is None or settings.deviation is None:
        # In float32 throughout, as the reference: its factor is rounded before, not after, the product.
        return np.multiply(levels, np.float32(settings.rescale_factor), dtype=np.float32)
    pixels = levels.astype(np.float32)
    # The reference scales mean and deviation up instead of pixels down.
    upscale = np.float32(1 / settings.rescale_factor)
    for statistic, values in ((np.subtract, settings.mean), (np.divide, settings.deviation)):
        statistic(pixels, np.array(values, np.float32)[:, None, None] * upscale, out=pixels)
    return pixels


def _require_size(image: PilImage, source: Source) -> None:
    width, height = image.size
    if width * height > (most := _most_pixels()):
        raise UsageError(f"image {name_of(source)}: {width} x {height} pixels; at most {most} in all")
    if max(width, height) > LONGEST_SIDE:
        raise UsageError(f"image {name_of(source)}: {width} x {height} pixels; at most {LONGEST_SIDE} a side")


def _most_pixels() -> int:
    text = os.environ.get(PIXELS) or str(MOST_PIXELS)
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise UsageError(f"{PIXELS}={text!r} is no number of pixels; give a whole one")
    return min(int(text), MOST_PIXELS)


def _rgb(image: PilImage, source: Source) -> PilImage:
    import PIL.Image

    if image.mode.startswith("I;16"):
        image = PIL.Image.fromarray(_eight_bits(np.asarray(image)))
    if image.mode in ("I", "F"):
        raise UsageError(f"image {name_of(source)}: 32-bit samples have no known white; store 8 or 16 bits a channel")
    if "A" not in image.getbands() and image.info.get("transparency") is None:
        return image if image.mode == "RGB" else image.convert("RGB")
    image = image.convert("RGBA")
    white = PIL.Image.new("RGBA", image.size, (255, 255, 255, 255))
    return PIL.Image.alpha_composite(white, image).convert("RGB")


def _eight_bits(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """The nearest of 256 levels: 65535 becomes 255."""
    return ((samples.astype(np.uint32) * 255 + 32_767) // 65_535).astype(np.uint8)
