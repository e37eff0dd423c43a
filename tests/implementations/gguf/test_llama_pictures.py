"""llama.cpp sees: libmtmd's soft tokens stand in the places of their placeholders, and every step is told."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

from gguf import GGUFReader  # noqa: E402  # behind importorskip

from implementations.gemma3n.preprocessing.settings import ImageSettings  # noqa: E402
from implementations.gguf import Backend  # noqa: E402
from implementations.gguf.convert.conversion import Conversion  # noqa: E402
from implementations.gguf.sight import levels  # noqa: E402
from parity.errors import UsageError  # noqa: E402
from parity.generation import Message, Sampling  # noqa: E402
from parity.judging.baseline import judged  # noqa: E402
from parity.media import Part  # noqa: E402
from parity.tap import ScopedTap  # noqa: E402
from reference.tiny import path  # noqa: E402
from tests.harness import Harness  # noqa: E402
from tests.implementations.gguf.seeing import TOKENS, seeing  # noqa: E402
from tests.ports import distance  # noqa: E402

SAMPLES = Path(__file__).parents[3] / "samples"
PICTURE = Part("image", str(SAMPLES / "gradient.png"))
OTHER = Part("image", str(SAMPLES / "three-blue-squares.png"))
SOUND = Part("audio", str(SAMPLES / "rising-chirp.wav"))
PROMPT = (PICTURE, Part("text", "What is it?"))
NOISE = 1e-3
BEGIN, PLACE, END = 7, 513, 512
KNOWN = re.compile(
    r"vision\..*\.act|vision\.blocks\..*(dw_(start|mid)\.conv|norm\.input)"  # a GELU from a table; in halves
    r"|text\.layers\.\d+\.(mlp\.(activations|gate_std|cutoff)|per_layer_activation)"  # the table, and n - 1
    r"|text\.(merged\.image|inputs_embeds|per_layer_inputs\.token)"  # the id that ends a picture is embedded as text
)
"""What llama.cpp is known to compute otherwise."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return seeing(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def backend(checkpoint):
    return Backend.load(checkpoint, "float32")


def ids(pictures=1):
    """A prompt of so many pictures, as the chat template has them."""
    one = [BEGIN, *[PLACE] * TOKENS, END]
    return np.array([[2, 5, 300, *one * pictures, 310, 6]])


def read(backend, token_ids, *prompt, tap=None):
    backend.start(padding=(0,), cache=True)
    return backend.forward(token_ids, prompts=(prompt,), **({} if tap is None else {"tap": tap}))


def test_a_picture_is_seen(backend):
    """Another one has other logits, those behind it alone; reading all values changes none."""
    one, other = (read(backend, ids(), picture) for picture in (PICTURE, OTHER))
    assert one.shape == (1, ids().shape[1], 768)
    assert np.isfinite(one).all()
    np.testing.assert_array_equal(one[:, :4], other[:, :4])
    assert (one[:, 4:] != other[:, 4:]).any(-1).all()
    seen = set()
    tapped = read(backend, ids(), PICTURE, tap=ScopedTap(lambda name, value: seen.add(name) or value))
    np.testing.assert_array_equal(tapped, one)
    assert sum(name.startswith("vision.") for name in seen) == 726
    assert "text.merged.image" in seen
    assert "text.embed_tokens" not in seen


@pytest.mark.slow
def test_in_parts_and_in_chunks_as_in_one(checkpoint, backend):
    """Soft tokens are rows, and so parts of their own; what stands before and behind may be a chunk of its own.

    Keys are padded to 256, so that a part that ends before adds up otherwise; the table of GELU makes that 1e-4.
    """
    whole = read(backend, ids(2), OTHER, PICTURE)
    short = Backend.load(checkpoint, "float32", chunk="50")
    assert distance(read(short, ids(2), OTHER, PICTURE), whole) < NOISE
    backend.start(padding=(0,), cache=True)
    token_ids = ids(2)
    cut = 3 + TOKENS + 2
    first = backend.forward(token_ids[:, :cut], prompts=((OTHER,),))
    second = backend.forward(token_ids[:, cut:], prompts=((PICTURE,),))
    assert distance(np.concatenate([first, second], 1), whole) < NOISE
    assert distance(read(backend, ids(2), PICTURE, OTHER), whole) > 100 * NOISE


def test_a_picture_in_a_conversation(backend):
    """It is shown by the chat template, and may be followed by a turn of text."""
    messages = [Message("user", PROMPT)]
    said = "".join(backend.generate(messages, Sampling(max_tokens=4)))
    messages += [Message("model", (Part("text", said),)), Message("user", (Part("text", "Why?"),))]
    again = "".join(backend.generate(messages, Sampling(max_tokens=4)))
    assert isinstance(said + again, str)


@pytest.mark.parametrize(
    ("token_ids", "prompt", "said"),
    [
        (ids(2), (PICTURE,), r"256 soft tokens for 512 places"),
        (ids(0), (PICTURE,), r"256 soft tokens for 0 places"),
        (ids(), (PICTURE, OTHER), r"512 soft tokens for 256 places"),
        (ids(0), (SOUND,), r"32 soft tokens for 0 places"),
    ],
)
def test_what_does_not_fit(backend, token_ids, prompt, said):
    with pytest.raises(UsageError, match=said):
        read(backend, token_ids, *prompt)


