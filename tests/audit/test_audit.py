"""The audit of a package: what is run, what is measured of each fault, what stays unexplained, and its page."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from parity import cli
from parity.audit import running
from parity.audit.effect import Effect, effect
from parity.audit.outcome import Outcome
from parity.audit.running import AuditRequest, audit
from parity.audit.trial import Trial, trials
from parity.backend import Backend
from parity.checkpoint import Checkpoint
from parity.discovery import find, find_reference
from parity.errors import ExitCode, UsageError
from parity.fault import Inputs, Kind, Needed, Subject, chosen
from parity.judging.judgement import Judgement
from parity.judging.verdict import Deviation, Status, StepVerdict
from parity.report.audit import as_json, print_audits
from parity.report.audit_faults import places
from parity.report.audit_page import markdown
from parity.report.console import console
from parity.running import parties
from parity.running.progress import Silent
from tests import audited
from tests.audited import CATALOGUE, SCALED, SHIFTED, SHUT, InProcess, Package, Worse
from tests.third_party_page import PAGE, stale
from tests.toy import Toy, write

ROOT = Path(__file__).parents[2]
CHECKPOINT = Checkpoint(Path("/nowhere"), "tiny", "weights")
PICTURE = ("gradient.png",)
NAME = "tests.audited:Package"


@pytest.fixture
def audits(monkeypatch):
    """Audits a class of `tests.audited` in this process."""
    for module in (parties, running):  # both start processes
        monkeypatch.setattr(module, "Party", InProcess)
    monkeypatch.setattr(InProcess, "log", [])

    def run(kind, **changes):
        request = AuditRequest(
            (f"tests.audited:{kind.__name__}",), CHECKPOINT, ("float32",), ("cached", "batch", "warm")
        )
        return audit(dataclasses.replace(request, **changes), CATALOGUE, Silent())

    return run


def outcome(audits, inputs, mended):
    """One run of the only package."""
    (found,) = audits.audits
    return found.find(inputs, "float32", mended)


def unexplained(audits):
    """What is left, for each run that leaves something."""
    return {each.trial.mended: each.unexplained for each in audits.audits[0].unexplained}


def test_what_an_audit_runs():
    """Every scenario as installed and mended; media also with what their tokens need; each fault alone."""
    twice = dataclasses.replace(SCALED, needed=Needed.COMPARE)
    subject = Subject((SHIFTED, twice, SHUT), (Inputs("batch", PICTURE),))
    every = trials("p", subject, ("cached", "batch"), (SHIFTED, twice))
    found = [(each.inputs.scenario, bool(each.inputs.media), each.candidate) for each in every]
    assert found == [
        ("cached", False, "p@patch=shut"),
        ("cached", False, "p@patch=all"),
        ("batch", False, "p@patch=shut"),
        ("batch", False, "p@patch=all"),
        ("batch", True, "p@patch=shut"),
        ("batch", True, "p@patch=scaled+shut"),
        ("batch", True, "p@patch=all"),
        ("cached", True, "p@patch=all"),
        ("cached", False, "p@patch=all-shifted"),
        ("cached", True, "p@patch=all-scaled"),
    ]
    assert [each.candidate for each in trials("p", Subject(()), ("cached",), ())] == ["p", "p@patch=all"]
    assert list(trials("p", subject, ("warm",), (SHIFTED,)))[-1].mended == "all"


def test_each_fault_is_measured_alone_and_mended(audits):
    """As installed both show; alone each at its step; mended nothing; what nothing shows has its test."""
    found = audits(Package)
    assert found.exit_code is ExitCode.PARITY
    installed, whole = (outcome(found, Inputs("cached"), mended) for mended in ("shut", "all"))
    assert (installed.verdict, installed.introduced) == (ExitCode.DIVERGED, ("embed", "logits"))
    assert installed.first.step == "embed"
    assert (whole.verdict, whole.introduced, whole.effect.same, whole.effect.tokens) == (ExitCode.PARITY, (), 5, 5)
    assert whole.effect.logits < 1e-5 < installed.effect.logits
    (shifted,), (scaled,) = (found.audits[0].alone(fault) for fault in (SHIFTED, SCALED))
    assert (shifted.wrong, scaled.wrong) == (("embed",), ("logits",))
    assert scaled.effect.logits == pytest.approx(0.5, rel=1e-4)
    assert scaled.effect.same == scaled.effect.tokens
    assert [(part.name, part.compared, part.introduced) for part in scaled.parts] == [
        ("ids", 1, 0),
        ("embed", 1, 0),
        ("layers", 1, 0),
        ("logits", 1, 1),
    ]


def test_everything_is_loaded_and_run_once(audits):
    """Each candidate is loaded once; the oracle runs once for each kind of inputs, the baseline twice."""
    audits(Package)
    loads = [each for each in InProcess.log if each[0] == "load"]
    assert len(loads) == len(set(loads)) == 2 + 4 + 1  # the reference twice; as installed, all, three alone
    oracle = [each for each in InProcess.log if each[:2] == ("run", "tests.toy:Toy")]
    assert len(oracle) == 3 * 5  # three scenarios of text, and two kinds of inputs with a picture


def test_an_interrupted_audit_goes_on(audits, tmp_path):
    """Behind the last run that is written down; what it says in the end is what one audit says, to the last digit."""
    whole, file = audits(Package), tmp_path / "audit.jsonl"
    first = audits(Package, results=file)
    lines = file.read_text().splitlines()
    assert len(lines) == 1 + len(first.audits[0].outcomes)
    file.write_text("\n".join(lines[:5]) + "\n" + lines[5][:40])
    InProcess.log.clear()
    again = audits(Package, results=file)
    assert repr(again.audits) == repr(first.audits) == repr(whole.audits)
    assert again.seconds > 0
    assert len([each for each in InProcess.log if each[0] == "run"]) > 0
    InProcess.log.clear()
    assert repr(audits(Package, results=file).audits) == repr(whole.audits)
    assert InProcess.log == []


def test_results_of_another_audit_are_refused(audits, tmp_path):
    """Of other faults, or held to another checkpoint, in one line; nothing of the file is lost."""
    file = tmp_path / "audit.jsonl"
    audits(Package, results=file)
    before = file.read_text()
    with pytest.raises(UsageError, match="of another packages"):
        audits(Worse, results=file)
    with pytest.raises(UsageError, match="of another weights"):
        audits(Package, results=file, checkpoint=Checkpoint(Path("/nowhere"), "tiny", "others"))
    assert file.read_text() == before


def test_a_crash_has_another_try(audits, tmp_path):
    file = tmp_path / "audit.jsonl"
    found = audits(audited.Dying, results=file).audits[0].outcomes
    assert [outcome.crashed for outcome in found].count(True) > 0
    assert len(file.read_text().splitlines()) == 1 + [outcome.crashed for outcome in found].count(False)


def test_where_the_package_cannot_be_mended_the_reference_errs_alike(audits):
    """Oracle and baseline have the variants of all faults, or of all but one; as installed, none of them."""
    found = audits(audited.Compiled)
    assert found.exit_code is ExitCode.PARITY
    installed, whole = (outcome(found, Inputs("cached"), mended) for mended in ("", "all"))
    assert (installed.introduced, whole.introduced) == (("embed", "logits"), ())
    assert {each.trial.candidate for each in found.audits[0].outcomes} == {"tests.audited:Compiled"}
    shifted, scaled = audited.Compiled.declared.faults
    assert [found.audits[0].alone(fault)[0].wrong for fault in (shifted, scaled)] == [("embed",), ("logits",)]
    varied = [each[2:] for each in InProcess.log if each[:2] == ("vary", "float64")]
    assert {("shifted", "scaled"), ("shifted",), ("scaled",), ()} == set(varied)
    page = markdown(found, "the command")
    assert "--reference 'tests.toy:Toy@variant=scaled:at=*' --prompt Hello" in page
    assert "- where: " in page


def test_what_nobody_knows_is_unexplained(audits):
    """With all faults mended it is still there, and no fault's entry has its step: exit 1."""
    found = audits(audited.Worse)
    assert found.exit_code is ExitCode.DIVERGED
    left = unexplained(found)
    assert left["all"] == "all faults mended, first at layers.0.mean"
    assert left["all-shifted"] == "shifted alone is introduced at layers.0.mean, which is none of its steps"
    assert "shut" not in left


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": ("logits",)}, "shifted alone is introduced at embed, which is none of its steps"),
        ({"dtypes": ("bfloat16",)}, "shifted alone shows, though not in float32 as declared"),
        ({"name": "other", "steps": ()}, "other alone shows nothing"),
        ({"name": "other", "kind": Kind.NUMERICS, "steps": ()}, None),
        ({"name": "other", "dtypes": ("bfloat16",)}, None),
    ],
)
def test_an_entry_that_is_not_so_is_unexplained(change, said, audits, monkeypatch):
    """Other steps, another arithmetic, or nothing at all."""
    entry = dataclasses.replace(SHIFTED, **change)
    monkeypatch.setattr(audited.Package, "declared", Subject((SHIFTED, SCALED, SHUT, entry)[entry.name == "shifted" :]))
    found = unexplained(audits(Package))
    assert found == ({} if said is None else {f"all-{entry.name}": said})


