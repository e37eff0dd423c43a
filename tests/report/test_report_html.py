"""The page as text: well formed, nothing from elsewhere, everything escaped, as large and as slow as it may be."""

from __future__ import annotations

import base64
import builtins
import hashlib
import html.parser
import math
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.errors import UsageError
from parity.judging.verdict import Status
from parity.report.address import Address, address_of
from parity.report.html import page as page_module
from parity.report.html import render
from parity.report.html.axis import HEIGHT, Axis
from parity.report.html.figures import heat_figure, histogram_figure
from parity.report.html.points import points
from parity.report.levels import LEVELS, LevelScale, compact
from tests import report_pages as pages
from tests import report_samples as samples

VOID = {"meta", "br", "input", "wbr", "img", "link"}
REPORTS = {
    **{name: lambda make=make: pages.with_details(make()) for name, make in samples.SAMPLES.items()},
    "nothing": lambda: pages.with_details(samples.comparison()),
    "hostile": pages.hostile,
    "quantized": pages.quantized,
}


class Outline(html.parser.HTMLParser):
    """Elements and attributes; fails where tags do not nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def rendered():
    """Every report, rendered once."""
    made = {}

    def one(name):
        if name not in made:
            made[name] = render(REPORTS[name]())
        return made[name]

    return one


@pytest.mark.parametrize("name", REPORTS)
def test_well_formed(name, rendered):
    """Tags nest, ids are unique, links lead somewhere, and nothing comes from elsewhere or runs by itself."""
    elements = Outline(rendered(name)).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in elements:
        assert tag not in {"img", "link", "iframe", "object", "embed", "base"}
        assert not {"src", "style", "srcset", "action"} & set(attributes)
        assert not [key for key in attributes if key.startswith("on")]
        href = attributes.get("href", "#top")
        assert href[1:] in ids if href.startswith("#") else href.startswith("https://")
        assert not attributes.get("aria-labelledby") or attributes["aria-labelledby"] in ids


@pytest.mark.parametrize("name", REPORTS)
def test_policy_allows_exactly_what_is_there(name, rendered):
    """Everything is forbidden but the page's one style and one script, by hash."""
    text = rendered(name)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    policy = html.unescape(policy)
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for kind, pattern in (("script", r"<script>(.*?)</script>"), ("style", r"<style>(.*?)</style>")):
        (content,) = re.findall(pattern, text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_everything_hostile_is_escaped(rendered):
    """No markup of others, no mark that turns the direction of writing, no half of a surrogate pair."""
    text = rendered("hostile")
    assert not set(text) & set("\u202e\x1b\ud800")
    assert "<script>document" not in text
    assert "<img" not in text
    assert "49}}" not in text  # templates in names are not evaluated
    assert text.count("<script") == text.count("</script") == 2


def test_the_first_screen_says_what_is_wrong_and_where(rendered):
    """Verdict, first divergence with meaning and source, coverage, provenance: before the first figure."""
    top = re.sub(r"<wbr>|<[^>]*>", "", rendered("diverged").partition('id="depth"')[0])
    for said in (
        "mlx in float32 diverges at text.layers.0.attn.q_rope", "812 floors", "queries after rotary position embedding",
        "Gemma3nTextAttention.forward: query_states", "186 of 186", "transformers 5.23.0", "The capital of France is",
        "3 of 4 the same",
    ):  # fmt: skip
        assert said in top


@pytest.mark.parametrize(
    ("name", "headline"),
    [
        ("parity", "mlx in float32 computes what transformers computes"),
        ("near tie", "mlx in float32 computes what transformers computes"),
        ("incomplete", "mlx in float32 is not fully compared"),
        ("broken", "mlx in float32 diverges at text.input_ids"),
        ("crashed", "mlx in float32 crashed"),
        ("several", "mlx in float32 diverges at text.layers.0.attn.q_rope"),
        ("nothing", "Nothing was compared."),
    ],
)
def test_headline(name, headline, rendered):
    """One sentence for each verdict."""
    (found,) = re.findall(r"<h1[^>]*>(.*?)</h1>", rendered(name), re.DOTALL)
    assert " ".join(found.replace("<wbr>", "").split()) == headline


def test_what_quantisation_costs_has_a_section(rendered):
    """With a figure, the dearest step first, and the cure for a single prompt; none where nothing was measured."""
    section = rendered("quantized").partition('<section id="cost"')[2].partition("</section>")[0]
    said = " ".join(re.sub("<[^>]*>", "", section).split())
    assert "Of 10 greedy tokens in 1 prompt 90.0 % are kept; KL divergence 0.25 nats" in said
    assert "--cost-draws 64" in said
    assert section.count("<circle") == samples.LAYERS
    assert re.findall(r"[\d.]+e-\d\d", said)[1:5] == ["1.0e-01", "1.0e-01", "9.0e-02", "9.0e-02"]  # behind the logits
    assert 'href="#cost"' in rendered("quantized")
    assert "quantisation costs" not in rendered("parity")


def test_the_same_report_is_the_same_page():
    """Nothing in it is of the hour or of chance."""
    assert render(pages.diverged()) == render(pages.diverged())


def test_large():
    """2,000 steps, 5 candidates, 48 pages: at most 5 MB, in under ten seconds of work."""
    report = pages.large()
    start = time.process_time()
    text = render(report)
    assert time.process_time() - start < 10
    assert len(text.encode()) <= 5e6
    assert len(report.details) == 48
    assert len(re.findall("<article", text)) == 48


def test_without_templates(monkeypatch):
    """Where jinja2 is missing, the message says how to get it."""
    real = builtins.__import__

    def fail(name, *arguments, **options):
        if name == "jinja2":
            raise ImportError(name)
        return real(name, *arguments, **options)

    page_module.require_templates.cache_clear()
    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(UsageError, match=r"gemma3n-parity\[report\]"):
        page_module.require_templates()


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("text.layers.3.altup.predict.out", Address("text", "text.layers", 3, "altup.predict")),
        ("text.layers.3.attn.q_rope", Address("text", "text.layers", 3, "attn")),
        ("text.layers.12.out", Address("text", "text.layers", 12, "out")),
        ("text.altup.embed.1.out", Address("text", "", None, "altup")),
        ("vision.blocks.0.1.conv", Address("vision", "vision.blocks", 0, "1")),
        ("logits", Address("logits", "", None, "logits")),
        ("", Address("", "", None, "")),
    ],
)
def test_locate(name, place):
    """A layer's number follows a plural; other numbers are parts of names."""
    assert address_of(name) == place


