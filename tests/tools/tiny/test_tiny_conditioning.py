"""Every kind of parameter of the embedded checkpoint matters, and its arithmetic is well conditioned.

`python -m tools.tiny.sensitivity` prints the figures behind these verdicts.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tools.tiny import kinds, weights

pytestmark = pytest.mark.slow  # the checkpoint is the same in every clone

# 1 % of noise on a tensor must stand out of float32's own error a hundred times. No tensor that transformers loads is
# exempt; the k and v of KV-shared layers, which nothing reads, are not among `kinds.computing()`.
REQUIRED = 100.0
ELSEWHERE = 1.5
"""A floor is one draw of a processor: without AVX2 the vision tower's is 1.9e-6, with it 1.3e-6."""


@pytest.fixture(scope="module")
def sensitivity() -> Iterator[Any]:
    """The module that measures: it imports torch and transformers, which the engine alone does not have."""
    pytest.importorskip("transformers", reason="needs the [hf] extra")
    torch = pytest.importorskip("torch", reason="needs the [hf] extra")
    from tools.tiny import sensitivity

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine the threads of such small operations wait for each other: 10 x slower
    yield sensitivity
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model(sensitivity: Any) -> Any:
    """The checkpoint in float32."""
    return sensitivity.load()


@pytest.fixture(scope="module")
def measured(sensitivity: Any, model: Any) -> Any:
    """The undisturbed outputs and their floors."""
    return sensitivity.measure(model)


def test_floor_is_small(measured: Any) -> None:
    """float32 costs at most 1e-5 at the logits and at each tower's output."""
    floors = {output.__name__: found.floor for output, found in measured.items()}
    assert max(floors.values()) <= 1e-5, floors


def test_activations_are_sane(sensitivity: Any, model: Any) -> None:
    """No module returns a value beyond 1e3."""
    assert sensitivity.largest_activation(model) < 1e3


def test_logits_are_spread_but_not_saturated(sensitivity: Any, measured: Any) -> None:
    """Logits spread over a few units, far below the soft-cap at 30."""
    for output in (sensitivity.text_logits, sensitivity.multimodal_logits):
        assert 1 < float(measured[output].value.std()) < 6
        assert float(measured[output].value.abs().max()) < 25


def test_collapsing_names_keeps_the_kinds() -> None:
    """More than a hundred kinds remain, and only the shared k and v are left out of them."""
    assert len(kinds.by_kind()) > 100
    assert sum(len(names) for names in kinds.by_kind().values()) == len(kinds.computing())
    assert len(dict(weights.shared_key_values())) == 15


@pytest.mark.parametrize("name", kinds.representatives().values(), ids=kinds.kind)
def test_every_kind_of_parameter_matters(sensitivity: Any, model: Any, measured: Any, name: str) -> None:
    """1 % of noise on the middle tensor of a kind moves its output by at least a hundred of the usual floors."""
    assert sensitivity.floors_moved(model, measured, name) * ELSEWHERE >= REQUIRED


def test_disturbing_restores_the_tensor(sensitivity: Any, model: Any) -> None:
    """Measuring one tensor leaves no trace for the next, even when the forward pass fails."""
    name = next(iter(kinds.representatives().values()))
    before = model.get_parameter(name).detach().clone()
    disturbance = sensitivity.disturbed(model, name)
    disturbance.__enter__()
    assert not model.get_parameter(name).equal(before)
    with pytest.raises(RuntimeError):
        disturbance.gen.throw(RuntimeError("the forward pass failed"))
    assert model.get_parameter(name).equal(before)
