"""Memory over prompt length and depth: what is measured, its table and its figure."""

import re

import pytest

pytest.importorskip("transformers", reason="needs the [hf] extra")
pytest.importorskip("vl_convert", reason="needs the [bench] extra")

from tools import growth, memory  # behind importorskip
from tools.growth import Point, figure, table

SHORT = Point(layers=5, tokens=64, written=25_000_000, largest=1_000_000, alone=600_000_000, recorded=648_000_000)
LONG = Point(layers=5, tokens=1024, written=900_000_000, largest=50_000_000, alone=700_000_000, recorded=810_000_000)


def test_table():
    """What recording adds is without one copy of the largest step."""
    lines = list(table([SHORT, LONG]))
    assert lines[2:] == ["| 5 | 64 | 25 | 1 | 600 | 648 | 47 |", "| 5 | 1,024 | 900 | 50 | 700 | 810 | 60 |"]


def test_figure():
    """A panel over each, with three lines."""
    lengths, depths = figure([SHORT, LONG], [SHORT])["hconcat"]
    assert lengths["encoding"]["x"]["field"] == "tokens"
    assert lengths["encoding"]["x"]["axis"]["values"] == [64, 1024]
    assert [value["MB"] for value in lengths["data"]["values"]] == [25, 600, 648, 900, 700, 810]
    assert depths["encoding"]["x"]["field"] == "layers"
    assert {value["layers"] for value in depths["data"]["values"]} == {5}


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.skipif(not (memory.PROC / "self" / "smaps_rollup").exists(), reason="needs Linux")
def test_measured(tmp_path, capsys):
    """A pass takes what it takes, and every step of it is written; a deeper model has more of them."""
    growth.main([str(tmp_path / "memory.svg"), "--lengths", "16", "--depths", "10"])
    rows = [[*map(int, re.findall(r"\d+", line.replace(",", "")))] for line in capsys.readouterr().out.splitlines()[2:]]
    (few, small), (many, large) = ((row[0], row[2]) for row in rows)
    assert (few, many) == (5, 10)
    assert 1 < small < large / 10
    assert all(200 < row[4] < 2000 and row[5] > 200 for row in rows)
    assert (tmp_path / "memory.svg").read_text().startswith("<svg")
