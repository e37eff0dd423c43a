"""The page to try a server with, in a real browser: it asks its own server, and nobody else."""

from __future__ import annotations

import re

import pytest

from tests.browser import Sheet, browser
from tests.running.test_process import eventually


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


@pytest.fixture
def page(chromium, served):
    sheet = Sheet(chromium, f"{served.url}/")
    yield sheet.page
    assert sheet.complaints == []
    sheet.context.close()


def say(page, text):
    """Ask as a user does."""
    page.fill("#text", text)
    page.press("#text", "Enter")


def test_its_policy(served):
    status, headers, text = served.ask("GET", "/")
    assert status == 200
    rules = dict(rule.strip().split(" ", 1) for rule in headers["Content-Security-Policy"].split(";"))
    assert all(re.fullmatch(r"'sha256-[^' ]+'", rules.pop(kind)) for kind in ("script-src", "style-src"))
    assert rules == {
        **dict.fromkeys(("default-src", "base-uri", "form-action", "frame-ancestors"), "'none'"),
        "img-src": "data:",
        "connect-src": "'self'",
    }
    assert not re.search(rb"""(src|href|action)=["'](?!data:,)|style=|https?:|\son\w+=""", text)


def test_a_conversation(page):
    """Answers grow as they come; what was said before is told again."""
    page.get_by_text("Model toy").wait_for()
    say(page, "Well, <b>hello</b> there")
    page.get_by_text("1 tokens read, 3 written").wait_for()
    assert page.locator(".turn").all_inner_texts() == [
        "You\nWell, <b>hello</b> there", "toy\nWell, <b>hello</b> there \n1 tokens read, 3 written",
    ]  # fmt: skip
    say(page, "roles")
    page.get_by_text("['user', 'model', 'user']").wait_for()
    page.click("#anew")
    say(page, "roles")
    page.get_by_text("['user']").wait_for()


def test_a_picture(page, tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    page.set_input_files("#picture", tmp_path / "a.png")
    page.locator("#preview").wait_for()
    say(page, "message")
    said = page.locator(".turn.model").inner_text
    page.locator(".counts").wait_for()
    assert re.findall(r"kind='(\w+)'", said()) == ["image", "text"]
    assert page.locator(".turn.user img").evaluate("image => image.naturalWidth") == 8
    assert page.locator("#chosen").is_hidden()


def test_an_answer_is_stopped(page, tmp_path):
    """What was said stays; the model is free for the next question, and for a new conversation."""
    say(page, f"wait {tmp_path}")
    page.get_by_text("on on on").wait_for()
    page.click("#stop")
    eventually((tmp_path / "ended").exists)
    page.locator("#send:enabled").wait_for()
    say(page, "roles")
    page.get_by_text("['user']").wait_for()


def test_nobody_is_shut_out(chromium, served):
    """By WCAG 2.2, on a small screen and in the dark; without a script it says who asks instead."""
    for scheme in "light", "dark":
        sheet = Sheet(chromium, f"{served.url}/", scheme=scheme, width=360)
        say(sheet.page, "Hello there")
        sheet.page.locator(".counts").wait_for()
        assert sheet.violations() == []
        assert sheet.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        sheet.context.close()
    sheet = Sheet(chromium, f"{served.url}/", script=False)
    assert sheet.page.get_by_text("Without one, OpenAI's clients do.").is_visible()
    sheet.context.close()


def test_what_goes_wrong_is_said(chromium, serve):
    """The browser itself notes each status; the page says why."""
    served = serve(key="word")
    sheet = Sheet(chromium, f"{served.url}/")
    page = sheet.page
    page.get_by_text("a key is needed").wait_for()
    page.fill("#key", "word")
    page.press("#key", "Tab")
    page.get_by_text("Model toy").wait_for()
    say(page, "refuse this")
    page.locator(".wrong").get_by_text(r"it cannot be: this\x1b").wait_for()
    say(page, "crash first")
    page.get_by_text("the model is started again").wait_for()
    assert "first\n" in page.locator(".turn.model").nth(1).inner_text()
    say(page, "roles")
    page.get_by_text("['user']").wait_for()
    assert all("Failed to load resource" in one for one in sheet.complaints)
    sheet.context.close()
