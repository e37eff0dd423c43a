"""The audio path alone as parties of the engine: mel features to soft tokens, without the rest of the model."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from safetensors.torch import load_file

from parity.arithmetic import Plain
from parity.backend import Backend, Reference
from parity.contract import Contract
from parity.scenario import Chunk, Scenario
from parity.tap import SILENT, ScopedTap
from reference.common.arithmetics import arithmetic, running
from reference.common.executions import Executions
from reference.common.torch_tensors import TorchTensors
from reference.common.woven import Woven
from reference.gemma3n.steps.audio import audio_steps
from reference.gemma3n.steps.contract import ALL_STEPS
from tests.by_hand import MadeByHand

SCENARIO = Scenario("audio", (Chunk("prefill", ((0,),)),))
SOFT_TOKENS = 32
"""Of the embedded checkpoint."""


@dataclasses.dataclass(frozen=True)
class Clips:
    """Mel features, and which of their frames are sound.

    Attributes:
        mel: ``[clip, frame, mel]``, float32.
        mask: ``[clip, frame]``, bool.
    """

    mel: np.ndarray
    mask: np.ndarray

    @classmethod
    def of(cls, *lengths, frames=0, bands=128, seed=0):
        """Clips of so many frames, padded to the longest or to `frames`; like log-mel features in mean and spread."""
        draw = np.random.default_rng(seed)
        total = max(*lengths, frames)
        mask = np.arange(total) < np.array(lengths)[:, None]
        return cls(draw.normal(-3, 2, size=(len(lengths), total, bands)).astype(np.float32), mask)


CLIPS = {
    "unequal": Clips.of(150, 61),
    "padded": Clips.of(90, 150, frames=211),
    "shorter than a block": Clips.of(20),
    "one frame": Clips.of(1),
    "longest": Clips.of(512),
}
"""Clips that are of unequal length, padded, short and as long as the model takes."""
CONFIGURATIONS = {
    "another norm": {"sscp_conv_group_norm_eps": 0.5, "rms_norm_eps": 0.01, "gradient_clipping": 1.5},
    "wide context": {
        "conf_attention_chunk_size": 5,
        "conf_attention_context_left": 9,
        "conf_attention_context_right": 3,
    },
    "no past": {"conf_attention_context_left": 1, "conf_attention_context_right": 2, "conf_reduction_factor": 1},
    "another conformer": {"conf_attention_logit_cap": 2.0, "conf_conv_kernel_size": 3, "conf_residual_weight": 0.7},
    "another subsampling": {
        "input_feat_size": 40,
        "sscp_conv_channel_size": (6, 10),
        "sscp_conv_kernel_size": ((3, 3), (5, 3)),
        "sscp_conv_stride_size": ((2, 1), (1, 2)),
        "conf_reduction_factor": 3,
    },
}
"""Settings of the tower that change its shapes or its numbers."""


class Audio(MadeByHand, Reference):
    """The reference's audio path.

    Args:
        model: `Gemma3nForConditionalGeneration`.
        dtype: the arithmetic.
        clips: what it hears.
        edits: deviations in force.
    """

    name = "audio"

    def __init__(self, model, dtype, clips, edits=()):
        self.tensors = TorchTensors()
        self._model, self._clips = model, clips
        self._arithmetic = arithmetic(dtype)
        self._executions, self._execution = Executions(self._arithmetic), ""
        self.executions, self.plain = self._executions.excess, True
        self._woven = Woven(model, ALL_STEPS, edits)

    def contract(self):
        """The audio path's steps, in a chunk that holds no prompt."""
        steps = tuple(dataclasses.replace(step, needs="") for step in audio_steps(self._model.model))
        return Contract("audio", steps, logits="")

    def scenario(self, name, prompt, media=()):
        """The only one."""
        return SCENARIO

    def execute_as(self, name):
        """Without a processor, which has executions of its own."""
        self._execution = name

    def forward(self, token_ids, *, prompts=(), tap=SILENT):
        """Run the model on audio placeholders; other steps than the audio path's stay unheard."""
        mel, mask = torch.from_numpy(self._clips.mel).to(self._model.dtype), torch.from_numpy(self._clips.mask)
        computing = self._executions.running(self._execution)
        with torch.no_grad(), running(self._arithmetic), computing, self._woven.listening(only_audio(tap)):
            self._run(self._arithmetic.rounded(mel), mask)
        return np.zeros((1, 1, 1))

    def _run(self, mel, mask):
        ids = torch.full((len(mel), SOFT_TOKENS), self._model.config.audio_token_id)
        self._model.model(input_ids=ids, input_features=mel, input_features_mask=mask)


def only_audio(tap):
    """A tap that passes on the audio path's steps."""

    def heard(name, value):
        is_audio = name.startswith(("audio.", "embed_audio.")) and name != "embed_audio.hard"
        return tap(name, value) if is_audio else value

    return ScopedTap(heard)


class Tower(Audio):
    """The reference's audio tower alone; `model` is a module with an ``audio_tower``."""

    def contract(self):
        """The steps up to the tower's features."""
        steps = (dataclasses.replace(step, needs="") for step in audio_steps(self._model))
        return Contract("tower", tuple(step for step in steps if step.name.startswith("audio.")), logits="")

    def _run(self, mel, mask):
        self._model.audio_tower(mel, ~mask)