def test_pictures_in_a_batch_as_alone(backend):
    """Rows whose pictures begin in other columns, and one of text alone; then a token of each, with the others."""
    alone = [
        (np.array([[2, 5, 300, *[400] * 3, BEGIN, *[PLACE] * TOKENS, END, 6]]), (PICTURE,)),
        (np.array([[2, 5, *range(300, 310), 6]]), (Part("text", "a"),)),
        (ids(), (OTHER,)),
    ]
    rows = [row for row, _ in alone]
    longest = max(row.shape[1] for row in rows)
    padding = tuple(longest - row.shape[1] for row in rows)
    batch = np.concatenate([np.pad(row, ((0, 0), (pad, 0))) for row, pad in zip(rows, padding, strict=True)])
    backend.start(padding=padding, cache=True)
    together = backend.forward(batch, prompts=tuple(prompt for _, prompt in alone))
    last = backend.forward(np.array([[40], [50], [60]]))
    for row, (token_ids, prompt) in enumerate(alone):
        one = read(backend, token_ids, *prompt)
        assert distance(together[row, padding[row] :], one) < NOISE
        assert not together[row, : padding[row]].any()
        after = backend.forward(np.array([[40 + 10 * row]]))
        assert distance(last[row], after[0]) < NOISE


@pytest.fixture(scope="module")
def tower(checkpoint, tmp_path_factory):
    """The checkpoint's tower in a file, written by its command's own function."""
    file = tmp_path_factory.mktemp("tower") / "mmproj.gguf"
    Conversion.of(checkpoint, "tiny", tower=True).write_tower(file, lambda what: None)
    return file


def test_the_tower_of_a_file(tower, checkpoint, backend, tmp_path):
    """It is what is seen with, as it is: in one whose last norm's gain is twice as large, that step is the first."""
    named = Backend.load(checkpoint, "float32", mmproj=str(tower))
    np.testing.assert_array_equal(read(named, ids(), PICTURE), read(backend, ids(), PICTURE))
    wrong, seen = tmp_path / "wrong.gguf", {}
    wrong.write_bytes(tower.read_bytes())
    reader = GGUFReader(wrong, "r+")
    next(tensor for tensor in reader.tensors if tensor.name == "v.msfa.norm.weight").data[...] *= 2
    reader.data.flush()

    def hear(name, value):
        if name.startswith("vision."):
            seen.setdefault(name, []).append(value.array.copy())
        return value

    for file in (tower, wrong):
        read(Backend.load(checkpoint, "float32", mmproj=str(file)), ids(), PICTURE, tap=ScopedTap(hear))
    differing = [name for name, (one, other) in seen.items() if (one != other).any()]
    assert differing == ["vision.msfa.norm", "vision.soft_tokens"]


def test_what_is_no_tower(tower, checkpoint, file, tmp_path):
    """A tower that is cut off, a language model, and a checkpoint that libmtmd is not for."""
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tower.read_bytes()[:-5000])
    with pytest.raises(UsageError, match=r"cut.gguf is no GGUF file that can be read: tensor .* is not within it"):
        Backend.load(checkpoint, "float32", mmproj=str(cut))
    with pytest.raises(UsageError, match=r"libmtmd cannot load .*tiny-f32.gguf: .*Failed to load CLIP model"):
        Backend.load(checkpoint, "float32", mmproj=str(file))
    with pytest.raises(UsageError, match="pictures of 192 by 192, there squares of a multiple of 256"):
        Backend.load(path(), "float32", mmproj=str(tower))


@pytest.mark.parametrize("moments", [{}, {"mean": (0.5, 0.4, 0.3), "deviation": (0.5, 0.25, 0.125)}])
def test_levels_are_those_that_pixels_were_made_of(moments):
    """Whatever the processor made of them; libmtmd makes it again."""
    drawn = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    settings = ImageSettings(8, 8, **moments)
    pixels = (drawn / 255 - np.array(settings.mean or 0)) / np.array(settings.deviation or 1)
    found = levels(pixels.transpose(0, 3, 1, 2).astype(np.float32), settings)
    np.testing.assert_array_equal(found, drawn)


@pytest.mark.slow
def test_from_exact_inputs_only_what_is_known_errs(checkpoint, backend, tmp_path):
    """Every step is told or hidden; in lockstep, what llama.cpp computes otherwise is introduced, and nothing else."""
    harness = Harness(tmp_path, checkpoint)
    plan = harness.oracle.scenario("one-shot", "What is it?", (PICTURE,))
    oracle = harness.trace(harness.oracle, "float64", scenario=plan)
    runs = harness.runs(backend, "float32", oracle)
    judgement = judged(oracle=oracle, baseline=harness.against(oracle, "float32"), candidate=runs)[0]
    assert not judgement.missing
    statuses = {step.step: str(step.status) for step in judgement.steps}
    introduced = {name for name, status in statuses.items() if status == "introduced"}
    assert {name for name in introduced if not KNOWN.fullmatch(name)} == set()
    hidden = {name for name, status in statuses.items() if status == "hidden"}
    assert hidden == {
        "text.embed_tokens",
        "embed_vision.hard",
        "embed_audio.hard",
        "text.rope.full_attention.inv_freq",
        "text.rope.sliding_attention.inv_freq",
    }
    assert sum(status != "hidden" for name, status in statuses.items() if name.startswith("vision.")) == 726
