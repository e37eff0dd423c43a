"""The figures of the house: rooms and arrows of toy packages, and that no arrow climbs."""

from __future__ import annotations

import ast

import pytest

from tools.house import PACKAGES, ROOT, arrows, classes, climbs, functions, lines, slowest, trees


def parsed(**sources):
    """Modules by name, a double underscore for a dot."""
    return {name.replace("__", "."): ast.parse(source) for name, source in sources.items()}


TOY = parsed(
    p="",
    p__tap="class Tap: pass",
    p__judging="",
    p__judging__judge="from p.tap import Tap\nclass Case: pass",
    p__report="",
    p__report__page="def f():\n    from p.judging.judge import Case",
    p__report__lines="import p.report.page\nclass Case: pass",
)


def test_a_room_is_a_package_or_a_module_of_the_root():
    assert arrows(TOY) == {"p": set(), "p.tap": set(), "p.judging": {"p.tap"}, "p.report": {"p.judging"}}
    assert not list(climbs(arrows(TOY)))


def test_an_arrow_that_leads_back_climbs():
    """Of both the one to the room that fewer need."""
    back = TOY | parsed(p__judging__cause="from p.report import page", p__cli="from p.judging import judge")
    assert list(climbs(arrows(back))) == [("p.judging", "p.report")]


def test_classes_of_one_name_and_the_lengths_of_functions():
    assert classes(TOY) == {"Case": ["p.judging.judge", "p.report.lines"]}
    assert functions(TOY) == [2]


def test_the_slowest_tests_first(tmp_path):
    file = tmp_path / "junit.xml"
    cases = "".join(f'<testcase classname="tests.t" name="n{number}" time="{number}.5"/>' for number in range(30))
    file.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    found = list(slowest(file))
    assert (len(found), found[0], found[-1]) == (20, (29.5, "tests.t::n29"), (10.5, "tests.t::n10"))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_arrow_climbs(package):
    """Whoever reads a room need not know the rooms above it."""
    assert not list(climbs(arrows(trees(ROOT, (package,)))))


def test_one_name_is_one_thing():
    assert classes(trees(ROOT, PACKAGES[:1])) == {}


def test_no_file_is_longer_than_two():
    assert {name: size for name, size in lines(ROOT, trees(ROOT, PACKAGES)).items() if size > 300} == {}
