"""What one party says, as tables: the records of its trace, and what the doctor found of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.console import Console
from rich.text import Text

from parity.report.console import plain, print_line
from parity.report.numbers import number
from parity.report.table import Table
from parity.traces.trace import Record

SHOWN = ("mean", "std", "min", "max", "abs_max", "zeros", "nan/inf")


def print_records(records: Sequence[Record], out: Console) -> None:
    """Print records: a line each where the console is wide enough, else two; a single one with all that it says."""
    if len(records) == 1:
        _single(records[0], out)
        return
    grid = Table("step", "phase", "shape", "dtype", *SHOWN, right=SHOWN)
    for record in records:
        grid.add(_name(record), plain(record.phase), _shape(record), plain(record.dtype), *_statistics(record))
    if grid.width <= out.width or not out.is_terminal:
        grid.print(out, indent=0)
        return
    for record in records:
        _two_lines(record, out)


def _two_lines(record: Record, out: Console) -> None:
    where = f"  {plain(record.phase)}  {_shape(record)}  {plain(record.dtype)}"
    print_line(out, (_name(record), "bold"), where)
    *moments, zeros, broken = zip(SHOWN, _statistics(record), strict=True)
    told = [*moments, *([zeros] if record.zero_fraction else []), *([broken] if _is_broken(record) else [])]
    print_line(out, "  ".join(f"{name} {value}" for name, value in told), indent=2)


def _is_broken(record: Record) -> bool:
    return bool(record.nan_count or record.inf_count)


def _single(record: Record, out: Console) -> None:
    grid = Table("", "", wraps="")
    grid.add("step", _name(record))
    grid.add("phase", plain(record.phase))
    grid.add("axes", plain(" ".join(record.axes)))
    grid.add("shape", _shape(record))
    grid.add("dtype", plain(record.dtype))
    for name in ("mean", "std", "rms", "min", "max", "abs_max"):
        grid.add(name, repr(getattr(record, name)))
    grid.add("zeros", _zeros(record))
    grid.add("nan", f"{record.nan_count:,}")
    grid.add("inf", f"{record.inf_count:,}")
    grid.add("digest", plain(record.digest) or "-")
    grid.add("sketch", "kept" if record.sketch else "-")
    grid.print(out, indent=0)


def _statistics(record: Record) -> tuple[str, ...]:
    moments = (number(value) for value in (record.mean, record.std, record.min, record.max, record.abs_max))
    return (*moments, _zeros(record), f"{record.nan_count}/{record.inf_count}")


def _name(record: Record) -> str:
    return plain(record.tensor_name)


def _shape(record: Record) -> str:
    return "x".join(str(length) for length in record.shape) or "scalar"


def _zeros(record: Record) -> str:
    return f"{100 * record.zero_fraction:.3g}%"


def print_findings(findings: Iterable[tuple[str, bool, str, str]], out: Console) -> bool:
    """Print what the doctor found, each section when it is complete; true when there are some and all are good."""
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
