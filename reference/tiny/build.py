"""Rebuild the embedded checkpoint byte for byte.

python -m reference.tiny.build            write reference/tiny/checkpoint anew
python -m reference.tiny.build --check    rebuild elsewhere and compare; exit 1 naming the files that differ
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

from reference import tiny
from reference.tiny import config, processor, safetensors_file, tokenizer, weights
from reference.tiny.config import JsonObject


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
    safetensors_file.write(directory / "model.safetensors", tensors)


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
    with tempfile.TemporaryDirectory() as directory:
        write_files(Path(directory))
        rebuilt = digests(Path(directory))
    found = digests(committed) if committed.is_dir() else {}
    return sorted(name for name in rebuilt.keys() | found.keys() if rebuilt.get(name) != found.get(name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m reference.tiny.build", description="Rebuild the tiny checkpoint.")
    parser.add_argument("--output", type=Path, default=tiny.path(), help="the checkpoint's directory")
    parser.add_argument("--check", action="store_true", help="compare a rebuild with the directory; write nothing")
    options = parser.parse_args(arguments)
    if options.check:
        return check(options.output)
    build(options.output)
    print(f"{options.output}: {sum(file.stat().st_size for file in options.output.iterdir()) / 1e6:.1f} MB")
    return 0


def check(committed: Path) -> int:
    """Print what a rebuild would change; return 1 if anything."""
    names = differing(committed)
    for name in names:
        print(f"{committed / name}: differs from a rebuild", file=sys.stderr)
    if names:
        print("to rebuild: python -m reference.tiny.build", file=sys.stderr)
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
