"""The Neural Engine's fp16, emulated: rounding bit for bit, one rounding an operation, no islands of float32."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from implementations.ane.arithmetic import Float16Ane, baseline
from implementations.ane.engine.limits import LIMIT
from implementations.ane.engine.rounding import round_half

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
UNLIMITED = 65504.0
"""fp16's own range: the emulation must then be what NumPy's float16 is."""


@pytest.fixture
def ane():
    """The engine's arithmetic."""
    return Float16Ane()


def every_half() -> np.ndarray:
    """All finite fp16 numbers, and what lies midway between neighbours, in float32, with its neighbours."""
    bits = np.arange(0x7C00, dtype=np.uint16)
    exact = bits.view(np.float16).astype(np.float32)
    midway = (exact[:-1].astype(np.float64) + exact[1:]) / 2
    near = np.concatenate([exact, midway.astype(np.float32)])
    near = np.concatenate([near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(0))])
    return np.concatenate([near, -near])


def random_bits() -> np.ndarray:
    """Float32 numbers of every magnitude, with NaN and infinities among them."""
    bits = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32)
    return bits.view(np.float32)


@pytest.mark.parametrize("values", [every_half(), random_bits()], ids=["every half", "random bits"])
def test_rounding_is_numpys_bit_for_bit(values):
    with np.errstate(over="ignore", invalid="ignore"):
        expected = values.astype(np.float16)
    rounded = round_half(torch.from_numpy(values), UNLIMITED).numpy().astype(np.float16)
    finite = ~np.isnan(expected)
    np.testing.assert_array_equal(rounded[finite].view(np.uint16), expected[finite].view(np.uint16))
    assert np.isnan(rounded[~finite]).all()


def test_beyond_the_limit_lies_infinity():
    """What rounds to the limit stays; the next number of fp16 does not; signs and NaN are kept."""
    values = torch.tensor([32752.0, 32759.0, 32768.0, -32752.0, -40000.0, 1e9, math.nan, -math.inf])
    rounded = round_half(values, LIMIT)
    expected = torch.tensor([32752.0, 32752.0, math.inf, -32752.0, -math.inf, math.inf, math.nan, -math.inf])
    torch.testing.assert_close(rounded, expected, rtol=0, atol=0, equal_nan=True)


@given(FLOATS)
def test_without_a_limit_finite_numbers_stay_finite_and_precise(value):
    """Eleven significant bits at any magnitude; float32's lowest number, which hides keys in masks, is finite."""
    rounded = round_half(torch.tensor([value]), None).item()
    assert math.isfinite(rounded)
    assert abs(rounded - value) <= max(2.0**-11 * abs(value), 2.0**-25)
    assert round_half(torch.tensor([rounded]), None).item() == rounded


@given(FLOATS, FLOATS)
def test_rounding_is_monotone_and_odd(a, b):
    low, high = sorted((a, b))
    for limit in (LIMIT, None):
        first, second, mirrored = round_half(torch.tensor([low, high, -low]), limit).tolist()
        assert first <= second
        assert mirrored == -first


@given(st.floats(min_value=2.0**-14, max_value=2.0**14, width=32), st.integers(min_value=0, max_value=100))
def test_rounding_of_normal_numbers_commutes_with_powers_of_two(value, exponent):
    """Which is why a power of two as alpha costs nothing."""
    first, second = round_half(torch.tensor([value, math.ldexp(value, exponent)]), None).tolist()
    assert second == math.ldexp(first, exponent)


@given(FLOATS)
def test_the_limit_changes_nothing_below_it(value):
    free, limited = (round_half(torch.tensor([value]), limit).item() for limit in (None, LIMIT))
    assert limited == (free if abs(free) <= LIMIT else math.copysign(math.inf, value))


