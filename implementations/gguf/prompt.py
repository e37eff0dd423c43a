"""Prompts as llama.cpp's programs read them: the chat template's text, which libmtmd cuts at its pictures.

libmtmd puts a token before each picture and one behind, and no newlines, which the reference's processor has there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from implementations.gemma3n.preprocessing.encoding import Turn, clips, images, prompt_text, require_each
from implementations.gemma3n.preprocessing.inputs import NOTHING, Inputs
from implementations.gemma3n.preprocessing.preprocessor import Preprocessor
from parity.errors import UsageError
from parity.media import Prompt
from parity.tap import Tap

if TYPE_CHECKING:
    from implementations.gguf.sight import Sight

BEGIN = "bos_token"


class MtmdPreprocessor(Preprocessor):
    """A checkpoint's preprocessing with libmtmd's token ids.

    Args:
        checkpoint: its folder.
        sight: libmtmd with the checkpoint's vision tower and tokenizer.
    """

    def __init__(self, checkpoint: Path, sight: Sight) -> None:
        super().__init__(checkpoint)
        self._sight = sight

    def encode(self, dialogue: Sequence[Turn]) -> list[int]:
        """Token ids of a dialogue, up to where the model's turn begins.

        The token that a text begins with is llama.cpp's to write, so that its programs take the template's away.

        Raises:
            UsageError: for sounds, a text that contains what stands for a picture, or else as `encode`.
        """
        if clips(dialogue):
            raise UsageError("libmtmd takes no sound of Gemma 3n: leave prompt=libmtmd out")
        text = prompt_text(dialogue, self.settings).removeprefix(self.settings.special.get(BEGIN, ""))
        marker, pictures = self._sight.marker, [picture.pixels for picture in images(dialogue)]
        if marker in text:
            raise UsageError(f"the prompt's text contains {marker}, which stands for a picture; pass the file instead")
        media = self.settings.media_tokens
        require_each(text, media, images=len(pictures), clips=0)
        (soft,) = (tokens.soft for tokens in media if tokens.kind == "image")
        return self._sight.ids(text.replace(soft, marker), pictures)

    def inputs(self, token_ids: NDArray[np.int64], prompts: Sequence[Prompt], *, tap: Tap) -> Inputs:
        """A chunk's inputs: of prompts, where there are any.

        A row alone goes on with its own ids, whatever their number. Several go on with those that were given where
        they have another shape, for the conversation has begun with the padding of these.
        """
        if len(prompts) == 1:
            return self.batch(prompts, tap=tap)
        return super().inputs(token_ids, prompts, tap=tap) if prompts else Inputs(token_ids, NOTHING)
