"""Checkpoints as people have them: each port computes of them what transformers does, or says in a line why not."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mlx.core")

from parity.discovery import find  # noqa: E402  # behind importorskip
from parity.errors import ParityError  # noqa: E402
from reference.gemma3n.huggingface import Reference  # noqa: E402
from tests import found  # noqa: E402
from tests.harness import Harness, require_parity  # noqa: E402

PORTS = ("mlx", "ane")
PROMPT = "Hello world"


def judge(harness, name, checkpoint=None, scenario="one-shot"):
    """A port's judgement on a harness's checkpoint, of another where one is given."""
    candidate = find(name).load(checkpoint or harness.checkpoint, "float32")
    return harness.judge(candidate, "float32", scenario, PROMPT)


def require_all(folder, ports=PORTS, scenario="one-shot"):
    """Every port is at parity on a checkpoint."""
    harness = Harness(folder.parent / "traces", folder)
    for name in ports:
        require_parity(judge(harness, name, scenario=scenario))


def refusals(folder):
    """What reference and ports say of a checkpoint, a line each."""
    for load in (Reference.load, *(find(name).load for name in PORTS)):
        with pytest.raises(ParityError) as raised:
            load(folder, "float32")
        assert "\n" not in str(raised.value)
        yield str(raised.value)


class TestHead:
    """A table of its own is used where there is one, whatever `tie_word_embeddings` says, as transformers does."""

    @pytest.mark.parametrize("tied", [True, False])
    def test_of_its_own(self, tmp_path, tied):
        """A port that ignores it, as ours did, differs there first."""
        weights = {**found.tensors(), found.HEAD: found.other_head()}
        harness = Harness(tmp_path, found.write(tmp_path / "untied", weights=weights, tie_word_embeddings=tied))
        for name in PORTS:
            require_parity(judge(harness, name))
        if tied:
            wrong = judge(harness, "mlx", found.write(tmp_path / "ignored"))
            assert wrong.first_divergence.step == "text.lm_head"

    def test_a_copy_of_the_embedding(self, tmp_path):
        weights = {**found.tensors(), found.HEAD: found.tensors()[found.TABLE].clone()}
        require_all(found.write(tmp_path / "copied", weights=weights))

    def test_none_where_there_must_be_one(self, tmp_path):
        """Transformers would draw one at random."""
        folder = found.write(tmp_path / "missing", tie_word_embeddings=False)
        assert all("lm_head.weight" in line for line in refusals(folder))

    def test_of_another_shape(self, tmp_path):
        weights = {**found.tensors(), found.HEAD: torch.zeros(2, 2)}
        folder = found.write(tmp_path / "misshapen", weights=weights)
        ours = list(refusals(folder))[1:]
        assert all("lm_head.weight is [2, 2]; its config.json needs [768, 128]" in line for line in ours)
