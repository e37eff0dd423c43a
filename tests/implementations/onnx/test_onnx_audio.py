"""The audio encoder that is written for export: every step against the reference, and its graph against itself."""

from __future__ import annotations

import copy
import functools

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from implementations.gemma3n.config import AudioConfig  # noqa: E402
from implementations.onnx.audio.subsample import running_mean  # noqa: E402
from implementations.onnx.audio.timing import timing  # noqa: E402
from implementations.onnx.audio.windows import Windows  # noqa: E402
from parity.judging.baseline import judged as judged_by  # noqa: E402
from parity.tap import ScopedTap  # noqa: E402
from parity.weights.stored import stored  # noqa: E402
from reference.tiny import path  # noqa: E402
from tests.audio_checkpoint import Alone, write  # noqa: E402
from tests.audio_parties import CLIPS, CONFIGURATIONS, SCENARIO, Audio, Clips, Tower  # noqa: E402
from tests.harness import require_parity  # noqa: E402
from tests.marks import quick  # noqa: E402
from tests.onnx_towers import (  # noqa: E402
    HEARD,
    PUBLISHED,
    Encoder,
    Session,
    Tapped,
    audio,
    audio_tower,
    distance,
    export,
    expose,
    idle,
)

NOISE = 4e-6
"""Of a graph's features to torch's; measured: 8.1e-7."""
SMALL = {"hidden_size": 48, "conf_num_attention_heads": 4, "conf_num_hidden_layers": 2}
SEEING = AudioConfig(conf_attention_chunk_size=4, conf_attention_context_left=6, conf_attention_context_right=2)
WIDE = Windows(SEEING)
FAULTS = {
    "conformer.2.attention.attn.logits": ("conformer.2.attention.attn", "_cap", 1e9),
    "subsample_conv_projection.conv_1.normed": ("subsample_conv_projection.conv_1.norm", "_eps", 1e-5),
    "conformer.0.ffw_layer_end.out": ("conformer.0.ffw_layer_end", "_weight", 1.0),
    "subsampled_mask": ("", "_stride", 2),
}
"""A module, and what is wrong in it, by the step where that shows."""


def judge(oracle, baseline, candidate):
    """The verdict on a candidate's runs."""
    return judged_by(oracle=oracle, baseline=baseline, candidate=candidate)[0]


def tensors(clips):
    """Mel features and their mask."""
    return torch.from_numpy(clips.mel), torch.from_numpy(clips.mask)


@pytest.fixture(scope="module")
def heard(harness):
    """The oracle's trace of clips, and the baseline of it."""

    @functools.cache
    def traces(name):
        clips = CLIPS[name]
        oracle = harness.trace(Audio(harness.oracle._model, "float64", clips), "float64", scenario=SCENARIO)
        return oracle, harness.against(oracle, "float32", Audio(harness.baseline("float32")._model, "float32", clips))

    return traces


@pytest.fixture(scope="module")
def encoder():
    """The embedded checkpoint's."""
    return audio(path())


@pytest.mark.parametrize("name", quick(CLIPS, "unequal"))
def test_every_step_is_at_parity(name, heard, harness, encoder):
    """Covered, within its floors, from exact inputs and in the free run."""
    oracle, baseline = heard(name)
    clips = CLIPS[name]
    require_parity(judge(oracle, baseline, harness.runs(Encoder(encoder, clips.mel, clips.mask), "float32", oracle)))


@pytest.mark.parametrize("name", quick(CONFIGURATIONS, "another subsampling"))
def test_any_configuration(name, harness, tmp_path):
    """What published models have in common is read from the configuration all the same."""
    folder = write(tmp_path, **SMALL, **CONFIGURATIONS[name])
    clips = Clips.of(83, 100, bands=CONFIGURATIONS[name].get("input_feat_size", 128))
    oracle = harness.trace(Tower(Alone(folder, "float64"), "float64", clips), "float64", scenario=SCENARIO)
    baseline = harness.against(oracle, "float32", Tower(Alone(folder, "float32"), "float32", clips))
    candidate = Encoder(audio_tower(folder), clips.mel, clips.mask, scope="audio")
    require_parity(judge(oracle, baseline, harness.runs(candidate, "float32", oracle)))


@pytest.mark.parametrize("first", quick(FAULTS, "conformer.2.attention.attn.logits"))
def test_a_fault_is_found_at_its_step(first, heard, harness, encoder):
    """At that step alone."""
    part, attribute, value = FAULTS[first]
    (oracle, baseline), clips, broken = heard("unequal"), CLIPS["unequal"], copy.deepcopy(encoder)
    setattr(broken.audio_tower.get_submodule(part), attribute, value)
    judgement = judge(oracle, baseline, harness.runs(Encoder(broken, clips.mel, clips.mask), "float32", oracle))
    assert judgement.first_divergence.step == f"audio.{first}"
    assert len(judgement.introduced) == 1


@torch.inference_mode()
def test_steps_come_in_order_and_change_no_bit(heard, encoder):
    said, inputs = [], tensors(CLIPS["unequal"])
    features = encoder(*inputs, tap=ScopedTap(lambda name, value: said.append(name) or value))
    assert said == [step.name for step in heard("unequal")[0].contract]
    assert torch.equal(features, encoder(*inputs))
    assert features.shape == (2, 32, 128)


def test_every_answer_of_a_tap_is_used(encoder):
    assert idle(encoder, *tensors(Clips.of(61, 40))) == []