class Listener(MadeByHand, Backend):
    """What the implementations' parties have in common.

    Args:
        checkpoint: a directory.
        clips: what it hears.
    """

    def __init__(self, checkpoint, clips):
        from implementations.gemma3n.config import Config

        self.config = Config.from_directory(checkpoint)
        self.clips = clips
        self._checkpoint = checkpoint


class MlxTower(Listener):
    """The MLX model's audio tower; `dtype` is the name of MLX's."""

    name = "mlx-audio"

    def __init__(self, checkpoint, dtype, clips):
        import mlx.core as mx

        from implementations.mlx.audio.tower import AudioTower
        from implementations.mlx.tensors import MlxTensors

        super().__init__(checkpoint, clips)
        self.tensors, self._dtype = MlxTensors(), getattr(mx, dtype)
        self.tower = self._load(AudioTower(self.config.audio), "model.audio_tower")

    def _load(self, module, name):
        from implementations.mlx.weights import load_part

        return load_part(module, self._checkpoint, self._dtype, name)

    def forward(self, token_ids, *, prompts=(), tap=SILENT):
        """Run on the clips."""
        import mlx.core as mx

        mx.eval(self.run(mx.array(self.clips.mel).astype(self._dtype), mx.array(self.clips.mask), tap))
        return np.zeros((1, 1, 1))

    def run(self, mel, mask, tap=SILENT):
        """Features and their mask, lazy."""
        return self.tower(mel, mask, tap=tap.into("audio"))


class MlxAudio(MlxTower):
    """The MLX model's audio path."""

    def __init__(self, checkpoint, dtype, clips):
        from implementations.mlx.embedder import MultimodalEmbedder

        super().__init__(checkpoint, dtype, clips)
        embedder = MultimodalEmbedder(self.config.audio, self.config.text.hidden_size)
        self.embedder = self._load(embedder, "model.embed_audio")

    def run(self, mel, mask, tap=SILENT):
        """Soft tokens, lazy."""
        from implementations.mlx.embedder import soft_tokens

        features, mask = super().run(mel, mask, tap)
        scope = tap.into("embed_audio")
        soft = self.embedder.soft(features, tap=scope)
        return soft_tokens(soft, mask, self.embedder.last(), SOFT_TOKENS, tap=scope)


class AneTower(Listener):
    """The audio tower of the Neural Engine's form; `dtype` is an arithmetic of the backend's."""

    name = "ane-audio"

    def __init__(self, checkpoint, dtype, clips):
        from implementations.ane.arithmetic import Float16Ane
        from implementations.ane.audio.host import AudioHost
        from implementations.ane.audio.tower import AudioTower, within
        from implementations.ane.engine.limits import LIMIT

        super().__init__(checkpoint, clips)
        is_half = dtype == "float16-ane"
        self.arithmetic = Float16Ane() if is_half else Plain(dtype)
        config = within(self.config.audio, LIMIT) if is_half else self.config.audio
        self.tensors = self._translation(config)
        self.tower = self._load(AudioTower(config), "model.audio_tower.")
        self.host = AudioHost(config, self.arithmetic.rounded)

    def _translation(self, audio):
        from implementations.ane.shapes import Shapes
        from implementations.ane.tensors import AneTensors

        never = lambda step: False  # noqa: E731
        shapes = Shapes(64, 64, self.config.text.sliding_window)
        how = {"alpha": 1, "carries_alpha": never, "arithmetic": self.arithmetic, "audio": audio}
        return AneTensors(self.config.text, shapes, **how)

    def _load(self, module, prefix):
        weights = load_file(self._checkpoint / "model.safetensors")
        state = {
            name: self.arithmetic.rounded(weights[prefix + name].float().reshape(parameter.shape))
            for name, parameter in module.named_parameters()
        }
        module.load_state_dict(state, assign=True)
        return module.requires_grad_(False).eval()

    @torch.inference_mode()
    def forward(self, token_ids, *, prompts=(), tap=SILENT):
        """Run on the clips."""
        self.run(torch.from_numpy(self.clips.mel), torch.from_numpy(self.clips.mask), tap)
        return np.zeros((1, 1, 1))

    def run(self, mel, mask, tap=SILENT):
        """Features ``[clip, hidden, 1, frame]`` and their mask ``[clip, frame]``."""
        inner = tap.into("audio")
        mel = inner("mel", self.arithmetic.rounded(mel))
        tables, kept = self.host.prepare(mask, tap=inner)
        with self.arithmetic.running():
            return self.tower(mel[:, None], *tables, tap=inner), kept


class AneAudio(AneTower):
    """The audio path of the Neural Engine's form."""

    def __init__(self, checkpoint, dtype, clips):
        from implementations.ane.embedder import MultimodalEmbedder

        super().__init__(checkpoint, dtype, clips)
        embedder = MultimodalEmbedder(self.config.audio, self.config.text.hidden_size)
        self.embedder = self._load(embedder, "model.embed_audio.")

    def run(self, mel, mask, tap=SILENT):
        """Soft tokens ``[clip, hidden, 1, token]``."""
        from implementations.ane.senses import soft_tokens

        features, kept = super().run(mel, mask, tap)
        scope = tap.into("embed_audio")
        with self.arithmetic.running():
            soft = self.embedder.soft(features, tap=scope)
        return soft_tokens(soft, kept, self.arithmetic.rounded(self.embedder.last()), SOFT_TOKENS, tap=scope)
