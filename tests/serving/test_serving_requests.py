"""Bodies that are JSON, and no request, or more than a server takes."""

from __future__ import annotations

import base64
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("fastapi")

from parity.serving.attachments import Attachments
from parity.serving.chat import ChatRequest
from parity.serving.refusal import Refusal
from tests.serving.conftest import SETTINGS

USER = {"role": "user", "content": "Hi"}
ASK = {"model": "toy", "messages": [USER]}


def read(**fields):
    return ChatRequest.read(json.dumps({**ASK, **fields}).encode(), SETTINGS)


def part(**fields):
    return {"messages": [USER, {"role": "user", "content": [{"type": "text", "text": "a"}, fields]}]}


REFUSED = {
    "another model": ({"model": "gpt"}, "model", "there is no model 'gpt'"),
    "no model": ({"model": None}, "model", "Field required"),
    "no messages": ({"messages": []}, "messages", "at least 1 item"),
    "messages of text": ({"messages": "Hi"}, "messages", "valid list"),
    "a role": ({"messages": [USER, {"role": "tool", "content": "x"}]}, "messages[1].role", "'system', 'developer'"),
    "no content": ({"messages": [{"role": "user"}]}, "messages[0].content", "Field required"),
    "empty content": ({"messages": [{"role": "user", "content": []}]}, "messages[0].content", "at least 1 item"),
    "null for content": (
        {"messages": [{"role": "user", "content": None}]}, "messages[0].content", "should be text or a list of parts",
    ),
    "a number for content": (
        {"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "should be text or a list of parts",
    ),
    "half a pair": ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content[0].text", "encode"),
    "a kind of part": (part(type="video", text="x"), "messages[1].content[1]", "does not match"),
    "a part's field": (part(type="text", text=5), "messages[1].content[1].text", "valid string"),
    "a picture of text": (part(type="image_url", image_url="x"), "messages[1].content[1].image_url", "dictionary"),
    "a format": (
        part(type="input_audio", input_audio={"data": "", "format": "ogg"}),
        "messages[1].content[1].input_audio.format", "'wav' or 'mp3'",
    ),
    "tool calls": (
        {"messages": [{"role": "assistant", "content": "", "tool_calls": [1]}]}, "messages[0].tool_calls", "not known",
    ),
    "hot": ({"temperature": 2.5}, "temperature", "less than or equal to 2"),
    "a number as text": ({"temperature": "1"}, "temperature", "valid number"),
    "no probability": ({"top_p": 0}, "top_p", "greater than 0"),
    "a seed": ({"seed": 1 << 63}, "seed", "less than"),
    "no tokens": ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
    "too many tokens": ({"max_completion_tokens": 2000}, "max_tokens", "2,000 tokens of an answer; this server takes"),
    "five stops": ({"stop": list("abcde")}, "stop", "at most 4 items"),
    "an empty stop": ({"stop": ""}, "stop[0]", "at least 1 character"),
    "two answers": ({"n": 2}, "n", "n is not supported; leave it out, or 1"),
    "tools": ({"tools": [{"type": "function"}]}, "tools", "tools is not supported"),
    "a form": ({"response_format": {"type": "json_object"}}, "response_format", "is not supported"),
    "a penalty": ({"frequency_penalty": 0.5}, "frequency_penalty", "is not supported"),
    "what nobody knows": ({"temprature": 1}, "temprature", "temprature is not known here; leave it out"),
    "too many messages": ({"messages": [USER] * 257}, "messages", "257 messages; this server takes 256"),
    "too much text": ({"messages": [{**USER, "content": "a" * (1 << 20)}, USER]}, "messages", "characters of text"),
    "too many pictures": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}] * 17}]},
        "messages", "17 pictures and sounds; this server takes 16",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    fields, param, message = REFUSED[name]
    with pytest.raises(Refusal) as refused:
        read(**fields)
    assert refused.value.param == param
    assert message in refused.value.message
    assert len(refused.value.message) < 600


@pytest.mark.parametrize(
    "fields",
    [
        {"user": "ann", "metadata": {"a": "b"}, "store": True, "service_tier": "auto"},
        {"n": 1, "tools": [], "tool_choice": "auto", "logprobs": False, "presence_penalty": 0.0, "logit_bias": {}},
        {"stop": None, "seed": None, "max_tokens": None, "response_format": {"type": "text"}, "stream_options": None},
    ],
)
def test_what_asks_for_nothing_is_ignored(fields):
    assert read(**fields) == read()


NAMES = st.sampled_from([*ChatRequest.model_fields, "role", "content", "type", "text"])
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200)
@given(ANY)
def test_anything_is_read_or_refused(given):
    for body in (json.dumps(given), json.dumps({**ASK, "messages": [given]}), json.dumps({**ASK, "stop": given})):
        try:
            ChatRequest.read(body.encode(), SETTINGS)
        except Refusal as refusal:
            json.dumps(refusal.to_json()).encode()


@pytest.fixture
def shared(tmp_path):
    """A folder that is shared, one that is not, and links from the one to the other."""
    (tmp_path / "shared" / "inner").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "shared" / "inner" / "a b.png").write_bytes(b"picture")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "shared" / "out.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "shared" / "loop.png").symlink_to(tmp_path / "shared" / "loop.png")
    os.mkfifo(tmp_path / "shared" / "pipe.png")
    return Attachments(tmp_path / "home", tmp_path / "shared")


def test_files_of_the_shared_folder(shared, tmp_path):
    wanted = str(tmp_path / "shared" / "inner" / "a b.png")
    for url in ("file:inner/a%20b.png", f"file://{wanted}", "FILE:inner/../inner/a b.png"):
        assert shared.picture(url, "here").value == wanted
    shared.close()
    assert (tmp_path / "shared" / "inner" / "a b.png").exists()


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "%2e%2e/secret.png", "/etc/passwd", "//host/etc/passwd", "out.png", "loop.png", "pipe.png",
     "inner", "none.png", "", "a\0b", "a" * 5000, "\ud800"],
)  # fmt: skip
def test_files_that_are_not_shared(shared, name):
    """Whether there is one elsewhere is not told."""
    with pytest.raises(Refusal) as refused:
        shared.picture(f"file:{name}", "here")
    assert refused.value.message == "here: no such file in the folder that this server shares"


@pytest.mark.parametrize(
    "url", ["https://example.com/a.png", "data:image/png,abc", "data:;base64", "", "ftp:a", "data:image/png;base64,%%%"]
)
def test_pictures_that_are_none(shared, url):
    with pytest.raises(Refusal, match=r"is no (data URL|base64)"):
        shared.picture(url, "here")


def test_files_go_with_their_request(shared, tmp_path):
    urls = [f"data:image/png;base64,{base64.b64encode(bytes([number])).decode()}" for number in range(3)]
    found = [shared.picture(url, f"p{number}") for number, url in enumerate(urls)]
    assert [os.path.getsize(one.value) for one in found] == [1, 1, 1]
    assert shared.told(f"image {found[1].value}: broken") == "image p1: broken"
    with pytest.raises(Refusal, match="p3 is no base64"):
        shared.sound("a", "wav", "p3")
    shared.close()
    assert not [*(tmp_path / "home").iterdir()]


def test_no_folder_is_shared(tmp_path):
    with pytest.raises(Refusal, match="this server shares none; send a data URL"):
        Attachments(tmp_path, None).picture("file:a.png", "here")
