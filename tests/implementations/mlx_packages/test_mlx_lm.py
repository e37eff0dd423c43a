"""The installed mlx-lm, woven: what it gets wrong, that nothing else is wrong, and that it is left as it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

mx = pytest.importorskip("mlx.core")
mlx_lm = pytest.importorskip("mlx_lm")

import mlx_lm.models.cache as caches  # noqa: E402  # behind importorskip
from mlx_lm import utils  # noqa: E402
from mlx_lm.models import gemma3n  # noqa: E402

from implementations.mlx_lm import Backend, loading, sites  # noqa: E402
from implementations.mlx_lm.patches import (  # noqa: E402
    COEFFICIENTS_CLIPPED,
    KV_WITHOUT_CACHE,
    MAGNITUDE_FLOOR,
    MEDIA_IDS_AS_TEXT,
    PATCHES,
)
from implementations.mlx_lm.sites import SOURCE, STEPS  # noqa: E402
from implementations.mlx_packages.at import At  # noqa: E402
from implementations.mlx_packages.patch import Patch, edits_of  # noqa: E402
from implementations.mlx_packages.views import KEYS, Mask  # noqa: E402
from parity.errors import BackendUnavailable, ExitCode, UsageError  # noqa: E402
from parity.judging.judge import judge  # noqa: E402
from parity.judging.verdict import Status  # noqa: E402
from parity.media import Part  # noqa: E402
from parity.scenario import Chunk, Scenario  # noqa: E402
from parity.site import Edit, Passed, Returned, Site  # noqa: E402
from parity.tap import SILENT, ScopedTap  # noqa: E402
from parity.weave import locate, resolve, weave  # noqa: E402
from reference.gemma3n.scenarios import MEANINGS  # noqa: E402
from tests.third_party_page import require_documented  # noqa: E402

SLIDING = Mask("first_sliding_idx")
IDS = np.array([[2, 40, 41, 300, 77, 9, 411, 12]])
LAYER, TEXT = "mlx_lm.models.gemma3n:Gemma3nDecoderLayer.__call__", "mlx_lm.models.gemma3n:LanguageModel.__call__"
TOPK = "mlx_lm.models.gemma3n:gelu_topk"


def patched(checkpoint, *patches):
    """mlx-lm in float32, with faults mended or planted."""
    return Backend(loading.load_model(checkpoint, "float32", patches), patches)


def planted(function, old, new):
    """mlx-lm with all faults mended and a new one."""
    return (*PATCHES, Patch(name="planted", edits=(Edit(function, old, new),)))


def introduced(judgement):
    """Names of the steps whose fault is their own."""
    return {step.step for step in judgement.introduced}


def judged(harness, candidate, oracle):
    """A candidate, and the baseline for its floors, against an oracle's trace."""
    baseline, runs = (harness.runs(party, "float32", oracle) for party in (harness.baseline("float32"), candidate))
    return judge(oracle=oracle, baseline=baseline, candidate=runs)


@pytest.fixture(scope="module")
def mended(harness):
    """All proven faults mended."""
    return Backend.load(harness.checkpoint, "float32", patch="all")


