"""Writes a checkpoint of published geometry with drawn weights: what runs at real size where no real one can be had.

python -m reference.gemma3n.synthetic --like e2b DIR                               5.4 billion parameters
python -m reference.gemma3n.synthetic --like e4b --layers 6 --vocabulary 8192 DIR  the same layers, fewer of them
python -m reference.gemma3n.synthetic --like e2b --text DIR                        the language model alone

Weights are drawn by the rules of the embedded checkpoint, so that every component matters; the same seed gives the same
bytes on every machine. The folder is there whole or not at all.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from parity.checkpoint import INDEX
from parity.cli.guard import guarded
from parity.errors import CannotWrite, UsageError
from reference import tiny
from reference.common.drawing import Rule, Shape, blocks, rule_of
from reference.common.safetensors_file import header, size_of
from reference.gemma3n.published import GEOMETRIES, MOST, configuration, files, text_alone
from reference.gemma3n.weight_rules import rules, shapes

SHARD = 2_000_000_000
"""Bytes of a file of weights; a tensor that is larger has one of its own."""
SPARE = 64 * 2**20
"""Bytes that a disk must have besides the weights: a tokenizer of 262,144 ids takes 15 MB."""

Shards = Mapping[str, Mapping[str, Shape]]


def write(folder: Path, config: Mapping[str, Any], seed: int, progress: Progress) -> None:
    """Write a checkpoint of that configuration.

    Raises:
        UsageError: when the folder is there already, or the disk has no room.
    """
    sharded = shards(shapes(config))
    sizes = {name: sum(map(size_of, tensors.values())) for name, tensors in sharded.items()}
    _require_room(folder, sum(sizes.values()) + SPARE)
    task = progress.add_task(folder.name, total=sum(sizes.values()))
    text = config["text_config"]
    table = rules(hidden=text["hidden_size"], head_dim=text["head_dim"])
    with _whole(folder) as new:
        for name, content in files(dict(config)).items():
            _write_json(new / name, content)
        shutil.copy(tiny.path() / "chat_template.jinja", new)
        _write_json(new / INDEX, _index(sharded, sum(sizes.values())))
        for name, tensors in sharded.items():
            for written in _write_shard(new / name, tensors, f"parity synthetic gemma3n {seed}", table):
                progress.advance(task, written)


def shards(tensors: Mapping[str, Shape], largest: int = 0) -> Shards:
    """Which tensors each file holds, in the order of their names."""
    parts: list[dict[str, Shape]] = [{}]
    left = largest = largest or SHARD
    for name, shape in sorted(tensors.items()):
        if parts[-1] and size_of(shape) > left:
            parts.append({})
            left = largest
        parts[-1][name] = shape
        left -= size_of(shape)
    return {f"model-{at:05}-of-{len(parts):05}.safetensors": part for at, part in enumerate(parts, 1)}


def _index(sharded: Shards, size: int) -> dict[str, Any]:
    places = {tensor: name for name, tensors in sharded.items() for tensor in tensors}
    return {"metadata": {"total_size": size}, "weight_map": places}


def _write_shard(file: Path, tensors: Mapping[str, Shape], seed: str, table: Sequence[Rule]) -> Iterator[int]:
    """Write a file of weights as they are drawn; yields how many bytes more there are."""
    with file.open("wb") as stream:
        stream.write(header(tensors))
        for name, shape in tensors.items():
            for block in blocks(seed, name, shape, rule_of(name, table)):
                yield stream.write(block.tobytes())


def _write_json(file: Path, content: Any) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    file.write_text(text, encoding="utf-8", newline="\n")


def _require_room(folder: Path, needed: int) -> None:
    """Refuse what cannot be written before anything is."""
    if os.path.lexists(folder):
        raise UsageError(f"{folder} is there already; give a folder that is not")
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not (above.is_dir() and os.access(above, os.W_OK)):
        raise CannotWrite(f"{folder} cannot be made: {above} is no folder that may be written to")
    if (free := shutil.disk_usage(above).free) < needed:
        raise CannotWrite(f"{folder} takes {needed / 1e9:,.1f} GB, and its disk has {free / 1e9:,.1f} GB free")


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder beside `folder`, which it becomes when all is in it; else it is gone."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield new
        new.chmod(0o755)
        new.rename(folder)
    except OSError as error:
        raise CannotWrite(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


class _Parser(argparse.ArgumentParser):
    """One that says what is wrong in a line, as every command here does."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise UsageError(f"{message}; see {self.prog} --help")


def _run(arguments: Sequence[str] | None) -> int:
    parser = _Parser(prog="python -m reference.gemma3n.synthetic", description="Write a checkpoint of stock size.")
    parser.add_argument("--like", required=True, choices=GEOMETRIES, help="the published size")
    parser.add_argument("--layers", type=int, help="of the language model; all by default")
    parser.add_argument("--vocabulary", type=int, default=MOST, help="ids of text; all by default")
    parser.add_argument("--text", action="store_true", help="the language model alone, without towers")
    parser.add_argument("--seed", type=int, default=0, help="of the weights")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where it goes; it must not be there yet")
    given = parser.parse_args(arguments)
    config = configuration(given.like, given.layers, given.vocabulary)
    config = text_alone(config) if given.text else config
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        write(given.folder, config, given.seed, progress)
    return 0


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    return guarded(lambda: _run(arguments))


if __name__ == "__main__":
    sys.exit(main())
