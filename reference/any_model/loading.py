"""Loading any language model with transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from parity.arithmetic import Arithmetic
from parity.errors import BackendUnavailable


def load(checkpoint: Path, arithmetic: Arithmetic) -> PreTrainedModel:
    """Load for inference, with eager attention: the form that the published equations have.

    Raises:
        BackendUnavailable: when transformers cannot take the checkpoint, or would draw weights that are missing.
    """
    asked: dict[str, Any] = {
        "dtype": getattr(torch, arithmetic.storage),
        "attn_implementation": "eager",
        "experts_implementation": "batched_mm",  # the grouped kernel has no float64
        "local_files_only": True,
        "use_safetensors": True,
        "output_loading_info": True,
    }
    try:
        with arithmetic.loading():
            loaded: Any = AutoModelForCausalLM.from_pretrained(checkpoint, **asked)
    except Exception as error:  # the loader raises many unrelated types
        reason = " ".join(str(error).split())[:300]
        raise BackendUnavailable(f"checkpoint {checkpoint}: transformers cannot load it ({reason})") from error
    model, report = loaded
    if missing := sorted(map(str, report.get("missing_keys") or ())):
        raise BackendUnavailable(f"checkpoint {checkpoint}: transformers would draw {missing[0]}, which is missing")
    found: PreTrainedModel = model
    found.train(False)
    return found


def is_activation(value: object) -> bool:
    """Whether a value is a tensor of real numbers, and no weight."""
    return type(value) is torch.Tensor and value.is_floating_point()
