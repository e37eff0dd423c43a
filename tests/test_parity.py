"""The parity suite: each implementation, in every scenario and arithmetic that it has, against the reference."""

from __future__ import annotations

import functools

import pytest

from parity.discovery import find
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


@pytest.mark.parametrize(
    ("fault", "first"),
    [
        (("layers.3.laurel.post_laurel_norm", "_eps", 1e-5), "text.layers.3.laurel.normed"),
        (("layers.21.self_attn", "_donor", 19), "text.layers.21.attn.keys"),
    ],
)
def test_a_fault_in_mlx_is_found_at_its_step(fault, first, mlx, harness, monkeypatch):
    """A wrong epsilon in one norm, a KV-shared layer that reads the wrong donor: one step introduced, the right one."""
    module, attribute, value = fault
    candidate = mlx("float32")
    part = functools.reduce(_child, module.split("."), candidate._model.model.language_model)
    monkeypatch.setattr(part, attribute, value)
    judgement = harness.judge(candidate, "float32", "one-shot")
    assert judgement.exit_code is ExitCode.DIVERGED
    assert judgement.first_divergence.step == first
    assert len(judgement.introduced) <= 3


def _child(module, name):
    return module[int(name)] if name.isdigit() else getattr(module, name)
