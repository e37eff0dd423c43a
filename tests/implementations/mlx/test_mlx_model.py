"""The MLX model against the reference, and against itself: chunked, recorded, injected."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

mx = pytest.importorskip("mlx.core")

from implementations.mlx import Backend  # noqa: E402  # behind importorskip
from implementations.mlx.tensors import MlxTensors  # noqa: E402
from parity.errors import UsageError  # noqa: E402
from parity.tap import SILENT, ScopedTap  # noqa: E402
from reference.tiny import path  # noqa: E402

WINDOW = 16
RANDOM = np.random.default_rng(0)


def ids(rows, count, highest=512):
    """Random token ids behind the special ones."""
    return RANDOM.integers(9, highest, size=(rows, count))


SCHEDULES = {
    "one shot": ([ids(1, 12)], (0,), False),
    "longer than the window": ([ids(1, 2 * WINDOW + 5)], (0,), False),
    "decode": ([ids(1, 10), *[ids(1, 1) for _ in range(WINDOW + 2)]], (0,), True),
    "chunked": ([ids(1, count) for count in (5, WINDOW + 7, 3, 40, 1, 17)], (0,), True),
    "warm": ([ids(1, 2 * WINDOW), ids(1, 7)], (0,), True),
    "batch": ([ids(3, 20), ids(3, 1), ids(3, 1), ids(3, WINDOW + 2)], (0, 3, 18), True),
    "vision and audio ids": ([ids(1, 30, 768), ids(1, 1, 768)], (0,), True),
}


@pytest.fixture(scope="module")
def backend():
    """The embedded checkpoint in float32."""
    return Backend.load(path(), "float32")


@pytest.fixture(scope="module")
def reference():
    """The reference in float32, on one thread: two of them spin for each other where cores are shared."""
    torch = pytest.importorskip("torch")
    from reference.gemma3n.huggingface import Reference

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Reference.load(path(), "float32")
    torch.set_num_threads(threads)


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


@pytest.mark.parametrize("sizes", [(24,), (1,) * 24, (15, 1, 3, 5), (21, 3)])
def test_chunks_do_not_change_the_logits(backend, sizes):
    tokens = list(range(20, 44))
    ends = np.cumsum(sizes)
    chunks = [[tokens[end - size : end]] for size, end in zip(sizes, ends, strict=True)]
    assert distance(logits(backend, chunks), logits(backend, [[tokens]], cache=False)) < 2e-5


def test_the_gpus_operations_say_the_same(backend, monkeypatch):
    """Off the CPU, norms and means are left to MLX's own kernels; here those run as their CPU fallbacks."""
    from implementations.mlx import attention, layers

    tokens = ids(2, 20)
    here = logits(backend, [tokens], padding=(0, 4))
    monkeypatch.setattr(layers, "ON_CPU", False)
    monkeypatch.setattr(attention, "ON_CPU", False)
    there = logits(backend, [tokens], padding=(0, 4))
    assert not np.array_equal(here, there)
    assert distance(there, here) < 2e-5


def test_a_row_is_the_same_alone_and_padded(backend):
    """Padding is invisible, and no NaN of it spreads."""
    short, longer = [2, 50, 60, 70, 80], list(range(20, 45))
    padded = [[*[0] * 20, *short], longer]
    together = logits(backend, [padded], padding=(20, 0))
    alone = np.concatenate([logits(backend, [[short]]), logits(backend, [[longer]])])
    assert distance(together, alone) < 2e-5


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


def test_every_step_of_the_contract_once_a_chunk(backend, reference):
    """Names, axes' count and kinds, in prefill and in decode."""
    backend.start(padding=(0, 2), cache=True)
    contract = reference.contract()
    for chunk in (ids(2, WINDOW + 4), ids(2, 1)):
        tap, steps = collecting()
        backend.forward(chunk, tap=tap)
        assert sorted(name for name, _ in steps) == sorted(step.name for step in contract.expected(()))
        for name, value in steps:
            step = contract.get(name)
            assert value.ndim == len(step.axes), name
            kinds = {"b": "mask", "i": "integer", "f": "float"}
            assert kinds[backend.tensors.to_numpy(value, step).dtype.kind] == step.kind, name


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
    if value.dtype == mx.bool_:
        return value & (mx.arange(value.shape[-1]) != 1)
    if value.dtype == mx.int32:
        return mx.maximum(value * 2, 1)
    return value * 1.5 + 0.25


def test_injecting_what_was_recorded_changes_nothing(backend):
    """Through NumPy and back, as lockstep does, from float64."""
    tokens = ids(1, 9)
    tap, steps = collecting()
    plain = logits(backend, [tokens], tap=tap)
    told = {name: backend.tensors.to_numpy(value, None) for name, value in steps}

    def answer(name, value):
        array = told[name]
        return backend.tensors.from_numpy(array.astype(np.float64) if array.dtype.kind == "f" else array, value, None)

    tap, _ = collecting(answer)
    assert np.array_equal(logits(backend, [tokens], tap=tap), plain)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits(dtype, backend):
    """Logits have the dtype, and the error of 25 layers in it."""
    narrow = Backend.load(path(), dtype)
    narrow.start(padding=(0,), cache=True)
    tokens = ids(1, 20)
    found = narrow.forward(tokens)
    assert found.dtype == np.dtype(getattr(ml_dtypes, dtype, dtype))
    bound = {"bfloat16": 0.2, "float16": 0.03}[dtype]
    assert distance(found[0].astype(np.float64), logits(backend, [tokens])) < bound


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "bool_"])
def test_tensors_round_trip(dtype):
    like = mx.array([[0, 1, 1], [1, 0, 0]]).astype(getattr(mx, dtype))
    tensors = MlxTensors()
    array = tensors.to_numpy(like, None)
    again = tensors.from_numpy(array.astype(np.float64), like, None)
    assert again.dtype == like.dtype
    assert mx.array_equal(again, like)
    assert str(array.dtype) == dtype.rstrip("_")


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


def test_unknown_dtype():
    with pytest.raises(UsageError, match="float64"):
        Backend.load(Path("nowhere"), "float64")
