"""The ANE-style audio tower against the reference: every step, in both arithmetics, on any clips and any shape."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from implementations.ane.audio.host import AudioHost, running_mean, seen, timing_signal  # noqa: E402
from implementations.ane.audio.local import Locality  # noqa: E402
from implementations.ane.audio.tower import within  # noqa: E402
from implementations.ane.engine.limits import LIMIT  # noqa: E402
from implementations.ane.senses import filled, soft_tokens  # noqa: E402
from implementations.gemma3n.config import AudioConfig  # noqa: E402
from parity.errors import UsageError  # noqa: E402
from parity.judging.baseline import judged as judged_by  # noqa: E402
from parity.tap import SILENT, ScopedTap  # noqa: E402
from tests.audio_checkpoint import Alone, write  # noqa: E402
from tests.audio_parties import CLIPS, CONFIGURATIONS, SCENARIO, AneAudio, AneTower, Audio, Clips, Tower  # noqa: E402
from tests.harness import require_parity  # noqa: E402
from tests.marks import quick  # noqa: E402

DTYPES = ("float32", "float16-ane")
SMALL = {"hidden_size": 48, "conf_num_attention_heads": 4, "conf_num_hidden_layers": 2}


def judge(oracle, baseline, candidate):
    """The verdict on a candidate's runs."""
    return judged_by(oracle=oracle, baseline=baseline, candidate=candidate)[0]


@pytest.fixture(scope="module")
def judged(harness):
    """Judges the tower on clips."""

    @functools.cache
    def verdict(name, dtype):
        clips = CLIPS[name]
        oracle = harness.trace(Audio(harness.oracle._model, "float64", clips), "float64", scenario=SCENARIO)
        baseline = harness.against(oracle, dtype, Audio(harness.baseline(dtype)._model, dtype, clips))
        candidate = harness.runs(AneAudio(harness.checkpoint, dtype, clips), dtype, oracle)
        return oracle, baseline, judge(oracle, baseline, candidate)

    return verdict


@pytest.fixture(scope="module")
def tower(harness):
    """The embedded checkpoint's, in float32."""
    return AneTower(harness.checkpoint, "float32", CLIPS["unequal"])


def cases():
    """Every clip in float32; in the engine's arithmetic those of unequal length, and the longest."""
    for name, dtype in itertools.product(CLIPS, DTYPES):
        often = dtype == DTYPES[0] or name in ("unequal", "longest")
        slow = pytest.mark.slow if often else pytest.mark.exhaustive
        yield pytest.param(name, dtype, marks=() if (name, dtype) == ("padded", DTYPES[0]) else slow)


@pytest.mark.parametrize(("name", "dtype"), list(cases()))
def test_every_step_is_at_parity(name, dtype, judged):
    require_parity(judged(name, dtype)[2])


@pytest.mark.parametrize("dtype", quick(DTYPES, DTYPES[1]))
@pytest.mark.parametrize("name", quick(CONFIGURATIONS, "no past", "another subsampling"))
def test_any_configuration(name, dtype, harness, tmp_path):
    """What published models have in common is read from the configuration all the same."""
    folder = write(tmp_path, **SMALL, **CONFIGURATIONS[name])
    clips = Clips.of(83, 100, bands=CONFIGURATIONS[name].get("input_feat_size", 128))
    oracle = harness.trace(Tower(Alone(folder, "float64"), "float64", clips), "float64", scenario=SCENARIO)
    baseline = harness.against(oracle, dtype, Tower(Alone(folder, dtype), dtype, clips))
    candidate = harness.runs(AneTower(folder, dtype, clips), dtype, oracle)
    require_parity(judge(oracle, baseline, candidate))


@pytest.mark.parametrize(
    ("fault", "first"),
    [
        (("subsample_conv_projection.conv_1.norm", "_eps", 1e-5), "audio.subsample_conv_projection.conv_1.normed"),
        (("conformer.2.attention.attn", "_cap", 1e9), "audio.conformer.2.attention.attn.logits"),
        (("conformer.0.ffw_layer_end", "_weight", 1.0), "audio.conformer.0.ffw_layer_end.out"),
    ],
)
def test_a_fault_is_found_at_its_step(fault, first, judged, harness, monkeypatch):
    part, attribute, value = fault
    oracle, baseline, _ = judged("unequal", "float32")
    candidate = AneAudio(harness.checkpoint, "float32", CLIPS["unequal"])
    monkeypatch.setattr(candidate.tower.get_submodule(part), attribute, value)
    judgement = judge(oracle, baseline, harness.runs(candidate, "float32", oracle))
    assert judgement.first_divergence.step == first
    assert len(judgement.introduced) == 1


