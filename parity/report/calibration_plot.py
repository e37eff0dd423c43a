"""The figure of a calibration, a static SVG: right code that is flagged, and bugs that are missed, for each K.

It is described in Vega-Lite, which vl-convert renders: a figure of a page that is committed, not of a report, whose
figures are our own (`parity.report.html`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from parity.calibration.misses import Misses
from parity.calibration.summary import Summary
from parity.errors import UsageError

ALLOWANCES = tuple(round(1.05**power, 3) for power in range(57))
"""Values of K: 1 to 15, each a twentieth above the one before."""
LEAST = 1e-4
"""The least share on the logarithmic axis, a third of one in 3,000."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Okabe and Ito's, which the colour-blind can tell apart."""
SIZE = {"width": 320, "height": 260}
"""The size of a panel, in pixels."""

Spec = dict[str, Any]


def require_plot() -> None:
    """Refuse a figure before the long work starts.

    Raises:
        UsageError: where vl-convert is not installed.
    """
    if find_spec("vl_convert") is None:
        raise UsageError("the page's figure needs vl-convert-python; install the extra [bench]")


def svg(summary: Summary, misses: Sequence[Misses]) -> str:
    """The whole figure."""
    import vl_convert

    drawn: str = vl_convert.vegalite_to_svg(figure(summary, misses))
    return drawn


def figure(summary: Summary, misses: Sequence[Misses]) -> Spec:
    """Its description: a panel of false alarms and, where there are scores of variants, one of misses."""
    log = {"title": "share of judgements", "scale": {"type": "log", "domain": [LEAST, 1]}, "axis": {"format": "~r"}}
    linear = {"title": "share of bugs", "scale": {"domain": [0, 1]}, "axis": {"format": "~%"}}
    panels = [_panel(list(_alarms(summary)), "right code that is flagged", log, summary)]
    if misses:
        panels.append(_panel(list(_missed(misses)), "known bugs that are missed", linear, summary))
    return {"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "background": "white", "hconcat": panels}


def _alarms(summary: Summary) -> Iterator[Spec]:
    for group in summary.by("dtype"):
        shares = ((value, group.beyond(value)) for value in ALLOWANCES)
        yield from ({"K": value, "share": share, "arithmetic": group.name} for value, share in shares if share)


def _missed(misses: Sequence[Misses]) -> Iterator[Spec]:
    for each in misses:
        yield from ({"K": value, "share": each.missed(value), "arithmetic": each.dtype} for value in ALLOWANCES)


def _panel(points: list[Spec], title: str, share: Spec, summary: Summary) -> Spec:
    """A line for each arithmetic over K, and a rule at the K that is in force."""
    scale = {"type": "log", "domain": [ALLOWANCES[0], ALLOWANCES[-1]], "nice": False}
    across = {"field": "K", "type": "quantitative", "title": "K, in floors", "scale": scale}
    colour = {"field": "arithmetic", "type": "nominal", "scale": {"range": list(COLOURS)}}
    lines = {
        "data": {"values": points},
        "mark": {"type": "line", "interpolate": "step-before"},
        "encoding": {"x": across, "y": {"field": "share", "type": "quantitative", **share}, "color": colour},
    }
    rule = {
        "data": {"values": [{"K": summary.head.allowed}]},
        "mark": {"type": "rule", "strokeDash": [4, 3], "color": "#555"},
        "encoding": {"x": {"field": "K", "type": "quantitative"}},
    }
    return {**SIZE, "title": title, "layer": [lines, rule]}
