"""Each operation of the interpreter against torch, in drawn shapes and with what the format says of its parameters."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("coremltools")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from implementations.ane.engine.rounding import round_half
from implementations.coreml.interpreter.inputs import Given
from implementations.coreml.interpreter.run import FUNCTIONS, READ, WRITE, Interpreter
from implementations.coreml.package.program import Function, Operation, Typed
from parity.errors import UsageError
from parity.tap import ScopedTap

SIZES = st.integers(1, 5)
SHAPES = st.lists(SIZES, min_size=1, max_size=4)
SEEDS = st.integers(0, 2**31 - 1)


def drawn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def computed(kind, **values):
    return FUNCTIONS[kind](Given(values))


def equal(found, expected):
    """To the bit, NaN like NaN, in the same number format."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert torch.equal(torch.nan_to_num(found, 1.5), torch.nan_to_num(expected, 1.5))


def near(found, expected, scale=None, floor=2.0**-20):
    """Beside the size of ``scale``, where terms cancel; else of what is expected."""
    assert found.shape == expected.shape
    assert (found - expected).norm() <= floor * (expected if scale is None else scale).norm() + 1e-30


ONE = {
    "abs": torch.abs,
    "cos": torch.cos,
    "exp": torch.exp,
    "logical_not": lambda x: x == 0,
    "relu": lambda x: x.clamp_min(0),
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "sin": torch.sin,
    "sqrt": torch.sqrt,
    "square": lambda x: x * x,
    "tanh": torch.tanh,
    "identity": lambda x: x,
}
TWO = {
    "add": lambda x, y: x + y,
    "equal": lambda x, y: x == y,
    "greater": lambda x, y: x > y,
    "greater_equal": lambda x, y: x >= y,
    "less": lambda x, y: x < y,
    "less_equal": lambda x, y: x <= y,
    "logical_and": lambda x, y: (x != 0) & (y != 0),
    "logical_or": lambda x, y: (x != 0) | (y != 0),
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "mul": lambda x, y: x * y,
    "not_equal": lambda x, y: x != y,
    "pow": lambda x, y: x**y,
    "real_div": lambda x, y: x / y,
    "sub": lambda x, y: x - y,
}


@pytest.mark.parametrize("kind", ONE)
@settings(deadline=None, max_examples=20)
@given(shape=SHAPES, seed=SEEDS)
def test_of_one_tensor(kind, shape, seed):
    x = drawn(seed, *shape)
    equal(computed(kind, x=x), ONE[kind](x))


@pytest.mark.parametrize("kind", TWO)
@settings(deadline=None, max_examples=20)
@given(shape=SHAPES, seed=SEEDS, number=st.booleans())
def test_of_two_tensors(kind, shape, seed, number):
    """The second a tensor that is spread over the first, or a number."""
    x = drawn(seed, *shape)
    y = 0.75 if number else drawn(seed + 1, *shape[1:])
    expected = TWO[kind](x, torch.tensor(0.75) if number else y)
    equal(computed(kind, x=x, y=y), expected)


@settings(deadline=None, max_examples=20)
@given(shape=SHAPES, seed=SEEDS)
def test_what_has_parameters(shape, seed):
    x = drawn(seed, *shape)
    equal(computed("clip", x=x, alpha=-0.5, beta=0.25), x.clamp(-0.5, 0.25))
    equal(computed("cast", x=x, dtype="int32"), x.int())
    equal(computed("cast", x=x > 0, dtype="fp32"), (x > 0).float())
    equal(computed("cast", x=torch.tensor([-1, 0, 65537]), dtype="uint16"), torch.tensor([65535, 0, 1]).int())
    equal(computed("select", cond=x > 0, a=x, b=-x), torch.where(x > 0, x, -x))
    equal(computed("rsqrt", x=x.abs(), epsilon=0.5), torch.rsqrt(x.abs() + 0.5))
    equal(computed("gelu", x=x, mode="EXACT"), functional.gelu(x))
    # 1 + tanh loses what is small beside 1: where x is far below zero, the error is one of x.
    near(computed("gelu", x=x, mode="TANH_APPROXIMATION"), tanh_gelu(x.double()).float(), scale=x)


