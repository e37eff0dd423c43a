"""Train the embedded checkpoint, from its weights as drawn.

python -m tools.tiny.train all --work DIR         every part in order, then install; two hours on two cores
python -m tools.tiny.train vision --work DIR      one part, e.g. two at a time in two shells
python -m tools.tiny.train install --work DIR     round to bfloat16, judge on what was held out, write checkpoint/

The parts are vision and audio (the towers learn to speak fixed codes), imagined (the decoder learns from codes in
noise), and together (the decoder, on what the trained towers say). Each leaves what it trained in the work directory.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tools.tiny import build, install, lessons, material, parts, speaker, towers
from tools.tiny.optimise import Schedule

PICTURES, SOUNDS = 1408, 1000
SCHEDULES = {
    "vision": Schedule(steps=500, rate=1e-3),
    "audio": Schedule(steps=300, rate=2e-3),
    "imagined": Schedule(steps=300, rate=1.5e-3),
    "together": Schedule(steps=250, rate=1e-3),
}
SEED = 1


def vision(model: Any, processor: Any) -> None:
    """Teach the vision tower and its embedder."""
    towers.train("vision", see(model), opened(model, "vision"), SCHEDULES["vision"])


def audio(model: Any, processor: Any) -> None:
    """Teach the audio tower and its embedder."""
    towers.train("audio", hear(model, processor), opened(model, "audio"), SCHEDULES["audio"])


def imagined(model: Any, processor: Any) -> None:
    """Teach the decoder before the towers can see or hear."""
    subject = lessons.Imagined(lessons.embeddings(model))
    speak("imagined", model, processor, subject)


def together(model: Any, processor: Any) -> None:
    """Teach the decoder what the trained towers say."""
    subject = lessons.Sensed(see(model), hear(model, processor), lessons.embeddings(model))
    speak("together", model, processor, subject)


def speak(name: str, model: Any, processor: Any, subject: Any) -> None:
    """Train the decoder on rows about the subjects given."""
    task = speaker.Task(name, opened(model, "decoder"), SCHEDULES[name])
    speaker.train(task, model, lessons.Writer(processor), subject)


def see(model: Any) -> towers.Vision:
    """Return the vision tower before its pictures."""
    return towers.Vision(model, material.draw_pictures(material.TRAINING, PICTURES))


def hear(model: Any, processor: Any) -> towers.Audio:
    """Return the audio tower before its sounds."""
    return towers.Audio(model, processor.feature_extractor, material.draw_sounds(material.TRAINING, SOUNDS))


def opened(model: Any, part: str) -> list[Tensor]:
    """Return a part's parameters, free to change."""
    chosen = [one for name, one in model.named_parameters() if parts.belongs(name, part)]
    return [one.requires_grad_(True) for one in chosen]


LESSONS: dict[str, Callable[[Any, Any], None]] = {
    "vision": vision,
    "audio": audio,
    "imagined": imagined,
    "together": together,
}
BEFORE = {"together": ("vision", "audio", "imagined"), "install": ("vision", "audio", "together")}
"""What each of these starts from."""


def learn(name: str, work: Path) -> None:
    """Run one part from what it starts from; leave what it trained in the work directory."""
    from transformers import AutoProcessor, Gemma3nForConditionalGeneration

    torch.manual_seed(SEED)
    model = Gemma3nForConditionalGeneration.from_pretrained(drawn(work), dtype=torch.float32).eval()
    model.requires_grad_(False)
    model.load_state_dict(learnt(work, BEFORE.get(name, ())), strict=False)
    LESSONS[name](model, AutoProcessor.from_pretrained(drawn(work)))
    trained = {key: one.detach() for key, one in model.named_parameters() if one.requires_grad}
    torch.save(trained, work / f"{name}.partial")
    os.replace(work / f"{name}.partial", work / f"{name}.pt")


def learnt(work: Path, names: Sequence[str]) -> dict[str, Tensor]:
    """Read what earlier parts trained."""
    found: dict[str, Tensor] = {}
    for name in names:
        found |= torch.load(work / f"{name}.pt", weights_only=True)
    return found


def drawn(work: Path) -> Path:
    """Return the checkpoint as drawn, made when first asked for."""
    path = work / "drawn"
    if not path.is_dir():
        build.build(path)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 1 if what was learnt is not enough to install."""
    parser = argparse.ArgumentParser(prog="python -m tools.tiny.train", description="Train the tiny checkpoint.")
    parser.add_argument("part", choices=(*LESSONS, "install", "all"))
    parser.add_argument("--work", type=Path, required=True, help="directory for what the parts leave")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    for name in LESSONS if options.part == "all" else (options.part,):
        if name in LESSONS:
            learn(name, options.work)
    if options.part in ("install", "all"):
        settings: dict[str, Any] = {name: vars(schedule) for name, schedule in SCHEDULES.items()}
        settings |= {"pictures": PICTURES, "sounds": SOUNDS, "seed": SEED}
        return install.install(drawn(options.work), learnt(options.work, BEFORE["install"]), settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
