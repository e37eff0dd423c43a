"""Loading a checkpoint with transformers, and refusing what it would silently make up."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import AutoTokenizer, PreTrainedModel

from parity.checkpoint import config_of
from parity.errors import BackendUnavailable, UsageError

Model = TypeVar("Model", bound=PreTrainedModel)

TOKENIZERS = ("tokenizer.json", "tokenizer.model")


def load(architecture: type[Model], model_types: Collection[str], checkpoint: Path, dtype: str) -> Model:
    """Load for inference, with eager attention: the form that the published equations have.

    Args:
        architecture: transformers' class of the model.
        model_types: what ``config.json`` may call it.
        checkpoint: its folder.
        dtype: torch's name of the weights' dtype.

    Raises:
        UsageError: for another architecture or missing tensors, which transformers would draw at random.
        BackendUnavailable: when transformers cannot take the files.
    """
    found = config_of(checkpoint).get("model_type")
    if found not in model_types:
        known = " and ".join(map(repr, model_types))
        raise UsageError(f"checkpoint {checkpoint}: architecture {found!r}; this reference is for {known}")
    try:
        loaded: Any = architecture.from_pretrained(
            checkpoint,
            dtype=getattr(torch, dtype),
            attn_implementation="eager",
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:  # the loader raises many unrelated types
        reason = " ".join(str(error).split())[:300]
        raise BackendUnavailable(f"checkpoint {checkpoint}: transformers cannot load it ({reason})") from error
    model: Model
    model, report = loaded
    _require_complete(checkpoint, report)
    model.config.get_text_config().name_or_path = str(checkpoint)  # variants read weights that no module has
    model.train(False)
    return model


def _require_complete(checkpoint: Path, report: dict[str, Any]) -> None:
    for problem in ("missing_keys", "mismatched_keys"):
        names = sorted(str(name) for name in report.get(problem) or ())
        if names:
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise UsageError(f"checkpoint {checkpoint}: {problem.replace('_', ' ')}: {shown}")


def tokenize(checkpoint: Path, text: str, ids: int, special: bool) -> list[int]:
    """Token ids of `text`, with BOS where `special`.

    Raises:
        UsageError: when there is no tokenizer, or it is not this model's.
    """
    if not any((checkpoint / name).is_file() for name in TOKENIZERS):  # transformers would make up an empty one
        raise UsageError(f"checkpoint {checkpoint}: no tokenizer: neither {' nor '.join(TOKENIZERS)}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    except Exception as error:  # the loader raises many unrelated types
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"checkpoint {checkpoint}: its tokenizer cannot be loaded ({reason})") from error
    if len(tokenizer) > ids:
        raise UsageError(f"checkpoint {checkpoint}: its tokenizer has {len(tokenizer)} ids, the model {ids}")
    return list(tokenizer(text, add_special_tokens=special)["input_ids"])
