"""Loading a checkpoint with transformers, and refusing what it would silently make up."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel

from parity.arithmetic import Arithmetic
from parity.checkpoint import config_of
from parity.errors import BackendUnavailable, UsageError
from parity.native import tamed
from parity.weights.names import Spelling
from parity.weights.stored import stored
from reference.common.deferred import PROCESSOR, Places

Model = TypeVar("Model", bound=PreTrainedModel)

TOKENIZERS = ("tokenizer.json", "tokenizer.model")


def load(
    architecture: type[Model],
    checkpoint: Path,
    arithmetic: Arithmetic,
    *,
    spelled: Spelling,
    config: PreTrainedConfig | None = None,
    device: torch.device = PROCESSOR,
) -> Model:
    """Load for inference, with eager attention: the form that the published equations have.

    Transformers' own loader puts them in their places, but has none of their numbers: these stay in the files.

    Args:
        architecture: transformers' class of the model.
        checkpoint: its folder.
        arithmetic: what it computes in.
        spelled: the architecture's names of tensors.
        config: the model's, where it is not that of the whole ``config.json``.
        device: where it computes.

    Raises:
        UsageError: for another architecture or missing tensors, which transformers would draw at random.
        BackendUnavailable: when transformers cannot take the files.
    """
    places = Places(stored(checkpoint, spelled), arithmetic, device)
    try:
        if config is None:
            config = AutoConfig.from_pretrained(checkpoint, local_files_only=True)
            vars(config).pop("quantization_config", None)  # of MLX's own, and undone
        loaded: Any = architecture.from_pretrained(
            None,
            state_dict=places.held,
            config=config,
            dtype=getattr(torch, arithmetic.storage),
            attn_implementation="eager",
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:  # the loader raises many unrelated types
        if "ignore_mismatched_sizes" in str(error):  # it says no more than that there are some
            _require_shapes(architecture, checkpoint, config, spelled)
        reason = " ".join(str(error).split())[:300]
        raise BackendUnavailable(f"checkpoint {checkpoint}: transformers cannot load it ({reason})") from error
    model: Model
    model, report = loaded
    _require_complete(checkpoint, report)
    places.fill(model)
    model.config.get_text_config().name_or_path = str(checkpoint)  # variants read weights that no module has
    model.train(False)
    return model


def require_type(checkpoint: Path, model_types: Collection[str]) -> None:
    """Check what ``config.json`` calls the model.

    Raises:
        UsageError: for another architecture.
    """
    found = config_of(checkpoint).get("model_type")
    if found not in model_types:
        known = " and ".join(map(repr, model_types))
        raise UsageError(f"checkpoint {checkpoint}: architecture {found!r}; this reference is for {known}")


def _require_shapes(
    architecture: type[Model], checkpoint: Path, config: PreTrainedConfig | None, spelled: Spelling
) -> None:
    """Name the first tensor whose shape is not what ``config.json`` asks for."""
    with torch.device("meta"):
        model = architecture(config or AutoConfig.from_pretrained(checkpoint, local_files_only=True))
    expected = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, tensor in sorted(stored(checkpoint, spelled).items()):
        found = list(tensor.shape)
        if found != expected.get(name, found):
            raise UsageError(f"checkpoint {checkpoint}: {name} is {found}; its config.json needs {expected[name]}")


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
        with tamed():
            tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    except Exception as error:  # the loader raises many unrelated types
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"checkpoint {checkpoint}: its tokenizer cannot be loaded ({reason})") from error
    if len(tokenizer) > ids:
        raise UsageError(f"checkpoint {checkpoint}: its tokenizer has {len(tokenizer)} ids, the model {ids}")
    return list(tokenizer(text, add_special_tokens=special)["input_ids"])
