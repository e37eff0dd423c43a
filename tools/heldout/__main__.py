"""The command that draws faults of many architectures and looks for them by learned tables.

python -m tools.heldout --results reports/heldout.jsonl --markdown docs/held-out-faults.md
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from parity.discovery import find, with_table
from parity.learning.taps import ANY
from parity.report.json import prepare, write_whole
from tools.heldout.page import markdown, totals
from tools.heldout.port import Planted
from tools.heldout.results import HeldoutHead, HeldoutResults
from tools.heldout.running import REFERENCE, SCENARIO, examine

MODELS: Mapping[str, str] = {
    "qwen3": "dense, norms of heads",
    "qwen3_moe": "mixture",
    "lfm2": "hybrid: attention and convolutions",
    "olmo3": "sliding windows, norms behind blocks",
    "deepseek_v3": "latent attention (MLA), mixture with groups",
    "cohere": "dense, parallel blocks, LayerNorm",
    "granite": "dense, multipliers",
    "falcon_h1": "hybrid: attention beside a state space",
    "olmoe": "mixture, norms of all heads",
    "phi": "dense, biases, partial rotation",
    "cohere2": "sliding windows, layers without rotation",
    "dots1": "mixture with shared experts",
    "qwen3_next": "hybrid: gated delta rule, mixture with a shared expert",
}
"""Architectures that docs/survey.md has at parity, and what each has that others have not."""
FAULTS = 5


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge what has no result yet, say the figures, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m tools.heldout", description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=Path("reports/heldout.jsonl"), metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--faults", type=int, default=FAULTS, help="of each architecture")
    parser.add_argument("--only", default="*", metavar="GLOB", help="architectures of such names alone")
    given = parser.parse_args(arguments)
    prepare(given.results.parent)
    versions = {**find(with_table(REFERENCE, ANY), "parity.references").versions(), **Planted.versions()}
    head = HeldoutHead(versions=versions, scenario=SCENARIO, faults=given.faults)
    results = HeldoutResults.begin(given.results, head)
    for model, kind in MODELS.items():
        if model not in results.by_model and fnmatchcase(model, given.only):
            results.add([examine(model, kind, given.faults)])
            print(f"{model}: {results.found[-1].seconds:.0f} s", flush=True)
    print(*totals(results), sep="\n")
    if given.markdown:
        write_whole(given.markdown, markdown(results, [*MODELS], _command(given.markdown)))


def _command(page: Path) -> str:
    return shlex.join(["python", "-m", "tools.heldout", "--markdown", str(page)])


if __name__ == "__main__":
    main()
