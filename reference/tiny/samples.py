"""Write the sample pictures and sounds, byte for byte the same everywhere.

python -m reference.tiny.samples            write samples/ anew
python -m reference.tiny.samples --check    exit 1 naming the files that differ

PNG's compressed bytes depend on the library that compresses them, so pixels are stored as they are: palette indices in
one uncompressed block.
"""

import argparse
import binascii
import struct
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from reference.tiny.config import IMAGE_SIZE
from reference.tiny.pictures import Figure, Picture, Pixels
from reference.tiny.sounds import RATE, Samples, Sound

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
    rows, columns = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE]
    # 1 and 3 have no common factor with 256, so that no two of 192 shifts are the same.
    index = (columns + 3 * rows) % 256
    return np.stack([index, 7 * index % 256, 255 - index // 2], -1).astype(np.uint8)


def png(pixels: Pixels) -> bytes:
    """Encode RGB pixels [row, column, 3] of at most 256 colours."""
    height, width, _ = pixels.shape
    palette, inverse = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    # Each row begins with its filter: 0, none.
    rows = np.pad(inverse.reshape(height, width).astype(np.uint8), ((0, 0), (1, 0)))
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = {b"IHDR": header, b"PLTE": palette.tobytes(), b"IDAT": stored(rows.tobytes()), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in chunks.items())


def chunk(name: bytes, data: bytes) -> bytes:
    """Return length, name, data and checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", binascii.crc32(name + data))


def stored(data: bytes) -> bytes:
    """Return a zlib stream of one uncompressed block, which holds up to 65535 bytes."""
    size = struct.pack("<HH", len(data), len(data) ^ 0xFFFF)
    return b"\x78\x01\x01" + size + data + struct.pack(">I", zlib.adler32(data))


def wav(samples: Samples) -> bytes:
    """Encode 16-bit mono samples at 16 kHz."""
    data = samples.astype("<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    body = b"WAVE" + form + struct.pack("<4sI", b"data", len(data)) + data
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def files() -> dict[str, bytes]:
    """Return the bytes of every sample, by file name."""
    seen = {name: png(picture.pixels()) for name, picture in PICTURES.items()}
    heard = {name: wav(sound.samples()) for name, sound in SOUNDS.items()}
    return {**seen, "gradient.png": png(gradient()), **heard}


def differing(directory: Path) -> list[str]:
    """Return the names of samples that are missing or differ."""
    stored_files = {file.name: file.read_bytes() for file in directory.iterdir()} if directory.is_dir() else {}
    return sorted(name for name, content in files().items() if stored_files.get(name) != content)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m reference.tiny.samples", description=__doc__)
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
