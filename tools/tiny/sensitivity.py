"""How much each parameter of the checkpoint matters, in floors.

python -m tools.tiny.sensitivity          the middle tensor of every kind, weakest first
python -m tools.tiny.sensitivity --all    every tensor (some minutes)

A tensor gets 1 % of relative noise, and the movement of the output is divided by what float32 arithmetic costs there
(the floor: float32 against float64). A component with a small number could be left out by a port unnoticed. Noise, not
a factor: a uniform factor before a norm changes nothing.
"""

import argparse
import copy
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Gemma3nForConditionalGeneration

from reference import tiny
from tools.tiny import config, kinds

Model = Gemma3nForConditionalGeneration
Output = Callable[[Model], Tensor]

NOISE = 0.01


def load() -> Model:
    """Load the checkpoint in float32."""
    model: Model = Gemma3nForConditionalGeneration.from_pretrained(tiny.path(), dtype=torch.float32)
    model.train(False)
    return model


def text_logits(model: Model) -> Tensor:
    """Logits [1, 48, 768] of ids from all three ranges (text, vision, audio), over three sliding windows."""
    ids = torch.randint(0, config.VOCAB, (1, 48), generator=torch.Generator().manual_seed(1))
    logits: Tensor = model(input_ids=ids).logits
    return logits


def vision_output(model: Model) -> Tensor:
    """The vision tower's soft tokens [1, 2048, 4, 4]."""
    tokens: Tensor = model.model.vision_tower(pixel_values=pixels(model)).last_hidden_state
    return tokens


def audio_output(model: Model) -> Tensor:
    """The audio tower's soft tokens [1, 10, 64]."""
    frames, mask = mel(model)
    tokens: Tensor = model.model.audio_tower(frames, ~mask).last_hidden_state
    return tokens


def multimodal_logits(model: Model) -> Tensor:
    """Logits [1, 58, 768] of a prompt with an image and audio."""
    frames, mask = mel(model)
    image = [config.START_OF_IMAGE, *[config.IMAGE_TOKEN] * config.IMAGE_TOKENS, config.END_OF_IMAGE]
    audio = [config.START_OF_AUDIO, *[config.AUDIO_TOKEN] * config.AUDIO_TOKENS, config.END_OF_AUDIO]
    ids = torch.tensor([[config.BOS, *image, *audio, *range(300, 305)]])
    media = {"pixel_values": pixels(model), "input_features": frames, "input_features_mask": mask}
    logits: Tensor = model(input_ids=ids, **media).logits
    return logits


def pixels(model: Model) -> Tensor:
    """An image [1, 3, 192, 192] in [0, 1] with structure at two scales."""
    generator = torch.Generator().manual_seed(2)
    coarse = torch.rand((1, 3, 12, 12), generator=generator).repeat_interleave(16, 2).repeat_interleave(16, 3)
    fine = torch.rand((1, 3, config.IMAGE_SIZE, config.IMAGE_SIZE), generator=generator)
    return (0.7 * coarse + 0.3 * fine).to(model.dtype)


def mel(model: Model) -> tuple[Tensor, Tensor]:
    """Log-mel frames [1, 160, 128] in the extractor's range, and their mask [1, 160], false for the last 24."""
    frames = torch.rand((1, 160, 128), generator=torch.Generator().manual_seed(3)) * 8 - 5
    return frames.to(model.dtype), torch.arange(160)[None] < 136


def output_for(name: str) -> Output:
    """Return where a tensor's disturbance is measured: its tower's own output, or the logits."""
    if "soft_embedding_norm" in name:
        return multimodal_logits
    if ".vision_tower." in name:
        return vision_output
    return audio_output if ".audio_tower." in name else text_logits


def relative_error(*, oracle: Tensor, candidate: Tensor) -> float:
    """Return the relative L2 distance of a candidate from the oracle, of one shape."""
    exact = oracle.double()
    return float((candidate.double() - exact).norm() / exact.norm())


@dataclass(frozen=True)
class Measured:
    """One output of the undisturbed model: its float32 value, and float32's relative error against float64."""

    value: Tensor
    floor: float


@torch.no_grad()
def measure(model: Model) -> dict[Output, Measured]:
    """Run the undisturbed model in float32 and in float64."""
    exact = copy.deepcopy(model).double()
    outputs: tuple[Output, ...] = (text_logits, vision_output, audio_output, multimodal_logits)
    pairs = {output: (output(model), output(exact)) for output in outputs}
    return {key: Measured(low, relative_error(oracle=high, candidate=low)) for key, (low, high) in pairs.items()}


@contextmanager
def disturbed(model: Model, name: str) -> Iterator[None]:
    """Give one tensor relative noise, drawn from its name; restore it after."""
    tensor = model.get_parameter(name).data
    original = tensor.clone()
    noise = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    tensor.mul_(1 + NOISE * noise)
    try:
        yield
    finally:
        tensor.copy_(original)


@torch.no_grad()
def floors_moved(model: Model, measured: dict[Output, Measured], name: str) -> float:
    """Return by how many floors the output moves when one tensor is disturbed."""
    output = output_for(name)
    with disturbed(model, name):
        moved = relative_error(oracle=measured[output].value, candidate=output(model))
    return moved / measured[output].floor


@torch.no_grad()
def largest_activation(model: Model) -> float:
    """Return the largest magnitude that any module returns for the multimodal prompt."""
    peaks: list[float] = []
    hooks = [part.register_forward_hook(lambda *call: peaks.extend(magnitudes(call[2]))) for part in model.modules()]
    multimodal_logits(model)
    for hook in hooks:
        hook.remove()
    return max(peaks)


def magnitudes(output: object) -> Iterator[float]:
    """Yield the largest magnitude of each floating-point tensor that a module returned."""
    for value in output if isinstance(output, tuple) else (output,):
        if torch.is_tensor(value) and value.is_floating_point():
            yield float(value.abs().max())


def report(names: Iterable[str]) -> Iterator[str]:
    """Yield the lines of the report: floors, then the tensors, weakest first."""
    model = load()
    measured = measure(model)
    for output, found in measured.items():
        yield f"floor {found.floor:.1e}  {output.__name__}, standard deviation {float(found.value.std()):.2f}"
    yield f"largest activation {largest_activation(model):.0f}"
    for moved, name in sorted((floors_moved(model, measured, name), name) for name in names):
        yield f"{moved:9.0f} floors  {name}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.tiny.sensitivity", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every tensor, not one of each kind")
    options = parser.parse_args(arguments)
    for line in report(kinds.computing() if options.all else kinds.representatives().values()):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