EACH_TIME = ("one-shot", "outside", "batch")
"""Scenarios that show each patch; `make calibrate` draws them all, and this package mended is one of its candidates."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "scenario",
    [pytest.param(name, marks=() if name in EACH_TIME else pytest.mark.exhaustive) for name in MEANINGS],
)
def test_mended_it_is_at_parity(scenario, mended, harness):
    """With every proven fault mended nothing is left unexplained, in any scenario."""
    judgement = harness.judge(mended, "float32", scenario)
    assert judgement.exit_code is ExitCode.PARITY, judgement.first_divergence
    assert judgement.worst.ratio <= 4
    assert not judgement.missing
    hidden = {step.step for step in judgement.steps if step.status is Status.HIDDEN}
    assert hidden == {"text.rope.full_attention.inv_freq", "text.rope.sliding_attention.inv_freq"}


@pytest.mark.slow
@pytest.mark.parametrize(("patch", "scenario"), [(KV_WITHOUT_CACHE, "one-shot"), (MEDIA_IDS_AS_TEXT, "outside")])
def test_each_fault_is_found_at_its_steps(patch, scenario, harness):
    """All others mended, a fault is introduced at the steps that its entry names, and nowhere else."""
    rest = [other for other in PATCHES if other is not patch]
    found = introduced(harness.judge(patched(harness.checkpoint, *rest), "float32", scenario))
    assert found
    assert not [step for step in found if not any(fnmatchcase(step, pattern) for pattern in patch.steps)]


def test_every_fault_is_in_the_docs_with_its_lines():
    """The page is of this version and these faults, and names the lines that each changes."""
    require_documented(Backend)


@pytest.fixture(scope="module")
def altered(tmp_path_factory, harness):
    """Makes a harness of the embedded checkpoint with another configuration or other weights."""
    from tests.harness import Harness

    def make(change=None, rows=()):
        folder = tmp_path_factory.mktemp("altered") / "checkpoint"
        shutil.copytree(harness.checkpoint, folder)
        file = folder / "config.json"
        config = json.loads(file.read_text())
        config["text_config"].update(change or {})
        file.write_text(json.dumps(config))
        if rows:
            _zero(folder / "model.safetensors", rows)
        return Harness(tmp_path_factory.mktemp("traces"), folder)

    return make


def _zero(file, rows):
    tensors = mx.load(str(file))
    table = tensors["model.language_model.embed_tokens.weight"]
    for row in rows:
        table[row] = mx.zeros_like(table[row])
    mx.eval(tensors)
    mx.save_safetensors(str(file), tensors, metadata={"format": "pt"})


@pytest.mark.slow
def test_all_zero_embedding_row_becomes_nan(altered):
    """Without the floor, zeros are divided by zero: NaN there and behind; with it, parity."""
    harness = altered(rows=(300,))
    scenario = Scenario("zero", (Chunk("prefill", (tuple(IDS[0].tolist()),)),))
    oracle = harness.trace(harness.oracle, "float64", scenario=scenario)
    rest = [patch for patch in PATCHES if patch is not MAGNITUDE_FLOOR]
    judgement = judged(harness, patched(harness.checkpoint, *rest), oracle)
    assert introduced(judgement) == {f"text.altup.embed.{i}.magnitude" for i in (1, 2, 3)}
    logits = patched(harness.checkpoint, *rest).forward(IDS)
    assert np.isnan(logits[0, 3:]).all()
    judgement = judged(harness, patched(harness.checkpoint, *PATCHES), oracle)
    assert judgement.exit_code is ExitCode.PARITY


@pytest.mark.slow
def test_coefficients_are_clipped_at_inference(altered):
    """A clip that is below the weights changes the coefficients of every layer; mended, it changes nothing."""
    harness = altered({"altup_coef_clip": 1e-3})
    rest = [patch for patch in PATCHES if patch is not COEFFICIENTS_CLIPPED]
    found = introduced(harness.judge(patched(harness.checkpoint, *rest), "float32", "cached"))
    assert {"text.layers.0.altup.predict.coefs", "text.layers.0.altup.correct.coefs"} <= found
    assert {step.rpartition(".")[2] for step in found} == {"coefs"}
    judgement = harness.judge(patched(harness.checkpoint, *PATCHES), "float32", "cached")
    assert judgement.exit_code is ExitCode.PARITY


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "steps"),
    [
        ((LAYER, "(attn_gated + laurel_output) * (2.0**-0.5)", "(attn_gated + laurel_output)"), "text.*.attn_laurel"),
        ((TEXT, "h = mx.mean(h, axis=0)", "h = mx.mean(h, axis=0) * 1.001"), "text.altup.unembed.out"),
        ((TOPK, "mx.maximum(0, inputs - cutoff_x)", "(inputs - cutoff_x)"), "text.*.mlp.gate_sparse"),
        ((TEXT, "offset=offset,", "offset=offset + i,"), "text.*.attn.?_rope"),
    ],
)
def test_planted_faults_are_found_at_their_steps(fault, steps, harness):
    """A tap is a two-way port: behind the fault every step starts from the oracle's value, so it alone is found."""
    found = introduced(harness.judge(patched(harness.checkpoint, *planted(*fault)), "float32", "cached"))
    assert found
    assert not [step for step in found if not fnmatchcase(step, steps)]


