"""Dumps are paired with an oracle's steps by their numbers, and the first that differs is named."""

from __future__ import annotations

import numpy as np
import pytest

from parity.dumps.files import Dumped
from parity.dumps.matching import AS_ELSEWHERE, LIKENESS, match
from parity.learning.pairing import CONTENT
from tests.dumps.stack import LAYERS, SCENARIO, STEPS, Stack, as_a_server, dumped
from tests.toy import write


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The oracle's trace, the baseline's, and a port's with what is wrong in it."""
    folder = tmp_path_factory.mktemp("stack")
    oracle = write(folder, "oracle", Stack(), scenario=SCENARIO)
    baseline = write(folder, "baseline", Stack("float32"), "float32", oracle=oracle.path)

    def port(name, **wrong):
        wrong = {step.replace("_", "."): change for step, change in wrong.items()}
        return write(folder, name, Stack("float32", wrong), "float32", oracle=oracle.path)

    return oracle, baseline, port


def tensors(arrays):
    """Arrays as a dump."""
    return [Dumped(name, array.shape, lambda array=array: array) for name, array in arrays.items()]


def held(runs, port, named=as_a_server, *, measured=True, more=()):
    """A port's dump against the oracle."""
    oracle, baseline, _ = runs
    arrays = {**dumped(port, named), **dict(more)}
    return match(oracle, tensors(arrays), baseline if measured else None)


@pytest.mark.parametrize("measured", [True, False])
def test_a_right_dump_is_equal_at_every_step(runs, measured):
    """Of both phases, each with the tensor that was made of it, whatever their order."""
    found = held(runs, runs[2](f"right-{measured}"), measured=measured)
    assert {(one.step, one.phase): one.tensor for one in found.matches} == {
        (key.step, key.phase): as_a_server(key.step, key.phase) for key in runs[0].records
    }
    assert (len(found.matches), found.steps, found.nobodys, found.first) == (STEPS, STEPS, (), None)
    assert {one.known for one in found.matches} == {CONTENT}
    assert 0 < max(one.floors for one in found.matches) < 4
    queries = next(one for one in found.matches if one.step == "layers.1.queries" and one.phase == "prefill")
    assert queries.layout == "(batch token) (head head_dim) -> batch head token head_dim"


def test_the_floor_is_the_baselines(runs):
    """An error of 100 roundoffs is unmeasured noise, and many floors of a baseline."""
    port = runs[2]("noise", layers_2_inner=lambda x: x * np.float32(1 + 100 * 2**-24))
    assert held(runs, port, measured=False).first is None
    assert held(runs, port).first.step == "layers.2.inner"


@pytest.mark.parametrize(
    ("step", "change", "known"),
    [
        ("layers_2_queries", lambda x: x * np.float32(1.01), AS_ELSEWHERE),
        ("layers_2_queries", lambda x: x[:, ::-1], AS_ELSEWHERE),
        ("layers_3_inner", lambda x: x * np.float32(np.nan), AS_ELSEWHERE),
        ("layers_0_inner", lambda x: x * np.float32(1.1), LIKENESS),
        ("embed", lambda x: x + np.float32(0.3), LIKENESS),
        ("logits", lambda x: x * np.float32(1.2), LIKENESS),
    ],
    ids=["scaled", "heads", "nan", "first-layer", "first-step", "last-step"],
)
def test_the_first_that_differs(runs, step, change, known):
    """With the name of its tensor in other layers, or without any that is right."""
    port = runs[2](f"wrong-{step}-{known}-{change.__code__.co_firstlineno}", **{step: change})
    first = held(runs, port).first
    name = step.replace("_", ".")
    assert (first.step, first.phase, first.known) == (name, "prefill", known)
    assert first.tensor == as_a_server(name, "prefill")
    assert first.floors > 1000


def test_what_is_not_shown_is_no_match(runs):
    """Hidden states alone, and tensors that are made of them: these are nobody's, and no fault."""
    port = runs[2]("some")

    def states(step, phase):
        number = 0 if step == "embed" else int(step.split(".")[1]) + 1 if step.endswith("out") else -1
        return f"hidden_states_{number}" if number >= 0 and phase == "prefill" else ""

    halves = {f"half_{at}": array * np.float32(0.7) for at, array in enumerate(dumped(port, states).values())}
    found = held(runs, port, states, more=halves.items())
    assert [one.step for one in found.matches] == ["embed", *(f"layers.{layer}.out" for layer in range(LAYERS))]
    assert found.first is None
    assert found.nobodys == tuple(halves)
    wrong = runs[2]("some-wrong", layers_2_out=lambda x: x * np.float32(1.001))
    first = held(runs, wrong, states).first
    assert (first.step, first.tensor, first.known) == ("layers.2.out", "hidden_states_3", AS_ELSEWHERE)


def test_another_models_dump_is_no_match(runs):
    """Equal sizes alone pair nothing."""
    draw = np.random.default_rng(5)
    noise = {name: draw.normal(size=array.shape) for name, array in dumped(runs[1], as_a_server).items()}
    found = match(runs[0], tensors(noise), runs[1])
    assert found.matches == ()
    assert len(found.nobodys) == STEPS
