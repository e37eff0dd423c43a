"""A model of three steps, so that the engine can be tested without a framework."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np

from parity.backend import Reference, Tensors
from parity.contract import Contract, Step
from parity.errors import UsageError
from parity.running.execute import Run, execute
from parity.scenario import Chunk, Scenario
from parity.tap import SILENT
from parity.traces.runs import Runs
from parity.traces.trace import Trace

HIDDEN, VOCABULARY = 96, 80

CONTRACT = Contract(
    "toy",
    (
        Step("ids", ("batch", "token"), "integer", "token ids", "Toy.forward"),
        Step("embed", ("batch", "token", "hidden"), "float", "embedding", "Toy.forward"),
        Step("layers.0.mean", ("batch", "token", "one"), "float", "mean of the embedding", "Toy.forward"),
        Step("logits", ("batch", "token", "vocabulary"), "float", "scores", "Toy.forward"),
    ),
    logits="logits",
)

SCENARIO = Scenario("toy", (Chunk("prefill", ((1, 2, 3, 4),)), Chunk("decode.1", None)))


class ToyTensors(Tensors):
    """NumPy is its own framework."""

    def to_numpy(self, value, step):
        """The array itself."""
        return value

    def from_numpy(self, array, like, step):
        """A copy in the dtype of `like`."""
        return array.astype(like.dtype)


class Toy(Reference):
    """Embeds, averages and projects; `wrong` maps a step's name to what is done to its value."""

    name = "toy"
    dtypes = ("float64", "float32", "float16")
    scenarios = {"toy": "the only one"}  # noqa: RUF012 - a test's constant

    def __init__(self, dtype="float64", wrong=None):
        draw = np.random.default_rng(0)
        self.tensors = ToyTensors()
        self.table = draw.normal(size=(16, HIDDEN)).astype(dtype)
        self.head = draw.normal(size=(HIDDEN, VOCABULARY)).astype(dtype) / np.asarray(8, dtype)
        self.wrong = wrong or {}

    @classmethod
    def load(cls, checkpoint, dtype, **options):
        """Nothing to read."""
        return cls(dtype)

    @classmethod
    def versions(cls):
        """Of no library."""
        return {"toy": "1"}

    def contract(self):
        """Four steps."""
        return CONTRACT

    def scenario(self, name, prompt, media=()):
        """The only scenario."""
        return SCENARIO

    def start(self, *, padding, cache):
        """Nothing to forget."""

    def forward(self, token_ids, *, prompts=(), tap=SILENT):
        """Emit the four steps."""

        def say(name, value):
            return tap(name, self.wrong.get(name, lambda same: same)(value))

        ids = say("ids", token_ids)
        embed = say("embed", self.table[ids % 16])
        mean = say("layers.0.mean", embed.mean(axis=-1, keepdims=True))
        return say("logits", (embed - mean) @ self.head)


def write(folder: Path, name: str, toy: Toy, dtype="float64", **run) -> Trace:
    """Run and read back; the first trace needs a scenario, the others an oracle."""
    given = run if "oracle" in run else {"scenario": SCENARIO, **run}
    execute(toy, Run(folder / name, "toy", "weights", dtype, **given), lambda step: None)
    return Trace.read(folder / name)


def runs(folder: Path, name: str, toy: Toy, oracle: Trace, dtype="float32") -> Runs:
    """A free and a lockstep run."""
    free = write(folder, f"{name}.free", toy, dtype, oracle=oracle.path)
    return Runs(free, write(folder, f"{name}.lockstep", toy, dtype, oracle=oracle.path, mode="lockstep"))


class Port(Toy):
    """The same computation by another party: what a candidate is."""

    name = "port"


class Deaf(Toy):
    """Does not speak of one step."""

    def forward(self, token_ids, *, prompts=(), tap=SILENT):
        """Keep the mean back."""
        return super().forward(token_ids, tap=lambda name, value: value if "mean" in name else tap(name, value))


class Killed(Toy):
    """Is killed in the middle, as by the kernel for want of memory."""

    def __init__(self, dtype="float64"):
        super().__init__(dtype, {"logits": lambda x: os.kill(os.getpid(), signal.SIGKILL)})


class Throwing(Toy):
    """Throws in the middle."""

    def __init__(self, dtype="float64"):
        def throw(x):
            raise RuntimeError("kernel\nlaunch failed")

        super().__init__(dtype, {"logits": throw})


class Leaving(Toy):
    """Ends its process in the middle, with a last word."""

    def __init__(self, dtype="float64"):
        def leave(x):
            print("fatal: device lost", flush=True)
            os._exit(7)

        super().__init__(dtype, {"logits": leave})


class Unloadable(Toy):
    """Refuses the checkpoint."""

    @classmethod
    def load(cls, checkpoint, dtype, **options):
        """Say why."""
        raise UsageError("architecture 'other'; this backend is for 'toy'")


class Talking(Toy):
    """Ends its process with a very long last word."""

    def __init__(self, dtype="float64"):
        def leave(x):
            print("a" * 5_000_000, flush=True)
            os._exit(7)

        super().__init__(dtype, {"logits": leave})


class Objects(Toy):
    """Emits what is no tensor of numbers."""

    kind: object = object

    def __init__(self, dtype="float64"):
        super().__init__(dtype, {"embed": lambda x: x.astype(self.kind)})


class Words(Objects):
    """Emits texts."""

    kind = str


class Complex(Objects):
    """Emits complex numbers."""

    kind = complex
