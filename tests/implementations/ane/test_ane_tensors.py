"""Layouts, slots and masks of the ANE-style model, each against its definition."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402  # behind importorskip
from hypothesis import strategies as st  # noqa: E402

from implementations.ane.masks import HIDDEN, positions, slot_mask, slot_update, visible  # noqa: E402
from implementations.ane.shapes import Call, Shapes  # noqa: E402
from implementations.ane.tensors import LAYOUTS, PLAIN, AneTensors  # noqa: E402
from implementations.gemma3n.config import Config  # noqa: E402
from parity.arithmetic import Plain  # noqa: E402
from parity.contract import Step  # noqa: E402
from parity.errors import UsageError  # noqa: E402
from reference.gemma3n.steps.contract import ALL_STEPS  # noqa: E402
from reference.tiny import path  # noqa: E402

WHOLE = Config.from_directory(path())
CONFIG, AUDIO = WHOLE.text, WHOLE.audio
SHAPES = Shapes(context=64, batch=8, window=CONFIG.sliding_window)
SLIDING, FULL = "sliding_attention", "full_attention"
SIZES = {"stream": 4, "stream_from": 4, "stream_to": 4, "layer": 25, "head": 3, "kv_head": 2, "head_dim": 32, "one": 1}


def tensors(call, rows=2, alpha=1.0):
    """A translation in the middle of a call."""
    found = AneTensors(
        CONFIG, SHAPES, alpha=alpha, carries_alpha="out".__eq__, arithmetic=Plain("float32"), audio=AUDIO
    )
    found.rows, found.call = rows, call
    return found


def in_memory(axes, call, rows=2):
    """A value as the model holds it, its numbers all different."""
    sizes = [{**SIZES, "batch": rows, "token": call.size}.get(axis, 6) for axis in LAYOUTS[axes].split()]
    return torch.arange(float(np.prod(sizes))).reshape(sizes)


def step_of(axes, name="text.x"):
    """A step with these axes."""
    return Step(name, tuple(axes.split()), "float", "", "")


KEYS = "batch kv_head key head_dim"
CALLS = [Call(4, 4, 9, 8), Call(4, 12, 20, 8), Call(0, 3, 4, 1)]
CHANNELWISE = sorted(axes for axes in LAYOUTS if axes != KEYS and "batch" in axes.split())
MEDIA = sorted(axes for axes in LAYOUTS if "batch" not in axes.split())
HEADS = {"head": AUDIO.conf_num_attention_heads, "head_dim": AUDIO.head_dim}
LOCAL = {"query": AUDIO.conf_attention_chunk_size, "key": 24, "distance": 13}


def test_every_axes_of_the_contract_has_a_layout():
    assert {step.axes for step in ALL_STEPS} == {*LAYOUTS, *PLAIN}


@pytest.mark.parametrize("axes", MEDIA)
def test_media_to_the_contract_and_back(axes):
    """Every number arrives at the index that its axes say, where heads and blocks are one axis in memory too."""
    sizes = {**HEADS, **LOCAL, "one": 1, "clip": 2, "image": 2, "block": 3, "frame": 5, "token": 5, "soft_token": 5}
    memory, step = LAYOUTS[axes].split(), step_of(axes, "audio.x")
    whole = torch.arange(float(np.prod([sizes.get(axis, 6) for axis in memory])))
    whole = whole.reshape([sizes.get(axis, 6) for axis in memory])
    value = whole.reshape(as_held(whole.shape, memory))
    tool = tensors(None)
    array = tool.to_numpy(value, step)
    assert array.shape == tuple(sizes.get(axis, 6) for axis in step.axes)
    place = dict(zip(step.axes, (size - 1 for size in array.shape), strict=True))
    for axis in step.axes:
        index = {"one": 0, **place, axis: 0}
        assert array[tuple(index[name] for name in step.axes)] == whole[tuple(index[name] for name in memory)]
    assert tool.fits(value, array.shape, step)
    assert torch.equal(tool.from_numpy(array, value, step), value)
    changed = tool.from_numpy(array + 0.5, value, step)
    np.testing.assert_array_equal(tool.to_numpy(changed, step), array + 0.5)


def as_held(shape, memory):
    """The shape in the model: heads beside blocks, or beside their channels, are one axis of four."""
    sizes = dict(zip(memory, shape, strict=True))
    if "block" in sizes and "head" in sizes:
        return (sizes["clip"], sizes["head"] * sizes["block"], *shape[3:])
    if "block" in sizes:
        return (sizes["clip"], 1, sizes["block"] * sizes["query"], sizes["key"])
    if "head" in sizes:
        return (shape[0], sizes["head"] * sizes["head_dim"], 1, shape[-1])
    return shape


def test_masks_of_ones_and_zeros():
    """The engine has no booleans for inputs; the contract has them."""
    step = Step("audio.x", ("clip", "block", "query", "key"), "mask", "", "")
    value = (torch.arange(2 * 3 * 12 * 24) % 3 == 0).float().reshape(2, 1, 36, 24)
    array = tensors(None).to_numpy(value, step)
    assert array.dtype == bool
    assert array.shape == (2, 3, 12, 24)
    assert torch.equal(tensors(None).from_numpy(array, value, step), value)


@given(st.sampled_from(CHANNELWISE), st.sampled_from(CALLS), st.integers(1, 3))
def test_to_the_contract_and_back(axes, call, rows):
    """Every number arrives at the index that its axes say, and what is put back changes nothing, padding included."""
    step, value = step_of(axes), in_memory(axes, call, rows)
    tool = tensors(call, rows)
    array = tool.to_numpy(value, step)
    memory = LAYOUTS[axes].split()
    for index in np.ndindex(array.shape):
        place = dict(zip(step.axes, index, strict=True))
        assert array[index] == value[tuple(place[axis] for axis in memory)]
    assert array.shape[step.axes.index("token")] == call.count
    assert tool.fits(value, array.shape, step)
    assert torch.equal(tool.from_numpy(array, value, step), value)
    changed = tool.from_numpy(array + 0.5, value, step)
    np.testing.assert_array_equal(tool.to_numpy(changed, step), array + 0.5)
    assert torch.equal(changed[..., call.count :], value[..., call.count :])


@given(st.integers(0, 50), st.integers(1, 8), st.sampled_from([3, 4]))
def test_keys_in_position_order(begin, count, layer):
    """A ring's slots come out as the keys that are seen, oldest first, and go back to where they were."""
    call = Call(begin, begin, begin + count, 8)
    kind = CONFIG.layer_types[layer]
    first = max(0, begin - CONFIG.sliding_window + 1) if kind == SLIDING else 0
    cache = torch.full((2, 2, SHAPES.slots(kind), 1), -1.0)
    for index in range(call.end):
        cache[:, :, index % SHAPES.slots(kind)] = float(index)
    step = step_of(KEYS, f"text.layers.{layer}.attn.keys")
    tool = tensors(call)
    array = tool.to_numpy(cache, step)
    assert array[1, 1, :, 0].tolist() == list(range(first, call.end))
    assert torch.equal(tool.from_numpy(array, cache, step), cache)
    assert tool.fits(cache, array.shape, step)
    injected = tool.from_numpy(array + 100, cache, step)
    np.testing.assert_array_equal(tool.to_numpy(injected, step), array + 100)


