"""A package with faults to audit: `tests.toy` with errors that its patches take away, and parties without processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from parity.discovery import BACKENDS, find
from parity.errors import BackendUnavailable
from parity.fault import OPTION, Fault, Inputs, Kind, Needed, Subject, chosen
from parity.media import parse
from parity.running.execute import Run, execute
from parity.running.party import Crash
from parity.scenario import Scenario
from parity.traces.coverage import NOTHING
from parity.traces.trace import Trace
from parity.variant import Catalogue
from tests.toy import Toy

CATALOGUE = Catalogue((), "Hello", Path(__file__).parents[1] / "samples", "tests.toy:Toy")

SHIFTED = Fault(
    name="shifted", wrong="Embeds one too high.", reached="Always.", steps=("embed",), inputs=Inputs("cached")
)
SCALED = Fault(
    name="scaled",
    wrong="Scores are half.",
    kind=Kind.DELIBERATE,
    steps=("logits",),
    inputs=Inputs("cached", ("gradient.png",)),
)
SHUT = Fault(name="shut", wrong="Opens nothing.", inputs=Inputs("cached", refused="cannot open"), needed=Needed.LOAD)
ELSEWHERE = Fault(name="elsewhere", proof="test_elsewhere")
WRONG = {
    "shifted": ("embed", lambda value: value + 1),
    "scaled": ("logits", lambda value: value / 2),
}


class Package(Toy):
    """Has every fault that is not mended, and `left` whatever is mended."""

    name = "package"
    options = {OPTION: "faults to mend"}  # noqa: RUF012 - a test's constant
    declared = Subject((SHIFTED, SCALED, SHUT, ELSEWHERE), (Inputs("batch", ("gradient.png",)),), "How it is run.")
    left = {}  # noqa: RUF012

    @classmethod
    def subject(cls):
        """What it declares."""
        return cls.declared

    @classmethod
    def load(cls, checkpoint, dtype, **options):
        """Refuses unless it is told to mend that."""
        mended = {fault.name for fault in chosen(cls.name, cls.declared.faults, options.get(OPTION, ""))}
        if "shut" not in mended and SHUT in cls.declared.faults:
            raise BackendUnavailable(f"{cls.name} cannot open {checkpoint}")
        return cls(dtype, {**dict(WRONG[name] for name in WRONG if name not in mended), **cls.left})


@dataclass(frozen=True, kw_only=True)
class Copied(Fault):
    """Is mended by a reference that is wrong alike."""

    copied: ClassVar[bool] = True

    def alike(self, inputs):
        """A variant of the same name."""
        return (self.name,)


class Compiled(Package):
    """Cannot be mended: the reference errs alike."""

    declared = Subject((
        Copied(name="shifted", wrong="Embeds one too high.", steps=("embed",), inputs=Inputs("cached")),
        Copied(name="scaled", wrong="Scores are half.", steps=("logits",), inputs=Inputs("batch")),
    ))  # fmt: skip
    options = {}  # noqa: RUF012


class Worse(Package):
    """Has a fault that nobody knows."""

    left = {"layers.0.mean": lambda value: value + 1}  # noqa: RUF012


class Choosy(Package):
    """Refuses what holds a picture, in words that it declares for one scenario alone."""

    declared = Subject(
        (SHUT,), (Inputs("batch", ("gradient.png",), refused="no pictures"), Inputs("warm", ("gradient.png",)))
    )

    def start(self, *, padding, cache):
        """The toy's scenarios hold none, so all are refused."""
        raise BackendUnavailable("package takes no pictures")


class Dying(Package):
    """Ends in the middle of a run."""

    declared = Subject((SHUT,))

    def start(self, *, padding, cache):
        """As a party says it."""
        raise Crash("package crashed at embed: SIGSEGV")


class Missing(Package):
    """Is not installed."""

    @classmethod
    def subject(cls):
        """Say so."""
        raise BackendUnavailable("package is not installed: pip install package")


class InProcess:
    """Stands in for `parity.running.party.Party`, without a process; notes what is loaded and run."""

    log = []  # noqa: RUF012 - a test empties it

    def __init__(self, name, backend, *, group=BACKENDS, progress, environment=None, timeout=None):
        self.name, self._spec, self._group = name, backend, group

    def load(self, checkpoint, dtype):
        """In this process."""
        InProcess.log.append(("load", self._spec, dtype))
        self._checkpoint, self._dtype = checkpoint, dtype
        options = dict(part.split("=") for part in self._spec.partition("@")[2].split(":") if part)
        self._backend = find(self._spec, self._group).load(checkpoint.path, dtype, **options)
        return self

    def wake(self):
        """It is awake."""

    def call(self, op, **fields):
        """What a worker is asked besides runs."""
        if op == "scenario":
            return self._backend.scenario(fields["name"], fields["prompt"], parse(fields["media"])).to_json()
        if op == "vary":
            InProcess.log.append(("vary", self._dtype, *(name for name, _ in fields["variants"])))
            assert all(place == "*" for _, place in fields["variants"])
            self._backend.wrong = dict(WRONG[name] for name, _ in fields["variants"])
            return None
        assert op == "places"
        return {"places": {fault.name: ["a.py:3", "a.py:7"] for fault in find(self._spec).subject().faults}} | {
            "versions": {"package": "1.2", "toy": "1"}
        }

    def executions(self):
        """The toy has one way to compute."""
        return (), False

    def run(self, output, *, oracle=None, scenario=None, mode="free", missing=NOTHING):
        """One trace."""
        InProcess.log.append(("run", self._spec, mode))
        given = {"oracle": oracle.path, "missing": missing} if oracle else {"scenario": Scenario.from_json(scenario)}
        execute(self._backend, Run(output, "tiny", "weights", self._dtype, mode, **given), lambda step: None)
        return Trace.read(output)

    def close(self):
        """Nothing to end."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()
