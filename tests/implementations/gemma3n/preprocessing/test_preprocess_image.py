"""Images to pixels: in every bit those of the reference's processor, over modes, formats, sizes and orientations."""

import io
import os
import sys
import warnings
import zlib

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from implementations.gemma3n.preprocessing import image as module
from implementations.gemma3n.preprocessing.image import decode, load_image, pixel_values
from implementations.gemma3n.preprocessing.resize import fixed_weights, resize
from implementations.gemma3n.preprocessing.settings import ImageSettings
from implementations.gemma3n.preprocessing.settings_reader import ProcessorSettings
from parity.errors import BackendUnavailable, UsageError
from reference import tiny

pytestmark = pytest.mark.usefixtures("eight_bits")
SETTINGS = ProcessorSettings.from_directory(tiny.path()).image


@pytest.fixture(scope="module")
def reference():
    """The reference's image processor, as AutoProcessor finds it; pixels of one image or path."""
    transformers = pytest.importorskip("transformers", reason="needs the [hf] extra")
    processor = transformers.AutoProcessor.from_pretrained(tiny.path()).image_processor

    def pixels(image, **options):
        return np.asarray(processor([image], return_tensors="np", **options)["pixel_values"])[0]

    return pixels


def noise(width, height, channels=3, seed=0):
    """An RGB or RGBA picture of independent values: the hardest to resample."""
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8))


def resized(planes, height, width):
    """``[channel row column]`` at another size."""
    rows = np.ascontiguousarray(np.moveaxis(planes, 0, -1))
    return resize(lambda begin, end: rows[begin:end], planes.shape[1:], height=height, width=width)


RGB, RGBA = noise(140, 100), noise(140, 100, 4)
CORNER = RGB.getpixel((0, 0))


def stored(picture, form, **options):
    """The bytes of an image file."""
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