def tanh_gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@settings(deadline=None, max_examples=40)
@given(
    seed=SEEDS, kernel=st.integers(1, 3), stride=st.integers(1, 2), groups=st.sampled_from([1, 2]),
    pad=st.lists(st.integers(0, 2), min_size=4, max_size=4), custom=st.booleans(), bias=st.booleans(),
)  # fmt: skip
def test_a_convolution(seed, *, kernel, stride, groups, pad, custom, bias):
    """To the bit, also where the sides are padded apart."""
    x, weight = drawn(seed, 2, 4, 6, 7), drawn(seed + 1, 6, 4 // groups, kernel, kernel)
    added = drawn(seed + 2, 6) if bias else None
    given_bias = {"bias": added} if bias else {}
    kind = {"pad_type": "custom", "pad": torch.tensor(pad)} if custom else {"pad_type": "valid"}
    found = computed(
        "conv", x=x, weight=weight, strides=torch.tensor([stride] * 2), groups=groups,
        dilations=torch.tensor([1, 1]), **kind, **given_bias,
    )  # fmt: skip
    top, bottom, left, right = pad if custom else [0] * 4
    padded = functional.pad(x, (left, right, top, bottom))
    expected = functional.conv2d(padded, weight, added, stride, 0, 1, groups)
    near(found, expected)
    if (top, left) == (bottom, right) == (0, 0):
        equal(found, expected)


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, kernel=st.integers(1, 3), sides=st.tuples(st.integers(0, 2), st.integers(0, 2)))
def test_a_convolution_over_one_axis(seed, kernel, sides):
    x, weight, bias = drawn(seed, 2, 4, 7), drawn(seed + 1, 6, 4, kernel), drawn(seed + 2, 6)
    found = computed("conv", x=x, weight=weight, bias=bias, pad_type="custom", pad=torch.tensor(sides))
    near(found, functional.conv1d(functional.pad(x, sides), weight, bias))


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, bias=st.booleans(), axis=st.integers(-3, 2), end=st.booleans())
def test_products_with_a_weight_and_parts_by_index(seed, *, bias, axis, end):
    """A linear layer without and with a bias; what indices name along any axis, one of them from its end."""
    x, weight, added = drawn(seed, 2, 5, 4), drawn(seed + 1, 3, 4), drawn(seed + 2, 3)
    equal(computed("linear", x=x, weight=weight, **({"bias": added} if bias else {})),
          functional.linear(x, weight, added if bias else None))  # fmt: skip
    indices = torch.tensor([[1, 0], [-1 if end else 1, 0]])
    taken = x.movedim(axis, 0)[indices]  # the indices' two axes are first
    expected = taken.movedim((0, 1), (axis % 3, axis % 3 + 1))
    equal(computed("gather", x=x, indices=indices, axis=axis), expected)
    with pytest.raises(ValueError, match="each row"):
        computed("gather", x=x, indices=indices, axis=axis, batch_dims=1)


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, turned=st.tuples(st.booleans(), st.booleans()))
def test_a_product(seed, turned):
    x, y = drawn(seed, 2, 3, 4), drawn(seed + 1, 2, 4, 5)
    given_x, given_y = (z.transpose(1, 2) if turn else z for z, turn in zip((x, y), turned, strict=True))
    near(computed("matmul", x=given_x, y=given_y, transpose_x=turned[0], transpose_y=turned[1]), x @ y)


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, gained=st.booleans())
def test_a_norm(seed, gained):
    x, gamma, beta = drawn(seed, 2, 3, 8), drawn(seed + 1, 8), drawn(seed + 2, 8)
    wide = x.double()
    expected = (wide - wide.mean(-1, keepdim=True)) / (wide.var(-1, correction=0, keepdim=True) + 1e-3).sqrt()
    expected = expected * gamma + beta if gained else expected
    more = {"gamma": gamma, "beta": beta} if gained else {}
    near(computed("layer_norm", x=x, axes=torch.tensor([-1]), epsilon=1e-3, **more), expected.float())


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, keeps=st.booleans(), axis=st.integers(-3, 2))
def test_sums_over_axes(seed, keeps, axis):
    x = drawn(seed, 2, 3, 4)
    at = {"axes": torch.tensor([axis]), "keep_dims": keeps}
    near(computed("reduce_sum", x=x, **at), x.double().sum(axis, keepdim=keeps).float(), scale=x)
    near(computed("reduce_mean", x=x, **at), x.double().mean(axis, keepdim=keeps).float(), scale=x)
    equal(computed("reduce_max", x=x, **at), x.amax(axis, keepdim=keeps))
    weights = x.double().exp()
    near(computed("softmax", x=x, axis=axis), (weights / weights.sum(axis, keepdim=True)).float())


