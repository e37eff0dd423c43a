"""Pictures and sounds that are broken in every way: what our own preprocessing says of each."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import soundfile

from implementations.gemma3n.preprocessing.audio_file import load_clip
from implementations.gemma3n.preprocessing.image import load_image
from implementations.gemma3n.preprocessing.settings import AudioSettings, ImageSettings
from tests.bad_input import inputs
from tests.bad_input.inputs import Spoil, data
from tests.bad_input.table import Row, nothing, table

IMAGE = ImageSettings(192, 192)
AUDIO = AudioSettings(most_samples=82_432, soft_tokens=32)
RATE = 16_000


def picture(form: str, mode: str = "RGB", size: tuple[int, int] = (24, 16), **options: object) -> bytes:
    """A picture of noise."""
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    PIL.Image.fromarray(noise).convert(mode).save(stream, form, **options)
    return stream.getvalue()


def sound(
    samples: int = RATE, rate: int = RATE, channels: int = 1, form: str = "WAV", subtype: str | None = None
) -> bytes:
    """A sound of noise."""
    stream = io.BytesIO()
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (samples, channels))
    soundfile.write(stream, noise, rate, format=form, subtype=subtype)
    return stream.getvalue()


def wav(**fields: int) -> bytes:
    """A sound whose header has other numbers."""
    made = bytearray(sound())
    for name, value in fields.items():
        place, form = {"size": (4, "<I"), "format": (20, "<H"), "channels": (22, "<H"), "rate": (24, "<I"),
                       "align": (32, "<H"), "bits": (34, "<H"), "data": (40, "<I")}[name]  # fmt: skip
        struct.pack_into(form, made, place, value)
    return bytes(made)


def png(width: int, height: int, depth: int = 8, kind: int = 2) -> bytes:
    """A PNG whose header promises so much, its checksum right."""
    import zlib

    made = picture("PNG")
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return made[:12] + head + struct.pack(">I", zlib.crc32(head)) + made[33:]


def flipped(content: bytes, *places: float) -> bytes:
    """With the bytes at these shares of its length inverted."""
    made = bytearray(content)
    for place in places:
        made[int(place * len(made))] ^= 0xFF
    return bytes(made)


FORMS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "ICO")
OTHERS = {form: picture(form) for form in ("EPS", "PDF", "SGI")}
SOUND_FORMS = ("WAV", "FLAC", "AIFF", "OGG")
TEXTS = {"text": b"hello", "zeros": bytes(1000), "pickle": b"\x80\x04\x95" + bytes(40), "svg": b"<svg xmlns='x'/>",
         "html": b"<html></html>", "zip": b"PK\x03\x04" + bytes(60)}  # fmt: skip
PICTURES: dict[str, tuple[Spoil, str]] = {
    "empty": (data(b""), "empty"),
    **{f"cut-{form}": (data(picture(form)[: len(picture(form)) // 2]), "") for form in FORMS},
    **{f"begin-{form}": (data(picture(form)[:10]), "") for form in FORMS},
    **{name: (data(content), "not an image of a known format") for name, content in (OTHERS | TEXTS).items()},
    "sound": (data(sound()), "not an image of a known format"),
    "wide": (data(png(70_000, 10)), "70000 x 10 pixels; at most 65535 a side"),
    "bomb": (data(png(60_000, 60_000)), "too many pixels; at most 178956970 in all"),
    "enormous": (data(png(2**31 - 1, 2**31 - 1)), "too many pixels; at most 178956970 in all"),
    "no-width": (data(png(0, 16)), ""),
    "no-height": (data(png(24, 0)), ""),
    "depth-3": (data(png(24, 16, depth=3)), ""),
    "checksum": (data(flipped(picture("PNG"), 0.02 + 29 / len(picture("PNG")))), ""),
    "32-bit": (data(picture("TIFF", "I")), "store 8 or 16 bits"),
    "float": (data(picture("TIFF", "F")), "store 8 or 16 bits"),
}  # fmt: skip
SOUNDS: dict[str, tuple[Spoil, str]] = {
    "empty": (data(b""), "empty"),
    **{f"cut-{form}": (inputs.both(data(sound(form=form)), inputs.cut(0.5)), "") for form in SOUND_FORMS},
    **{f"begin-{form}": (data(sound(form=form)[:20]), "") for form in SOUND_FORMS},
    **{name: (data(content), "not readable as audio") for name, content in TEXTS.items()},
    "picture": (data(picture("PNG")), "not readable as audio"),
    "no-samples": (data(sound(0)), "no samples"),
    "one-sample": (data(sound(1)), "0.1 ms; at least 32.1 ms"),
    "no-frame": (data(sound(512)), "32.0 ms; at least 32.1 ms"),
    "a-sample-too-long": (data(sound(82_433)), "5.15 s; this checkpoint takes at most 5.15 s (32 soft tokens)"),
    "6-s": (data(sound(6 * RATE)), "6.00 s; this checkpoint takes at most 5.15 s"),
    "31-s": (data(sound(31 * RATE)), "31.00 s; this checkpoint takes at most 5.15 s"),
    "31-s-stereo": (data(sound(31 * 44_100, 44_100, 2)), "31.00 s; this checkpoint takes at most 5.15 s"),
    "hours": (data(sound(3600 * 1000, 1000, subtype="PCM_U8")), "3600.00 s; this checkpoint takes at most 5.15 s"),
    "too-fast": (data(sound(1000, 800_000)), "800000 Hz; at most 768000"),
    "no-rate": (data(wav(rate=0)), ""),
    "no-channels": (data(wav(channels=0)), ""),
    "many-channels": (data(wav(channels=5000)), ""),
    "unknown-codec": (data(wav(format=0x1234)), ""),
    "longer-than-said": (data(wav(size=2**30)), "truncated"),
    "nan": (data(sound(1000, subtype="FLOAT")[:-400] + b"\0\0\xc0\x7f" * 100), "a sample is NaN or infinite"),
    "infinite": (data(sound(1000, subtype="FLOAT")[:-400] + b"\0\0\x80\x7f" * 100), "a sample is NaN or infinite"),
}  # fmt: skip
NO_FILES: dict[str, tuple[Spoil, str]] = {
    "missing": (nothing, "No such file"),
    "folder": (Path.mkdir, "a folder"),
    "pipe": (inputs.pipe, "not a regular file"),
    "device": (inputs.device, "not a regular file"),
    "loop": (inputs.loop, "symbolic links"),
    "forbidden": (inputs.forbidden, "Permission denied"),
}
LOADERS: dict[str, tuple[Callable[[], object], dict[str, tuple[Spoil, str]]]] = {
    "image": (lambda: load_image(Path("file"), IMAGE), PICTURES),
    "audio": (lambda: load_clip(Path("file"), AUDIO), SOUNDS),
}


def spoilt() -> list[Row]:
    """Both kinds in every way."""
    return [
        Row(f"{kind}-{how}", load, inputs.at("file", nothing, spoil), 2, (f"{kind} file: ", said),
            unprivileged=how == "forbidden")
        for kind, (load, ways) in LOADERS.items() for how, (spoil, said) in (ways | NO_FILES).items()
    ]  # fmt: skip


@table(spoilt())
def test_media(row, refused):
    refused(row)
