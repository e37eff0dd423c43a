"""What the script of the page says of the step under the cursor, as JSON; numbers are written as elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping

from parity.contract import Contract
from parity.judging.verdict import Deviation, Status
from parity.report.console import plain
from parity.report.html.points import Points, Series
from parity.report.numbers import ratio
from parity.traces.trace import Key

STATUSES = tuple(Status)


def data(found: Points, contract: Contract, pages: Mapping[int, Mapping[Key, str]]) -> str:
    """The figure's data, safe inside a script element; names are listed once and referred to by number."""
    names = list(dict.fromkeys(key.step for key in found.keys))
    meanings = [step.meaning if (step := contract.get(name)) else "" for name in names]
    known = list(dict.fromkeys(meanings))
    phases = list(dict.fromkeys(key.phase for key in found.keys))
    name_at, phase_at = ({name: at for at, name in enumerate(values)} for values in (names, phases))
    found_data = {
        "names": [plain(name) for name in names],
        "meanings": [plain(meaning) for meaning in known],
        "meaning": [known.index(meaning) for meaning in meanings],
        "phases": [plain(phase) for phase in phases],
        "at": [[name_at[key.step], phase_at[key.phase]] for key in found.keys],
        "segments": [[s.start, s.stop, s.level, plain(s.label), plain(s.long)] for s in found.segments],
        "statuses": [str(status) for status in STATUSES],
        "series": [_series_data(series) for series in found.series],
        "pages": _page_numbers(found, pages),
    }
    # an element's text ends at "</script", so no "<" may be in it
    return json.dumps(found_data, separators=(",", ":")).replace("<", "\\u003c")


def _series_data(series: Series) -> dict[str, str]:
    free = " ".join(_text(step.free if step else None) for step in series.steps)
    lockstep = " ".join(_text(step.lockstep if step else None) for step in series.steps)
    status = "".join("-" if step is None else str(STATUSES.index(step.status)) for step in series.steps)
    return {"label": plain(series.label), "free": free, "lockstep": lockstep, "status": status}


def _text(deviation: Deviation | None) -> str:
    return "-" if deviation is None else ratio(deviation.ratio)


def _page_numbers(found: Points, pages: Mapping[int, Mapping[Key, str]]) -> dict[int, str]:
    """Ids of pages by point; of several candidates' the first."""
    every = {key: page for number in sorted(pages, reverse=True) for key, page in pages[number].items()}
    return {at: every[key] for at, key in enumerate(found.keys) if key in every}
