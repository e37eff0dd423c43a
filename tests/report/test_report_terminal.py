"""The terminal report: what it says at 80 and at 160 columns, and what it must never do."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from parity.judging.verdict import Deviation, Status, StepVerdict
from parity.report.console import console, plain, short
from parity.report.sparkline import ASCII_BARS, sparkline
from parity.report.terminal import print_comparison
from tests import report_samples as samples

HOSTILE = "evil\x1b[2J\x1b]0;owned\x07\nmlx: parity\u202e[bold red]\ud800"


def printed(comparison, width=80):
    """The report as text."""
    file = io.StringIO()
    print_comparison(comparison, console(file, width=width))
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("name", samples.SAMPLES)
def test_report(name, width, snapshot):
    """The whole report reads as it was reviewed, and fits."""
    text = printed(samples.SAMPLES[name](), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert text == snapshot


@pytest.mark.parametrize("width", [20, 40, 80])
def test_names_are_never_cut(width):
    """However narrow the console, a step's name is on one line and whole."""
    lines = printed(samples.diverged(), width).splitlines()
    for name in (
        "text.layers.0.attn.q_rope",
        "text.layers.{0-9}.attn.q_rope",
        "text.layers.4.altup.correct.router_input",
    ):
        assert any(name in line for line in lines)
    assert "..." not in "".join(lines)


def test_a_hostile_trace_commands_no_terminal():
    """Escapes, line ends, marks of direction and markup in every field that others write are shown, not obeyed."""
    step = StepVerdict(HOSTILE, HOSTILE, 0, Status.UNEXPECTED, note=HOSTILE)
    breach = StepVerdict("prefill", "text.logits", 0, Status.CONTRACT, note=HOSTILE)
    judgement = replace(
        samples.judgement(), candidate=HOSTILE, dtype=HOSTILE, scenario=HOSTILE, versions=((HOSTILE, HOSTILE),)
    )
    judgement = replace(judgement, steps=(*judgement.steps, step, breach))
    crashed = replace(judgement, steps=(), crash=HOSTILE)
    manifest = samples.manifest().model_copy(update={"model": HOSTILE, "weights": HOSTILE, "backend": HOSTILE})
    comparison = replace(samples.comparison(judgement, crashed), oracle=manifest, prompt=HOSTILE)
    text = printed(comparison, 160)
    assert not set(text) & set("\x1b\x07\u202e\ud800")
    assert not any(line.startswith("mlx: parity") for line in text.splitlines())
    assert r"evil\x1b[2J\x1b]0;owned\x07\nmlx: parity\u202e[bold red]\ud800" in text


def test_plain_keeps_what_can_be_printed():
    """Letters of every script stay as they are."""
    assert plain("Straße 東京 🦊") == "Straße 東京 🦊"
    assert short("a" * 100) == f'"{"a" * 60}..." (100 characters)'


def test_no_colour_in_a_file(monkeypatch):
    """A file gets no escape sequences; neither does anything under NO_COLOR."""
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert "\x1b" not in printed(samples.diverged())
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" in printed(samples.diverged())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in printed(samples.diverged())


def test_an_unmeasured_floor_is_said():
    """Without a baseline the report does not claim that a floor was measured."""
    text = printed(samples.comparison(replace(samples.judgement(), unmeasured=("free", "lockstep"))), 400)
    assert "The floor was not measured" in text
    assert "itself makes" not in text


def test_the_worst_place_that_decides_is_named():
    """Where one place's error, not the tensor's, is beyond the floor, the table says so."""
    decided = Deviation(1.2e-7, 1.0e-7, 9.0, samples.at(1, 5, 8.1e-7, 9.0))
    change = samples.change("prefill", "text.logits", Status.INTRODUCED, free=samples.QUIET, lockstep=decided)
    assert "row 1, token 5: 8.1e-07 = 9.0 floors" in printed(samples.comparison(samples.judgement(change)))


