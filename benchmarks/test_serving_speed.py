"""What the server costs: answers of MLX over HTTP beside the same ones that `parity generate` writes, alternating.

Run by ``make bench``. The model is the embedded one, whose tokens take some milliseconds: of a larger one, the server's
share is smaller. `openai` is the client, in this process, and part of what is measured.
"""

from __future__ import annotations

import statistics
import threading
import time

import pytest

pytest.importorskip("openai")
pytest.importorskip("mlx.core")

from parity.checkpoint import find_checkpoint
from parity.generation import Message, Sampling
from parity.media import Part
from parity.running.single import writer
from tests.serving.conftest import serving

ROUNDS, TOKENS, CLIENTS = 5, 32, 4
PROMPT = "Hello world"
DRAWN = {"temperature": 2.0, "seed": 3}
"""A text that does not end soon."""


@pytest.fixture(scope="module")
def both():
    """A writer and a server of the same model, each in a process of its own."""
    checkpoint = find_checkpoint(None)
    with (
        writer(checkpoint=checkpoint, backend="mlx", dtype="float32") as write,
        serving("mlx", checkpoint, model="tiny") as served,
    ):
        yield write, served


def written(write):
    """Seconds to the first piece and to the last one."""
    start = time.perf_counter()
    pieces = write([Message("user", (Part("text", PROMPT),))], Sampling(max_tokens=TOKENS, **DRAWN))
    next(pieces)
    first = time.perf_counter() - start
    list(pieces)
    return first, time.perf_counter() - start


def asked(served):
    """The same of a stream over HTTP."""
    start = time.perf_counter()
    chunks = served.say(PROMPT, model="tiny", stream=True, max_tokens=TOKENS, **DRAWN)
    next(chunk for chunk in chunks if chunk.choices[0].delta.content)
    first = time.perf_counter() - start
    list(chunks)
    return first, time.perf_counter() - start


def together(served):
    """Seconds of an answer where several clients ask at once."""
    start = time.perf_counter()
    threads = [threading.Thread(target=asked, args=(served,)) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - start) / CLIENTS


def ratios(write, served):
    """Medians over neighbouring answers, so that a busy machine disturbs both alike; the first round warms up."""
    rounds = [(written(write), asked(served), together(served)) for _ in range(ROUNDS + 1)][1:]
    return {
        "first piece": statistics.median(http[0] / plain[0] for plain, http, _ in rounds),
        "whole answer": statistics.median(http[1] / plain[1] for plain, http, _ in rounds),
        f"each of {CLIENTS} at once": statistics.median(many / plain[1] for plain, _, many in rounds),
    }


def test_serving_beside_generating(benchmark, both):
    """Both write the same text."""
    write, served = both
    said = served.say(PROMPT, model="tiny", max_tokens=TOKENS, **DRAWN).choices[0].message.content
    plain = write([Message("user", (Part("text", PROMPT),))], Sampling(max_tokens=TOKENS, **DRAWN))
    assert "".join(plain) == said
    found = benchmark.pedantic(ratios, args=both, rounds=1, iterations=1)
    benchmark.extra_info.update(found)
    for name, ratio in found.items():
        print(f"\n{name}: {ratio:.2f} x plain generation", end="")
