"""The goldens of the embedded checkpoint: small, of this contract, and enough to find a fault without the reference."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from parity.errors import ExitCode
from parity.golden.checking import require_fresh
from parity.golden.judging import judge_golden
from parity.golden.sets import find_set
from parity.golden.stage import staged
from parity.golden.store import Store
from parity.judging.verdict import Status
from parity.running.execute import Run, execute
from parity.traces.trace import Trace
from reference.gemma3n.variants import catalogue
from tests.judging.test_deviations import BUGS, REORDERINGS
from tests.marks import every_change, quick

ROOT = Path(__file__).parents[2]
NAMES = [entry.name for entry in find_set().entries]
TEXT = [name for name in NAMES if "." not in name]
FAULTS = {
    "image": ("stem-no-bias", "pad-symmetric", "msfa-no-norm"),
    "audio": ("mel-fft-overdrive", "sscp-layernorm", "sscp-eps"),
}


def in_media():
    """Every golden of media and every fault of its tower, once at least."""
    for kind, faults in FAULTS.items():
        goldens = [name for name in NAMES if name.startswith(f"{kind}.")]
        pairs = zip(itertools.cycle(goldens), itertools.cycle(faults), strict=False)
        yield from itertools.islice(pairs, max(len(goldens), len(faults)))


def of_a_golden(name):
    """A newcomer's tests are of one chunk."""
    return () if name.endswith(".one-shot") else pytest.mark.slow


FURTHER = (
    "attn-query-norm-missing", "laurel-no-residual", "mlp-gate-relu", "altup-unembed-active-only", "soft-cap-missing",
)  # fmt: skip
UNSEEN = {"norm-epsilon"}
"""A free run may hide it: 1e-5 for 1e-6 changes a norm by 5e-6, and what is normed errs as much in float32 by then."""

BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "timm", "torchvision"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture(scope="session")
def goldens(tmp_path_factory):
    """Each golden, and the trace that it stands for."""
    fresh, folder = require_fresh(find_set()), tmp_path_factory.mktemp("goldens")
    return {
        golden.manifest.name: (golden, staged(golden, fresh.contract, folder / golden.manifest.name))
        for golden in fresh.goldens
    }


@pytest.fixture
def judge(goldens, tmp_path):
    """Runs a loaded backend freely and judges it against a golden alone."""

    def run(backend, name, dtype="float32"):
        golden, oracle = goldens[name]
        made = oracle.manifest
        output = tmp_path / f"{backend.name}-{name}"
        execute(backend, Run(output, made.model, made.weights, dtype, oracle=oracle.path), lambda step: None)
        return judge_golden(golden, oracle=oracle, candidate=Trace.read(output), name=backend.name)

    return run


def found(judgement, step):
    """Whether that step, and no other, is the first divergence."""
    first = judgement.first_divergence
    return judgement.exit_code is ExitCode.DIVERGED and (first.step, first.status) == (step, Status.INTRODUCED)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in (*BUGS, *FURTHER) if name not in UNSEEN])
def test_deviation_is_found_at_its_step(name, judge, deviant):
    """Known bugs, one at a time, without a tensor of the oracle's."""
    variant = catalogue().get(name).at()
    assert found(judge(deviant(name), variant.scenario), variant.first)


@pytest.mark.parametrize("name", quick(TEXT, "one-shot", "cached"))
def test_each_golden_finds_a_fault(name, judge, deviant):
    """A gain of 1.0001 in one norm of one layer, the smallest of the faults."""
    assert found(judge(deviant("norm-gain-off"), name), catalogue().get("norm-gain-off").at().first)


@pytest.mark.parametrize(("name", "variant"), [pytest.param(*pair, marks=of_a_golden(pair[0])) for pair in in_media()])
def test_each_golden_of_media_finds_a_fault_in_its_tower(name, variant, judge, deviant):
    """In pictures and in sounds."""
    assert found(judge(deviant(variant), name), catalogue().get(variant).at().first)


@pytest.mark.parametrize("name", sorted(UNSEEN))
def test_what_may_hide_in_a_free_run(name, judge, deviant):
    """It is either not seen or found at its step, never blamed on another; a lockstep run always sees it."""
    variant = catalogue().get(name).at()
    judgement = judge(deviant(name), variant.scenario)
    assert judgement.exit_code is ExitCode.PARITY or found(judgement, variant.first)


@pytest.mark.parametrize("scenario", quick(["one-shot", "long"], "one-shot"))
@pytest.mark.parametrize("name", REORDERINGS)
def test_reordering_is_not_flagged(name, scenario, judge, deviant):
    """The same mathematics in another order of operations is at parity."""
    assert judge(deviant(name), scenario).exit_code is ExitCode.PARITY


@pytest.mark.slow
@pytest.mark.parametrize("dtype", every_change(["bfloat16", "float16"], "bfloat16"))
def test_the_reference_is_at_parity_in_every_arithmetic(dtype, judge, harness):
    """Its floors are its own."""
    judgement = judge(harness.baseline(dtype), "decode", dtype)
    assert judgement.exit_code is ExitCode.PARITY
    assert judgement.worst.ratio < 1


def test_contract_is_the_references(goldens, harness):
    """Meanings and sources too: a reader of a report sees them."""
    assert Store(find_set().folder).contract() == harness.oracle.contract()


def test_size(goldens):
    """At most 10 MB in all, and 250 KB a chunk of a scenario."""
    store = Store(find_set().folder)
    assert store.size() <= 10e6
    assert max(file.stat().st_size for file in store.folder.rglob("*.safetensors")) <= 250e3


@pytest.mark.slow
@pytest.mark.parity(candidate="mlx", golden="tiny")
def test_mlx(parity_result):
    """The MLX model in every scenario, through the plugin that ports' own repositories use."""
    parity_result.assert_parity()
    assert [judgement.scenario for judgement in parity_result.judgements] == NAMES


@pytest.mark.slow
@pytest.mark.parity(candidate="mlx", golden="tiny", dtype="bfloat16", scenarios=["one-shot", "decode"])
def test_mlx_in_bfloat16(parity_result):
    """Another arithmetic has floors of its own."""
    parity_result.assert_parity()


def test_neither_torch_nor_transformers_is_needed(tmp_path, monkeypatch):
    """Not in this process, nor in the worker's: an import of either fails in both."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    check = [sys.executable, "-m", "parity", "golden", "check", "--only", "one-shot"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "parity. " in done.stdout
    blocked = subprocess.run([sys.executable, "-c", "import torch"], capture_output=True, text=True, check=False)
    assert "torch is blocked" in blocked.stderr


@pytest.mark.parametrize("module", ["parity.pytest_plugin", "parity.golden.checking", "reference.goldens"])
def test_what_must_start_at_once_imports_no_framework(module):
    """Nor does the plugin, which is loaded into every pytest run, import the engine."""
    heavy = {"torch", "transformers", "mlx", "timm", *(["numpy", "pydantic"] if "plugin" in module else [])}
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not heavy & set(loaded.split())
