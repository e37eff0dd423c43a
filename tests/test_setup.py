"""The set-up: a prompt reaches the CLI unharmed through make, and an installation is exact, repeatable and recovers."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
FORWARDED = ("PROMPT", "IMAGE", "AUDIO", "MODEL", "ADAPTER", "CANDIDATES", "DTYPE", "SCENARIO", "REPORT")

# Stands in for the CLI: says what it was given. JSON in ASCII, so that no terminal setting matters.
PRINTER = """
import json, os, sys
print(json.dumps({"arguments": sys.argv[1:], "environment": dict(os.environ)}))
"""

# Stands in for Python: notes what it was asked; makes an environment that is itself; installs unless told to fail.
PYTHON = """#!/bin/sh
echo "$*" >> calls
case "$*" in
  "-I -c "*) echo yes ;;
  "-m venv --clear "*) rm -rf "$4" && mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
  "-m pip install "*) test ! -e offline ;;
esac
"""

PROMPTS = [
    "Hello world",
    "a $HOME `b` \"c\" $$ %",
    "it's",
    "two\nlines\n",
    "tab\there\r\n",
    "x\n\tcommand",
    "$",
    "$$",
    "tail$",
    "$(",
    "${HOME}",
    "$(value PROMPT)",
    "$(error stop)",
    "# not a comment",
    "a # b",
    "%",
    "-n",
    "--help",
    "=",
    ":= y",
    "a=b",
    "\\",
    "a\\\nb",
    "\\#\\$x",
    "; false",
    "*",
    "trailing  ",
    "endif",
    "é 😀 日本",
    "long " * 10_000,
]  # fmt: skip


class Make:
    """Runs the real make on the real Makefile in a folder of its own, with nothing to install."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stamp = folder / ".venv" / ".installed"
        shutil.copy(ROOT / "Makefile", folder)
        (folder / "pyproject.toml").touch()
        (folder / "constraints.txt").touch()
        (folder / "printer.py").write_text(PRINTER)
        (folder / "python").write_text(PYTHON)
        (folder / "python").chmod(0o755)

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run make as from a fresh shell: the make that runs these tests hands its own variables down."""
        clean = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        # shell=False: what is given is exactly what a shell would hand to make.
        return subprocess.run(
            ["make", *arguments], cwd=self.folder, env=clean | environment, capture_output=True, text=True, check=False
        )

    def compare(self, *arguments: str, **environment: str) -> dict[str, str]:
        """Return the environment in which `make compare` starts the CLI."""
        done = self("compare", f"PARITY={sys.executable} printer.py", "PYTHON=./python", *arguments, **environment)
        assert done.returncode == 0, done.stderr
        printed = json.loads(done.stdout)
        assert printed["arguments"] == ["compare"]
        return printed["environment"]

    def calls(self) -> list[str]:
        """Return, and forget, what the stand-in for Python was asked to do: environments made and installations."""
        log = self.folder / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [line.split()[1] for line in lines if line.startswith(("-m venv", "-m pip install"))]


@pytest.fixture
def make(tmp_path):
    return Make(tmp_path)


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    make = Make(tmp_path_factory.mktemp("ready"))
    make.compare()
    return make


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: repr(prompt)[:30])
def test_a_prompt_arrives_unharmed(ready, prompt):
    assert ready.compare(f"PROMPT={prompt}")["PARITY_PROMPT"] == prompt
    assert ready.compare(PROMPT=prompt)["PARITY_PROMPT"] == prompt
    assert ready.compare(PARITY_PROMPT=prompt)["PARITY_PROMPT"] == prompt


@settings(max_examples=25)
@given(prompt=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(lambda t: t[0] > " "))
def test_any_prompt_arrives_unharmed(ready, prompt):
    assert ready.compare(f"PROMPT={prompt}")["PARITY_PROMPT"] == prompt
    assert ready.compare(PROMPT=prompt)["PARITY_PROMPT"] == prompt


@pytest.mark.parametrize("prompt", ["  two spaces", "\ttab"])
def test_make_drops_leading_blanks_of_its_command_line_only(ready, prompt):
    """The limit that the Makefile documents; nothing in a Makefile can see what make dropped."""
    assert ready.compare(f"PROMPT={prompt}")["PARITY_PROMPT"] == prompt.lstrip()
    assert ready.compare(PROMPT=prompt)["PARITY_PROMPT"] == prompt


def test_a_prompt_is_never_run(ready):
    prompt = "$(shell touch run-by-make) `touch run-by-sh` $$(touch run-by-sh)"
    assert ready.compare(f"PROMPT={prompt}")["PARITY_PROMPT"] == prompt
    assert not list(ready.folder.glob("run-by-*"))


def test_unset_is_absent(ready):
    given_by_make = {name: value for name, value in ready.compare().items() if name.startswith("PARITY_")}
    assert given_by_make == {"PARITY_CANDIDATES": "mlx", "PARITY_DTYPE": "float32"}


@pytest.mark.parametrize("name", FORWARDED)
def test_empty_is_passed_as_empty(ready, name):
    assert ready.compare(f"{name}=")[f"PARITY_{name}"] == ""
    assert ready.compare(**{name: ""})[f"PARITY_{name}"] == ""


@pytest.mark.parametrize("name", FORWARDED)
def test_every_variable_is_forwarded(ready, name):
    assert ready.compare(f"{name}=a $b")[f"PARITY_{name}"] == "a $b"
    assert ready.compare(**{f"PARITY_{name}": "a $b"})[f"PARITY_{name}"] == "a $b"
    assert ready.compare(f"{name}=this", **{f"PARITY_{name}": "not this"})[f"PARITY_{name}"] == "this"


def test_plain_make_lists_every_target_and_variable(make):
    done = make()
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    variables = {*FORWARDED, *re.findall(r"^(\w+) \?=", makefile, re.MULTILINE), "PYTEST_ARGS"}
    listed = set(re.findall(r"^  (\w+) ", done.stdout, re.MULTILINE))
    assert listed == targets | variables
    assert make("help").stdout == done.stdout
    assert not make.calls()


def test_every_target_without_a_file_is_phony():
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    assert set(phony) == set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE)) | {"force"}


def test_setup_installs_once(make):
    assert make("setup", "PYTHON=./python").returncode == 0
    assert make.calls() == ["venv", "pip"]
    assert make("setup", "PYTHON=./python").returncode == 0
    assert make.calls() == []


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_setup_installs_again_after_a_change(make, name):
    make("setup", "PYTHON=./python")
    later = make.stamp.stat().st_mtime + 1
    os.utime(make.folder / name, (later, later))
    make.calls()
    assert make("setup", "PYTHON=./python").returncode == 0
    assert make.calls() == ["pip"]


def test_a_failed_installation_is_repeated(make):
    (make.folder / "offline").touch()
    assert make("setup", "PYTHON=./python").returncode != 0
    assert not make.stamp.exists()
    (make.folder / "offline").unlink()
    make.calls()
    assert make("setup", "PYTHON=./python").returncode == 0
    assert make.calls() == ["pip"]


def test_a_broken_environment_is_made_anew(make):
    make("setup", "PYTHON=./python")
    interpreter = make.folder / ".venv" / "bin" / "python"
    interpreter.unlink()
    interpreter.symlink_to("no-longer-here")
    make.calls()
    assert make("setup", "PYTHON=./python").returncode == 0
    assert make.calls() == ["venv", "pip"]


def test_a_moved_environment_is_installed_again(make):
    """An editable installation names the folder it was made in; a copied clone would test the original's code."""
    make("setup", "PYTHON=./python")
    interpreter = make.folder / ".venv" / "bin" / "python"
    interpreter.write_text(interpreter.read_text().replace("echo yes", "echo no"))
    (make.folder / "offline").touch()
    assert make("setup", "PYTHON=./python").returncode != 0
    assert not make.stamp.exists(), "the stamp of the other folder's installation stands for this one"
    (make.folder / "offline").unlink()
    make.calls()
    assert make("setup", "PYTHON=./python").returncode == 0
    assert make.calls() == ["pip"]


