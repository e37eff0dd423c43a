"""Write the sample pictures and sounds, byte for byte the same everywhere.

python -m tools.tiny.samples            write samples/ anew
python -m tools.tiny.samples --check    exit 1 naming the files that differ

PNG's compressed bytes depend on the library that compresses them, so pixels are stored as they are: palette indices in
one uncompressed block.
"""

import argparse
import binascii
import struct
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from reference.common.pictures import SIDE, Figure, Picture, Pixels
from reference.common.sounds import RATE, Samples, Sound

Deep = npt.NDArray[np.uint16]

STEREO_RATE: Final = 22_050
DIRECTORY: Final = Path(__file__).resolve().parents[2] / "samples"
PICTURES: Final = {
    "red-circle.png": Picture((Figure("red", "circle", 50, 44, 33),), place="top left"),
    "three-blue-squares.png": Picture(
        tuple(Figure("blue", "square", column, row, 31) for column, row in ((46, 52), (146, 44), (142, 150))), gray=24
    ),
    "yellow-triangle.png": Picture((Figure("yellow", "triangle", 140, 148, 35),), place="bottom right"),
}
SOUNDS: Final = {
    "low-tone.wav": Sound("tone", "low", 330, 330, 1000, lead=100),
    "rising-chirp.wav": Sound("chirp", "rising", 300, 2400, 1000, lead=100),
    "three-high-beeps.wav": Sound("beeps", "high", 2000, 2000, 200, count=3, gap=300, lead=100),
}


def gradient() -> Pixels:
    """A picture [192, 192, 3] of which no two rows, columns or channels are alike: any flip, turn or swap shows."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    # 1 and 3 have no common factor with 256, so that no two of 192 shifts are the same.
    index = (columns + 3 * rows) % 256
    return np.stack([index, 7 * index % 256, 255 - index // 2], -1).astype(np.uint8)


def rings() -> Pixels:
    """A picture [210, 260, 3] of rings that get finer outwards: it shows how it was resized, cut, turned or padded."""
    rows, columns = np.mgrid[:210, :260]
    squared = (rows - 70) ** 2 + (columns - 90) ** 2
    # At the far corner, 220 pixels away, light and dark alternate with every pixel.
    index = np.round(127.5 + 127.5 * np.cos(np.pi / 440 * squared)).astype(np.int64)
    return np.stack([index, 255 - index // 2, 64 + index // 2], -1).astype(np.uint8)


def deep() -> Deep:
    """A picture [120, 160] of 16-bit greys, brighter from left to right and from top to bottom."""
    rows, columns = np.mgrid[:120, :160]
    return (300 * columns + 140 * rows).astype(np.uint16)


def chirps() -> Samples:
    """A falling chirp left and a rising one right [13230, 2], 0.6 s at 22,050 Hz, beyond what 16,000 Hz can hold."""
    time = np.arange(13_230) / STEREO_RATE
    left, right = (start * time + (end - start) * time**2 / 1.2 for start, end in ((3000, 500), (400, 9500)))
    return np.round(12_000 * np.sin(2 * np.pi * np.stack([left, right], -1))).astype(np.int16)


def png(pixels: Pixels, orientation: int = 1) -> bytes:
    """Encode RGB pixels [row, column, 3] of at most 256 colours; `orientation` is EXIF's, from 1 (upright) to 8."""
    height, width, _ = pixels.shape
    palette, inverse = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    # Each row begins with its filter: 0, none.
    rows = np.pad(inverse.reshape(height, width).astype(np.uint8), ((0, 0), (1, 0)))
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    # One entry: tag 0x112, of type 3 (16 bits).
    turned = {b"eXIf": struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x112, 3, 1, orientation, 0, 0)}
    chunks = {b"IHDR": header, **(turned if orientation > 1 else {}), b"PLTE": palette.tobytes()}
    return file_of({**chunks, b"IDAT": stored(rows.tobytes())})


def grey_png(pixels: Deep) -> bytes:
    """Encode 16-bit greys [row, column]."""
    height, width = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    return file_of({b"IHDR": header, b"IDAT": stored(rows)})


def file_of(chunks: Mapping[bytes, bytes]) -> bytes:
    """Return a PNG of these chunks and the last."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in {**chunks, b"IEND": b""}.items())


def chunk(name: bytes, data: bytes) -> bytes:
    """Return length, name, data and checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", binascii.crc32(name + data))


def stored(data: bytes) -> bytes:
    """Return a zlib stream of one uncompressed block, which holds up to 65535 bytes."""
    size = struct.pack("<HH", len(data), len(data) ^ 0xFFFF)
    return b"\x78\x01\x01" + size + data + struct.pack(">I", zlib.adler32(data))


def wav(samples: Samples, rate: int = RATE) -> bytes:
    """Encode 16-bit samples, [sample] or [sample, channel]."""
    data = samples.astype("<i2").tobytes()
    channels = samples.size // len(samples)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, 2 * channels * rate, 2 * channels, 16)
    body = b"WAVE" + form + struct.pack("<4sI", b"data", len(data)) + data
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def files() -> dict[str, bytes]:
    """Return the bytes of every sample, by file name."""
    seen = {name: png(picture.pixels()) for name, picture in PICTURES.items()}
    heard = {name: wav(sound.samples()) for name, sound in SOUNDS.items()}
    seen |= {"gradient.png": png(gradient()), "turned-rings.png": png(rings(), 6), "deep-grey.png": grey_png(deep())}
    return {**seen, **heard, "stereo-chirps.wav": wav(chirps(), STEREO_RATE)}


def differing(directory: Path) -> list[str]:
    """Return the names of samples that are missing or differ."""
    stored_files = {file.name: file.read_bytes() for file in directory.iterdir()} if directory.is_dir() else {}
    return sorted(name for name, content in files().items() if stored_files.get(name) != content)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.tiny.samples", description=__doc__)
    parser.add_argument("--output", type=Path, default=DIRECTORY, help="the samples' directory")
    parser.add_argument("--check", action="store_true", help="compare; write nothing")
    options = parser.parse_args(arguments)
    if options.check:
        names = differing(options.output)
        print("".join(f"{options.output / name}: differs\n" for name in names), end="", file=sys.stderr)
        return 1 if names else 0
    options.output.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        (options.output / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
