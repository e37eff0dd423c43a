"""The page in a real browser: from disk, offline, with and without JavaScript, for everybody, whatever is in it."""

from __future__ import annotations

import pytest

from parity.report.html import render
from tests import report_pages as pages
from tests import report_samples as samples
from tests.browser import Sheet, browser
from tests.marks import quick

REPORTS = {
    "diverged": pages.diverged,
    "quantized": pages.quantized,
    "hostile": pages.hostile,
    "large": pages.large,
    "parity": lambda: pages.with_details(samples.parity()),
    "crashed": lambda: pages.with_details(samples.crashed()),
    "several": lambda: pages.with_details(samples.several()),
    "broken": lambda: pages.with_details(samples.broken()),
}


@pytest.fixture(scope="module")
def chromium():
    """One browser for all tests."""
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Renders each report once, into a folder whose name is hostile too."""
    folder = tmp_path_factory.mktemp("re'<script>alert(1)<") / "a b#c"
    folder.mkdir()
    made = {}

    def file(name):
        if name not in made:
            made[name] = folder / f"{name}.html"
            made[name].write_text(render(REPORTS[name]()), encoding="utf-8", newline="\n")
        return made[name]

    return file


@pytest.fixture
def opened(chromium, files):
    """Opens reports; what they complained of fails the test at its end."""
    sheets = []

    def open_one(name, **options):
        sheets.append(Sheet(chromium, files(name), **options))
        return sheets[-1]

    yield open_one
    for sheet in sheets:
        sheet.context.close()
        assert sheet.complaints == []


@pytest.mark.parametrize("script", [True, False], ids=["js", "no-js"])
@pytest.mark.parametrize("name", quick(REPORTS, "diverged", "hostile", "crashed"))
def test_opens_from_disk(name, script, opened):
    """The verdict is the first heading, and nothing is requested or complained of."""
    page = opened(name, script=script).page
    assert page.locator("h1").is_visible()
    assert page.locator("h1").inner_text().strip()
    assert page.locator(".controls:visible").count() == (0 if not script else page.locator(".controls").count())


@pytest.mark.parametrize("script", [True, False], ids=["js", "no-js"])
def test_a_step_has_a_page_of_its_own(script, opened):
    """A link leads from the overview to the step's page, and back."""
    page = opened("diverged", script=script).page
    assert page.locator(".page:visible").count() == 0
    page.get_by_role("link", name="See where in the tensor").click()
    assert page.locator(".page:visible h2").inner_text().startswith("text.layers.0.attn.q_rope")
    assert not page.locator(".overview").is_visible()
    assert page.locator(".page:visible figure.heat").count() == 2
    page.get_by_role("link", name="← Overview").click()
    assert page.locator(".overview").is_visible()
    assert page.locator(".page:visible").count() == 0


@pytest.mark.slow
def test_zoom_to_a_layer(opened):
    """Chosen in a list, by buttons and by dragging; both panels move together."""
    sheet = opened("diverged")
    page = sheet.page
    boxes = lambda: [page.locator(".plot").nth(at).get_attribute("viewBox") for at in (0, 1)]  # noqa: E731
    whole = boxes()
    page.locator(".depth select").first.select_option(label="text.layers.3 (prefill)")
    assert boxes()[0] == boxes()[1] != whole[0]
    start, _, width, _ = map(float, boxes()[0].split())
    assert 17 <= start < 20  # an integer step, three layers of six steps, and a margin
    assert width < 10
    assert "text.layers.3.input_layernorm" in page.locator(".reader output").first.inner_text()
    page.get_by_role("button", name="Whole model").first.click()
    assert boxes() == whole
    page.get_by_role("button", name="Closer").first.click()
    assert boxes() != whole
    page.get_by_role("button", name="Whole model").first.click()
    box = page.locator(".plot").first.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 60, steps=4)
    page.mouse.up()
    assert float(boxes()[0].split()[2]) == pytest.approx(186 * 200 / box["width"], rel=0.05)


@pytest.mark.slow
def test_the_cursor_reads_every_step(opened):
    """It stands at the first fault, and moves by keys; a screen reader is told the step and its numbers."""
    page = opened("diverged").page
    cursor = page.locator(".reader input").first
    assert cursor.get_attribute("aria-valuetext").startswith(
        "text.layers.0.attn.q_rope in prefill: mlx float32: introduced"
    )
    assert page.locator(".reader output a").first.get_attribute("href") == "#step-1"
    cursor.focus()
    page.keyboard.press("ArrowRight")
    assert cursor.get_attribute("aria-valuetext").startswith("text.layers.0.attn.context in prefill")