def halves(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random fp16 numbers in float32."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).half().float()


def test_each_operation_of_a_program_rounds_once(ane):
    """A program in NumPy's float16, each of whose operations computes in float32 and rounds once."""
    a, b, c = (halves(64, 64, seed=seed) for seed in range(3))
    with ane.running():
        result = ((a * b + c) / 3.1 - c.abs().sqrt()).square().mean(-1)
    x, y, z = (each.numpy().astype(np.float16) for each in (a, b, c))
    expected = np.square((x * y + z) / np.float16(3.1) - np.sqrt(np.abs(z))).astype(np.float32)
    np.testing.assert_array_equal(result.numpy(), expected.mean(-1).astype(np.float16).astype(np.float32))


def test_a_product_of_matrices_accumulates_wide(ane):
    """Integers, whose sums are exact in float32 and not in fp16: one rounding at the end."""
    numbers = np.random.default_rng(1).integers(-30, 31, (2, 16, 16)).astype(np.float32)
    with ane.running():
        result = torch.from_numpy(numbers[0]) @ torch.from_numpy(numbers[1])
    exact = numbers[0].astype(np.float64) @ numbers[1].astype(np.float64)
    np.testing.assert_array_equal(result.numpy(), exact.astype(np.float16))
    assert (result.numpy() != exact).any()


OPERATIONS = {
    "layer_norm": lambda x, w, b: functional.layer_norm(x, (8,), b, b),
    "softmax": lambda x, w, b: functional.softmax(x, -1, dtype=torch.float32),
    "gelu": lambda x, w, b: functional.gelu(x, approximate="tanh"),
    "linear": functional.linear,
    "linear of a transposed input": lambda x, w, b: functional.linear(x.transpose(0, 1), w, b),
    "conv": lambda x, w, b: functional.conv2d(x.permute(0, 2, 1)[:, :, None], w[:, :, None, None], b),
    "std": lambda x, w, b: x.std(-1, unbiased=False),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_fused_operations_round_once(name, mode, ane):
    x, w, b = halves(2, 3, 8), halves(8, 8, seed=1), halves(8, seed=2)
    operation = OPERATIONS[name]
    with mode():
        exact = operation(x, w, b)
        with ane.running():
            result = operation(x, w, b)
    assert torch.equal(result, round_half(exact))
    assert not torch.equal(result, exact)


def test_attention_is_no_island(ane):
    """ATen's fused attention would round its result alone; its parts are operations."""
    q, k, v = (halves(1, 2, 5, 16, seed=seed) for seed in range(3))
    whole = round_half(functional.scaled_dot_product_attention(q, k, v, scale=1.0))
    with torch.no_grad(), ane.running():
        fused = functional.scaled_dot_product_attention(q, k, v, scale=1.0)
        parts = functional.softmax(q @ k.transpose(-1, -2), -1) @ v
    assert torch.equal(fused, parts)
    assert not torch.equal(fused, whole)


def requests(x):
    """Every way to ask for another dtype."""
    yield x.float() / 3
    yield x.double() / 3
    yield x.to(torch.float32) / 3
    yield x.type(torch.float64) / 3
    yield x.half() / 3
    yield x.bfloat16() / 3
    yield x.mean(-1, dtype=torch.float64)
    yield functional.softmax(x, -1, dtype=torch.float64)
    yield torch.full((4,), 0.1, dtype=torch.float64) / x[0]
    yield torch.tensor(1 / 3, dtype=torch.float64) * x
    yield torch.from_numpy(np.full(4, 1 / 3)) + x


def test_asking_for_another_dtype_makes_no_island(ane):
    with ane.running():
        results = list(requests(halves(4, 4)))
    for result in results:
        assert result.dtype == torch.float32
        assert torch.equal(result, result.half().float())


def test_constants_are_fp16_too(ane):
    """0.1 has no exact fp16 number; neither has 4097; both are rounded before they are used."""
    x = halves(8)
    with ane.running():
        results = [x * 0.1, x + 4097, x * torch.tensor(0.1)]
    tenth = np.float32(np.float16(0.1)).item()
    for result, exact in zip(results, [x * tenth, x + 4096, x * tenth], strict=True):
        assert torch.equal(result, round_half(exact))


def test_attributes_are_no_constants(ane):
    """An epsilon is an attribute of layer normalisation, and no length of a range is rounded."""
    x = halves(4, 8) * 2.0**-10
    with ane.running():
        normed = functional.layer_norm(x, (8,), eps=1e-9)
        assert torch.arange(4097.0).numel() == 4097
    assert torch.equal(normed, round_half(functional.layer_norm(x, (8,), eps=1e-9)))


def test_in_place_operations_round_what_they_change(ane):
    """Also through a view, with an output argument, and in lists; what is not touched stays."""
    x, y, z = torch.full((2, 4), 1.0), torch.full((2, 4), 0.00012), torch.empty(2, 4)
    with ane.running():
        x[1:] += y[1:]
        torch.add(y, 1.0, out=z)
        torch._foreach_mul_([y], 3.0)
    assert torch.equal(x, torch.ones(2, 4))
    assert torch.equal(z, torch.ones(2, 4))
    assert torch.equal(y, round_half(torch.full((2, 4), 0.00012) * 3))


def test_views_share_memory_and_integers_are_exact(ane):
    x, ids = halves(4, 4), torch.tensor([262_143, 4097])
    with ane.running():
        view = x.transpose(0, 1)[1:].reshape(-1, 4).unsqueeze(0)
        raised = ids + 1
        chosen = torch.arange(5000)[4097]
    assert view.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    assert raised.tolist() == [262_144, 4098]
    assert chosen.item() == 4097


def test_suspended_is_the_hosts_arithmetic(ane):
    """Dtypes included; the context before is back afterwards, even behind an exception."""
    x = halves(8)
    with ane.running():
        with ane.suspended():
            host = x / 3
            wide = x.double()
            with ane.running():
                device = x / 3
        with pytest.raises(ZeroDivisionError), ane.suspended():
            raise ZeroDivisionError
        after = x / 3
    assert torch.equal(host, x / 3)
    assert wide.dtype == torch.float64
    assert torch.equal(device, after)
    assert torch.equal(after, round_half(x / 3))
    assert torch.equal(x / 3, host)


def test_weights_are_rounded_and_integers_left(ane):
    assert (ane.weights, ane.storage) == ("float16", "float32")
    assert ane.rounded(torch.tensor([0.1])).item() == np.float16(0.1).item()
    ids = torch.tensor([5])
    assert ane.rounded(ids) is ids


def test_the_baseline_does_not_overflow(ane):
    """Squares of 300 are finite in the baseline, infinite on the engine."""
    x = torch.full((8,), 300.0)
    with baseline().running():
        free = x * x
    with ane.running():
        limited = x * x
    assert torch.equal(free, round_half(torch.full((8,), 90_000.0), None))
    assert limited.isinf().all()


class Squares(nn.Module):
    """RMSNorm as it is written down."""

    def forward(self, x):
        return x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).pow(-0.5)


class Doubled(nn.Module):
    """RMSNorm as half of the layer normalisation of ``[x, -x]``."""

    def forward(self, x):
        return functional.layer_norm(torch.cat([x, -x], -1), (2 * x.shape[-1],), eps=1e-6)[..., : x.shape[-1]]


@pytest.mark.parametrize("rms", [100.0, 1000.0, 5000.0])
def test_norm_by_squares_silently_returns_zeros(rms, ane):
    """Squares become infinite, their root's inverse zero: nothing tells. The doubled layer normalisation is right."""
    x = round_half(halves(16, 128) * rms)
    with torch.no_grad(), ane.running():
        squares, doubled = Squares()(x), Doubled()(x)
    exact = Squares()(x.double())
    assert squares.isfinite().all()
    assert (squares == 0).all(-1).any()
    assert ((doubled - exact).norm() / exact.norm()).item() < 7e-4


def test_the_reference_loses_no_range_and_little_precision():
    """A norm by squares in the baseline's arithmetic: as precise as its three roundings, whatever the magnitude."""
    x = round_half(halves(16, 128) * 5000)
    with torch.no_grad(), baseline().running():
        squares = Squares()(x)
    exact = Squares()(x.double())
    assert ((squares - exact).norm() / exact.norm()).item() < 1e-3
