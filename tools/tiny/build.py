"""Build the embedded checkpoint as it is before training, byte for byte the same everywhere.

python -m tools.tiny.build --output DIR    write it: where training starts
python -m tools.tiny.build --check         hold the committed checkpoint to it; exit 1 naming what differs

Training changes some tensors (`tools.tiny.parts`) and its arithmetic depends on the machine, so those are held to
the digest in training.json; every other file and tensor is held to its rebuild.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from reference import tiny
from reference.common import safetensors_file
from tools.tiny import config, parts, processor, tokenizer, weights
from tools.tiny.config import JsonObject

WEIGHTS: Final = "model.safetensors"
RECORD: Final = Path(__file__).with_name("training.json")
"""What the committed weights are, and what they were made with."""


def json_files() -> dict[str, JsonObject]:
    """Return every JSON file of the checkpoint but the weights, by name."""
    return {
        "config.json": config.config(),
        "generation_config.json": config.generation_config(),
        "preprocessor_config.json": processor.preprocessor_config(),
        "processor_config.json": processor.processor_config(),
        "special_tokens_map.json": tokenizer.special_tokens_map(),
        "tokenizer.json": tokenizer.tokenizer(),
        "tokenizer_config.json": tokenizer.tokenizer_config(),
    }


def write_files(directory: Path) -> None:
    """Write the whole checkpoint into an empty directory."""
    for name, content in json_files().items():
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (directory / name).write_text(text, encoding="utf-8", newline="\n")
    (directory / "chat_template.jinja").write_text(processor.CHAT_TEMPLATE, encoding="utf-8", newline="\n")
    tensors = {name: weights.draw(name, shape) for name, shape in weights.shapes(config.config()).items()}
    safetensors_file.write(directory / WEIGHTS, tensors)


def build(output: Path) -> None:
    """Write the checkpoint beside `output`, then rename it into place: an interrupted build changes nothing."""
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        (temporary / "new").mkdir()
        write_files(temporary / "new")
        replace(output, new=temporary / "new", old=temporary / "old")
    finally:
        shutil.rmtree(temporary)


def replace(output: Path, *, new: Path, old: Path) -> None:
    """Rename `new` to `output`, and what was there to `old`; put it back if that fails."""
    if output.exists():
        os.rename(output, old)
    try:
        os.rename(new, output)
    except OSError:
        if old.exists():
            os.rename(old, output)
        raise


def digests(directory: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a checkpoint, by name."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(directory.iterdir())}


def differing(committed: Path) -> list[str]:
    """Rebuild into a temporary directory; return the files that differ, are missing or are surplus."""
    found = digests(committed) if committed.is_dir() else {}
    with tempfile.TemporaryDirectory() as directory:
        write_files(Path(directory))
        expected = digests(Path(directory))
        if found.get(WEIGHTS) == recorded() and untouched(committed) == untouched(Path(directory)):
            expected[WEIGHTS] = recorded()
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


def recorded() -> str:
    """Return the digest of the trained weights."""
    digest: str = json.loads(RECORD.read_text(encoding="utf-8"))["weights"]
    return digest


def untouched(directory: Path) -> dict[str, bytes]:
    """Return the tensors that training leaves as they were drawn."""
    tensors = safetensors_file.read(directory / WEIGHTS)
    return {name: tensor.tobytes() for name, tensor in tensors.items() if not parts.trained(name)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.tiny.build", description="Build the tiny checkpoint.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--output", type=Path, help="write the checkpoint before training into this directory")
    what.add_argument("--check", action="store_true", help="hold the committed checkpoint to it; write nothing")
    options = parser.parse_args(arguments)
    if options.check:
        return check(tiny.path())
    build(options.output)
    print(f"{options.output}: {sum(file.stat().st_size for file in options.output.iterdir()) / 1e6:.1f} MB")
    return 0


def check(committed: Path) -> int:
    """Print what differs from a rebuild, or from what was trained; return 1 if anything."""
    names = differing(committed)
    for name in names:
        print(f"{committed / name}: differs from a rebuild", file=sys.stderr)
    if names:
        print("to make it anew: python -m tools.tiny.train all --work DIR", file=sys.stderr)
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
