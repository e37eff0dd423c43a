"""Executions of the reference: other orders of sums, rounding by chance, and what only the plain order explains."""

from __future__ import annotations

import dataclasses

import pytest

pytest.importorskip("torch")

import torch

from parity.errors import ExitCode, UsageError
from parity.judging.baseline import judged
from parity.judging.verdict import Status
from parity.traces.runs import Runs
from reference.common.executions import BLOCK, Ordered, round_by_chance

WIDER = {torch.bfloat16: torch.float32, torch.float16: torch.float32, torch.float32: torch.float64}


def drawn(*shape, dtype=torch.float32):
    """Normal numbers, always the same."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", WIDER, ids=str)
def test_rounding_by_chance_is_right_on_average(dtype):
    """Each result is a neighbour, their mean is the exact value, and they vary twice as much as nearest ones."""
    exact, draw = drawn(20_000, dtype=WIDER[dtype]), torch.Generator().manual_seed(0)
    made = torch.stack([round_by_chance(exact, dtype, draw).to(exact.dtype) for _ in range(64)])
    step = torch.finfo(dtype).eps * exact.abs().max()
    assert ((made - exact).abs() < step).all()
    assert abs((made - exact).mean()) < 1e-3 * step
    nearest = (exact.to(dtype).to(exact.dtype) - exact).square().mean()
    assert (made - exact).square().mean() / nearest == pytest.approx(2, rel=0.03)


@pytest.mark.parametrize("dtype", WIDER, ids=str)
def test_what_is_exact_stays_exact(dtype):
    """Zeros, infinities, the lowest number of a mask, and all that the narrow format has."""
    given = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, 1.0, -2.5, torch.finfo(dtype).min], dtype=WIDER[dtype])
    assert torch.equal(round_by_chance(given, dtype, torch.Generator()).to(given.dtype), given)


SUMS = {
    "product": lambda x: x @ x.T,
    "batched": lambda x: x[None] @ x.T[None],
    "sum": lambda x: x.sum(-1, keepdim=True),
    "mean of two axes": lambda x: x.reshape(4, 16, -1).mean((0, 2)),
    "deviation": lambda x: x.std(-1, unbiased=False),
    "softmax": lambda x: x.softmax(-1),
    "convolution": lambda x: torch.nn.functional.conv2d(
        x.reshape(1, 4, 128, -1), drawn(6, 2, 3, 3), drawn(6), stride=2, padding=1, groups=2
    ),
    "depthwise frames": lambda x: torch.nn.functional.conv1d(x[None], drawn(64, 1, 5), padding=2, groups=64),
}


@pytest.mark.parametrize("block", [1, BLOCK])
@pytest.mark.parametrize("name", SUMS)
def test_another_order_is_the_same_sum(name, block):
    """To within what float32 costs over 1,024 terms; shapes are the operation's own."""
    x = drawn(64, 1024)
    exact = SUMS[name](x) if name.startswith(("conv", "depth")) else SUMS[name](x.double())
    with Ordered(block):
        made = SUMS[name](x)
    assert made.shape == exact.shape
    assert made.dtype == torch.float32
    assert torch.allclose(made.double(), exact.double(), rtol=1e-3, atol=1e-4 * float(exact.abs().max()))


@pytest.mark.parametrize("cached", [7, 2**17])
@pytest.mark.parametrize(("left", "right"), [((3, 5, 9), (3, 9, 4)), ((40, 1, 2), (40, 2, 3)), ((6, 30), (30, 11))])
def test_one_after_the_other_in_tiles(cached, left, right, monkeypatch):
    """To the bit what one sum after the other is, however many stay in the cache."""
    monkeypatch.setattr("reference.common.executions.CACHED", cached)
    x, y = drawn(*left), drawn(*right)
    expected = torch.zeros(())
    for term in range(left[-1]):
        expected = expected + x[..., term, None] * y[..., term, None, :]
    with Ordered(1):
        assert torch.equal(x @ y, expected)


def test_plain_order_costs_more():
    """One after the other, 4,096 equal terms lose what blocks keep."""
    x = torch.full((1, 4096), 0.1)
    errors = {}
    for block in (1, BLOCK):
        with Ordered(block):
            errors[block] = abs(float(x.sum(-1)) - 4096 * float(x[0, 0]))
    assert errors[1] > 4 * errors[BLOCK] > 0


def test_unknown_execution_is_refused(harness):
    """By name, with those that there are."""
    with pytest.raises(UsageError, match=r"no execution 'fast' .* blocked, stochastic, plain"):
        harness.baseline("float32").execute_as("fast")


class TestCoarse:
    """A step that only the order of a sum keeps from being ok: shown, counted, and no divergence."""

    @pytest.fixture
    def doubtful(self, harness):
        """Judges the reference itself, one step of whose errors is made so many floors large."""
        baseline, oracle = harness.measured("float32", "one-shot"), harness.oracle_trace("one-shot")
        runs = baseline.runs()
        step = "text.layers.4.mlp.gate_std"

        def judge(floors, plain):
            from parity.traces.measure import error_of

            def measure(key, *, oracle, candidate):
                error = error_of(key, oracle=oracle, candidate=candidate)
                return error.times(floors) if key.step == step else error

            class Plainly:
                """A baseline whose plain order errs so many times as much at that step."""

                def runs(self, candidate):
                    return runs

                def with_plain(self, held_to, candidate):
                    found = baseline.with_plain(held_to, candidate)
                    errors = {
                        key: error.times(plain) if key.step == step else error
                        for key, error in found.plain.lockstep.items()
                    }
                    return dataclasses.replace(found, plain=dataclasses.replace(found.plain, lockstep=errors))

            candidate = Runs(None, runs.lockstep)
            return judged(oracle=oracle, baseline=Plainly(), candidate=candidate, measure=measure)[0]

        return judge

    def test_what_plain_order_explains_is_coarse(self, doubtful):
        """Exit 0, and 1 where it is asked for strictly."""
        judgement = doubtful(40, 40)
        assert judgement.counts[Status.COARSE] == 1
        assert not judgement.introduced
        assert judgement.exit_code is ExitCode.PARITY
        assert dataclasses.replace(judgement, strict=True).exit_code is ExitCode.DIVERGED

    @pytest.mark.slow
    def test_what_it_does_not_explain_is_introduced(self, doubtful):
        """The same error where plain order costs little."""
        judgement = doubtful(40, 0.1)
        assert [step.step for step in judgement.introduced] == ["text.layers.4.mlp.gate_std"]
        assert judgement.exit_code is ExitCode.DIVERGED
