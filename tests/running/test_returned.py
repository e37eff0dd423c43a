"""The logits that `forward` returns are held against those that it emits: users get the former."""

from __future__ import annotations

import json

import numpy as np
import pytest

from parity.errors import ExitCode, UsageError
from parity.judging.judge import judge
from parity.report.detail import Report
from parity.report.first import first
from parity.report.json import dumps
from parity.report.sentences import verdict
from parity.running.returned import ReturnedLogits
from parity.scenario import Chunk, Scenario
from parity.tap import SILENT
from parity.traces.trace import Trace
from tests.toy import HIDDEN, SCENARIO, VOCABULARY, Port, Toy, runs, write


class Other(Port):
    """Says the right logits, and returns what `change` makes of them."""

    def __init__(self, dtype, change):
        super().__init__(dtype)
        self.change = change

    def forward(self, token_ids, *, prompts=(), tap=SILENT):
        """Tap what is right."""
        return self.change(super().forward(token_ids, tap=tap))


class InPlace(Port):
    """Changes its logits behind the tap."""

    def forward(self, token_ids, *, prompts=(), tap=SILENT):
        """Tap what is right."""
        logits = super().forward(token_ids, tap=tap)
        logits *= np.float32(-1)
        return logits


@pytest.fixture
def oracle(tmp_path):
    """The toy's."""
    return write(tmp_path, "oracle", Toy())


def judged(folder, oracle, party, dtype="float32"):
    """The judgement of a port that is right up to its last tap."""
    baseline = runs(folder, "baseline", Toy(dtype), oracle, dtype)
    return judge(oracle=oracle, baseline=baseline, candidate=runs(folder, "port", party, oracle, dtype))


def one_logit(logits):
    """Of 80 at the last token."""
    changed = logits.copy()
    changed[0, -1, 7] += 1
    return changed


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("change", [np.negative, np.zeros_like, one_logit, lambda x: x * x.dtype.type(1.01)])
def test_other_logits_are_a_verdict(tmp_path, oracle, dtype, change):
    """Exit 1, in words, though every step and token is the same."""
    judgement = judged(tmp_path, oracle, Other(dtype, change), dtype)
    assert judgement.exit_code is ExitCode.DIVERGED
    assert not judgement.introduced
    assert all(token.same for token in judgement.tokens)
    assert [phase for phase, _ in judgement.returned] == ["prefill", "decode.1"]
    assert "diverged: it returns other logits than it emits, in prefill: logit " in verdict(judgement)
    assert "and in 1 phase more; of 8 steps 8 ok" in verdict(judgement)


def test_logits_changed_in_place(tmp_path, oracle):
    """What was emitted is what it was when it was emitted."""
    assert judged(tmp_path, oracle, InPlace("float32")).exit_code is ExitCode.DIVERGED


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: x.astype(np.float64),
        lambda x: x.astype(np.float32).astype(x.dtype),
        lambda x: x[:, -1:],
        lambda x: x.copy(),
    ],
)
def test_the_same_logits_in_another_form(tmp_path, oracle, change):
    """Wider, or of the last token alone, as a generation loop takes them."""
    judgement = judged(tmp_path, oracle, Other("float32", change))
    assert (judgement.exit_code, judgement.returned) == (ExitCode.PARITY, ())


def test_a_last_rounding_is_no_fault(tmp_path, oracle):
    """A port may compute its logits in float32 and return them in its own format."""
    party = Other("float16", lambda x: (x.astype(np.float64) * (1 + 2.0**-12)).astype(np.float16))
    assert judged(tmp_path, oracle, party, "float16").returned == ()


def test_logits_of_another_shape(tmp_path, oracle):
    """A vocabulary that was cut off."""
    judgement = judged(tmp_path, oracle, Other("float32", lambda x: x[..., :60]))
    assert judgement.returned[0] == ("prefill", "shape [1, 4, 60], emitted [1, 4, 80]")


def test_an_oracle_that_does_so_is_refused(tmp_path):
    """Its tokens would not be what it says."""
    oracle = write(tmp_path, "oracle", Other("float64", np.negative))
    with pytest.raises(UsageError, match="returned other logits than it emitted"):
        judge(oracle=oracle, baseline=None, candidate=runs(tmp_path, "port", Port("float32"), oracle))


def test_it_is_kept_in_the_trace_only_where_it_is_so(tmp_path, oracle):
    """Traces of parties that are right are what they were, byte for byte."""
    port = write(tmp_path, "port", Other("float32", np.negative), "float32", oracle=oracle.path)
    assert "returned" not in json.loads((oracle.path / "manifest.json").read_text())
    assert Trace.read(port.path).manifest.returned.keys() == {"prefill", "decode.1"}


def test_reports_say_it(tmp_path, oracle):
    """First screen and JSON."""
    from parity.judging.judgement import Comparison

    judgement = judged(tmp_path, oracle, Other("float32", np.negative))
    comparison = Comparison(oracle.contract, oracle.manifest, (judgement,))
    said = first(Report(comparison).comparison)
    assert said.headline == "port in float32 returns other logits than it emits"
    assert said.explanation[0].startswith("It returns other logits than it emits, in prefill: logit ")
    (plain,) = json.loads(dumps(comparison))["judgements"]
    assert (plain["exit_code"], [phase for phase, _ in plain["returned"]]) == (1, ["prefill", "decode.1"])


class Nothing:
    """A sink."""

    def begin(self, phase):
        """Nothing."""

    def add(self, step, occurrence, axes, array):
        """Nothing."""

    def end(self):
        """Nothing."""


def test_padding_and_values_that_are_not_finite():
    """Padding may be anything; NaN is the same as NaN, and nothing else is."""
    scenario = Scenario("s", (Chunk("prefill", ((0, 1), (1, 2))),), (1, 0))
    emitted = np.array([[[1.0, 2.0], [np.nan, 3.0]], [[np.inf, 1.0], [0.0, 0.0]]])

    def said(change):
        returned = ReturnedLogits(Nothing(), "logits", scenario, "float32")
        returned.begin("prefill")
        returned.add("logits", 0, (), emitted)
        value = emitted.copy()
        change(value)
        returned.compare(value)
        return returned.differing

    assert said(lambda x: None) == {}
    assert said(lambda x: x.__setitem__((0, 0), 99.0)) == {}
    for place, value in (((0, 1, 0), 1.0), ((1, 0, 0), -np.inf), ((1, 1, 0), 1e-30)):
        assert said(lambda x, place=place, value=value: x.__setitem__(place, value)).keys() == {"prefill"}


def test_how_many_values_were_compared(tmp_path, oracle):
    """Each once, in the free run and in lockstep."""
    tokens = 5
    assert judged(tmp_path, oracle, Port("float32")).values == tokens * (1 + HIDDEN + 1 + VOCABULARY)


def test_padding_is_not_counted(tmp_path):
    """Nor compared."""
    padded = Scenario("toy", SCENARIO.chunks, (2,))
    oracle = write(tmp_path, "oracle", Toy(), scenario=padded)
    assert judged(tmp_path, oracle, Port("float32")).values == 3 * (1 + HIDDEN + 1 + VOCABULARY)
