"""`meta.yaml`: what a folder says of itself to the programs that run packages of the ANEMLL converter.

It says again what the manifest does, in that converter's words. Where it lies, who trusts it runs wrong shapes; so
it is held to the manifest when a folder is read. PyYAML, which is installed with coremltools, is imported then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from implementations.ane.engine.limits import HEAD_PIECES
from implementations.coreml.package.settings import Format, Settings
from parity.errors import UsageError
from parity.json_file import read_text

META = "meta.yaml"
LONGEST = 1 << 16
"""Characters: ours has 500, and an alias in YAML stands for as much as was said before it."""


def write_meta(folder: Path, settings: Settings, decoder: Sequence[str]) -> None:
    """Write it."""
    import yaml

    told = {"framework": "Core ML", "architecture": "gemma3n", "parameters": parameters(settings, decoder)}
    text = yaml.safe_dump({"model_info": told}, sort_keys=False)
    (folder / META).write_text(text, encoding="utf-8")


def parameters(settings: Settings, decoder: Sequence[str]) -> dict[str, int | str]:
    """What is compiled, by the names that https://github.com/Anemll/Anemll has for it; it has none for caches."""
    return {
        "context_length": settings.context or 0,
        "batch_size": settings.batch,
        "lut_embeddings": _bits(settings.embeddings),
        "lut_ffn": _bits(settings.decoder),
        "lut_lmhead": _bits(settings.head),
        "num_chunks": len(decoder),
        "split_lm_head": HEAD_PIECES,
        "caches": settings.caches,
    }


def require_meta(folder: Path, settings: Settings, decoder: Sequence[str]) -> None:
    """Check that it says what the manifest does.

    Raises:
        UsageError: where it is missing or malformed, or says something else.
    """
    found = read_parameters(folder)
    for name, value in parameters(settings, decoder).items():
        told = found.get(name)
        if type(told) is not type(value) or told != value:
            what = repr(told) if isinstance(told, int | str | float) or told is None else "no number or word"
            raise UsageError(
                f"package {folder}: {META} says {name} is {what}, the manifest {value!r}; convert it again"
            )


def read_parameters(folder: Path) -> Mapping[str, Any]:
    """What it says is compiled, by name; anybody's words, which are not checked.

    Raises:
        UsageError: where it is missing, malformed or too long.
    """
    import yaml

    try:
        text = read_text(folder / META)
        if len(text) > LONGEST:
            raise ValueError(f"{len(text):,} characters, more than {LONGEST:,}")
        told = yaml.safe_load(text)
        found = told["model_info"]["parameters"]
        if not isinstance(found, dict):
            raise TypeError
    except FileNotFoundError as error:
        raise UsageError(f"package {folder}: no {META}; is it one that `parity coreml convert` wrote?") from error
    except (KeyError, TypeError) as error:
        raise UsageError(f"package file {folder / META} has no model_info with parameters; convert it again") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"package file {folder / META} cannot be read ({reason}); convert it again") from error
    return found


def _bits(form: Format) -> int | str:
    return "none" if form.palette_bits is None else form.palette_bits
