"""The ANE-style model against the reference, and against itself: padded, traced, recorded, injected, refused."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from implementations.ane import Backend  # noqa: E402  # behind importorskip
from implementations.ane.layers import RMSNorm, root_mean_square  # noqa: E402
from implementations.gemma3n.config import Config  # noqa: E402
from implementations.gemma3n.generation import generate_ids, prefill  # noqa: E402
from implementations.gemma3n.preprocessing.inputs import NOTHING, Media, Sound  # noqa: E402
from parity.errors import UsageError  # noqa: E402
from parity.generation import Sampling  # noqa: E402
from parity.tap import SILENT, ScopedTap  # noqa: E402
from reference.tiny import path  # noqa: E402

WINDOW, BATCH, CONTEXT = 16, 16, 160
RANDOM = np.random.default_rng(0)


def ids(rows, count, highest=512):
    """Random token ids behind the special ones."""
    return RANDOM.integers(9, highest, size=(rows, count))


SCHEDULES = {
    "one shot": ([ids(1, 12)], (0,), False),
    "longer than the window and two calls": ([ids(1, 2 * WINDOW + 5)], (0,), False),
    "decode around the ring": ([ids(1, 10), *[ids(1, 1) for _ in range(3 * WINDOW + 2)]], (0,), True),
    "chunked": ([ids(1, count) for count in (5, WINDOW + 7, 3, 40, 1, 17, 33)], (0,), True),
    "batch": ([ids(3, 20), ids(3, 1), ids(3, 1), ids(3, WINDOW + 2)], (0, 3, 18), True),
    "vision and audio ids": ([ids(1, 30, 768), ids(1, 1, 768)], (0,), True),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Matrices this small lose more to a second thread than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def backend():
    """The embedded checkpoint in float32; a batch as short as the window, so that rings are short."""
    return Backend.load(path(), "float32", context=str(CONTEXT), batch=str(BATCH))


@pytest.fixture(scope="module")
def reference():
    """The reference in float32."""
    pytest.importorskip("transformers")
    from reference.gemma3n.huggingface import Reference

    return Reference.load(path(), "float32")


def logits(backend, chunks, padding=(0,), cache=True, tap=SILENT):
    """Logits of all real tokens, ``[real token, vocabulary]``."""
    backend.start(padding=padding, cache=cache)
    whole = np.concatenate([backend.forward(np.asarray(chunk), tap=tap) for chunk in chunks], axis=1)
    return whole[np.arange(whole.shape[1])[None] >= np.array(padding)[:, None]].astype(np.float64)


def distance(left, right):
    """Relative L2 error of `left`."""
    return np.linalg.norm(left - right) / np.linalg.norm(right)


@pytest.mark.parametrize("name", SCHEDULES)
def test_same_logits_as_the_reference(backend, reference, name):
    """Two float32 implementations differ by what float32 costs in 25 layers, a few 1e-6."""
    schedule = SCHEDULES[name]
    assert distance(logits(backend, *schedule), logits(reference, *schedule)) < 2e-5


@pytest.mark.slow
def test_greedy_decoding_is_the_references(backend, reference):
    """64 tokens; where they part, the reference's first two logits must be closer than float32 can tell apart."""
    prompt = [2, *ids(1, 9)[0].tolist()]
    settings = {"do_sample": False, "max_new_tokens": 64, "eos_token_id": 1 << 30, "pad_token_id": 0}
    whole = reference._model.generate(torch.tensor([prompt]), **settings)
    expected = whole[0, len(prompt) :].tolist()
    backend.start(padding=(0,), cache=True)
    behind = prefill(backend.read, prompt)
    found = list(generate_ids(backend.read, behind, sampling=Sampling(max_tokens=64), stops=()))
    assert len(found) == len(expected) == 64
    apart = next((at for at in range(64) if found[at] != expected[at]), None)
    if apart is not None:
        first, second = np.sort(logits(reference, [[prompt + expected[:apart]]])[-1])[:-3:-1]
        assert first - second < 1e-4


