"""What the embedded checkpoint answers on pictures and sounds that it was not trained on.

python -m tools.tiny.evaluate                    accuracy and margins per kind of question
python -m tools.tiny.evaluate --dtype bfloat16   in another arithmetic
python -m tools.tiny.evaluate --samples 40       fewer pictures and sounds

The reference runs with the checkpoint's own processor and chat template. An answer is right if greedy decoding says
exactly it and ends the turn: that is so if each of its tokens is the most likely one after those before, which one
forward pass tells. Its margin is the smallest lead over a second-best token, in logits.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from reference import tiny
from reference.common.sounds import Sound
from tools.tiny import config, material
from tools.tiny.material import Exchange

SAMPLES: Final = 200
REQUIRED: Final = 0.95
"""Least share of right answers of every kind of question."""


@dataclass(frozen=True)
class Case:
    """One question with the media it is about, as the processor takes them."""

    exchange: Exchange
    media: dict[str, Any]

    def prompt(self, processor: Any) -> str:
        """Return the prompt by the chat template, open for the answer."""
        kinds = [{"images": "image", "audio": "audio"}[name] for name in self.media]
        messages = material.messages(self.exchange.question, *kinds)
        prompt: str = processor.apply_chat_template(messages, add_generation_prompt=True)
        return prompt


@dataclass(frozen=True)
class Result:
    """Whether the answer was right, and by what margin in logits; negative where it was wrong."""

    case: Case
    margin: float

    @property
    def right(self) -> bool:
        """Tell whether greedy decoding says exactly the answer."""
        return self.margin > 0


def cases(samples: int = SAMPLES) -> Iterator[Case]:
    """Yield one question about each held-out picture and sound, about pairs of them, and every exchange in text."""
    seen = material.draw_pictures(material.HELD_OUT, samples)
    heard = material.draw_sounds(material.HELD_OUT, samples)
    for index, (picture, sound) in enumerate(zip(seen, heard, strict=True)):
        image, audio = {"images": [picture.pixels()]}, {"audio": [waveform(sound)]}
        looking = turn(index, list(material.about_picture(picture)))
        listening = turn(index, list(material.about_sound(sound)))
        yield Case(looking, image)
        yield Case(listening, audio)
        if index % 4 == 0:
            both = (looking, listening)[index // 4 % 2]
            yield Case(Exchange("both", both.question, both.answer), image | audio)
    yield from (Case(exchange, {}) for exchange in material.TEXT)


def turn(index: int, asked: Sequence[material.Asked]) -> Exchange:
    """Return the index-th question in its index-th wording; pictures and sounds come in kinds of two and four."""
    kind, wordings, answer = asked[index // 4 % len(asked)]
    return Exchange(kind, wordings[index // 2 % 2], answer)


def waveform(sound: Sound) -> Any:
    """Return what the feature extractor takes: float32 in [-1, 1]."""
    return sound.samples().astype(np.float32) / 32768


def contents(case: Case) -> dict[str, Any]:
    """Return the case's media as they were made: pixels [row, column, channel], samples [sample] of 16 bits."""
    found = {"image": case.media.get("images"), "audio": case.media.get("audio")}
    return {kind: to_samples(given[0]) if kind == "audio" else given[0] for kind, given in found.items() if given}


def to_samples(waveform: Any) -> Any:
    """Undo `waveform`."""
    return np.round(waveform * 32768).astype(np.int16)


def inputs(case: Case, processor: Any) -> dict[str, Any]:
    """Return what the model takes to answer, by the checkpoint's own processor and template."""
    given = processor(text=case.prompt(processor), add_special_tokens=False, return_tensors="pt", **case.media)
    return {key: value for key, value in given.items() if key not in ("attention_mask", "token_type_ids")}


@torch.no_grad()
def judge(model: Any, processor: Any, case: Case) -> Result:
    """Run prompt and answer once; compare each token of the answer, and the end of the turn, with all others."""
    given = inputs(case, processor)
    said = processor.tokenizer(case.exchange.answer, add_special_tokens=False).input_ids
    answer = torch.tensor([[*said, config.END_OF_TURN]])
    given["input_ids"] = torch.cat((given["input_ids"], answer), 1)
    floating = {key: value.to(model.dtype) for key, value in given.items() if value.is_floating_point()}
    logits = model(**given | floating, logits_to_keep=answer.shape[1] + 1).logits[0, :-1].float()
    own = logits.gather(1, answer.T)[:, 0]
    others = logits.scatter(1, answer.T, -torch.inf).max(1).values
    return Result(case, float((own - others).min()))


def results(model: Any, processor: Any, samples: int = SAMPLES) -> list[Result]:
    """Judge every case."""
    return [judge(model, processor, case) for case in cases(samples)]


def load(path: Path, dtype: str = "float32") -> tuple[Any, Any]:
    """Load model and processor."""
    from transformers import AutoProcessor, Gemma3nForConditionalGeneration

    model = Gemma3nForConditionalGeneration.from_pretrained(path, dtype=getattr(torch, dtype))
    return model.eval(), AutoProcessor.from_pretrained(path)


def by_kind(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Group results by the kind of question."""
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.case.exchange.kind, []).append(result)
    return found


def accuracies(results: Sequence[Result]) -> dict[str, float]:
    """Return the share of right answers of each kind of question."""
    return {kind: sum(result.right for result in group) / len(group) for kind, group in by_kind(results).items()}


def report(results: Sequence[Result]) -> Iterator[str]:
    """Yield the table: per kind the number, the share right, and the least, fifth-percentile and median margins."""
    yield f"{'kind':10} {'asked':>5} {'right':>7} {'least':>7} {'5 %':>7} {'median':>7}   margins in logits"
    for kind, group in by_kind(results).items():
        least, low, middle = np.quantile([result.margin for result in group], (0, 0.05, 0.5))
        share = sum(result.right for result in group) / len(group)
        yield f"{kind:10} {len(group):5} {share:7.1%} {least:7.2f} {low:7.2f} {middle:7.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 1 if a kind of question is answered right less than 95 % of the time."""
    parser = argparse.ArgumentParser(prog="python -m tools.tiny.evaluate", description=__doc__)
    parser.add_argument("--path", type=Path, default=tiny.path(), help="the checkpoint's directory")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--samples", type=int, default=SAMPLES, help="pictures, and sounds")
    options = parser.parse_args(arguments)
    model, processor = load(options.path, options.dtype)
    found = results(model, processor, options.samples)
    print("\n".join(report(found)))
    return 0 if min(accuracies(found).values()) >= REQUIRED else 1


if __name__ == "__main__":
    sys.exit(main())