def test_refusals_are_rows_in_the_packages_own_words(audits):
    """Declared, it is explained; another, or one that does not come, is not. A crash never is."""
    found = audits(audited.Choosy)
    assert found.exit_code is ExitCode.DIVERGED
    refused = outcome(found, Inputs("batch", PICTURE, refused="no pictures"), "all")
    assert (refused.verdict, refused.message, refused.crashed) == (
        ExitCode.UNAVAILABLE,
        "package takes no pictures",
        False,
    )
    assert refused.refused
    assert not refused.unexplained
    assert outcome(found, Inputs("warm", PICTURE), "all").unexplained == "package takes no pictures"
    page = markdown(found, "the command")
    assert "| batch + gradient.png | refused: `package takes no pictures` | - | - | - | refused |" in page
    (shut,) = audits(Package).audits[0].alone(SHUT)
    assert shut.message == "package cannot open tiny"
    assert not shut.unexplained
    crashed = outcome(audits(audited.Dying), Inputs("cached"), "all")
    assert crashed.crashed
    assert crashed.unexplained == "package crashed at embed: SIGSEGV"


def test_a_refusal_that_does_not_come_is_unexplained(audits, monkeypatch):
    """A package that has learnt it is declared anew."""
    monkeypatch.setattr(audited.Package, "declared", Subject((SHUT,), (Inputs("batch", PICTURE, refused="no"),)))
    assert "was taken, though a refusal is declared" in unexplained(audits(Package)).values()


