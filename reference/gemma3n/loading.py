"""Loading a Gemma 3n: of all modalities, or a language model alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    Gemma3nConfig,
    Gemma3nForCausalLM,
    Gemma3nForConditionalGeneration,
    Gemma3nTextConfig,
    PreTrainedModel,
)
from transformers.models.gemma3n.modeling_gemma3n import Gemma3nModel

from parity.arithmetic import Arithmetic
from parity.checkpoint import config_of, is_text_only
from parity.errors import UsageError
from parity.weights.names import text_alone
from reference.common import loading
from reference.common.deferred import PROCESSOR
from reference.gemma3n import MODEL_TYPES, PUBLISHED


def load(checkpoint: Path, arithmetic: Arithmetic, device: torch.device = PROCESSOR) -> Gemma3nForConditionalGeneration:
    """Load for inference, on a device.

    Raises:
        UsageError: for another architecture, missing tensors, or a configuration that transformers does not take.
        BackendUnavailable: when transformers cannot take the files.
    """
    loading.require_type(checkpoint, MODEL_TYPES)
    if not is_text_only(config_of(checkpoint)):
        return loading.load(Gemma3nForConditionalGeneration, checkpoint, arithmetic, spelled=PUBLISHED, device=device)
    config = _text_config(checkpoint)
    model = loading.load(Gemma3nForCausalLM, checkpoint, arithmetic, config=config, spelled=text_alone, device=device)
    frame = TextAlone(model)
    frame.train(False)
    return frame


def _text_config(checkpoint: Path) -> Gemma3nTextConfig:
    data = config_of(checkpoint)
    try:
        return Gemma3nTextConfig.from_dict(data.get("text_config", data))
    except Exception as error:  # the library raises many unrelated types
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"checkpoint {checkpoint}: transformers cannot take its config.json ({reason})") from error


class TextAlone(Gemma3nForConditionalGeneration):
    """What `Gemma3nForCausalLM` computes, in the frame of the multimodal model, whose functions the steps are in.

    No id is of another modality, so the frame hands the embeddings on as they are.
    """

    def __init__(self, model: Gemma3nForCausalLM) -> None:
        config: Any = Gemma3nConfig(text_config=model.config)
        config._attn_implementation = "eager"
        for other in (config.vision_config, config.audio_config):
            other.vocab_offset, other.vocab_size = model.config.vocab_size, 0
        PreTrainedModel.__init__(self, config)
        self.model = _Frame(config, model.model)
        self.lm_head = model.lm_head


class _Frame(Gemma3nModel):
    def __init__(self, config: Any, language_model: nn.Module) -> None:
        PreTrainedModel.__init__(self, config)
        self.vocab_size = config.text_config.vocab_size
        self.language_model = language_model
        self.add_module("embed_vision", _NoIds(config.text_config))
        self.add_module("embed_audio", _NoIds(config.text_config))


class _NoIds(nn.Module):
    """An embedder of no ids: what it gives is put nowhere."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.vocab_offset, self.vocab_size, self._hidden = config.vocab_size, 1, config.hidden_size

    def forward(self, input_ids: Tensor) -> Tensor:
        """Zeros ``[batch, token, hidden]``."""
        return torch.zeros(*input_ids.shape, self._hidden, device=input_ids.device)
