"""What OpenAI's own client is told: answers, streams and errors."""

from __future__ import annotations

import asyncio
import base64
import re

import pytest

openai = pytest.importorskip("openai")


def test_an_answer(served):
    answer = served.say("Well, hello there")
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == (
        "assistant", "Well, hello there ", "stop",
    )  # fmt: skip
    assert (answer.object, answer.model, answer.system_fingerprint) == ("chat.completion", "toy", "toy-float32-weights")
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (1, 3, 4)


def test_a_stream(served):
    """The role, the pieces as they come, the reason; what it took where that is asked for."""
    *chunks, last = served.say("one two three", stream=True, stream_options={"include_usage": True}, max_tokens=2)
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert [delta.role for delta in deltas] == ["assistant", None, None, None]
    assert [delta.content for delta in deltas] == ["", "one ", "two ", None]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, None, "length"]
    assert (last.choices, last.usage.completion_tokens, last.usage.total_tokens) == ([], 2, 3)
    assert len({chunk.id for chunk in [*chunks, last]}) == 1
    assert all(chunk.choices for chunk in served.say("one", stream=True))


def test_an_asynchronous_client(served):
    """Several at once: each gets its own."""

    async def talk():
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:

            async def one(text):
                asked = {"model": "toy", "messages": [{"role": "user", "content": text}]}
                stream = await client.chat.completions.create(**asked, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            return await asyncio.gather(*(one(f"this is {number}") for number in range(8)))

    assert asyncio.run(talk()) == [f"this is {number} " for number in range(8)]


def test_stop_texts(served):
    """The first that comes ends the answer, is not said, and is found across pieces."""
    for stop, said in (("two th", "one "), (["four", "three"], "one two "), ("nowhere", "one two three four ")):
        for stream in False, True:
            answer = served.say("one two three four", stop=stop, stream=stream)
            if stream:
                pieces = [chunk.choices[0].delta.content or "" for chunk in answer]
                assert "".join(pieces) == said
            else:
                assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (said, "stop")


def test_how_tokens_are_chosen(served):
    """As OpenAI has it where nothing is said, but the seed, which is another each time."""
    said = [served.say("sampling").choices[0].message.content for _ in range(2)]
    assert all("max_tokens=1024, temperature=1.0, top_k=0, top_p=1.0" in one for one in said)
    assert len({re.search(r"seed=(\d+)", one).group(1) for one in said}) == 2
    given = {"temperature": 0.5, "top_p": 0.25, "seed": -1, "max_completion_tokens": 50, "extra_body": {"top_k": 3}}
    said = served.say("sampling", **given).choices[0].message.content
    assert said.startswith("Sampling(max_tokens=50, temperature=0.5, top_k=3, top_p=0.25, seed=18446744073709551615")


def test_who_says_what(served):
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Very."}]},
        {"role": "user", "content": "Hello"},
        served.say("Hi").choices[0].message,
        {"role": "user", "content": "roles", "name": "ann"},
    ]
    answer = served.client.chat.completions.create(model="toy", messages=turns)
    assert answer.choices[0].message.content == "['system', 'system', 'user', 'model', 'user'] "


def test_pictures_and_sounds_are_files_as_long_as_they_are_needed(served):
    """In their order, with the content that was sent; afterwards there are none."""
    data = base64.b64encode(b"not looked at").decode()
    parts = [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": data, "format": "mp3"}},
        {"type": "text", "text": "message"},
    ]
    said = served.say(parts).choices[0].message.content
    kinds = re.findall(r"kind='(\w+)'", said)
    assert kinds == ["text", "image", "audio", "text"]
    assert re.search(r"value='\S+\.mp3'", said)
    assert not [*served.home.glob("*/")]


def test_models(served):
    client = served.client
    (model,) = client.models.list()
    assert (model.id, model.owned_by, client.models.retrieve("toy")) == ("toy", "parity", model)
    with pytest.raises(openai.NotFoundError, match="no model 'a/b'"):
        client.models.retrieve("a/b")


def test_errors_are_the_clients_own(served):
    """Each with its place in the request, and nothing that could command a terminal."""
    with pytest.raises(openai.NotFoundError) as missing:
        served.say("Hi", model="gpt-4")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as refused:
        served.say("refuse this")
    assert refused.value.body["message"] == r"it cannot be: this\x1b"
    with pytest.raises(openai.BadRequestError) as long:
        served.say("exceed", stream=True)
    assert (long.value.code, long.value.param) == ("context_length_exceeded", "messages")
    with pytest.raises(openai.BadRequestError) as many:
        served.say("Hi", max_tokens=1025)
    assert many.value.param == "max_tokens"


def test_an_error_behind_the_first_piece_is_in_the_stream(served):
    stream = served.say("crash first", stream=True)
    said = []
    with pytest.raises(openai.APIError, match=r"crashed .*exit code 9; the model is started again"):
        said.extend(chunk.choices[0].delta.content for chunk in stream)
    assert said == ["", "first"]
    assert served.say("again").choices[0].message.content == "again "