def test_what_is_inherited_alone_is_a_faults_too():
    """Where padding is not compared, its NaN is seen in the free run of what reads it."""
    step = StepVerdict("prefill", "logits", 0, Status.INHERITED, lockstep=Deviation(0.0, 1e-7, 0.3))
    judgement = Judgement("package", "float32", "cached", (step,), (), 4.0)
    for fault, said in ((SCALED, ""), (SHIFTED, "shifted alone is introduced at logits, which is none of its steps")):
        found = Outcome.of(Trial("package", fault.inputs, "all-x", fault), judgement, Effect(math.nan, 0, 5))
        assert (found.introduced, found.wrong, found.unexplained) == ((), ("logits",), said)


def test_effect_of_other_tokens_is_that_of_the_last(tmp_path):
    """Where the numbers of tokens differ the last of each row is compared; NaN stays NaN."""
    oracle = write(tmp_path, "oracle", Toy())
    shorter = write(tmp_path, "shorter", Toy(wrong={"embed": lambda value: value[:, -1:]}), oracle=oracle.path)
    assert effect(oracle=oracle, candidate=shorter) == dataclasses.replace(
        effect(oracle=oracle, candidate=shorter), same=2, tokens=2, last=True
    )
    nan = write(tmp_path, "nan", Toy(wrong={"logits": lambda value: value * np.nan}), oracle=oracle.path)
    assert math.isnan(effect(oracle=oracle, candidate=nan).logits)
    assert effect(oracle=oracle, candidate=oracle).logits == 0