def test_means_of_tiles():
    x = drawn(0, 1, 2, 4, 6)
    sizes = {"kernel_sizes": torch.tensor([2, 3]), "strides": torch.tensor([2, 3])}
    expected = x.reshape(1, 2, 2, 2, 2, 3).mean((3, 5))
    near(computed("avg_pool", x=x, pad_type="valid", pad=torch.zeros(4), **sizes), expected)


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, data=st.data())
def test_a_part_and_its_replacement(seed, data):
    """Against NumPy's own slices; what is not replaced stays, and what was given is not changed."""
    shape = (4, 5, 3)
    begin = [data.draw(st.integers(0, size - 1)) for size in shape]
    end = [data.draw(st.integers(first + 1, size)) for first, size in zip(begin, shape, strict=True)]
    opens, closes = ([data.draw(st.booleans()) for _ in shape] for _ in "xx")
    x = drawn(seed, *shape)
    given_here = {
        "begin": torch.tensor(begin), "end": torch.tensor(end), "stride": torch.tensor([1, 2, 1]),
        "begin_mask": torch.tensor(opens), "end_mask": torch.tensor(closes),
    }  # fmt: skip
    index = tuple(
        slice(None if opens[axis] else begin[axis], None if closes[axis] else end[axis], (1, 2, 1)[axis])
        for axis in range(3)
    )
    part = x.numpy()[index]
    equal(computed("slice_by_index", x=x, **given_here), torch.from_numpy(part.copy()))
    expected = x.numpy().copy()
    expected[index] = 7
    before = x.clone()
    equal(computed("slice_update", x=x, update=torch.full(part.shape, 7.0), **given_here), torch.from_numpy(expected))
    equal(x, before)


