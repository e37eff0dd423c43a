"""What the doctor found, section by section."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from rich.console import Console
from rich.text import Text

from parity.report.console import plain, print_line
from parity.report.table import Table

Finding = tuple[str, bool, str, str]


def print_findings(findings: Iterable[Finding], out: Console) -> bool:
    """Print findings, each section as soon as it is complete; true when there are some and all are good."""
    verdicts: list[bool] = []
    for section, group in groupby(findings, key=lambda finding: finding[0]):
        grid = Table("", "", "", wraps="")
        for _, good, what, found in group:
            word = Text("ok", "green") if good else Text("problem", "bold red")
            grid.add(word, plain(what), plain(found))
            verdicts.append(good)
        print_line(out, (plain(section), "bold"))
        grid.print(out)
    problems = verdicts.count(False)
    if not verdicts:
        print_line(out, "nothing is installed that could be examined")
    elif problems:
        print_line(out, f"{problems} of {len(verdicts)} need attention")
    else:
        print_line(out, f"all {len(verdicts)} ok")
    return bool(verdicts) and not problems
