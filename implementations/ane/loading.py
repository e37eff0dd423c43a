"""Loading a checkpoint: weights, arithmetic and static shapes put together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from implementations.ane.account import account
from implementations.ane.arithmetic import Float16Ane
from implementations.ane.audio.tower import within
from implementations.ane.model import Gemma3n
from implementations.ane.options import Options
from implementations.ane.program import Program
from implementations.ane.scaling import carries_alpha, scale_weights
from implementations.ane.shapes import Shapes
from implementations.ane.tensors import AneTensors
from implementations.ane.weights import Wanted, build, everything, load_weights, sources
from implementations.gemma3n.config import Config
from parity.arithmetic import Arithmetic, Plain

ROUNDED = 2**22
"""Weights that are rounded at a time, which takes five times their memory."""


@dataclass(frozen=True)
class Compiled:
    """A checkpoint in the form of the engine.

    Attributes:
        config: with the bounds that the arithmetic has.
        model: its weights scaled, then rounded.
        shapes: what is compiled.
        arithmetic: that it computes in.
    """

    config: Config
    model: Gemma3n
    shapes: Shapes
    arithmetic: Arithmetic


def compiled(checkpoint: Path, dtype: str, options: Options, wanted: Wanted = everything) -> Compiled:
    """The model of a checkpoint directory; weights of parameters that are not `wanted` are not read.

    Raises:
        UsageError: for another architecture, an option that does not fit it, or weights that do not.
    """
    config, arithmetic = Config.from_directory(checkpoint), _arithmetic(dtype, options)
    text = config.text
    shapes = Shapes(options.fitted(text.max_position_embeddings), options.batch, text.sliding_window)
    if isinstance(arithmetic, Float16Ane):
        config = replace(config, audio=within(config.audio, options.limit))
    return Compiled(config, _model(checkpoint, config, arithmetic, options, wanted), shapes, arithmetic)


def load(checkpoint: Path, dtype: str, options: Options) -> tuple[Program, AneTensors]:
    """The program of a checkpoint directory, and the translation of its tensors.

    Raises:
        UsageError: as `compiled`.
    """
    one = compiled(checkpoint, dtype, options)
    tensors = tensors_of(one.config, one.shapes, options.alpha, one.arithmetic)
    return Program(one.config, one.model, one.shapes, tensors, one.arithmetic), tensors


def tensors_of(config: Config, shapes: Shapes, alpha: float, arithmetic: Arithmetic) -> AneTensors:
    """The translation of a program's tensors."""
    return AneTensors(
        config.text, shapes, alpha=alpha, carries_alpha=carries_alpha, arithmetic=arithmetic, audio=config.audio
    )


def _model(checkpoint: Path, config: Config, arithmetic: Arithmetic, options: Options, wanted: Wanted) -> Gemma3n:
    """The model with its weights scaled, then rounded where they lie: a second copy of a table would be gigabytes."""
    entries, read = account(checkpoint, config), sources(config, wanted)
    weights = load_weights(checkpoint, [entry for entry in entries if entry.name in read])
    if options.alpha != 1:
        names = [entry.name for entry in entries]
        weights = scale_weights(weights, options.alpha, limit=options.limit, of=names)
    for tensor in weights.values():
        for part in tensor.view(-1).split(ROUNDED):
            part.copy_(arithmetic.rounded(part))
    return build(config, weights, alpha=options.alpha, wanted=wanted)


def _arithmetic(dtype: str, options: Options) -> Arithmetic:
    return Float16Ane(options.limit) if dtype == "float16-ane" else Plain(dtype)
