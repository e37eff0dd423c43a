"""Whether the installed source still has every site."""

from __future__ import annotations

from collections.abc import Iterator

from implementations.mlx_lm import CURE
from implementations.mlx_lm.sites import STEPS
from parity.weave import locate


def sites() -> Iterator[tuple[bool, str, str]]:
    """Each site with its line, or the cure where there is none."""
    for site in dict.fromkeys(step.site for step in STEPS):
        line = locate(site)
        yield line is not None, str(site), f"line {line}" if line else f"not in the installed source; {CURE}"