def test_a_mask_at_the_wrong_frames_is_found(judged, harness, monkeypatch):
    oracle, baseline, _ = judged("unequal", "float32")
    candidate = AneAudio(harness.checkpoint, "float32", CLIPS["unequal"])
    monkeypatch.setattr(candidate.host, "_stride", 2)
    judgement = judge(oracle, baseline, harness.runs(candidate, "float32", oracle))
    assert judgement.first_divergence.step == "audio.subsampled_mask"
    assert len(judgement.introduced) == 1


def inputs(tower):
    """The tower's tensors."""
    clips = tower.clips
    tables, _ = tower.host.prepare(torch.from_numpy(clips.mask), tap=SILENT)
    return torch.from_numpy(clips.mel)[:, None], *tables


@torch.inference_mode()
def test_steps_come_in_order_and_change_no_bit(tower, judged):
    """Inside the compiled part taps are emitted in the contract's order; with and without them come the same bits."""
    said, contract = [], [step.name for step in judged("unequal", "float32")[0].contract]
    heard = tower.tower(*inputs(tower), tap=ScopedTap(lambda name, value: said.append(name) or value, "audio."))
    assert said == [name for name in contract if name in set(said)]
    assert torch.equal(heard, tower.tower(*inputs(tower)))


@torch.inference_mode()
def test_every_answer_of_a_tap_is_used(tower):
    """Of the subsampling, the host's masks and one block; change each, and the features move."""
    said = []
    mel, mask = torch.from_numpy(tower.clips.mel), torch.from_numpy(tower.clips.mask)
    plain, _ = tower.run(mel, mask, ScopedTap(lambda name, value: said.append(name) or value))
    for name in [name for name in said if not name.startswith(("audio.conformer.0", "audio.conformer.2"))]:
        answer = lambda step, value, name=name: disturbed(value) if step == name else value  # noqa: E731
        assert not torch.equal(tower.run(mel, mask, ScopedTap(answer))[0], plain), name


def disturbed(value):
    """Another value of the same kind: masks lose every second entry, floats change."""
    if value.dtype == torch.bool or set(value.unique().tolist()) <= {0.0, 1.0}:
        return value & False if value.dtype == torch.bool else value * (torch.arange(value.shape[-1]) % 2)
    return value * 1.5 + 0.25 * torch.arange(value.shape[-1])


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning", "ignore::torch.jit.TracerWarning")
def test_the_compiled_part_can_be_traced(tower):
    """It takes and gives tensors alone; nothing of how long the clips are is baked in; four axes at most."""
    mel, *tables = inputs(tower)
    with torch.no_grad():
        traced = torch.jit.trace(tower.tower, (mel, *tables), check_trace=False)
        short = torch.from_numpy(tower.clips.mask & (np.arange(150) < 40))
        others, _ = tower.host.prepare(short, tap=SILENT)
        assert torch.equal(traced(mel + 1, *others), tower.tower(mel + 1, *others))
    kinds = {node.kind() for node in traced.inlined_graph.nodes()}
    assert not [kind for kind in kinds if any(word in kind for word in ("index", "gather", "einsum", "unfold"))]
    outputs = [output.type() for node in traced.inlined_graph.nodes() for output in node.outputs()]
    assert max(kind.dim() or 0 for kind in outputs if isinstance(kind, torch.TensorType)) == 4


@torch.inference_mode()
def test_a_clip_does_not_depend_on_its_padding(tower):
    """Alone or beside a longer one: the same features, but for the last, under which the convolutions look ahead."""
    mel, mask = torch.from_numpy(tower.clips.mel), torch.from_numpy(tower.clips.mask)
    whole, valid = tower.run(mel, mask)
    alone, _ = tower.run(mel[1:, :61], mask[1:, :61])
    assert valid.sum(dim=1).tolist() == [10, 4]
    torch.testing.assert_close(whole[1, ..., :3], alone[0, ..., :3], atol=1e-5, rtol=0)
    assert not whole[1, ..., 4:].any()


@torch.inference_mode()
def test_a_clip_does_not_depend_on_its_neighbours(tower):
    """Clips of a batch are computed one by one."""
    mel, mask = torch.from_numpy(tower.clips.mel), torch.from_numpy(tower.clips.mask)
    whole, _ = tower.run(mel, mask)
    second, _ = tower.run(mel[1:], mask[1:])
    torch.testing.assert_close(whole[1:], second, atol=1e-5, rtol=0)


