"""What is the ANE-style model's own: padded calls, tracing, a full context; `test_ports` has the rest."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from implementations.ane import Backend  # noqa: E402  # behind importorskip
from implementations.ane.engine.layers import RMSNorm, root_mean_square  # noqa: E402
from implementations.gemma3n.config import Config  # noqa: E402
from implementations.gemma3n.preprocessing.inputs import NOTHING, Media, Sound  # noqa: E402
from parity.errors import UsageError  # noqa: E402
from parity.tap import SILENT  # noqa: E402
from reference.tiny import path  # noqa: E402
from tests.ports import WINDOW, ids  # noqa: E402

BATCH, CONTEXT = WINDOW, 160


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


def call_inputs(backend, count, garbage=0.0):
    """Inputs of a call with `count` tokens behind 7 others, and what lies in the padding."""
    program = backend._program
    backend.start(padding=(0,), cache=True)
    random = np.random.default_rng(1)
    backend.forward(random.integers(9, 512, size=(1, 7)))
    tokens = torch.from_numpy(random.integers(9, 512, size=(1, count)))
    with torch.inference_mode():
        chunk = program._host.prepare(tokens, NOTHING, program.conversation, tap=SILENT)
        (call,) = program.shapes.calls(7, count)
        inputs = [*chunk.inputs(call, program.shapes), *program.conversation.caches]
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


def test_a_chunk_beyond_the_compiled_context(backend):
    """The message says which one to compile."""
    backend.begin()
    said = f"context of {CONTEXT}; compile a longer one with ane@context={CONTEXT + 1}"
    with pytest.raises(UsageError, match=said):
        backend.forward(np.full((1, CONTEXT + 1), 9))


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