@pytest.mark.slow
def test_candidates_can_be_hidden(opened):
    """A box per candidate hides its marks in both panels."""
    page = opened("large").page
    marks = page.locator('.plot [data-series="1"]')
    assert marks.first.is_visible()
    page.get_by_label("port-1 bfloat16").first.uncheck()
    assert all(not marks.nth(at).is_visible() for at in range(marks.count()))


def test_search_and_filters(opened):
    """Rows that do not fit are hidden; the order can be that of execution."""
    page = opened("diverged").page
    rows = page.locator(".steps tbody tr:visible")
    assert rows.count() == 186
    page.get_by_label("Search").fill("layers.3 ROPE")
    assert rows.count() == 3
    page.get_by_label("Phase").select_option("decode.1")
    assert rows.count() == 1
    assert page.locator(".listing output").inner_text() == "1 of 186 steps"
    page.get_by_label("Search").fill("")
    page.get_by_label("Phase").select_option("")
    page.get_by_label("Status").select_option("introduced")
    assert rows.count() == 31
    page.get_by_label("Status").select_option("")
    page.get_by_label("Order").select_option("depth")
    assert rows.first.locator("th").inner_text() == "text.input_ids"


def test_theme(opened):
    """The button goes from the system's theme to light and dark."""
    sheet = opened("diverged", scheme="dark")
    paper = lambda: sheet.page.evaluate("getComputedStyle(document.body).backgroundColor")  # noqa: E731
    dark = paper()
    sheet.page.locator("#theme").click()
    light = paper()
    assert light != dark
    sheet.page.locator("#theme").click()
    assert paper() == dark


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("diverged", "light"), ("diverged", "dark"), ("hostile", "dark"), ("several", "light"), ("broken", "light"),
        ("crashed", "dark"),
    ],
)  # fmt: skip
def test_accessible(name, scheme, opened):
    """No violation of WCAG 2.2 level A or AA, in the overview with everything unfolded and in a step's page."""
    sheet = opened(name, scheme=scheme)
    sheet.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert sheet.violations() == []
    if sheet.page.locator(".page").count():
        sheet.open("step-1")
        assert sheet.page.locator("#step-1").is_visible()
        assert sheet.violations() == []


@pytest.mark.parametrize("name", quick(REPORTS, "diverged"))
def test_fits_a_phone(name, opened):
    """Nothing but tables and maps scrolls sideways, in the overview and in a step's page."""
    sheet = opened(name, width=360)
    width = "document.documentElement.scrollWidth"
    assert sheet.page.evaluate(width) == 360
    if sheet.page.locator(".page").count():
        sheet.open("step-1")
        assert sheet.page.evaluate(width) == 360


def test_hostile_text_is_shown_and_not_run(opened):
    """A script in a prompt, in names of steps, phases, candidates, files and tokens does nothing but appear."""
    sheet = opened("hostile")
    assert "owned" not in sheet.page.title().partition("<script>")[0]
    assert sheet.page.title().startswith("diverged: <script>")
    assert sheet.page.evaluate("document.scripts.length") == 2  # the figure's data, and our own
    assert sheet.page.evaluate("document.querySelectorAll('img, iframe, object, base, form[action]').length") == 0
    assert pages.SCRIPT in sheet.page.locator("body").inner_text()
    hrefs = sheet.page.evaluate("[...document.querySelectorAll('a')].map(one => one.getAttribute('href'))")
    assert all(href.startswith(("#", "https://arxiv.org/")) for href in hrefs)
    sheet.page.get_by_label("Search").fill("<script>")
    assert sheet.page.locator(".steps tbody tr:visible").count() == 3
    sheet.open("step-1")


def test_the_policy_holds(chromium, files):
    """What is put into the page from elsewhere does not run, load or send."""
    sheet = Sheet(chromium, files("diverged"))
    failed = {}
    sheet.page.on("requestfailed", lambda request: failed.update({f"request: {request.url}": request.failure}))
    sheet.page.evaluate("""() => {
        const add = (html) => document.body.append(document.createRange().createContextualFragment(html));
        add("<script>window.owned = 1</script>");
        add("<img src='http://127.0.0.1:1/x.png' onerror='window.owned = 2'>");
        add("<p id='styled' style='position: fixed'>x</p>");
        fetch("http://127.0.0.1:1/").catch(() => {});
    }""")
    sheet.page.wait_for_timeout(200)
    assert sheet.page.evaluate("window.owned") is None
    assert sheet.page.evaluate("getComputedStyle(document.getElementById('styled')).position") == "static"
    refused = [text for text in sheet.complaints if "Content Security Policy" in text]
    assert len(refused) >= 4
    assert {failed.get(text) for text in sheet.complaints if text.startswith("request: http")} <= {"csp"}
    sheet.context.close()
