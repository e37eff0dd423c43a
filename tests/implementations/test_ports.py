"""What holds for each port of ours, against the reference and against itself: chunked, padded, recorded, refused."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")

from implementations.gemma3n.config import Config  # behind importorskip
from implementations.gemma3n.generation import generate_ids, prefill
from implementations.gemma3n.preprocessing.inputs import Media
from parity.discovery import find
from parity.errors import UsageError
from parity.generation import Sampling
from reference.tiny import path
from tests.marks import quick
from tests.ports import WINDOW, collecting, distance, ids, logits

PORTS = {
    "mlx": ("mlx.core", {}),
    "ane": ("torch", {"context": "160", "batch": str(WINDOW)}),
    "onnx": ("onnxruntime", {"threads": "1"}),
}
"""What each computes with, and its options; a batch as short as the window makes rings short."""
EAGER = pytest.mark.parametrize("backend", ["mlx", "ane"], indirect=True)
"""Those that wait for a tap's answers; a graph's answers are judged in `test_onnx_parity`."""
SCHEDULES = {
    "one shot": ([ids(1, 12)], (0,), False),
    "longer than the window and two calls": ([ids(1, 2 * WINDOW + 5)], (0,), False),
    "decode around the ring": ([ids(1, 10), *[ids(1, 1) for _ in range(3 * WINDOW + 2)]], (0,), True),
    "chunked": ([ids(1, count) for count in (5, WINDOW + 7, 3, 40, 1, 17, 33)], (0,), True),
    "warm": ([ids(1, 2 * WINDOW), ids(1, 7)], (0,), True),
    "batch": ([ids(3, 20), ids(3, 1), ids(3, 1), ids(3, WINDOW + 2)], (0, 3, 18), True),
    "vision and audio ids": ([ids(1, 30, 768), ids(1, 1, 768)], (0,), True),
}


@pytest.fixture(scope="module")
def reference(harness):
    """The reference in float32."""
    return harness.baseline("float32")


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.slow if name == "onnx" else ()) for name in PORTS]
)
def backend(request, harness):
    """The embedded checkpoint in float32, on the one thread that the harness sets."""
    framework, options = PORTS[request.param]
    pytest.importorskip(framework)
    return find(request.param).load(harness.checkpoint, "float32", **options)


@pytest.mark.parametrize("name", quick(SCHEDULES, *(name for name in SCHEDULES if "ring" not in name)))
def test_same_logits_as_the_reference(backend, reference, name):
    """Two float32 implementations differ by what float32 costs in 25 layers, a few 1e-6."""
    schedule = SCHEDULES[name]
    assert distance(logits(backend, *schedule), logits(reference, *schedule)) < 2e-5


@pytest.mark.parametrize("sizes", quick([(24,), (1,) * 24, (15, 1, 3, 5), (21, 3)], (15, 1, 3, 5)))
def test_chunks_do_not_change_the_logits(backend, sizes):
    tokens = list(range(20, 44))
    ends = np.cumsum(sizes)
    chunks = [[tokens[end - size : end]] for size, end in zip(sizes, ends, strict=True)]
    assert distance(logits(backend, chunks), logits(backend, [[tokens]], cache=False)) < 2e-5


def test_a_row_is_the_same_alone_and_padded(backend):
    """Padding is invisible, and no NaN of it spreads."""
    short, longer = [2, 50, 60, 70, 80], list(range(20, 45))
    padded = [[*[0] * 20, *short], longer]
    together = logits(backend, [padded], padding=(20, 0))
    alone = np.concatenate([logits(backend, [[short]]), logits(backend, [[longer]])])
    assert distance(together, alone) < 2e-5


@pytest.mark.slow
def test_greedy_decoding_is_the_references(backend, reference):
    """64 tokens; where they part, the reference's first two logits must be closer than float32 can tell apart."""
    torch = pytest.importorskip("torch")
    prompt = [2, *ids(1, 9)[0].tolist()]
    settings = {"do_sample": False, "max_new_tokens": 64, "eos_token_id": 1 << 30, "pad_token_id": 0}
    whole = reference._model.generate(torch.tensor([prompt]), **settings)
    expected = whole[0, len(prompt) :].tolist()
    backend.begin()
    behind = prefill(backend.read, prompt)
    found = list(generate_ids(backend.read, behind, sampling=Sampling(max_tokens=64), stops=()))
    assert len(found) == len(expected) == 64
    apart = next((at for at in range(64) if found[at] != expected[at]), None)
    if apart is not None:
        first, second = np.sort(logits(reference, [[prompt + expected[:apart]]])[-1])[:-3:-1]
        assert first - second < 1e-4


@pytest.mark.parametrize("name", quick(["chunked", "batch"], "batch"))
def test_recording_changes_no_bit(backend, name):
    tap, steps = collecting()
    recorded = logits(backend, *SCHEDULES[name], tap=tap)
    assert np.array_equal(recorded, logits(backend, *SCHEDULES[name]))
    assert steps


@EAGER
@pytest.mark.slow
def test_every_answer_of_a_tap_is_used(backend):
    """Lockstep judges what follows a step only if its answer is used: change each, and the logits move.

    Of the layers a sparse one with keys of its own and a dense one that shares.
    """
    tokens = np.array([[2, 600, 700]])
    tap, steps = collecting()
    plain = logits(backend, [tokens], tap=tap)
    skipped = tuple(f"text.layers.{layer}." for layer in range(25) if layer not in (0, 24))
    for name in [name for name, _ in steps if not name.startswith(skipped)]:
        tap, _ = collecting(lambda step, value, name=name: disturbed(backend, value) if step == name else value)
        assert not np.array_equal(logits(backend, [tokens], tap=tap), plain), name


def disturbed(backend, value):
    """Another value of the same kind: masks lose a key, ids and positions change places, floats change."""
    array = backend.tensors.to_numpy(value, None)
    if array.dtype.kind == "b":
        other = array & (np.arange(array.shape[-1]) != 1)
    elif array.dtype.kind == "i":
        other = np.roll(array, 1, axis=-1)
    else:
        other = array * 1.5 + 0.25
    return backend.tensors.from_numpy(other, value, None)


def test_media_are_read_once(backend):
    """Behind a picture, text alone goes on; the picture is in the cache, and another one gives other logits."""
    image = Config.from_directory(path()).image_token_id
    first, second = [], []
    for pixels, behind in ((np.zeros, first), (np.ones, second)):
        backend.begin()
        backend.read([2, *[image] * 16], Media(pixels=pixels((1, 3, 192, 192), np.float32)))
        behind.append(backend.read([9, 10]))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("tokens", "said"),
    [([[768]], "vocabulary of 768"), ([[-1]], "-1"), ([[1], [2]], "1 rows"), (np.zeros((1, 0)), "one token")],
)
def test_tokens_that_cannot_run(backend, tokens, said):
    backend.start(padding=(0,), cache=True)
    with pytest.raises(UsageError, match=said):
        backend.forward(np.array(tokens, dtype=np.int64))


def test_a_second_chunk_needs_a_cache(backend):
    backend.start(padding=(0,), cache=False)
    backend.forward(np.array([[2]]))
    with pytest.raises(UsageError, match="cache"):
        backend.forward(np.array([[3]]))


@pytest.mark.parametrize("name", PORTS)
def test_unknown_dtype(name):
    with pytest.raises(UsageError, match="float64"):
        find(name).load(Path("nowhere"), "float64")
