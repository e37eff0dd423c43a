"""Where a checkpoint has its chat template: in one of five places, in the order in which transformers looks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parity.checkpoint import object_of
from parity.errors import UsageError
from parity.json_file import read_text

OLD, FILE, OTHERS = "chat_template.json", "chat_template.jinja", "additional_chat_templates"
CONFIG = "tokenizer_config.json"
KEY, DEFAULT = "chat_template", "default"


def template_of(checkpoint: Path, processor: Mapping[str, Any]) -> str | None:
    """The source of the template; None where the checkpoint has none, as pretrained ones do.

    Args:
        checkpoint: its folder.
        processor: the content of processor_config.json, whose template goes before all others.

    Raises:
        UsageError: for a file that cannot be read, or several templates of which none is the default.
    """
    if (own := processor.get(KEY)) is not None:
        return _default(own, checkpoint, "processor_config.json")
    others = sorted(file.stem for file in (checkpoint / OTHERS).glob("*.jinja"))
    if (checkpoint / OLD).is_file():
        if others:
            raise UsageError(f"checkpoint {checkpoint}: {OLD} and {OTHERS} exclude each other; make it {FILE}")
        return _default(object_of(checkpoint / OLD).get(KEY), checkpoint, OLD)
    if os.path.lexists(checkpoint / FILE):
        return _source(checkpoint / FILE)
    if others:
        return _default(dict.fromkeys(others), checkpoint, OTHERS)
    if not (checkpoint / CONFIG).is_file():
        return None
    return _default(object_of(checkpoint / CONFIG).get(KEY), checkpoint, CONFIG)


def _default(found: Any, checkpoint: Path, file: str) -> str | None:
    """The template, or of several, a list or an object by names, the one that is called ``default``."""
    if found is None or isinstance(found, str):
        return found
    if isinstance(found, list) and all(isinstance(entry, dict) for entry in found):
        found = {entry.get("name"): entry.get("template") for entry in found}
    if not isinstance(found, dict):
        raise UsageError(f"checkpoint {checkpoint}: {KEY} of {file} is no text and no list of named templates")
    if not isinstance(template := found.get(DEFAULT), str):
        names = ", ".join(map(str, found))
        raise UsageError(f"checkpoint {checkpoint}: {file} has chat templates {names}; name one of them {DEFAULT!r}")
    return template


def _source(file: Path) -> str:
    try:
        return read_text(file)
    except ValueError as error:
        raise UsageError(f"checkpoint {file.parent}: {file.name} cannot be read ({error}); fetch it again") from error
