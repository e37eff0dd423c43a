"""Error against depth on a terminal: the sparklines of both runs, within what is allowed green, beyond it red."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from parity.judging.judgement import Judgement
from parity.report.console import plain
from parity.report.sections import heading
from parity.report.sparkline import ASCII_BARS, BARS, Spark, sparkline

MOST_BARS = 120
LEAST_STEPS = 8
"""Steps below which there is no depth to speak of."""


def depth(judgement: Judgement, out: Console) -> None:
    """Error against depth: a character for every few steps, in the order of execution."""
    if len(judgement.steps) < LEAST_STEPS:
        return
    bars = BARS if _can_print(BARS, out) else ASCII_BARS
    drawn = sparkline(judgement, min(MOST_BARS, out.width - len("  lockstep  ")), bars=bars)
    heading(out, f"Error against depth (lowest bar: within {judgement.allowed:g} floors)")
    for mode, line in (("lockstep", drawn.lockstep), ("free", drawn.free)):
        if line.text.strip():
            out.print(Text(f"  {mode:<8}  ", "dim") + _coloured(line), soft_wrap=True)
    out.print(Text(f"  {drawn.axis:<8}  {plain(drawn.places)}".rstrip(), "dim"), soft_wrap=True)


def _coloured(line: Spark) -> Text:
    text = Text()
    for char, beyond in zip(line.text, line.beyond, strict=True):
        text.append(char, "red" if beyond else "green")
    return text


def _can_print(text: str, out: Console) -> bool:
    """Whether the console's encoding has the characters; a pipe of an old system may have ASCII alone."""
    try:
        text.encode(out.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