@given(st.integers(0, 20), st.integers(1, 30))
def test_parts_cover_a_chunk(start, count):
    """Every token and every key of a chunk, as the reference's cache shows it, by the parts together."""
    for layer, kind in ((3, SLIDING), (4, FULL)):
        assert CONFIG.layer_types[layer] == kind
        past = min(start, CONFIG.sliding_window - 1) if kind == SLIDING else start
        step = step_of(KEYS, f"text.layers.{layer}.attn.keys")
        covered, tokens = set(), []
        for call in SHAPES.calls(start, count):
            place = tensors(call).place(step, (2, 2, past + count, 32))
            assert place[0] == slice(0, 2)
            covered |= set(range(place[2].start, place[2].stop))
            hidden = tensors(call).place(step_of("batch token hidden"), (2, count, 6))
            tokens += range(hidden[1].start, hidden[1].stop)
        assert covered == set(range(past + count))
        assert tokens == list(range(count))


@given(
    start=st.integers(0, 30),
    count=st.integers(1, 30),
    padding=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    kind=st.sampled_from([SLIDING, FULL]),
)
def test_masks_and_updates(start, count, padding, kind):
    """Over the slots of a call: exactly the keys that the definition shows; each token is written to its slot alone."""
    window = CONFIG.sliding_window if kind == SLIDING else None
    past = start - SHAPES.earliest(kind, start)
    pads = torch.tensor(padding)
    seen = visible(positions(start, count, pads), positions(start - past, past + count, pads), window=window)
    slots = SHAPES.slots(kind)
    for call in SHAPES.calls(start, count):
        mask, update = slot_mask(seen, call, kind, SHAPES), slot_update(call, kind, SHAPES)
        expected = np.zeros((len(padding), 1, call.size, slots))
        expected[:, :, : call.count] = HIDDEN
        writes = np.zeros((1, 1, slots, call.size))
        for query in range(call.begin, call.end):
            writes[0, 0, query % slots, query - call.begin] = 1
            for key in range(query + 1):
                if window is None or key > query - window:
                    for row, pad in enumerate(padding):
                        if key >= pad or key == query:
                            expected[row, 0, query - call.begin, key % slots] = 0
        np.testing.assert_array_equal(mask.numpy(), expected)
        np.testing.assert_array_equal(update.numpy(), writes)