def test_page_and_terminal(audits, tmp_path):
    """Each fault with its place, its size, its effect, its proof and its command; nothing of this machine."""
    found = audits(Package)
    page = markdown(found, "the command")
    assert stale(page, NAME, "1.2", Package.declared) == []
    for line in (
        f"## {NAME} 1.2 (toy 1)",
        "Written by `the command`; do not edit.",
        "How it is run.",
        "Nothing is left unexplained.",
        "Without `shut` mended the checkpoint is not loaded: as installed means with that mended.",
        "- where: `a.py:3, 7`",
        "- proven by `test_elsewhere`: no scenario shows it alone",
        "- alone in cached: float32, refused: `package cannot open tiny`",
        "$ parity compare --candidates tests.audited:Package@patch=all-scaled --scenario cached --prompt Hello "
        "--image samples/gradient.png",
    ):
        assert line in page
    assert "| `scaled` | deliberate | cached + gradient.png | 1 | " in page
    assert "float32, 1 step introduced, `logits`, " in page
    assert "mended too: parity, worst " in page
    assert str(ROOT) not in page + json.dumps(as_json(found))
    with (tmp_path / "out").open("w") as file:
        print_audits(found, console(file, width=200))
    text = (tmp_path / "out").read_text()
    assert "all-scaled" in text
    assert "runs of candidates in 1 minute" in text
    assert places(["b.py:7", "a.py:1", "b.py:3"]) == "`b.py:3, 7`; `a.py:1`"


def test_a_page_keeps_the_chapters_of_other_packages(audits):
    """A new one has its own command; one that was there is written anew in its place; alone, the page is all new."""
    first, other = audits(Package), audits(audited.Compiled)
    page = markdown(first, "one")
    both = markdown(other, "two", page)
    begin = page.index("\n## ")
    assert page[begin:].strip() in both
    assert both.startswith(page[: page.index("\n\nWhat the")])
    assert both.index(f"## {NAME} ") < both.index("## tests.audited:Compiled 1.2")
    assert "\n\nWritten by `two`; do not edit.\n" in both[both.index("## tests.audited:Compiled") :]
    assert both.count("Written by `one`; do not edit.") == 1
    assert both.count("- **tests.audited:Compiled 1.2") == 1
    assert markdown(other, "two", both) == both
    assert markdown(first, "one", page) == page


def test_a_stale_page_is_seen(audits):
    """Another version, other texts, a fault more or less."""
    page = markdown(audits(Package), "the command")
    declared = Package.declared
    assert stale(page, NAME, "1.3", declared)[0].startswith(f"not of {NAME} 1.3")
    changed = dataclasses.replace(SHIFTED, wrong="Otherwise.")
    assert stale(page, NAME, "1.2", dataclasses.replace(declared, faults=(changed, *declared.faults[1:]))) == [
        "the faults are declared otherwise"
    ]
    assert stale(page, NAME, "1.2", dataclasses.replace(declared, faults=declared.faults[1:])) == [
        "the faults are declared otherwise",
        "shifted",
    ]


