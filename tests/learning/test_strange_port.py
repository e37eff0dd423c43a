"""The whole way of a port in a framework that nobody knows: a table is learned, it is judged, a fault is found."""

from __future__ import annotations

import pytest

from parity.checkpoint import find_checkpoint
from parity.compare import Request, compare
from parity.discovery import with_table
from parity.errors import ExitCode, UsageError
from parity.learning.learn import learn
from parity.running.progress import Silent

pytest.importorskip("transformers")

PORT = "tests.learning.strange_port"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small Qwen 3."""
    from reference.any_model.drawing import draw

    folder = tmp_path_factory.mktemp("drawn") / "qwen3"
    draw("qwen3", folder)
    return find_checkpoint(str(folder))


@pytest.mark.slow
def test_it_is_learned_and_judged_and_faults_are_found_at_their_steps(checkpoint, tmp_path):
    """In prefill and behind the past; the same words as of any other port."""
    found = learn(checkpoint, reference="transformers", candidate=f"{PORT}:Backend", progress=Silent())
    assert {row.confidence for row in found.table.rows} == {"content"}
    assert len(found.table.members()) > 100
    table = tmp_path / "qwen3.toml"
    found.table.write(table)
    request = Request(
        checkpoint=checkpoint,
        candidates=tuple(with_table(f"{PORT}:{name}", str(table)) for name in ("Backend", "Careless", "Faulty")),
        dtype="float32",
        scenarios=("decode",),
        prompt=None,
        reference=with_table("transformers", str(table)),
        diagnose=False,
    )
    judged = compare(request, progress=Silent()).judgements
    assert [one.exit_code for one in judged] == [ExitCode.PARITY, ExitCode.DIVERGED, ExitCode.DIVERGED]
    firsts = [one.first_divergence and one.first_divergence.step for one in judged]
    assert firsts[1].startswith("model.layers.0.input_layernorm")
    assert firsts[0] is None
    assert firsts[2].startswith("model.layers.0.mlp.act_fn")


@pytest.mark.slow
def test_a_compiled_port_is_told_why_nothing_is_learned(checkpoint):
    with pytest.raises(UsageError, match=r"Compiled shows no value .* it must run eagerly, not compiled$"):
        learn(checkpoint, reference="transformers", candidate=f"{PORT}:Compiled", progress=Silent())