@pytest.mark.slow
def test_wrong_mask_is_found_at_the_mask(harness):
    """A window that is one too wide: the mask is wrong, and attention, handed the oracle's mask, is not."""
    fault = planted(TEXT, "window_size=self.sliding_window,", "window_size=self.sliding_window + 1,")
    judgement = harness.judge(patched(harness.checkpoint, *fault), "float32", "long")
    assert introduced(judgement) == {"text.mask.sliding_attention"}


@pytest.mark.parametrize(("padding", "cache"), [((0,), False), ((0,), True), ((0, 2), True)])
def test_recording_does_not_change_a_bit(padding, cache, mended):
    """Taps that hand values back unchanged leave the logits as they are without taps, decode included."""
    tokens = np.repeat(IDS, len(padding), axis=0)

    def run(tap):
        mended.start(padding=padding, cache=cache)
        first = mended.forward(tokens, tap=tap)
        return [first, mended.forward(tokens[:, :1], tap=tap)] if cache else [first]

    for silent, recorded in zip(run(SILENT), run(ScopedTap(lambda name, value: value)), strict=True):
        np.testing.assert_array_equal(silent, recorded)


def test_every_step_is_recorded_or_hidden(harness):
    """Of the contract nothing is dropped: each step has a tap, or a reason."""
    names = []
    Backend.load(harness.checkpoint, "float32").forward(
        IDS, tap=ScopedTap(lambda name, value: names.append(name) or value)
    )
    expected = {step.name for step in harness.oracle.contract().expected(())}
    assert len(names) == len(set(names))
    assert {name for name in expected if any(fnmatchcase(name, pattern) for pattern in Backend.hidden)} == (
        expected - set(names)
    )
    assert set(names) <= expected


def test_package_is_left_as_it_was(harness):
    """Its files keep their bytes; its functions their code; what it compiled is compiled again."""

    def state():
        files = sorted(Path(mlx_lm.__path__[0]).rglob("*.py"))
        touched = {step.site.function for step in STEPS} | {edit.function for edit in edits_of(PATCHES)}
        codes = {name: resolve(name).__code__ for name in touched}
        return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files], codes

    before = state()
    backend = Backend.load(harness.checkpoint, "float32", patch="all")
    with pytest.raises(ZeroDivisionError):
        backend.forward(IDS, tap=ScopedTap(lambda name, value: 1 / 0))
    assert state() == before
    assert "__parity_handler__" not in vars(gemma3n)
    calls = []
    compiled = mx.compile(lambda x: calls.append(1) or x + 1)
    assert [compiled(mx.array(1.0)).item() for _ in range(3)] == [2.0] * 3
    assert len(calls) == 1


def test_compiled_function_is_woven_and_numbered_calls_are_sites():
    """The Python behind `mx.compile` is found; of several calls the one that is meant."""
    assert resolve(TOPK).__name__ == "gelu_topk"
    lines = [locate(Site(TEXT, Passed("mx.mean", 0, number))) for number in range(6)]
    assert lines[:5] == sorted(set(lines[:5]))
    assert lines[5] is None
    heard = []
    with weave([Site(TOPK, Returned())], lambda found: heard.append(found.value) or found.value):
        mx.disable_compile()
        gemma3n.gelu_topk(mx.ones((1, 4)), mx.array(1.0))
        mx.enable_compile()
    assert len(heard) == 1


def test_site_that_a_version_lacks_is_named(harness, monkeypatch):
    """By doctor, and by the error of a load, with the version to install."""
    assert all(good for good, _, _ in Backend.doctor())
    gone = (*STEPS, At("text.new", SOURCE.assigned("LanguageModel.__call__", "renamed")))
    monkeypatch.setattr(sites, "STEPS", gone)
    bad = [(what, found) for good, what, found in Backend.doctor() if not good]
    assert bad == [("LanguageModel.__call__: renamed", f"not in the installed source; {Backend.cure()}")]
    with pytest.raises(BackendUnavailable, match=r"not supported: .* LanguageModel\.__call__: renamed; pip install"):
        Backend.load(harness.checkpoint, "float32")


