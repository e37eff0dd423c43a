"""Loading a checkpoint: weights, arithmetic and static shapes put together."""

from __future__ import annotations

from pathlib import Path

from implementations.ane.arithmetic import Float16Ane
from implementations.ane.options import Options
from implementations.ane.program import Program
from implementations.ane.scaling import carries_alpha, scale_weights
from implementations.ane.shapes import Shapes
from implementations.ane.tensors import AneTensors
from implementations.ane.weights import account, build, load_weights
from implementations.gemma3n.config import Config
from parity.arithmetic import Arithmetic, Plain


def load(checkpoint: Path, dtype: str, options: Options) -> tuple[Program, AneTensors]:
    """The program of a checkpoint directory, and the translation of its tensors.

    Raises:
        UsageError: for another architecture, an option that does not fit it, or weights that do not.
    """
    config = Config.from_directory(checkpoint)
    text = config.text
    shapes = Shapes(options.fitted(text.max_position_embeddings), options.batch, text.sliding_window)
    arithmetic: Arithmetic = Float16Ane(options.limit) if dtype == "float16-ane" else Plain(dtype)
    weights = load_weights(checkpoint, account(checkpoint, config))
    scaled = weights if options.alpha == 1 else scale_weights(weights, options.alpha, limit=options.limit)
    model = build(config, {name: arithmetic.rounded(x) for name, x in scaled.items()}, alpha=options.alpha)
    tensors = AneTensors(text, shapes, alpha=options.alpha, carries_alpha=carries_alpha, arithmetic=arithmetic)
    return Program(text, model, shapes, tensors, arithmetic), tensors