@given(st.floats(min_value=0, allow_nan=False))
def test_levels_rise_with_the_ratio(ratio):
    """The scale is monotonous, and what is allowed is neutral."""
    scale = LevelScale(4.0)
    assert 0 <= scale.level(ratio) < LEVELS
    assert scale.level(ratio) <= scale.level(ratio * 10)
    assert (scale.level(ratio) < 2) == (ratio <= 4)
    assert len(compact(ratio)) <= 6


def test_compact():
    """A few characters, whatever the number."""
    values = (0.0, 0.94, 9.96, 99.6, 999.6, 1234.0, 3.9e6, 1e15, math.inf, math.nan)
    assert [compact(value) for value in values] == [
        "0.0", "0.9", "10", "100", "1.0k", "1.2k", "3.9M", "1e15", "∞", "–",
    ]  # fmt: skip
    assert LevelScale(4.0).level(math.nan) == -1


def test_axis():
    """Larger is higher; what has no place is at an end."""
    axis = Axis.around([1e-8, 1e-2])
    assert axis.y(1e-8) == HEIGHT
    assert 0 < axis.y(1e-2) < axis.y(1e-5) < HEIGHT
    assert axis.y(math.inf) == 0
    assert axis.y(0.0) == HEIGHT
    assert [value for _, value in axis.ticks()] == pytest.approx([10.0**power for power in range(-8, -1)])
    assert Axis.around([]).ticks()


def test_points_stand_for_several_steps_where_there_are_too_many():
    """A fault is never hidden behind a neighbour that only passes on more."""
    judgements = samples.diverged().judgements
    found = points("one-shot", judgements, most=40)
    assert found.each == 5
    assert len(found.keys) == 38
    (series,) = found.series
    faulty = [step for step in series.steps if step.status is Status.INTRODUCED]
    assert len(faulty) >= 25
    assert points("one-shot", judgements).each == 1


def test_figures_have_their_numbers():
    """Each cell of a small map and each bin that is not empty is in a table; of a large map, each row's worst."""
    scale = LevelScale(4.0)
    small = heat_figure(pages.heat("layer", ("a", "b"), ("0", "1", "2")), scale)
    assert len(small.table) == 3
    assert len(small.table[1]) == 4
    large = heat_figure(pages.heat("channel", tuple("abcdefghij"), tuple(map(str, range(64)))), scale)
    assert large.table[1][2] == "21"
    assert sum(int(run) for _, path in large.paths for run in re.findall(r"h(\d+)", path)) == 640
    histogram = pages.diverged().details[0].errors
    figure = histogram_figure(histogram)
    assert len(figure.table) == 1 + 8
    assert figure.table[1][0] == "1.0e-08"
