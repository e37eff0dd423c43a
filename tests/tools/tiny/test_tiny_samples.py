"""The sample pictures and sounds: the committed bytes are what the script makes, and ordinary readers open them."""

import io
import random
import wave
from itertools import combinations, permutations

import numpy as np
import pytest

from reference.common import pictures, sounds
from tools.tiny import samples


def test_committed_samples_are_what_the_script_makes() -> None:
    """Byte for byte; and the folder holds nothing else but its README."""
    assert samples.differing(samples.DIRECTORY) == []
    assert {file.name for file in samples.DIRECTORY.iterdir()} - {"README.md"} == set(samples.files())


def test_check_names_what_differs(tmp_path, capsys) -> None:
    """A changed and a missing sample are named; unchanged ones are not."""
    assert samples.main(["--output", str(tmp_path)]) == 0
    assert samples.main(["--output", str(tmp_path), "--check"]) == 0
    (tmp_path / "red-circle.png").unlink()
    (tmp_path / "low-tone.wav").write_bytes(b"")
    assert samples.main(["--output", str(tmp_path), "--check"]) == 1
    named = [line.split(":")[0].rsplit("/", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert named == ["low-tone.wav", "red-circle.png"]


@pytest.mark.parametrize("name", [*samples.PICTURES, "gradient.png"])
def test_png_decodes_to_the_pixels(name) -> None:
    """Pillow reads what was drawn."""
    image = pytest.importorskip("PIL.Image").open(io.BytesIO(samples.files()[name])).convert("RGB")
    drawn = samples.gradient() if name == "gradient.png" else samples.PICTURES[name].pixels()
    assert np.array_equal(np.asarray(image), drawn)


@pytest.mark.parametrize("name", samples.SOUNDS)
def test_wav_decodes_to_the_samples(name) -> None:
    """The standard library reads 16-bit mono at 16 kHz, within the 5.12 s that the checkpoint has places for."""
    with wave.open(io.BytesIO(samples.files()[name])) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        assert file.getnframes() < 5.12 * 16000
        assert file.readframes(file.getnframes()) == samples.SOUNDS[name].samples().astype("<i2").tobytes()


def test_every_row_column_and_channel_of_the_gradient_is_different() -> None:
    """So a shifted row, a flip, a transposition or a swap of channels shows."""
    gradient = samples.gradient()
    assert len(np.unique(gradient, axis=0)) == len(np.unique(gradient, axis=1)[0]) == 192
    for order in permutations(range(3)):
        for turned in (gradient, gradient[::-1], gradient[:, ::-1], gradient[::-1, ::-1]):
            for seen in (turned, turned.transpose(1, 0, 2)):
                same = seen is gradient and order == (0, 1, 2)
                assert np.array_equal(seen[..., order], gradient) == same


@pytest.mark.parametrize("shape", pictures.SHAPES)
def test_figures_lie_where_they_are_said_to(shape) -> None:
    """Inside its box and of a plausible area; a triangle points up."""
    figure = pictures.Figure("green", shape, 60, 120, 30)
    rows, columns = np.nonzero((pictures.Picture((figure,)).pixels() == pictures.COLORS["green"]).all(-1))
    assert (columns.min() >= 30, columns.max() <= 90, rows.min() >= 90, rows.max() <= 150) == (True,) * 4
    assert 0.4 < rows.size / 60**2 < 0.85
    if shape == "triangle":
        assert (rows == rows.min()).sum() < (rows == rows.max()).sum()


def test_beeps_are_as_many_as_they_say() -> None:
    """Stretches of sound between silences."""
    loud = abs(samples.SOUNDS["three-high-beeps.wav"].samples().astype(int)) > 100
    # A sine passes through zero: windows of 5 ms are loud as a whole.
    windows = loud[: loud.size // 80 * 80].reshape(-1, 80).any(1)
    assert int((np.diff(windows.astype(int)) == 1).sum()) == 3


@pytest.mark.parametrize(("quality", "start", "end"), [("rising", 300, 2400), ("falling", 2400, 300)])
def test_a_chirp_goes_from_start_to_end(quality, start, end) -> None:
    """A tenth and nine tenths of the way, the rate of sign changes is twice the frequency there."""
    heard = sounds.Sound("chirp", quality, start, end, 1000).samples()
    for part, way in ((heard[800:2400], 0.1), (heard[-2400:-800], 0.9)):
        changes = int((np.diff(np.sign(part[part != 0])) != 0).sum())
        assert changes / 2 / 0.1 == pytest.approx(start + way * (end - start), abs=10)  # half a period in 0.1 s: 5 Hz


@pytest.mark.parametrize("draw", [pictures.alone, pictures.several])
def test_drawn_pictures_repeat_and_lie_inside(draw) -> None:
    """A seed gives the same picture; figures keep clear of the edge and of each other."""
    seen = [draw(random.Random(seed)) for seed in range(40)]
    assert seen == [draw(random.Random(seed)) for seed in range(40)]
    for picture in seen:
        boxes = [(one.column, one.row, one.radius) for one in picture.figures]
        assert all(radius <= min(x, y) and max(x, y) + radius < 192 for x, y, radius in boxes)
        assert all(
            max(abs(x - u), abs(y - v)) > radius + other for (x, y, radius), (u, v, other) in combinations(boxes, 2)
        )


@pytest.mark.parametrize("draw", [sounds.tone, sounds.chirp, sounds.beeps])
def test_drawn_sounds_repeat_and_fit(draw) -> None:
    """A seed gives the same sound, of at most 5.12 s, at half of full scale."""
    heard = [draw(random.Random(seed)) for seed in range(40)]
    assert heard == [draw(random.Random(seed)) for seed in range(40)]
    for sound in heard:
        recorded = sound.samples()
        assert recorded.size <= 5.12 * 16000
        assert 16000 <= abs(recorded.astype(int)).max() <= 16383


def test_descriptions() -> None:
    """What a picture or a sound is called."""
    assert [pictures.phrase(one) for one in samples.PICTURES.values()] == [
        "a red shape",
        "three blue shapes",
        "a yellow shape",
    ]
    assert [sounds.phrase(one) for one in samples.SOUNDS.values()] == [
        "a low tone",
        "a rising chirp",
        "three high beeps",
    ]
