"""The training of the embedded checkpoint: its forward pass is the reference's, its material and its record hold."""

from __future__ import annotations

import hashlib
import json
import random

import pytest

torch = pytest.importorskip("torch", reason="needs the [hf] extra")
transformers = pytest.importorskip("transformers", reason="needs the [hf] extra")

from reference import tiny  # noqa: E402  # behind importorskip
from reference.common import safetensors_file  # noqa: E402
from tools.tiny import (  # noqa: E402
    build,
    codes,
    decoder,
    evaluate,
    install,
    lessons,
    material,
    packing,
    parts,
)
from tools.tiny.material import Exchange  # noqa: E402
from tools.tiny.packing import Dialogue  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """On a busy machine the threads of small operations wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def loaded():
    """Model and processor."""
    return evaluate.load(tiny.path())


@pytest.fixture(scope="module")
def language(loaded):
    """The reference's language model in float64, so that two orders of operations differ by rounding alone."""
    return loaded[0].model.language_model.double()


@pytest.fixture(scope="module", autouse=True)
def restored(loaded):
    """Later tests of this module run in float32."""
    yield
    loaded[0].float()


def hidden(language, row):
    """States [row, place, hidden] by the training's forward pass."""
    rows = packing.batch([row], len(row[0]))
    embeddings = language.embed_tokens(rows.ids)
    masks = {kind: mask.double() for kind, mask in rows.masks().items()}
    return decoder.forward(language, (rows.ids, embeddings, rows.positions), masks)[0]


def dialogue(length, answer, first=(2, 300, 301, 302)):
    """A dialogue of text ids that begins like the others."""
    draw = random.Random(length)
    return Dialogue((*first, *(draw.randrange(300, 512) for _ in range(length - len(first)))), answer)


@torch.no_grad()
def test_the_forward_pass_is_the_references(language):
    """On 40 tokens, over two sliding windows."""
    one = dialogue(40, 3)
    states = hidden(language, packing.row([one], 4))
    expected = language(input_ids=torch.tensor([one.ids])).last_hidden_state[0]
    assert float((states - expected).norm() / expected.norm()) < 1e-6  # float32 inside the reference's norms


@torch.no_grad()
def test_a_row_computes_what_its_dialogues_compute_alone(language):
    """They share their beginning and do not see each other."""
    dialogues = [dialogue(length, 2) for length in (24, 9, 31)]
    together, place = hidden(language, packing.row(dialogues, 4)), 4
    for one in dialogues:
        alone = hidden(language, packing.row([one], 4))
        torch.testing.assert_close(together[:4], alone[:4], rtol=0, atol=1e-9)
        torch.testing.assert_close(together[place : place + len(one.ids) - 4], alone[4:], rtol=0, atol=1e-9)
        place += len(one.ids) - 4


def test_targets_are_the_answers():
    """What is to be said stands at the place before it; nothing else is asked for."""
    one = dialogue(10, 3)
    _, _, _, targets = packing.row([one], 4)
    assert targets == [packing.IGNORED] * 6 + list(one.ids[7:]) + [packing.IGNORED]


def test_codes_are_orthonormal():
    """Four attributes of one soft token do not disturb each other."""
    every = torch.cat([attribute for group in codes.codes() for attribute in group])
    torch.testing.assert_close(every @ every.T, torch.eye(len(every)), rtol=0, atol=1e-5)


def test_what_is_held_out_is_not_trained_on():
    """Neither a picture nor a sound is in both splits; a longer list begins with the shorter."""
    for drawing in (material.draw_pictures, material.draw_sounds):
        trained, held = drawing(material.TRAINING, 400), drawing(material.HELD_OUT, 200)
        assert not set(trained) & set(held)
        assert drawing(material.TRAINING, 50) == trained[:50]


def test_lessons_are_written_as_the_processor_writes_them(loaded):
    """The dialogue's ids are those of the chat template with the answer in it, up to the end of the turn."""
    _, processor = loaded
    written = lessons.Writer(processor).write(Exchange("color", "What color is it?", "red"), ("image",))
    text = processor.tokenizer.decode(written.ids)
    assert text.endswith("<start_of_turn>model\nred<end_of_turn>")
    assert processor.tokenizer.decode(written.ids[-written.answer :]) == "red<end_of_turn>"


class TestRecord:
    """training.json and the committed weights."""

    def test_digest(self):
        """The weights are those that the record speaks of."""
        stored = (tiny.path() / build.WEIGHTS).read_bytes()
        assert build.recorded() == hashlib.sha256(stored).hexdigest()

    def test_every_kind_of_question_was_answered(self):
        """When it was made, at least 95 % of each."""
        right = json.loads(build.RECORD.read_text())["right"]
        assert min(right.values()) >= evaluate.REQUIRED
        assert {"color", "count", "place", "pitch", "direction", "beeps", "both", "text"} <= set(right)

    def test_training_has_changed_what_it_says_and_nothing_else(self, tmp_path):
        """Against the weights as drawn: every tensor of each part is another."""
        build.build(tmp_path / "drawn")
        before, after = (safetensors_file.read(path / build.WEIGHTS) for path in (tmp_path / "drawn", tiny.path()))
        unused = [f"self_attn.{name}." for name in ("k_proj", "v_proj", "k_norm")]
        shared = [name for name in before if any(f"layers.{n}." in name for n in range(20, 25))]
        never = {name for name in shared if any(part in name for part in unused)}
        changed = {name for name in before if (before[name] != after[name]).any()}
        assert changed == {name for name in before if parts.trained(name)} - never

    def test_overlay_rounds_to_bfloat16(self, tmp_path):
        """One tensor changes, to the nearest; the others keep their bits."""
        path = tmp_path / build.WEIGHTS
        path.write_bytes((tiny.path() / build.WEIGHTS).read_bytes())
        name = "model.language_model.norm.weight"
        install.overlay(path, {name: torch.full((128,), 1 + 2**-8 + 2**-12)})
        before, after = (safetensors_file.read(file) for file in (tiny.path() / build.WEIGHTS, path))
        assert set(after[name].tolist()) == {0x3F81}
        assert all((before[one] == after[one]).all() for one in before if one != name)


@pytest.mark.slow
def test_held_out_questions_are_answered(loaded):
    """A sample of them, through the reference: at least 95 % right; `python -m tools.tiny.evaluate` asks all."""
    model, processor = loaded
    model.float()
    found = evaluate.results(model, processor, samples=24)
    right = [result.right for result in found]
    assert sum(right) / len(right) >= evaluate.REQUIRED, "\n".join(evaluate.report(found))