def test_errors_that_add_up_are_told_from_a_fault():
    """A divergence that no step introduced is said to be one."""
    far = Deviation(9e-6, 1e-6, 9.0)
    change = samples.change("prefill", "text.logits", Status.INHERITED, free=far, lockstep=samples.QUIET)
    assert "errors add up though no step errs from exact inputs" in printed(
        samples.comparison(samples.judgement(change)), 400
    )


def test_a_shape_on_purpose_has_a_cure():
    """A port with logits of the last token alone is told how it says so; one of another kind is not."""
    for note, told in (("shape [1, 1, 768], the contract's (batch token vocabulary) is [1, 9, 768]", True),
                       ("int64 is integer, the contract asks for float", False)):  # fmt: skip
        change = samples.change("prefill", "text.logits", Status.CONTRACT, note=note)
        text = printed(samples.comparison(samples.judgement(change)), 400)
        assert ("Tensors.place says which part that is" in text) == told


def test_nothing_compared_is_not_parity():
    """No judgement at all reads as incomplete."""
    assert printed(samples.comparison()).startswith("incomplete: nothing was compared")
    empty = replace(samples.judgement(), steps=(), tokens=())
    assert "incomplete: no step was compared" in printed(samples.comparison(empty))


def test_long_lists_end_with_how_many_more():
    """Of many different faults the first twelve are listed."""
    fault = Deviation(1e-3, 1e-7, 1e4)
    names = [f"text.odd_{letter}" for letter in "abcdefghijklmnop"]
    steps = tuple(StepVerdict("prefill", name, 0, Status.INTRODUCED, fault, fault) for name in names)
    text = printed(samples.comparison(replace(samples.judgement(), steps=steps)))
    assert "text.odd_l" in text
    assert "text.odd_m" not in text
    assert "and 4 more" in text


def test_the_sparkline_shows_where_it_begins():
    """A fault in layer 3 of a run of 1,229 steps stands out, however narrow the console."""
    fault = Deviation(1e-2, 1e-7, 1e5)
    change = samples.change("prefill", "text.layers.3.attn.context", Status.INTRODUCED, free=fault, lockstep=fault)
    judgement = samples.judgement(change)
    judgement = replace(judgement, steps=tuple(step for step in judgement.steps if step.phase == "prefill"))
    for width in (31, 200):
        drawn = sparkline(judgement, width)
        assert drawn.lockstep.text.count("█") == drawn.lockstep.beyond.count(True) == 1
        at = drawn.lockstep.text.index("█") / len(drawn.lockstep.text)
        assert at == pytest.approx(22.5 / 62, abs=0.03)
        assert drawn.places.lstrip().startswith("0")
    assert sparkline(judgement, 31, bars=ASCII_BARS).lockstep.text.isascii()


def test_the_sparkline_of_an_old_terminal_is_ascii():
    """A console that cannot print blocks gets other marks."""
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    print_comparison(samples.diverged(), console(file, width=80))
    file.flush()
    text = file.buffer.getvalue().decode()
    assert "\\u2588" not in text
    assert "lockstep  _#_#" in text


def test_the_story_takes_thirty_lines():
    """A fault that many steps pass on: verdict, depth, first divergence and the worst five, then who was compared."""
    spread = Deviation(2e-2, 1e-7, 2e5, samples.at(0, 3, 3e-2))
    fault = Deviation(1e-2, 1e-7, 1e5, samples.at(0, 3, 2e-2))
    after = [step.name for step in samples.contract().steps[23:]]
    changes = [samples.change("prefill", name, Status.INHERITED, free=spread, lockstep=samples.QUIET) for name in after]
    first = samples.change("prefill", "text.layers.3.attn.context", Status.INTRODUCED, free=fault, lockstep=fault)
    text = printed(samples.comparison(samples.judgement(*changes, first)), 80)
    story = text.partition("\nfloor ")[0].splitlines()
    assert len(story) <= 30