def test_contexts_and_shifts_by_their_definition():
    """Of each block the frames around it, and of each query its scores at the keys that far away."""
    locality, frames = Locality(block=4, past=5, future=2), 10
    x = torch.arange(1.0, frames + 1)[None, None, None]
    contexts, blocks = locality.contexts(x)[0, 0], locality.blocks(x)[0, 0]
    assert blocks.shape == (3, 4)
    for block in range(3):
        expected = [float(at + 1) if 0 <= at < frames else 0.0 for at in range(4 * block - 5, 4 * block + 6)]
        assert contexts[block].tolist() == expected
    scores = torch.arange(1.0, 4 * 8 + 1).reshape(1, 1, 4, 8)
    shifted = locality.shift(scores)[0, 0]
    for query in range(4):
        for key in range(locality.context):
            at = key - query
            assert shifted[query, key] == (scores[0, 0, query, at] if 0 <= at < 8 else 0)


def test_masks_by_their_definition():
    """A query sees the sound frames that its locality reaches, and none outside the clip."""
    locality = Locality(block=4, past=5, future=2)
    valid = torch.tensor([[True] * 10, [True] * 6 + [False] * 4])
    found = seen(locality, valid)
    assert found.shape == (2, 1, 12, 11)
    for clip, query, key in np.ndindex(2, 12, 11):
        frame = query // 4 * 4 + key - 5
        inside = 0 <= frame < 10 and bool(valid[clip, frame])
        assert found[clip, 0, query, key] == (inside and -5 <= frame - query <= 2)


def test_tables():
    """The mean of each frame and all before it; sines of each distance, from the farthest behind on."""
    x = torch.randn(30, generator=torch.Generator().manual_seed(0))
    expected = x.double().cumsum(0) / torch.arange(1, 31)
    torch.testing.assert_close((running_mean(30) @ x).double(), expected, rtol=1e-5, atol=1e-6)
    signal = timing_signal(Locality(12, 3, 1), 8)
    assert signal.shape == (1, 8, 1, 5)
    np.testing.assert_allclose(signal[0, 0, 0], np.sin([3, 2, 1, 0, -1]), rtol=1e-6)
    np.testing.assert_allclose(signal[0, 7, 0], np.cos(1e-4 * np.array([3, 2, 1, 0, -1])), rtol=1e-6)


def test_a_running_mean_neither_overflows_nor_drifts():
    """30 s of sound with a mean of 100: its running sum would be 150,000, and in float16 stop growing long before."""
    from implementations.ane.arithmetic import Float16Ane

    arithmetic = Float16Ane()
    with torch.inference_mode(), arithmetic.running():
        mean = arithmetic.rounded(running_mean(1500)) @ torch.full((1500, 1), 100.0)
    torch.testing.assert_close(mean, torch.full_like(mean, 100.0), rtol=1e-3, atol=0)


def test_a_bound_that_float16_lacks_is_left_out():
    """1e10 clips nothing there; a bound within the range stays."""
    assert within(AudioConfig(), LIMIT).gradient_clipping == float("inf")
    assert within(AudioConfig(gradient_clipping=1.5), LIMIT).gradient_clipping == 1.5


def test_frames_of_a_prepared_call():
    """As many as the reference's convolutions leave: strides of 2 twice, rounded up."""
    for frames in (1, 2, 3, 4, 5, 8, 9, 150):
        host = AudioHost(AudioConfig(), lambda x: x)
        tables, kept = host.prepare(torch.ones(2, frames, dtype=torch.bool), tap=SILENT)
        first = -(-frames // 2)
        second = -(-first // 2)
        assert (len(tables.running_first), len(tables.running_second)) == (first, second)
        assert tables.valid.shape == (2, 1, 1, second)
        assert kept.shape == (2, -(-second // 4))


def test_soft_tokens_fill_the_places():
    """Features where there is sound, the padding embedding elsewhere; too many features are refused."""
    features, mask = torch.ones(2, 4, 1, 3), torch.tensor([[True, True, True], [True, False, False]])
    padding = torch.full((1, 4, 1, 1), 7.0)
    whole = soft_tokens(features, mask, padding, 5, tap=SILENT)
    assert whole[:, 0, 0].tolist() == [[1, 1, 1, 7, 7], [1, 7, 7, 7, 7]]
    with pytest.raises(UsageError, match="3 soft tokens"):
        soft_tokens(features, mask, padding, 2, tap=SILENT)


def test_soft_tokens_go_to_their_places():
    """Clip by clip, over the rows; other places stay; a count that does not fit is refused."""
    places = torch.tensor([[False, True, True], [True, True, False]])
    soft = torch.arange(1.0, 9.0).reshape(2, 2, 2).transpose(1, 2)[:, :, None]
    merged = filled(torch.zeros(2, 2, 1, 3), places, soft)
    assert merged[:, 0, 0].tolist() == [[0, 1, 3], [5, 7, 0]]
    assert merged[:, 1, 0].tolist() == [[0, 2, 4], [6, 8, 0]]
    with pytest.raises(UsageError, match="4 soft tokens for 6 places"):
        filled(torch.zeros(2, 2, 1, 3), torch.ones_like(places), soft)
