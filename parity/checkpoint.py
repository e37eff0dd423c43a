"""Finding a checkpoint, and refusing one that is not whole before any framework is started."""

from __future__ import annotations

import atexit
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import xxhash

from parity.errors import BackendUnavailable, UsageError
from parity.json_file import parse_json, read_json, read_text
from parity.safetensors_header import read_header
from parity.scratch import scratch

CHECKPOINTS = "parity.checkpoints"
DEFAULT = "tiny"
BLOCK = 1 << 24
SUFFIX = ".safetensors"
WHOLE = f"model{SUFFIX}"
INDEX = f"{WHOLE}.index.json"
SHARD = re.compile(r"-\d+-of-(\d+)\.safetensors$")
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", f"adapter_model{SUFFIX}"
OVERLAY = f"overlay{SUFFIX}"
"""The file of weights that stand in place of a checkpoint's: see `parity.weights.overlay`."""
OF_GGUF = "the Hugging Face folder that it was converted from"
_KEPT = ExitStack()
"""Folders of links that checkpoints of this process are in."""
atexit.register(_KEPT.close)
HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.jinja"]
"""What is fetched from a hub: never pickles, never code."""


@dataclass(frozen=True)
class Checkpoint:
    """A local checkpoint directory.

    Attributes:
        path: the directory.
        name: what reports call it.
        weights: digest of configuration and weights: two checkpoints with the same digest are the same.
    """

    path: Path
    name: str
    weights: str

    @property
    def model_type(self) -> str:
        """What its configuration calls the model, e.g. ``gemma3n``.

        Raises:
            UsageError: where that cannot be read.
        """
        return _model_type(self.path)


def find_checkpoint(spec: str | None, adapter: Path | None = None) -> Checkpoint:
    """The checkpoint that `spec` means: a local directory, a hub id, or the embedded one (its name, or None).

    Args:
        spec: what the user wrote.
        adapter: the folder of a LoRA adapter, which every reader of the checkpoint merges into it.

    Raises:
        UsageError: when it is missing, incomplete or truncated, or holds no safetensors.
        BackendUnavailable: for a hub id where no hub can be reached.
    """
    spec = None if spec == DEFAULT and not _expanded(spec).exists() else spec
    found = _embedded() if spec is None else _directory(spec)
    require_kind(found)
    path = found if adapter is None else _with_adapter(found, adapter)
    _model_type(path)
    files = [*weight_files(path), *adapter_files(path), *path.glob(OVERLAY)]
    for file in files:
        if file.suffix == SUFFIX:
            require_whole(file)
    name = _name(found, spec)
    return Checkpoint(path, name if adapter is None else f"{name} with {adapter.resolve().name}", _digest(path, files))


def require_kind(path: Path) -> None:
    """Refuse a folder of another format, by its name.

    Raises:
        UsageError: saying what it is, and what to give instead.
    """
    if (path / ADAPTER_CONFIG).is_file() and not (path / "config.json").is_file():
        base = object_of(path / ADAPTER_CONFIG).get("base_model_name_or_path") or "the model that it was trained on"
        raise UsageError(f"checkpoint {path} is an adapter alone; give --model {base} --adapter {path}")
    if any(path.glob("*.gguf")) and not any(path.glob(f"*{SUFFIX}")):
        raise UsageError(f"checkpoint {path} is in GGUF, llama.cpp's format; give {OF_GGUF}")


def adapter_files(path: Path) -> list[Path]:
    """The files of an adapter in a checkpoint's folder, which is merged into it; none where there is none."""
    if not (path / ADAPTER_CONFIG).is_file():
        return []
    if not (path / ADAPTER_WEIGHTS).is_file():
        raise UsageError(f"adapter {path}: no {ADAPTER_WEIGHTS}; save it with PEFT, whose adapters are read")
    return [path / ADAPTER_CONFIG, path / ADAPTER_WEIGHTS]


def _with_adapter(path: Path, adapter: Path) -> Path:
    """A folder of links to a checkpoint's files and an adapter's; it is gone when the process ends."""
    if not (adapter / ADAPTER_CONFIG).is_file():
        raise UsageError(f"adapter {adapter}: no {ADAPTER_CONFIG}; is this the folder of a PEFT adapter?")
    if (path / ADAPTER_CONFIG).is_file():
        raise UsageError(f"checkpoint {path} has an adapter in it, which is merged; it takes no other")
    return _linked([*path.iterdir(), *adapter_files(adapter)])


def with_overlay(checkpoint: Checkpoint, overlay: Path) -> Checkpoint:
    """A checkpoint with the weights of a file in place of its own; it is gone when the process ends.

    Args:
        checkpoint: whose other files it has.
        overlay: what `parity.weights.overlay.write_overlay` wrote, as `OVERLAY`.
    """
    others = [file for file in checkpoint.path.iterdir() if file.name != OVERLAY]
    own = _digest(checkpoint.path, [overlay])
    state = xxhash.xxh3_128_hexdigest(f"{checkpoint.weights} {own}".encode())
    return Checkpoint(_linked([*others, overlay]), checkpoint.name, state)


def _linked(files: Sequence[Path]) -> Path:
    """A folder of links to files."""
    together = _KEPT.enter_context(scratch())
    for file in files:
        (together / file.name).symlink_to(file.resolve())
    return together


def _name(path: Path, spec: str | None) -> str:
    """What the user called it, without the folders above it."""
    if spec is None:
        return DEFAULT
    return path.resolve().name if Path(spec).is_dir() else spec