def call_inputs(backend, count, garbage=0.0):
    """Inputs of a call with `count` tokens behind 7 others, and what lies in the padding."""
    program = backend._program
    backend.start(padding=(0,), cache=True)
    random = np.random.default_rng(1)
    backend.forward(random.integers(9, 512, size=(1, 7)))
    tokens = torch.from_numpy(random.integers(9, 512, size=(1, count)))
    with torch.inference_mode():
        chunk = program._host.prepare(tokens, NOTHING, program.conversation, tap=SILENT)
        (part,) = program.shapes.parts(7, count)
        inputs = [*chunk.inputs(part, program.shapes), *program.conversation.caches]
    inputs = [tensor.clone() for tensor in inputs]  # ordinary tensors, which may be changed and traced
    for name, tensor in zip(program.model.decoder.inputs, inputs, strict=True):
        if name.startswith(("embedded", "token_term", "cos", "sin")):
            tensor[..., count:] = garbage * torch.randn(tensor[..., count:].shape)
        if name.startswith("mask"):
            tensor[:, :, count:] = garbage
    return inputs


@torch.no_grad()
def results(backend, inputs, count):
    """States of the real tokens, and the caches."""
    states, *caches = backend._program.model.decoder(*inputs)
    return [states[..., :count], *caches]


@pytest.mark.parametrize("count", [2, 5, BATCH - 1])
def test_padding_changes_no_bit(backend, count):
    """Whatever stands in the padding of a partial call: the same states, the same caches."""
    clean = results(backend, call_inputs(backend, count), count)
    dirty = results(backend, call_inputs(backend, count, garbage=100.0), count)
    assert all(map(torch.equal, clean, dirty))


def test_padding_that_were_written_would_show(backend):
    """The check above sees an update that writes padding to a slot."""
    runs = []
    for garbage in (0.0, 100.0):
        inputs = call_inputs(backend, 5, garbage)
        for name, tensor in zip(backend._program.model.decoder.inputs, inputs, strict=True):
            if name.startswith("update"):
                tensor[0, 0, 30, 5] = 1.0
        runs.append(results(backend, inputs, 5))
    assert not all(map(torch.equal, *runs))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("count", [1, 5])
def test_the_compiled_part_can_be_traced(backend, count):
    """It takes and gives tensors alone; nothing of positions is baked in; no operation that Core ML lacks or drops."""
    decoder = backend._program.model.decoder
    with torch.no_grad():
        traced = torch.jit.trace(decoder, tuple(call_inputs(backend, count)), check_trace=False)
        inputs = call_inputs(backend, count, garbage=2.0)
        inputs[-1] = inputs[-1] + 1
        assert all(map(torch.equal, traced(*inputs), decoder(*inputs)))
    kinds = {node.kind() for node in traced.inlined_graph.nodes()}
    assert "aten::_convolution" in kinds
    assert not [kind for kind in kinds if any(word in kind for word in ("index", "scatter", "einsum", "copy_"))]
    outputs = [output.type() for node in traced.inlined_graph.nodes() for output in node.outputs()]
    assert max(kind.dim() or 0 for kind in outputs if isinstance(kind, torch.TensorType)) == 4


def collecting(answer=lambda name, value: value):
    """A live tap and the list of (name, value) that it fills."""
    steps = []

    def receive(name, value):
        steps.append((name, value))
        return answer(name, value)

    return ScopedTap(receive), steps


@pytest.mark.parametrize("name", ["chunked", "batch"])
def test_recording_changes_no_bit(backend, name):
    tap, steps = collecting()
    recorded = logits(backend, *SCHEDULES[name], tap=tap)
    assert np.array_equal(recorded, logits(backend, *SCHEDULES[name]))
    assert steps


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
        tap, _ = collecting(lambda step, value, name=name: disturbed(value) if step == name else value)
        assert not np.array_equal(logits(backend, [tokens], tap=tap), plain), name


