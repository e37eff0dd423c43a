"""The parity suite: each implementation, in every scenario and arithmetic that it has, against the reference."""

from __future__ import annotations

import functools

import pytest

from parity.backend import find
from parity.errors import ExitCode
from reference.scenarios import MEANINGS


@pytest.fixture(scope="module")
def mlx(harness):
    """The MLX model, loaded once per dtype."""
    return functools.cache(functools.partial(find("mlx").load, harness.checkpoint))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("scenario", MEANINGS)
def test_mlx(scenario, dtype, mlx, harness):
    """Every step covered, none introduced, worst ratio at most 4 floors, exit 0."""
    judgement = harness.judge(mlx(dtype), dtype, scenario)
    assert not judgement.missing
    assert judgement.first_divergence is None
    assert judgement.worst.ratio <= 4
    assert judgement.exit_code is ExitCode.PARITY


@pytest.mark.parametrize("scenario", ["one-shot", "decode"])
def test_mlx_in_float16(scenario, mlx, harness):
    """The third arithmetic, where it differs most."""
    assert harness.judge(mlx("float16"), "float16", scenario).exit_code is ExitCode.PARITY


def test_mlx_on_the_lightest_case(mlx, harness):
    """The single token "What" without BOS: what runs where no prompt is given."""
    judgement = harness.judge(mlx("float32"), "float32", "one-shot", None)
    assert len(judgement.tokens) == 1
    assert judgement.exit_code is ExitCode.PARITY