def _embedded() -> Path:
    (entry,) = entry_points(group=CHECKPOINTS, name=DEFAULT)
    path: Path = entry.load()()
    return path


def _directory(spec: str) -> Path:
    path = _expanded(spec)
    if path.is_dir():
        return path
    if path.is_file() and path.suffix == ".gguf":
        raise UsageError(f"checkpoint {path} is in GGUF, llama.cpp's format; give {OF_GGUF}")
    if path.exists() or spec.count("/") != 1 or spec.startswith((".", "/", "~")):
        raise UsageError(f"checkpoint {spec}: no such directory; give a checkpoint directory or a hub id (owner/name)")
    return _download(spec)


def _expanded(spec: str) -> Path:
    """With the home of ``~`` or ``~name``, where there is one."""
    try:
        return Path(spec).expanduser()
    except RuntimeError as error:
        raise UsageError(f"checkpoint {spec}: there is no such home; give a checkpoint directory") from error


def _download(spec: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UsageError(f"checkpoint {spec}: no such directory, and huggingface_hub is not installed") from error
    try:
        return Path(snapshot_download(spec, allow_patterns=HUB_FILES))
    except Exception as error:  # the hub library raises many unrelated types
        reason = " ".join(str(error).split())[:200]
        raise BackendUnavailable(f"checkpoint {spec}: no such directory, nor can it be fetched ({reason})") from error


def _model_type(path: Path) -> str:
    config = config_of(path)
    if not isinstance(found := config.get("model_type"), str):
        raise UsageError(f"checkpoint {path}: config.json names no model_type; is it a model's configuration?")
    return found


def config_of(path: Path) -> dict[str, Any]:
    """The content of a checkpoint directory's ``config.json``.

    Raises:
        UsageError: when it is missing or malformed.
    """
    if not os.path.lexists(file := path / "config.json"):
        raise UsageError(f"checkpoint {path}: no config.json; is this a Hugging Face checkpoint directory?")
    return object_of(file)


def object_of(file: Path) -> dict[str, Any]:
    """The JSON object that a file of a checkpoint holds.

    Raises:
        UsageError: when it is missing or malformed.
    """
    where = f"checkpoint {file.parent}: {file.name}"
    try:
        content = parse_json(text_of(file))
    except FileNotFoundError as error:
        raise UsageError(f"{where} cannot be read: it is not there; fetch it again") from error
    except ValueError as error:
        raise UsageError(f"{where} cannot be read ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise UsageError(f"{where} is no JSON object; fetch it again")
    return content


def text_of(file: Path) -> str:
    """What a file of a checkpoint says.

    Raises:
        UsageError: when it begins with a byte-order mark, behind which transformers and others find no JSON.
        FileNotFoundError, ValueError: when it cannot be read.
    """
    text = read_text(file)
    if text.startswith("\ufeff"):
        raise UsageError(f"checkpoint {file.parent}: {file.name} begins with a byte-order mark; save it without one")
    return text


def is_text_only(config: Mapping[str, Any]) -> bool:
    """Whether it is of a language model alone: of a type of its own, or one without vision, as mlx-lm leaves it."""
    return str(config.get("model_type")).endswith("_text") or "vision_config" not in config


def weight_files(path: Path) -> list[Path]:
    """The safetensors files of a checkpoint directory: those that its index names, or all where it has none.

    Raises:
        UsageError: when a file is missing or the index cannot be read.
    """
    index = path / INDEX
    if not os.path.lexists(index):
        return _without_index(path)
    try:
        names = _named(read_json(index))
    except (OSError, ValueError) as error:
        raise UsageError(f"checkpoint {path}: {index.name} cannot be read ({error}); fetch it again") from error
    if missing := [name for name in names if Path(name).name != name or not (path / name).is_file()]:
        raise UsageError(f"checkpoint {path}: {index.name} names {missing[0]}, which is not there; fetch it again")
    return [path / name for name in names]


def _without_index(path: Path) -> list[Path]:
    """``model.safetensors``, or every shard; each says in its name how many there are."""
    if (whole := path / WHOLE).is_file():
        return [whole]
    files = sorted(file for file in path.glob(f"*{SUFFIX}") if not file.name.startswith(("adapter", OVERLAY)))
    if not files:
        raise UsageError(f"checkpoint {path}: no *.safetensors; only safetensors are loaded, never pickles")
    shards = [(file, int(found[1])) for file in files if (found := SHARD.search(file.name))]
    for file, count in shards:
        if len(shards) != count:
            there = f"{len(shards)} of {count} shards"
            raise UsageError(f"checkpoint {path}: {there} are there, as {file.name} says; fetch the others")
    return files


def _named(index: Any) -> list[str]:
    """The files that an index names, each once."""
    files = index.get("weight_map") if isinstance(index, dict) else None
    if isinstance(files, dict) and files and all(isinstance(name, str) for name in files.values()):
        return sorted(set(files.values()))
    raise ValueError("it has no weight_map of tensors and files")


def require_whole(file: Path) -> dict[str, Any]:
    """The header of a safetensors file.

    Raises:
        UsageError: when the file is truncated or is no safetensors file.
    """
    try:
        return read_header(file)
    except ValueError as error:
        raise UsageError(f"checkpoint file {file}: {error}; fetch it again") from error


def _digest(path: Path, files: list[Path]) -> str:
    """Hash of configuration and weights; reads everything, at several GB/s once in the page cache."""
    state = xxhash.xxh3_128((path / "config.json").read_bytes())
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(BLOCK):
                state.update(block)
    return state.hexdigest()