def disturbed(value):
    """Another value of the same kind: masks lose a key, ids and floats change."""
    if value.dtype == torch.bool:
        return value & (torch.arange(value.shape[-1]) != 1)
    if value.dtype == torch.int64:
        return value + 1
    return value * 1.5 + 0.25


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 3e4])
def test_norms_and_magnitudes_at_any_scale(scale):
    """Against float64; in float16 their squares would be zero or infinite at either end."""
    x = scale * torch.randn(2, 96, 1, 5, generator=torch.Generator().manual_seed(0))
    square = x.double().square().mean(dim=1, keepdim=True)
    torch.testing.assert_close(root_mean_square(x).double(), square.sqrt(), rtol=1e-6, atol=1e-12)
    normed = RMSNorm(96, 1e-6)(x).double()
    torch.testing.assert_close(normed, x.double() / (square + 1e-6).sqrt(), rtol=1e-5, atol=1e-6)


def test_no_square_overflows_in_the_engines_arithmetic():
    """A magnitude of 20,000 is far beyond the root of float16's range."""
    from implementations.ane.arithmetic import Float16Ane

    x = torch.full((1, 64, 1, 1), 20_000.0)
    with torch.inference_mode(), Float16Ane().running():
        assert root_mean_square(x).item() == 20_000.0
        assert x.square().isinf().all()
        torch.testing.assert_close(RMSNorm(64, 1e-6)(x), torch.ones_like(x), rtol=2e-3, atol=0)


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ([[768]], "vocabulary of 768"),
        ([[-1]], "-1"),
        ([[1], [2]], "1 rows"),
        (np.zeros((1, 0)), "one token"),
        (np.full((1, CONTEXT + 1), 9), f"context of {CONTEXT}; compile a longer one with ane@context={CONTEXT + 1}"),
    ],
)
def test_tokens_that_cannot_run(backend, tokens, said):
    backend.start(padding=(0,), cache=True)
    with pytest.raises(UsageError, match=said):
        backend.forward(np.array(tokens, dtype=np.int64))


def test_the_context_is_full(backend):
    """All of it can be used, and a refused chunk leaves the conversation as it was."""
    backend.start(padding=(0,), cache=True)
    backend.forward(ids(1, CONTEXT - 1))
    with pytest.raises(UsageError, match="exceed"):
        backend.forward(ids(1, 2))
    backend.forward(ids(1, 1))


def test_a_compiled_call_of_another_batch(backend):
    """The caches of one row do not take two."""
    program = backend._program
    backend.start(padding=(0,), cache=True)
    program.conversation.padding = torch.tensor([0, 0])
    with pytest.raises(UsageError, match=r"embedded is \[2, 128, 1, 16\], compiled for \[1, 128, 1, 16\]"):
        program.run(torch.from_numpy(ids(2, 3)), tap=SILENT)


def test_a_second_chunk_needs_a_cache(backend):
    backend.start(padding=(0,), cache=False)
    backend.forward(np.array([[2]]))
    with pytest.raises(UsageError, match="cache"):
        backend.forward(np.array([[3]]))


@pytest.mark.parametrize(
    ("places", "media", "said"),
    [
        (3, {"pixels": np.zeros((1, 3, 64, 64), np.float32)}, "16 soft tokens for 3 places"),
        (
            32,
            {"sound": Sound(np.zeros((1, 600, 128), np.float32), np.ones((1, 600), bool))},
            "38 soft tokens, the prompt has places for 32; shorten",
        ),
    ],
)
def test_media_that_do_not_fit_their_places(backend, places, media, said):
    """And the conversation stays where it was."""
    backend.begin()
    config = Config.from_directory(path())
    token = config.image_token_id if "pixels" in media else config.audio_token_id
    with pytest.raises(UsageError, match=said):
        backend.read([2, *[token] * places], Media(**media))
    assert backend._program.conversation.start == 0


def test_media_are_read_once(backend):
    """Behind a picture, text alone goes on; the picture is in the cache, and another one gives other logits."""
    image = Config.from_directory(path()).image_token_id
    first, second = [], []
    for pixels, behind in ((np.zeros, first), (np.ones, second)):
        backend.begin()
        backend.read([2, *[image] * 16], Media(pixels=pixels((1, 3, 64, 64), np.float32)))
        behind.append(backend.read([9, 10]))
    assert not np.array_equal(first, second)


def test_unknown_dtype():
    with pytest.raises(UsageError, match="float64"):
        Backend.load(Path("nowhere"), "float64")