@pytest.mark.parametrize("python", ["./old", "no-such-python"])
def test_an_unsuitable_interpreter_is_refused_in_one_line(make, python):
    old = make.folder / "old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = make("setup", f"PYTHON={python}")
    assert done.returncode != 0
    message, made = done.stderr.splitlines()
    assert message == f"{python} is not Python 3.11 or newer; choose one that is: make setup PYTHON=python3.12"
    assert made.startswith("make: ***")
    assert not (make.folder / ".venv").exists()


def requirements() -> dict[str, list[Requirement]]:
    """Return what the core and each extra require of other packages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {"core": project["dependencies"], **project["optional-dependencies"]}
    found = {name: [Requirement(line) for line in lines] for name, lines in named.items()}
    return {name: [each for each in lines if each.name != project["name"]] for name, lines in found.items()}


def pins() -> dict[str, str]:
    """Return the version of every package in constraints.txt, which holds nothing but comments and `name==version`."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    matches = [re.fullmatch(r"([\w.-]+)==([\w.!+-]+)", line) for line in lines if not line.startswith("#")]
    assert all(matches), "a line is neither a comment nor an exact version"
    return {canonicalize_name(match[1]): match[2] for match in matches}


@pytest.mark.parametrize("extra", requirements())
def test_every_dependency_is_pinned(extra):
    for requirement in requirements()[extra]:
        assert canonicalize_name(requirement.name) in pins(), requirement
        assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)]), requirement


def test_constraints_name_each_package_once_and_no_index():
    text = (ROOT / "constraints.txt").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(pins()) == len(lines)
    assert not re.search(r"https?:|file:|@|^\s*-", text, re.MULTILINE)


def test_setup_installs_every_extra():
    """But for that of a published model, which one page needs, beside 93 MB of weights."""
    extras = re.search(r"^EXTRAS = (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split(",")
    assert set(extras) == set(requirements()) - {"core", "real-model"}


@pytest.mark.parametrize("page", ["make test\n", "```\nmake test\n```\n", "```\nmake tests\nmake compare\n```\n"])
def test_the_checks_refuse_a_readme_without_its_promises(tmp_path, page):
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    (tmp_path / "README.md").write_text(page)
    done = subprocess.run([tmp_path / ".ci" / "run"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr.startswith("README.md has no fenced line: make ")