def test_what_moves_numbers():
    x = drawn(0, 2, 3, 4)
    equal(computed("transpose", x=x, perm=torch.tensor([2, 0, 1])), x.permute(2, 0, 1))
    equal(computed("reshape", x=x, shape=torch.tensor([4, -1])), x.reshape(4, 6))
    equal(computed("expand_dims", x=x, axes=torch.tensor([0, -1])), x[None, ..., None])
    equal(computed("squeeze", x=x[None, ..., None], axes=torch.tensor([0, 4])), x)
    equal(computed("squeeze", x=x[:, None]), x)
    equal(computed("concat", values=[x, x], axis=1), torch.cat([x, x], 1))
    equal(computed("tile", x=x, reps=torch.tensor([1, 2, 1])), torch.cat([x, x], 1))
    equal(
        computed("pad", x=x, pad=torch.tensor([1, 0, 0, 2]), mode="constant", constant_val=3.0),
        torch.from_numpy(np.pad(x.numpy(), ((0, 0), (1, 0), (0, 2)), constant_values=3)),
    )
    left, right = computed("split", x=x, axis=2, split_sizes=torch.tensor([1, 3]))
    equal(torch.cat([left, right], 2), x)
    assert [part.shape[2] for part in computed("split", x=x, axis=2, num_splits=2)] == [2, 2]
    equal(computed("slice_by_index", x=x, begin=torch.tensor([1, 0, 0]), end=torch.tensor([2, 3, 4]),
                   squeeze_mask=torch.tensor([True, False, False])), x[1])  # fmt: skip
    doubled = computed("upsample_nearest_neighbor", x=x[None], scale_factor_height=2, scale_factor_width=3)
    equal(doubled, functional.interpolate(x[None], scale_factor=(2.0, 3.0), mode="nearest"))


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, palettes=st.sampled_from([1, 2, 4]))
def test_palettes(seed, palettes):
    """Each block of rows has its own."""
    places = torch.randint(0, 16, (4, 6), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    lut = drawn(seed, palettes, 1, 16, 1)
    expected = torch.stack([lut[row // (4 // palettes), 0, places[row].long(), 0] for row in range(4)])
    equal(computed("constexpr_lut_to_dense", indices=places, lut=lut), expected)


def test_integers_with_scales():
    data = torch.tensor([[-8, 4], [2, 1]], dtype=torch.int8)
    scale, offset = torch.tensor([[0.5], [2.0]]), torch.tensor([[1], [0]], dtype=torch.int8)
    equal(computed("constexpr_blockwise_shift_scale", data=data, scale=scale), torch.tensor([[-4.0, 2.0], [4.0, 2.0]]))
    found = computed("constexpr_blockwise_shift_scale", data=data, scale=scale, offset=offset)
    equal(found, torch.tensor([[-4.5, 1.5], [4.0, 2.0]]))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("gelu", {"mode": "SIGMOID_APPROXIMATION"}),
        ("cast", {"dtype": "fp8"}),
        ("pad", {"mode": "reflect", "pad": torch.tensor([1, 1])}),
        ("concat", {"values": [torch.ones(1)], "axis": 0, "interleave": True}),
        ("split", {"axis": 0, "num_splits": 2}),
        ("slice_by_index", {"begin": torch.tensor([2]), "end": torch.tensor([0]), "stride": torch.tensor([-1])}),
        ("upsample_nearest_neighbor", {"scale_factor_height": 1.5}),
        ("avg_pool", {"pad_type": "same"}),
        ("layer_norm", {"axes": torch.tensor([0]), "x": torch.ones(2, 2)}),
        ("conv", {"weight": torch.ones(1, 1, 1, 1), "pad_type": "same"}),
    ],
)
def test_what_is_not_implemented_is_refused(kind, values):
    with pytest.raises(ValueError, match=r"."):
        computed(kind, **{"x": torch.ones(3), **values})


def test_every_operation_is_looked_at():
    """A new one needs a test here."""
    others = {
        "avg_pool", "cast", "clip", "concat", "constexpr_affine_dequantize", "constexpr_blockwise_shift_scale",
        "constexpr_lut_to_dense", "conv", "expand_dims", "gather", "gelu", "layer_norm", "linear", "matmul", "pad",
        "reduce_max", "reduce_mean", "reduce_sum", "reshape", "rsqrt", "select", "slice_by_index", "slice_update",
        "softmax", "split", "squeeze", "tile", "transpose", "upsample_nearest_neighbor",
    }  # fmt: skip
    assert FUNCTIONS.keys() == others | ONE.keys() | TWO.keys()


def typed(name, dtype="float16", *shape):
    return Typed(name, dtype, shape)


def program(*operations, constants=None):
    """A function of one input, which gives what its last operation gives."""
    return Function({"x": typed("x", "float16", 2)}, {}, operations, (operations[-1].outputs[0].name,), constants or {})


def interpreter(function, steps=None):
    return Interpreter("it.mlpackage, main", function, steps or {}, round_half)


THIRD = program(
    Operation("mul", {"x": ("x",), "y": ("third",)}, (typed("y", "float16", 2),)), constants={"third": 1 / 3}
)


def test_each_result_is_rounded_and_overflows_as_the_engine_does():
    found = interpreter(THIRD).run({"x": torch.tensor([1.0, 120_000.0])})["y"]
    assert found.tolist() == [0.333251953125, math.inf]


def test_float32_is_not_rounded():
    wide = Operation("mul", {"x": ("x",), "y": ("third",)}, (typed("y", "float32", 2),))
    found = interpreter(program(wide, constants={"third": 1 / 3})).run({"x": torch.tensor([1.0, 2.0])})["y"]
    assert found[0].item() == np.float32(1 / 3)


def test_a_state_is_given_back_and_the_old_one_stays():
    read = Operation(READ, {"input": ("kept",)}, (typed("old", "float16", 2),))
    add = Operation("add", {"x": ("old",), "y": ("x",)}, (typed("y", "float16", 2),))
    write = Operation(WRITE, {"input": ("kept",), "data": ("y",)}, ())
    function = Function(
        {"x": typed("x", "float16", 2)}, {"kept": typed("kept", "float16", 2)}, (read, add, write), ("y",), {}
    )
    before = torch.ones(2)
    found = interpreter(function).run({"x": torch.ones(2), "kept": before})
    assert found["kept"].tolist() == [2, 2]
    assert before.tolist() == [1, 1]


def test_a_step_is_said_and_answered():
    """What follows reads the answer."""
    one = Operation("add", {"x": ("x",), "y": ("x",)}, (typed("a", "float16", 2),))
    two = Operation("add", {"x": ("a",), "y": ("a",)}, (typed("y", "float16", 2),))
    heard = []

    def receive(step, value):
        heard.append((step, value.tolist()))
        return torch.zeros(2) if step == "first" else value

    found = interpreter(program(one, two), {"a": "first", "y": "second"}).run(
        {"x": torch.ones(2)}, tap=ScopedTap(receive)
    )
    assert heard == [("first", [2, 2]), ("second", [0, 0])]
    assert found["y"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (Operation("erf", {"x": ("x",)}, (typed("y"),)), "operation 'erf', which the interpreter does not know"),
        (Operation("add", {"x": ("x",)}, (typed("y"),)), r"operation y \(add\) cannot be run: it has no 'y'"),
        (
            Operation("add", {"x": ("x",), "y": ("gone",)}, (typed("y"),)),
            r"y \(add\) cannot be run: nothing before it gives 'gone'",
        ),
    ],
)
def test_what_cannot_be_run_is_told_in_one_line(operation, words):
    with pytest.raises(UsageError, match=words) as told:
        interpreter(program(operation)).run({"x": torch.ones(2)})
    assert "\n" not in str(told.value)


def test_a_step_of_no_value_is_refused():
    with pytest.raises(UsageError, match=r"has no value 'z', which is said to be step text.norm"):
        interpreter(THIRD, {"z": "text.norm"}).require_steps()
