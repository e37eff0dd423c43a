"""The parity suite: each implementation, in every scenario and arithmetic that it has, against the reference."""

from __future__ import annotations

import functools
import itertools

import pytest

pytest.importorskip("mlx.core")

from implementations.gemma3n.preprocessing.preprocessor import Preprocessor
from implementations.mlx.cache import Cache
from implementations.mlx.model import Gemma3n
from parity.discovery import find
from parity.errors import ExitCode
from reference.gemma3n.scenarios import MEANINGS
from tests.harness import require_parity


@pytest.fixture(scope="module")
def mlx(harness):
    """The MLX model, loaded once per dtype."""
    return functools.cache(functools.partial(find("mlx").load, harness.checkpoint))


DTYPES = ("float32", "bfloat16", "float16")
QUICK = {("one-shot", "float32")}
LENGTHY = ("decode", "chunked", "warm", "grown", "generate")
"""Scenarios of many tokens or chunks: one arithmetic shows what their caches hold; `make calibrate` draws all."""
WITHIN = ("decode", "warm")
"""A conversation (`generate`) reads, replies and reads on, as these do."""

ALIKE = ("cached", "square", "outside", "batch", "faint")
"""Other ids, rows, sizes or another first chunk: they find what float32 shows as well."""


def cases():
    """Every scenario in every arithmetic."""
    for name, dtype in itertools.product(MEANINGS, DTYPES):
        lengthy = (dtype != "float32" and name in LENGTHY) or (dtype == "float16" and name != "one-shot")
        lengthy = lengthy or name in WITHIN or (dtype != "float32" and name in ALIKE)
        marks = pytest.mark.exhaustive if lengthy else () if (name, dtype) in QUICK else pytest.mark.slow
        yield pytest.param(name, dtype, marks=marks)


@pytest.mark.parametrize(("scenario", "dtype"), list(cases()))
def test_mlx(scenario, dtype, mlx, harness):
    """Every step covered, none introduced, worst ratio at most 4 floors, exit 0."""
    require_parity(harness.judge(mlx(dtype), dtype, scenario))


def test_mlx_on_the_lightest_case(mlx, harness):
    """The single token "What" without BOS: what runs where no prompt is given."""
    judgement = harness.judge(mlx("float32"), "float32", "one-shot", None)
    assert len(judgement.tokens) == 1
    assert judgement.exit_code is ExitCode.PARITY


@pytest.mark.slow
def test_a_cache_that_drops_its_past_as_it_grows_is_found(mlx, harness, monkeypatch):
    """The third decode step begins a new block of 256 positions: keys of full layers are zero before it."""
    right = Cache._make_room

    def forgetful(self, which, chunk, past):
        return right(self, which, chunk, past) * (0 if self._window is None and past else 1)

    monkeypatch.setattr(Cache, "_make_room", forgetful)
    first = harness.judge(mlx("float32"), "float32", "grown").first_divergence
    assert (first.step, first.phase) == ("text.layers.4.attn.keys", "decode.3")


@pytest.mark.slow
def test_a_magnitude_without_a_floor_is_found(mlx, harness, monkeypatch):
    """In and behind the layers, and only where streams are near zero."""
    monkeypatch.setattr("implementations.mlx.altup.MAGNITUDE_FLOOR", 0.0)
    found = {step.step for step in harness.judge(mlx("float32"), "float32", "faint").introduced}
    assert found == {f"text.altup.{part}.{i}.magnitude" for part in ("embed", "unembed") for i in (1, 2, 3)}
    assert harness.judge(mlx("float32"), "float32", "one-shot").exit_code is ExitCode.PARITY


@pytest.mark.slow
def test_logits_of_another_token_are_found(mlx, harness, monkeypatch):
    """Only generation asks for the last token's logits alone: a forward pass for all of them is right."""
    right = Gemma3n.__call__

    def first_only(self, ids, media, conversation, *, tap, last_only=False):
        if not last_only:
            return right(self, ids, media, conversation, tap=tap)
        states = self.model(ids, media, conversation, tap=tap)
        conversation.advance(ids.shape[1])
        return self._head(states[:, :1], tap=tap.into("text"))

    monkeypatch.setattr(Gemma3n, "__call__", first_only)
    judgement = harness.judge(mlx("float32"), "float32", "generate")
    wrong = [(step.step, step.phase) for step in judgement.introduced]
    assert wrong == [("text.lm_head", "prefill"), ("text.lm_head", "suffix")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "phase"),
    [
        ({"encode": lambda right: lambda self, dialogue: right(self, dialogue)[1:]}, "prefill"),
        ({"encode": lambda right: lambda self, dialogue: right(self, dialogue[-1:])}, "suffix"),
    ],
)
def test_what_a_dialogue_reads_is_judged(change, phase, mlx, harness, monkeypatch):
    """Its own template and ids: no first token, and a second turn that is read as if it were the first."""
    for name, wrong in change.items():
        monkeypatch.setattr(Preprocessor, name, wrong(getattr(Preprocessor, name)))
    judgement = harness.judge(mlx("float32"), "float32", "generate")
    assert [(step.step, step.phase) for step in judgement.introduced] == [("text.input_ids", phase)]


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