def test_missing_package_is_named(harness, monkeypatch):
    """Not installed: what to install, from doctor, from a load and from an audit."""

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("implementations.mlx_packages.backend.version", missing)
    monkeypatch.setitem(__import__("sys").modules, "mlx_lm", None)
    assert [good for good, _, _ in Backend.doctor()] == [False]
    with pytest.raises(BackendUnavailable, match="pip install 'mlx-lm"):
        Backend.load(harness.checkpoint, "float32")
    with pytest.raises(BackendUnavailable, match=r"^mlx-lm is not installed: pip install 'mlx-lm[^\n]+$"):
        Backend.subject()


def test_what_the_loader_refuses_is_one_line(tmp_path, monkeypatch):
    """The loader's own words, its exception's name and the checkpoint."""
    (tmp_path / "config.json").write_text('{"model_type": "other"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(BackendUnavailable, match=r"^mlx-lm \S+ cannot load \S+: \w+: [^\n]+$"):
        Backend.load(tmp_path, "float32")
    monkeypatch.setattr(utils, "load_model", lambda *_, **__: (object(), {}))
    with pytest.raises(BackendUnavailable, match="not for a Gemma 3n"):
        Backend.load(tmp_path, "float32")


def test_what_cannot_be_asked_of_it(harness, mended):
    """Another dtype, an unknown patch, a picture, padding without a cache: each is refused in a line."""
    with pytest.raises(UsageError, match="not in int8"):
        Backend.load(harness.checkpoint, "int8")
    with pytest.raises(UsageError, match="no patch 'nope'; it has kv-without-cache"):
        Backend.load(harness.checkpoint, "float32", patch="moments+nope")
    with pytest.raises(BackendUnavailable, match="of text"):
        mended.forward(IDS, prompts=((Part("image", "a.png"),),))
    with pytest.raises(UsageError, match="padded batch"):
        mended.start(padding=(0, 1), cache=False)
    mended.start(padding=(0,), cache=True)


def _filled(cache, lengths):
    """Keys that are their own position, written in chunks of such lengths."""
    position, keys = 0, None
    for length in lengths:
        new = mx.broadcast_to(
            mx.arange(position, position + length, dtype=mx.float32)[None, None, :, None], (2, 1, length, 2)
        )
        keys, _ = cache.update_and_fetch(new, new)
        position += length
    return keys


@pytest.mark.parametrize("lengths", [(3,), (3, 1), (20,), (20, 1, 1), (3, *[1] * 19), (3, *[1] * 19, 4, 1)])
@pytest.mark.parametrize("kind", [caches.RotatingKVCache, lambda size: caches.BatchRotatingKVCache(size, [0, 2])])
def test_ring_is_shown_in_the_order_of_positions(kind, lengths):
    """Whatever slot was written last, keys ascend to the newest; and go back to the slot that they came from."""
    cache = kind(16)
    keys = _filled(cache, lengths)
    shown = KEYS.out(keys, {"cache": cache})
    newest = sum(lengths) - 1
    assert shown[0, 0, :, 0].tolist() == list(range(newest - keys.shape[2] + 1, newest + 1))
    assert mx.array_equal(KEYS.back(shown, keys, {"cache": cache}), keys)


@pytest.mark.parametrize("lengths", [(3,), (16,), (20, 1), (3, *[1] * 19)])
@pytest.mark.parametrize("tokens", [1, 4])
def test_ring_mask_is_shown_in_the_order_of_positions(lengths, tokens):
    """Each token sees the window up to itself, without its row's padding; an answer goes back into the ring's order."""
    cache = caches.BatchRotatingKVCache(16, [0, 2])
    _filled(cache, lengths)
    used = {"self": type("Model", (), {"first_sliding_idx": 0}), "inputs": mx.zeros((2, tokens)), "cache": [cache]}
    mask = cache.make_mask(tokens, window_size=16)
    shown = np.array(SLIDING.out(mask, used))
    past, keys = sum(lengths), shown.shape[-1]
    query, key = np.arange(past, past + tokens)[:, None], np.arange(past + tokens - keys, past + tokens)[None]
    window = (key <= query) & (key > query - 16)
    np.testing.assert_array_equal(shown, [window, window & (key >= 2)])
    flipped = SLIDING.back(~mx.array(shown), mask, used)
    assert mx.array_equal(flipped, ~mask)
    assert SLIDING.back(mx.array(shown), mask, used) is mask