@torch.inference_mode()
def test_every_mask_that_a_tap_answers_is_used(encoder):
    """Without sound the features are others."""
    said, inputs = {}, tensors(Clips.of(61, 40))
    plain = encoder(*inputs, tap=ScopedTap(said.setdefault))
    masks = [name for name, value in said.items() if value.dtype == torch.bool]
    assert len(masks) == 6
    for name in masks:
        silent = ScopedTap(lambda step, value, name=name: value & False if step == name else value)
        assert not torch.equal(encoder(*inputs, tap=silent), plain), name


@torch.inference_mode()
def test_a_clip_depends_on_no_other_and_not_on_its_padding(encoder):
    """Alone or beside a longer one: the same, but for the last frame, under which the convolutions look ahead."""
    mel, mask = tensors(CLIPS["unequal"])
    whole = encoder(mel, mask)
    torch.testing.assert_close(encoder(mel[1:], mask[1:])[0], whole[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder(mel[1:, :61], mask[1:, :61])[0, :3], whole[1, :3], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_silence_is_the_last_ids_embedding(encoder):
    """Where no frame is sound, and behind the last one."""
    inputs, other = tensors(Clips.of(150, 0)), copy.deepcopy(encoder)
    sound, silence = encoder(*inputs)
    assert (silence == silence[0]).all()
    assert (sound[10:] == silence[0]).all()
    assert not (sound[:10] == silence[0]).all(dim=1).any()
    other.embed_audio.embedding.weight[-1] = 0
    assert not other(*inputs)[1].any()


def test_parameters_are_the_checkpoints(encoder):
    """All of the tower's and the embedder's, by their names and in their shapes; no other."""
    found = {f"model.{name}": tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    tensors = stored(path(), PUBLISHED).items()
    ours = ("model.audio_tower.", "model.embed_audio.")
    assert found == {name: tuple(tensor.shape) for name, tensor in tensors if name.startswith(ours)}


def test_blocks_and_windows_by_their_definition():
    """Of each block the frames in it and around it; zeros outside the clip."""
    frames = 10
    x = torch.arange(1.0, frames + 1)[None, :, None]
    blocks, contexts = WIDE.blocks(x)[0, ..., 0], WIDE.contexts(x)[0, ..., 0]
    assert (blocks.shape, contexts.shape) == ((3, 4), (3, 11))
    frame = lambda at: float(at + 1) if 0 <= at < frames else 0.0  # noqa: E731
    for block in range(3):
        assert blocks[block].tolist() == [frame(at) for at in range(4 * block, 4 * block + 4)]
        assert contexts[block].tolist() == [frame(at) for at in range(4 * block - 5, 4 * block + 6)]


def test_scores_at_distances_are_shifted_to_keys():
    """The first key in reach of query w is key w."""
    scores = torch.arange(1.0, 4 * 8 + 1).reshape(1, 4, 8)
    shifted = WIDE.shifted(scores)[0]
    for query, key in np.ndindex(4, 11):
        at = key - query
        assert shifted[query, key] == (scores[0, query, at] if 0 <= at < 8 else 0)


def test_a_query_sees_sound_frames_in_its_reach():
    """And none outside the clip."""
    valid = torch.tensor([[True] * 10, [True] * 6 + [False] * 4])
    seen = WIDE.visible(valid)
    assert seen.shape == (2, 3, 4, 11)
    for clip, block, query, key in np.ndindex(*seen.shape):
        frame = 4 * block + key - 5
        inside = 0 <= frame < 10 and bool(valid[clip, frame])
        assert seen[clip, block, query, key] == (inside and -5 <= frame - (4 * block + query) <= 2)


def test_sines_of_each_distance():
    """From the farthest behind on."""
    signal = timing(SEEING, 8)
    distances = np.arange(5, -3, -1)
    assert signal.shape == (1, 8, 8)
    np.testing.assert_allclose(signal[0, :, 0], np.sin(distances), rtol=1e-6)
    np.testing.assert_allclose(signal[0, :, 7], np.cos(1e-4 * distances), rtol=1e-6)


def test_a_running_mean_is_of_all_that_was_heard():
    x = torch.randn(2, 3, 30, 4, generator=torch.Generator().manual_seed(0))
    for frame in range(30):
        expected = x[:, :, : frame + 1].double().mean(dim=(1, 2, 3)).float()
        torch.testing.assert_close(running_mean(x)[:, frame, 0, 0], expected)


@pytest.mark.slow
@torch.inference_mode()
def test_a_graph_hears_what_torch_hears(encoder):
    """Clips of any number and length, in a graph that was made of two of 150 frames."""
    session = Session(export(encoder, HEARD, *tensors(CLIPS["unequal"])))
    for lengths in ((96,), (161,), (320,), (320, 161, 96), (1,), (13, 20), (512, 90)):
        inputs = tensors(Clips.of(*lengths))
        (found,) = session.run(*inputs).values()
        assert distance(found, encoder(*inputs).numpy()) < NOISE, lengths


@pytest.mark.exhaustive  # test_onnx_media has the graphs that ship, with all of their steps
@torch.inference_mode()
def test_every_tap_is_a_node_of_the_graph(encoder):
    """All of the steps are in it, in order, and have torch's values."""
    said, inputs = {}, tensors(Clips.of(320, 161))
    encoder(*inputs, tap=ScopedTap(said.setdefault))
    model = export(Tapped(encoder), HEARD, *tensors(CLIPS["unequal"]))
    outputs = expose(model.graph)
    assert list(outputs) == list(said)
    found = Session(model).run(*inputs)
    assert max(distance(found[outputs[name]], value.numpy()) for name, value in said.items()) < 2 * NOISE