def test_alpha_is_taken_out_and_put_in():
    """Of the steps that carry it, and of no other."""
    call = Call(0, 0, 3, 8)
    value = in_memory("batch token hidden", call)
    for name, factor in (("out", 8), ("other", 1)):
        step, tool = step_of("batch token hidden", name), tensors(call, alpha=0.125)
        array = tool.to_numpy(value, step)
        np.testing.assert_array_equal(array, factor * tensors(call).to_numpy(value, step))
        assert torch.equal(tool.from_numpy(array, value, step), value)


def test_what_enters_the_device_is_rounded():
    """And what stays with the host is not: angular frequencies in float16 would turn late positions by radians."""
    from implementations.ane.arithmetic import Float16Ane

    tool = tensors(None)
    tool._arithmetic = Float16Ane()
    third = np.full((2, 3, 6), 1 / 3)
    rounded = tool.from_numpy(third, torch.zeros(2, 6, 1, 3), step_of("batch token hidden"))
    assert (rounded == float(np.float16(1 / 3))).all()
    assert (tool.from_numpy(third[0, 0], torch.zeros(6), step_of("frequency")) == float(np.float32(1 / 3))).all()


def test_the_host_emits_whole_chunks():
    tool = tensors(None)
    step = step_of("batch token hidden")
    assert tool.place(step, (2, 20, 6)) is None
    assert tool.to_numpy(torch.zeros(2, 6, 1, 20), step).shape == (2, 20, 6)


@pytest.mark.parametrize(
    ("name", "axes", "said"),
    [
        ("text.x", "batch colour", "LAYOUTS"),
        ("text.x", "batch kv_head key head_dim", "no layer"),
    ],
)
def test_what_cannot_be_translated(name, axes, said):
    with pytest.raises(UsageError, match=said):
        tensors(Call(0, 0, 1, 1)).to_numpy(torch.zeros(1, 1, 1, 1), step_of(axes, name))


def test_keys_outside_a_call():
    step = step_of(KEYS, "text.layers.0.attn.keys")
    with pytest.raises(UsageError, match="outside a compiled call"):
        tensors(None).to_numpy(torch.zeros(1, 1, 1, 1), step)


@pytest.mark.parametrize(("window", "batch", "ring"), [(16, 8, 32), (512, 64, 576), (16, 64, 96), (4096, 64, 1024)])
def test_a_ring_holds_what_a_call_sees(window, batch, ring):
    """The window of the first query, and the call's tokens, in multiples of 32; never more than the context."""
    assert Shapes(1024, batch, window).slots(SLIDING) == ring
    assert Shapes(1024, batch, window).slots(FULL) == 1024
