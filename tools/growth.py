"""Whether memory grows with the prompt or with the depth: measured on drawn checkpoints, told as a table and drawn.

python -m tools.growth docs/memory.svg

Each point is one pass of the oracle, twice in processes of its own: with every step written to the disk, as a
comparison has it, and with nobody listening, which is what the model takes by itself.
"""

from __future__ import annotations

import argparse
import math
import random
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress

from parity.checkpoint import config_of
from parity.report.calibration_plot import COLOURS, SIZE, Spec, require_plot
from parity.scenario import Chunk, Scenario
from parity.scratch import scratch
from parity.traces.trace import Trace
from reference import tiny
from reference.gemma3n.published import OWN, configuration
from reference.gemma3n.synthetic import write
from tools import memory

LENGTHS, DEPTHS = (64, 256, 1024, 4096), (5, 15, 30, 60)
LAYERS, TOKENS = 5, 256
"""The depth of the prompts' checkpoint, and the prompt of the depths'."""
FIELDS = ("activation_sparsity_pattern", "layer_types", "num_hidden_layers", "num_kv_shared_layers")
"""What depends on the depth."""
WIDTH = 512
"""Of the MLP. One head: the scores of 4,096 tokens are 134 MB in float64, of the embedded checkpoint's four 0.5 GB."""
SMALL = {"max_position_embeddings": 8192, "num_attention_heads": 1, "num_key_value_heads": 1}
DTYPE = "float64"


@dataclass(frozen=True)
class Point:
    """What a pass took.

    Attributes:
        layers: of the model.
        tokens: of the prompt.
        written: bytes of all its steps.
        largest: bytes of the largest one.
        alone: bytes at most with nobody listening.
        recorded: bytes at most while every step is written.
    """

    layers: int
    tokens: int
    written: int
    largest: int
    alone: int
    recorded: int

    @property
    def added(self) -> int:
        """What recording takes but for one copy of the largest step."""
        return self.recorded - self.alone - self.largest


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and draw the figure."""
    parser = argparse.ArgumentParser(prog="python -m tools.growth", description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path, metavar="FILE.svg")
    parser.add_argument("--lengths", type=int, nargs="*", default=LENGTHS, help="of prompts, in tokens")
    parser.add_argument("--depths", type=int, nargs="*", default=DEPTHS, help="of models, in layers")
    parser.add_argument("--pass", dest="party", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.party:
        return _pass(given.file, *given.party)
    require_plot()
    with scratch() as folder:
        lengths = [_measured(folder, LAYERS, tokens) for tokens in given.lengths]
        depths = [_measured(folder, layers, TOKENS) for layers in given.depths]
    print("\n".join(table([*lengths, *depths])))
    given.file.write_text(_svg(lengths, depths), encoding="utf-8")
    return None


def _pass(checkpoint: Path, tokens: str, trace: str = "") -> None:
    """Run the oracle on so many tokens; with a trace's name, every step is written there."""
    import numpy as np
    from transformers.utils import logging

    from parity.running.execute import Run, execute
    from reference.gemma3n.huggingface import Reference

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    reference, draw = Reference.load(checkpoint, DTYPE), random.Random(0)
    ids = tuple(draw.randrange(4, OWN) for _ in range(int(tokens)))
    if trace:
        scenario = Scenario("one-shot", (Chunk("prefill", (ids,)),), cache=False)
        execute(reference, Run(Path(trace), checkpoint.name, "", DTYPE, scenario=scenario), lambda step: None)
    else:
        reference.start(padding=(0,), cache=False)
        reference.forward(np.array([ids]))


def _measured(folder: Path, layers: int, tokens: int) -> Point:
    checkpoint, trace = folder / f"layers-{layers}", folder / "trace"
    if not checkpoint.exists():
        with Progress(disable=True) as progress:
            write(checkpoint, _configuration(layers), 0, progress)
    command = [sys.executable, "-m", "tools.growth", str(checkpoint), "--pass", str(tokens)]
    alone, recorded = _peak(command), _peak([*command, str(trace)])
    sizes = [math.prod(record.shape) * _bytes(record.dtype) for record in Trace.read(trace).records.values()]
    shutil.rmtree(trace)
    return Point(layers, tokens, sum(sizes), max(sizes), alone, recorded)


def _configuration(layers: int) -> dict[str, Any]:
    """The embedded checkpoint's, in so many layers."""
    config = config_of(tiny.path())
    deep = configuration("e2b", layers, OWN)["text_config"]
    text = {**config["text_config"], **SMALL, **{name: deep[name] for name in FIELDS}}
    return {**config, "text_config": {**text, "intermediate_size": [WIDTH] * layers}}


def _peak(command: Sequence[str]) -> int:
    code, peak = memory.measured(command)
    if code:
        sys.exit(code)  # it said why
    return peak.held


def _bytes(dtype: str) -> int:
    return 1 if dtype == "bool" else 8


def table(points: Sequence[Point]) -> Iterator[str]:
    """Lines of Markdown, sizes in MB."""
    yield "| layers | tokens | all steps | largest step | pass alone | recorded | added besides the largest step |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for point in points:
        sizes = (point.written, point.largest, point.alone, point.recorded, point.added)
        yield f"| {point.layers} | {point.tokens:,} | {' | '.join(f'{size / 1e6:,.0f}' for size in sizes)} |"


def _svg(lengths: Sequence[Point], depths: Sequence[Point]) -> str:
    import vl_convert

    drawn: str = vl_convert.vegalite_to_svg(figure(lengths, depths))
    return drawn


def figure(lengths: Sequence[Point], depths: Sequence[Point]) -> Spec:
    """A panel over the prompt's length and one over the depth, both logarithmic in both directions."""
    panels = [_panel(lengths, "tokens", f"{LAYERS} layers"), _panel(depths, "layers", f"{TOKENS} tokens")]
    return {"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "background": "white", "hconcat": panels}


def _panel(points: Sequence[Point], across: str, title: str) -> Spec:
    scale = {"type": "log", "nice": False}
    values = [{across: getattr(point, across), **line} for point in points for line in _lines(point)]
    ticks = {"values": [getattr(point, across) for point in points]}
    return {
        **SIZE,
        "title": title,
        "data": {"values": values},
        "mark": {"type": "line", "point": True},
        "encoding": {
            "x": {"field": across, "type": "quantitative", "title": across, "scale": scale, "axis": ticks},
            "y": {"field": "MB", "type": "quantitative", "title": "MB", "scale": {"type": "log"}},
            "color": {"field": "what", "type": "nominal", "title": None, "scale": {"range": list(COLOURS)}},
        },
    }


def _lines(point: Point) -> Iterator[Mapping[str, Any]]:
    kinds = {"all steps, on the disk": point.written, "pass alone": point.alone, "recorded": point.recorded}
    yield from ({"what": what, "MB": size / 1e6} for what, size in kinds.items())


if __name__ == "__main__":
    main()