def test_commands_of_the_page_can_be_run():
    """Each names a backend with patches that it has, a scenario and samples that are there."""
    commands = [shlex.split(line[2:]) for line in PAGE.read_text().splitlines() if line.startswith("$ parity compare")]
    assert len(commands) >= 15
    for command in commands:
        given = dict(zip(command[2::2], command[3::2], strict=True))
        find(given["--candidates"])
        package, _, names = given["--candidates"].partition("@patch=")
        assert chosen(package, find(package).subject().faults, names) or find_reference(given["--reference"])
        assert all((ROOT / given[option]).is_file() for option in ("--image", "--audio") if option in given)


@pytest.fixture
def parity(monkeypatch, capsys, audits):
    """Runs the command in this process: its exit code, standard output and standard error."""
    monkeypatch.setattr("parity.checkpoint.find_checkpoint", lambda spec, adapter=None: CHECKPOINT)
    monkeypatch.setattr("parity.discovery.reference_of", lambda checkpoint, spec=None: spec or "transformers")
    monkeypatch.setattr("parity.variant.find_variants", lambda name: CATALOGUE)
    monkeypatch.setattr("signal.signal", lambda number, handler: None)

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            cli.main(["audit", *map(str, arguments)])
        return (left.value.code, *capsys.readouterr())

    return run


def test_command(parity, tmp_path):
    """Exit 0 where all is explained, 1 where not, 2 where there is nothing to audit, 3 with the cure in one line."""
    page = tmp_path / "page.md"
    code, out, _ = parity("tests.audited:Package", "--scenario", "cached", "--only", "shifted", "--markdown", page)
    assert (code, "all-shifted" in out, "all-shut" in out) == (0, True, False)
    command = f"parity audit tests.audited:Package --dtype float32 --markdown {page} --scenario cached --only shifted"
    assert f"Written by `{command}`" in page.read_text()
    code, out, _ = parity("tests.audited:Worse", "--scenario", "cached", "--json")
    assert code == 1
    assert json.loads(out)["packages"][0]["unexplained"]
    code, out, err = parity("tests.audited:Package", "tests.audited:Missing")
    assert (code, out, err) == (3, "", "parity: package is not installed: pip install package\n")
    code, _, err = parity("tests.toy:Toy")
    assert (code, err) == (2, "parity: backend toy declares nothing to audit\n")
    assert parity("tests.audited:Package", "--dtype", "float32,bfloat16")[0] == 2
    assert "no fault like 'else*' shows" in parity("tests.audited:Package", "--only", "else*")[2]
    assert not [each for each in InProcess.log if each[2] == "bfloat16"]


def test_a_backend_declares_nothing_unless_it_says_so():
    with pytest.raises(UsageError, match="declares nothing to audit"):
        Backend.subject.__func__(Toy)


def test_needed_commands_start_without_a_framework():
    """Texts and patches are read in the command's own process; the packages are imported by workers alone."""
    if not all(map(importlib.util.find_spec, ("mlx_lm", "mlx_vlm"))):
        pytest.skip("mlx-lm and mlx-vlm are not installed")
    code = (
        "import sys; from parity.discovery import find; import parity.cli.auditing, parity.audit.running;"
        "find('mlx-lm').subject(); find('mlx-vlm').subject();"
        "print(*{'torch', 'transformers', 'mlx.core', 'mlx_lm', 'mlx_vlm'} & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


@pytest.mark.exhaustive
def test_mlx_lm_in_one_scenario(capsys):
    """By the command, in workers: ids of media are found as text's, alone and as installed, and nothing else."""
    pytest.importorskip("mlx_lm")
    with pytest.raises(SystemExit) as left:
        cli.main(["audit", "mlx-lm", "--scenario", "outside", "--json"])
    assert left.value.code == 0
    (package,) = json.loads(capsys.readouterr().out)["packages"]
    first = {run["candidate"]: run["first_divergence"] for run in package["runs"]}
    assert first["mlx-lm"]["step"] == first["mlx-lm@patch=all-media-ids-as-text"]["step"] == "text.inputs_embeds"
    assert first["mlx-lm@patch=all"] is None
    assert Status.INTRODUCED not in [run["verdict"] for run in package["runs"]]