FILES = {
    "RGB": stored(RGB, "PNG"),
    "RGBA": stored(RGBA, "PNG"),
    "L": stored(RGB.convert("L"), "PNG"),
    "LA": stored(RGBA.convert("LA"), "PNG"),
    "1": stored(RGB.convert("1"), "PNG"),
    "1 with a transparent colour": stored(RGB.convert("1"), "PNG", transparency=0),
    "L with a transparent grey": stored(RGB.convert("L"), "PNG", transparency=100),
    "RGB with a transparent colour": stored(RGB, "PNG", transparency=CORNER),
    "P": stored(RGB.quantize(16), "PNG"),
    "P with a transparent entry": stored(RGB.quantize(16), "PNG", transparency=3),
    "P with alpha": stored(RGB.quantize(16), "PNG", transparency=bytes(range(0, 256, 16))),
    "CMYK": stored(RGB.convert("CMYK"), "JPEG"),
    "LAB": stored(PIL.Image.merge("LAB", RGB.split()), "TIFF"),
    "JPEG": stored(RGB, "JPEG", quality=90),
    "progressive JPEG": stored(RGB, "JPEG", progressive=True),
    "grey JPEG": stored(RGB.convert("L"), "JPEG"),
    "GIF": stored(RGB, "GIF"),
    "animated GIF": stored(RGB, "GIF", save_all=True, append_images=[noise(140, 100, seed=1)]),
    "WebP": stored(RGB, "WEBP"),
    "WebP with alpha": stored(RGBA, "WEBP", lossless=True),
    "BMP": stored(RGB, "BMP"),
    "TIFF with alpha": stored(RGBA, "TIFF"),
    "JPEG 2000": stored(RGB, "JPEG2000"),
    "AVIF": stored(RGB, "AVIF"),
    "PPM": stored(RGB, "PPM"),
    "ICO": stored(RGBA, "ICO"),
    "PCX": stored(RGB, "PCX"),
    "TGA": stored(RGB, "TGA"),
    "TGA with alpha": stored(RGBA, "TGA"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_mode_and_format_is_the_references(reference, name):
    """Also without a warning: Pillow has one for some of these."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load_image(FILES[name], SETTINGS).pixels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = reference(PIL.Image.open(io.BytesIO(FILES[name])))
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["RGB", "L", "1", "P", "CMYK", "JPEG", "progressive JPEG", "grey JPEG", "GIF", "WebP"])
def test_a_path_is_decoded_as_the_reference_does(reference, tmp_path, name):
    """Given a path it uses torchvision's decoders instead of Pillow's; opaque images agree."""
    path = tmp_path / "image"
    path.write_bytes(FILES[name])
    found = load_image(path, SETTINGS)
    np.testing.assert_array_equal(found.pixels, reference(str(path)))
    assert found.source == str(path)


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (192, 192), (192, 300), (300, 192), (1500, 1100)])
def test_every_shape_is_the_references(reference, size):
    picture = noise(*size)
    found = load_image(stored(picture, "PNG", compress_level=1), SETTINGS)
    np.testing.assert_array_equal(found.pixels, reference(picture))


def test_the_published_size_is_the_references(reference):
    size = ImageSettings(768, 768)
    for picture in (noise(1024, 769), noise(300, 500)):
        expected = reference(picture, size={"height": 768, "width": 768})
        np.testing.assert_array_equal(pixel_values(decode(stored(picture, "PNG")), size), expected)


def test_pillows_own_resampling_is_told_apart():
    """It is one level off here and there: what these tests would find."""
    picture = noise(700, 500)
    ours = resized(np.moveaxis(np.asarray(picture), -1, 0), 192, 192).astype(int)
    pillow = np.moveaxis(np.asarray(picture.resize((192, 192), PIL.Image.Resampling.BILINEAR)), -1, 0)
    assert np.abs(ours - pillow).max() == 1


SIDES = st.integers(1, 400)


# To a single column, which no model takes, torch without AVX2 gives one row's value for all; to a single pixel, it
# fails with an internal error.
@given(
    st.tuples(SIDES, SIDES),
    st.tuples(SIDES, st.integers(2, 400)),
    st.integers(0, 99),
    st.booleans(),
)
@settings(max_examples=60)
def test_resampling_is_torchvisions(given_size, size, seed, extremes):
    torch = pytest.importorskip("torch", reason="needs the [hf] extra")
    from torchvision.transforms.v2 import functional

    planes = np.random.default_rng(seed).integers(0, 256, (3, *given_size), dtype=np.uint8)
    if extremes:
        planes = np.where(planes > 127, np.uint8(255), np.uint8(0))
    expected = functional.resize(torch.from_numpy(planes)[None], list(size), antialias=True)[0].numpy()
    np.testing.assert_array_equal(resized(planes, *size), expected)


@given(st.integers(1, 3000), st.integers(1, 300))
def test_weights_sum_to_one(inputs, outputs):
    """To a bit for each input that counts, of the precision that 16-bit weights have."""
    _, weights, bits = fixed_weights(inputs, outputs)
    assert np.abs(weights.sum(axis=1) / 2**bits - 1).max() <= weights.shape[1] / 2**bits
    assert weights.min() >= 0
    assert weights.max() < 2**15


@given(arrays.arrays(np.uint8, (3, 9, 7)), arrays.arrays(np.uint8, (3, 9, 7)), SIDES, SIDES)
@settings(max_examples=30)
def test_brighter_stays_brighter(one, other, height, width):
    low, high = resized(np.minimum(one, other), height, width), resized(np.maximum(one, other), height, width)
    assert (low <= high).all()
    assert low.min() >= one.min() or low.min() >= other.min()


@pytest.mark.parametrize("size", [(3, 5), (192, 50), (700, 900), (1300, 1100), (2500, 3000)])
@pytest.mark.parametrize("level", [0, 1, 127, 128, 200, 254, 255])
def test_a_plain_area_stays_plain(size, level):
    """At every precision of the weights, whose sums are off by some bits."""
    assert (resized(np.full((3, *size), level, np.uint8), 192, 192) == level).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_an_image_is_turned_upright(reference, orientation, form):
    exif = PIL.Image.Exif()
    exif[0x112] = orientation
    content = stored(RGB, form, exif=exif)
    upright = PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(content)))
    found = load_image(content, SETTINGS).pixels
    np.testing.assert_array_equal(found, reference(upright))
    as_stored = reference(PIL.Image.open(io.BytesIO(content)))
    assert (orientation == 1) == np.array_equal(found, as_stored)


def test_transparency_lies_on_white(reference, tmp_path):
    """The reference agrees for an image in memory; given a path, it shows the colours under transparent pixels."""
    clear = PIL.Image.new("RGBA", (10, 10), (255, 0, 0, 0))
    content = stored(clear, "PNG")
    (tmp_path / "clear.png").write_bytes(content)
    found = load_image(content, SETTINGS).pixels
    assert (found == 1).all()
    np.testing.assert_array_equal(found, reference(clear))
    assert (reference(str(tmp_path / "clear.png"))[1:] == 0).all()


@pytest.mark.parametrize(("form", "dtype"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2")])
def test_16_bit_greys_are_scaled(reference, form, dtype):
    """The reference clips them: almost every pixel is white."""
    grey = np.random.default_rng(3).integers(0, 256, (100, 140))
    picture = PIL.Image.fromarray((grey * 257).astype(dtype))
    assert picture.mode.startswith("I;16")
    content = stored(picture, form)
    expected = reference(PIL.Image.fromarray(grey.astype(np.uint8)))
    np.testing.assert_array_equal(load_image(content, SETTINGS).pixels, expected)
    assert reference(PIL.Image.open(io.BytesIO(content))).mean() > 0.95


def test_every_16_bit_level_goes_to_the_nearest():
    levels = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    found = decode(stored(PIL.Image.fromarray(levels), "PNG"))
    np.testing.assert_array_equal(np.asarray(found)[..., 0], np.rint(levels / 257))


def test_normalised_pixels_are_the_references(reference):
    options = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.5]}
    found = pixel_values(
        decode(FILES["RGB"]),
        ImageSettings(192, 192, mean=tuple(options["image_mean"]), deviation=tuple(options["image_std"])),
    )
    np.testing.assert_array_max_ulp(found, reference(RGB, do_normalize=True, **options), maxulp=1)


def chunk(kind, content):
    return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)


def png_header(width, height):
    """A PNG that claims a size and holds next to nothing."""
    header = width.to_bytes(4) + height.to_bytes(4) + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9))


BAD = {
    "nothing": (b"", "empty"),
    "text": (b"not an image at all", "not an image of a known format"),
    "a sound": (b"RIFF\x24\0\0\0WAVEfmt ", "not an image of a known format"),
    "a program that draws": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image of a known format"),
    "a cut PNG": (FILES["RGB"][:-2000], "cannot be read|truncated"),
    "a cut JPEG": (FILES["JPEG"][: len(FILES["JPEG"]) // 2], "cannot be read|truncated"),
    "a cut GIF": (FILES["GIF"][:2000], "cannot be read|truncated"),
    "a cut WebP": (FILES["WebP"][:2000], "."),
    "a signature": (FILES["RGB"][:8], "."),
    "a header": (png_header(9, 9), "."),
    "a bomb": (png_header(100_000, 100_000), "too many pixels; at most 178956970 in all"),
    "a thread": (png_header(65_536, 1), "65536 x 1 pixels; at most 65535 a side"),
    "floating point": (stored(PIL.Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "32-bit"),
    "32-bit integers": (stored(PIL.Image.fromarray(np.ones((4, 4), np.int32)), "TIFF"), "32-bit"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("as_file", [False, True])
def test_bad_images_are_refused_in_one_line(tmp_path, name, as_file):
    content, reason = BAD[name]
    path = tmp_path / "bad"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UsageError, match=reason) as caught:
            load_image(path if as_file else content, SETTINGS)
    message = str(caught.value)
    assert message.startswith(f"image {path}: " if as_file else f"image of {len(content)} bytes: ")
    assert "\n" not in message


def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch):
    """Also where Pillow's own limit was lifted."""
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(UsageError, match="60000 x 60000 pixels; at most 178956970 in all"):
        load_image(png_header(60_000, 60_000), SETTINGS)
    monkeypatch.setattr(module, "MOST_PIXELS", 13_999)
    with pytest.raises(UsageError, match="140 x 100 pixels; at most 13999"):
        load_image(FILES["RGB"], SETTINGS)


def test_the_environment_lowers_the_pixels_and_never_raises_them(monkeypatch):
    monkeypatch.setenv("PARITY_PIXELS", "13999")
    with pytest.raises(UsageError, match="140 x 100 pixels; at most 13999"):
        load_image(FILES["RGB"], SETTINGS)
    with pytest.raises(UsageError, match="too many pixels; at most 13999 in all"):  # Pillow's own limit, our number
        load_image(png_header(60_000, 60_000), SETTINGS)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setenv("PARITY_PIXELS", "9" * 18)
    with pytest.raises(UsageError, match="60000 x 60000 pixels; at most 178956970 in all"):
        load_image(png_header(60_000, 60_000), SETTINGS)
    for wrong in ("many", "-1", "9" * 19, "1e6"):
        monkeypatch.setenv("PARITY_PIXELS", wrong)
        with pytest.raises(UsageError, match="is no number of pixels; give a whole one"):
            load_image(FILES["RGB"], SETTINGS)


def test_what_is_no_file_is_refused_in_one_line(tmp_path):
    loop, pipe = tmp_path / "loop", tmp_path / "pipe"
    loop.symlink_to(loop)
    os.mkfifo(pipe)
    for path, reason in (
        (tmp_path, "a folder"),
        (tmp_path / "none.png", "No such file"),
        (loop, "symbolic links"),
        (pipe, "not a regular file"),
        (tmp_path / ("x" * 300), "too long"),
        (tmp_path / "nul\0.png", "null"),
    ):
        with pytest.raises(UsageError, match=reason) as caught:
            load_image(path, SETTINGS)
        assert str(caught.value).startswith(f"image {path}: ")
        assert "\n" not in str(caught.value)


def test_an_unreadable_file_is_refused_in_one_line(tmp_path, monkeypatch):
    path = tmp_path / "secret.png"
    path.write_bytes(FILES["RGB"])

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(UsageError) as caught:
        load_image(path, SETTINGS)
    assert str(caught.value) == f"image {path}: Permission denied"


@pytest.mark.parametrize(("module", "package"), [("PIL.Image", "pillow"), ("numba", "numba")])
def test_a_missing_library_says_what_to_install(monkeypatch, module, package):
    monkeypatch.delitem(sys.modules, "implementations.gemma3n.preprocessing.resampling", raising=False)
    monkeypatch.delattr("implementations.gemma3n.preprocessing.resampling", raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendUnavailable, match=f"pip install {package}"):
        load_image(FILES["RGB"], SETTINGS)
