"""Small checkpoints of real architectures: transformers against mlx-lm, right and with planted faults."""

from __future__ import annotations

import pytest

from parity.checkpoint import find_checkpoint
from parity.compare import Request, compare
from parity.discovery import with_table
from parity.errors import ExitCode, UsageError
from parity.learning.learn import learn
from parity.running.progress import Silent
from tests.any_model_faults import FAULTS

pytest.importorskip("transformers")
pytest.importorskip("mlx_lm")

RUNS = {"qwen3": ("one-shot", "chunked"), "qwen3_moe": ("one-shot", "decode", "chunked", "batch")}
"""In float32; docs/any-model.md, which is a test, has decode and batch of Qwen 3, and in bfloat16."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A small checkpoint of a type, drawn once."""
    from reference.any_model.drawing import draw

    folder = tmp_path_factory.mktemp("drawn")

    def one(model_type):
        if not (folder / model_type).exists():
            draw(model_type, folder / model_type)
        return find_checkpoint(str(folder / model_type))

    return one


def judged(checkpoint, table, candidates, scenarios=("one-shot",)):
    """The judgements of candidates by a table."""
    request = Request(
        checkpoint=checkpoint,
        candidates=tuple(with_table(name, str(table)) for name in candidates),
        dtype="float32",
        scenarios=scenarios,
        prompt=None,
        reference=with_table("transformers", str(table)),
        diagnose=False,
    )
    return compare(request, progress=Silent()).judgements


def learned(checkpoint, folder, candidate="mlx-lm"):
    """A table, and where it is."""
    found = learn(checkpoint, reference="transformers", candidate=candidate, progress=Silent())
    path = folder / f"{checkpoint.model_type}.toml"
    found.table.write(path)
    return found, path


@pytest.mark.parametrize(
    "model_type",
    [pytest.param(name, marks=pytest.mark.slow if name == "qwen3" else pytest.mark.exhaustive) for name in FAULTS],
)
def test_a_clean_table_finds_every_fault(model_type, drawn, tmp_path):
    """The clean port is at parity in every kind of run, and each fault is found first at its own step."""
    checkpoint = drawn(model_type)
    found, path = learned(checkpoint, tmp_path)
    assert {row.confidence for row in found.table.rows} == {"content"}
    assert found.table.contract().logits
    clean = judged(checkpoint, path, ["mlx-lm"], RUNS[model_type])
    assert [judgement.exit_code for judgement in clean] == [ExitCode.PARITY] * len(RUNS[model_type])
    faults = FAULTS[model_type]
    names = [*faults]
    firsts = {}
    for some in (names[:5], names[5:]):
        candidates = [f"tests.any_model_faults:Faulty@fault={name}" for name in some]
        for name, judgement in zip(some, judged(checkpoint, path, candidates), strict=True):
            firsts[name] = judgement.first_divergence and judgement.first_divergence.step
    assert firsts == {name: fault.step for name, fault in faults.items()}


@pytest.mark.slow
def test_a_table_is_learned_past_a_fault(drawn, tmp_path):
    """Without any clean code: mlx-lm's own Gemma 3 rounds the embedding's scale to bfloat16, 12,981 floors off."""
    checkpoint = drawn("gemma3_text")
    found, path = learned(checkpoint, tmp_path)
    bridged = [row for row in found.table.rows if row.confidence != "content"]
    assert [row.name for row in bridged] == ["model.embed_tokens"]
    (judgement,) = judged(checkpoint, path, ["mlx-lm"])
    assert [step.step for step in judgement.introduced] == ["model.embed_tokens"]
    assert judgement.first_divergence.ratio == pytest.approx(12_981, rel=0.1)


@pytest.mark.slow
def test_unknown_types_are_one_line(tmp_path):
    """What transformers does not have, and what is no language model."""
    from reference.any_model.drawing import draw

    for model_type in ("nonsense", "vit"):
        with pytest.raises(UsageError, match=rf"'{model_type}': transformers makes no"):
            draw(model_type, tmp_path / model_type)
        assert not (tmp_path / model_type).exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UsageError, match="is not empty"):
        draw("qwen3", tmp_path / "full")
