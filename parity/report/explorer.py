"""Node data for Model Explorer: the ratio of every step as an overlay on a graph.

Keys are the names of steps. They match a graph whose nodes or output tensors have those names; ``graph.json`` beside
the overlays is one: the contract itself, layers as namespaces, an edge from each step to the next in execution order.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from parity.contract import Contract
from parity.judging.judgement import Judgement
from parity.report.levels import LIMITS

LEVEL_COLOURS = ("#f4f4f1", "#e7e9e4", "#fbe6a2", "#fcc96f", "#f9a550", "#ee7b5b", "#b93a76", "#8a1f8a", "#430a7d")
"""The colours of `parity.report.levels`, on paper."""
DARK = 6
"""From this level on, text is white."""
INFINITE = 1e300
"""What stands for an infinite ratio, which JSON lacks."""


def graph(contract: Contract) -> dict[str, Any]:
    """The contract as a collection of one graph."""
    names = [step.name for step in contract]
    nodes = [
        {
            "id": step.name,
            "label": step.name.rpartition(".")[2],
            "namespace": step.name.rpartition(".")[0].replace(".", "/"),
            "attrs": [
                {"key": "meaning", "value": step.meaning},
                {"key": "source", "value": step.source},
                {"key": "axes", "value": " ".join(step.axes)},
            ],
            "incomingEdges": [{"sourceNodeId": before}] if before else [],
        }
        for step, before in zip(contract, ["", *names], strict=False)
    ]
    return {"label": contract.model, "graphs": [{"id": contract.model, "nodes": nodes}]}


def overlay(judgement: Judgement, contract: Contract) -> dict[str, Any]:
    """The worst ratio of each step over all phases, as node data of that graph."""
    worst: dict[str, float] = {}
    for step in judgement.steps:
        if not math.isnan(step.ratio):
            worst[step.step] = max(worst.get(step.step, 0.0), min(step.ratio, INFINITE))
    limits = (1.0, judgement.allowed, *LIMITS, INFINITE)
    thresholds = [
        {"value": limit, "bgColor": colour, "textColor": "white" if level >= DARK else "black"}
        for level, (limit, colour) in enumerate(zip(limits, LEVEL_COLOURS, strict=True))
    ]
    results = {name: {"value": value} for name, value in worst.items()}
    return {contract.model: {"results": results, "thresholds": thresholds}}


def file_name(judgement: Judgement, number: int) -> str:
    """A name that any file system takes: what others chose may hold separators."""
    words = (judgement.candidate, judgement.dtype, judgement.scenario)
    safe = "-".join(re.sub(r"[^A-Za-z0-9_]+", "-", word).strip("-")[:40] for word in words)
    return f"{number:02d}-{safe}.json"


def dumps(data: dict[str, Any]) -> str:
    """The data as text that is the same each time."""
    return json.dumps(data, allow_nan=False, indent=1) + "\n"
