"""Tokens through the packages of a folder, one after the other or a batch at a time, as their programs expect it.

`embeddings` makes states ``[1, token, hidden]`` of ids. Each chunk takes them with `position_ids`, the `causal_mask`
``[1, 1, token, position]`` of zeros and minus infinities, and `current_pos`, where its keys and values are written; all
chunks share one state. `lm_head` gives the logits in parts of the vocabulary.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from implementations.coreml.anemll.folder import Folder
from implementations.coreml.interpreter.run import Interpreter
from implementations.coreml.package.compiled import read_package
from implementations.coreml.package.program import Function
from parity.errors import UsageError
from parity.tap import SILENT, Tap

FUNCTIONS = INFER, PREFILL = "infer", "prefill"
"""Of a chunk."""
WHOLE = "main"
"""The function of a package that has one."""
MASK = "causal_mask"
STATES, NEW_STATES, LOGITS = "hidden_states", "output_hidden_states", "logits"
INPUTS = frozenset({"input_ids", STATES, "position_ids", MASK, "current_pos", "update_mask"})
LARGEST = 1 << 31
"""Numbers of a state: that of 80 layers of 8 heads over 8,192 positions has 1.3 billion."""
Rounded = Callable[[Tensor], Tensor]
Shown = Callable[[Function], Mapping[str, str]]
"""Which values of a function are handed to the tap, and under what name."""


class Conversation:
    """One sequence of tokens.

    Args:
        folder: with its packages.
        rounded: makes float16 numbers of a tensor's.
        function: `infer`, for a token at a time, or `prefill`, for a batch of them.
        shown: says which of a package's values are steps; the package's name is their scope.

    Raises:
        UsageError: for a package that cannot be run, or that has other inputs.
    """

    def __init__(self, folder: Folder, rounded: Rounded, function: str, shown: Shown) -> None:
        self._folder, self._shown, self._rounded = folder, shown, rounded
        self.step = 1 if function == INFER else folder.batch
        self._embeddings = self._part(folder.embeddings, WHOLE)
        self._chunks = [self._part(package, function) for package in folder.chunks]
        self._head = self._part(folder.head, WHOLE) if function == INFER else None
        states = {name: typed for one in self._chunks for name, typed in one.function.states.items()}
        self._state = {name: torch.zeros(typed.shape) for name, typed in states.items()}

    def run(self, tokens: Sequence[int], tap: Tap = SILENT) -> Iterator[Tensor]:
        """The logits ``[1, token, vocabulary]`` behind each call; of `prefill`, which has none, the last states.

        Raises:
            UsageError: for more tokens than the context, or, of `prefill`, another number than whole batches.
        """
        if len(tokens) > self._folder.context:
            raise UsageError(f"{self._folder.path}: {len(tokens)} tokens, and a context of {self._folder.context}")
        if len(tokens) % self.step:
            raise UsageError(f"{self._folder.path}: {len(tokens)} tokens are no batches of {self.step}")
        for first in range(0, len(tokens), self.step):
            yield self._call(torch.tensor([tokens[first : first + self.step]], dtype=torch.int32), first, tap)

    def _call(self, ids: Tensor, first: int, tap: Tap) -> Tensor:
        states = self._embeddings.run({"input_ids": ids}, tap=tap.into(self._embeddings.name))[STATES]
        for chunk in self._chunks:
            given = self._given(chunk.function, states, first)
            found = chunk.run(given, tap=tap.into(chunk.name))
            self._state |= {name: found[name] for name in chunk.function.states}
            states = found[NEW_STATES]
        if self._head is None:
            return states
        parts = self._head.run({STATES: states}, tap=tap.into(self._head.name))
        return torch.cat([parts.shaped(name, 1, self.step, None) for name in sorted(parts, key=_number)], dim=-1)

    def _given(self, function: Function, states: Tensor, first: int) -> dict[str, Tensor]:
        positions = torch.arange(first, first + self.step)
        hidden = torch.arange(self._folder.context)[None, :] > positions[:, None]
        mask = torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)
        written = torch.zeros(1, 1, self._folder.context, 1)
        written[:, :, positions] = 1.0
        all_ = {
            STATES: states,
            "position_ids": positions.int(),
            MASK: mask[None, None],
            "current_pos": positions[:1].int(),
            "update_mask": written,
            **self._state,
        }
        return {name: all_[name] for name in (*function.inputs, *function.states)}

    def _part(self, package: Path, function: str) -> Interpreter:
        programs = read_package(package)
        if function not in programs:
            raise UsageError(f"{package} has the functions {', '.join(programs)}, and no {function}")
        program = programs[function]
        mask, rows = program.inputs.get(MASK), (1, 1, self.step, self._folder.context)
        if mask is not None and mask.shape != rows:
            raise UsageError(f"{package}, {function} is compiled for {MASK} of {[*mask.shape]}, not of {[*rows]}")
        for name, typed in program.states.items():
            if min(typed.shape, default=1) < 1 or math.prod(typed.shape) > LARGEST:
                raise UsageError(f"{package}, {function}: state {name} has no number, or more than {LARGEST:,}")
        if not program.outputs:
            raise UsageError(f"{package}, {function} gives nothing")
        if unknown := sorted(program.inputs.keys() - INPUTS):
            raise UsageError(f"{package}, {function}: input {unknown[0]!r} is none that an ANEMLL package has")
        return Interpreter(package.stem, program, self._shown(program), self._rounded)


def _number(name: str) -> int:
    """Which part of the vocabulary an output is: `logits1`, `logits2`; `logits` is all."""
    found = re.fullmatch(r"\D*(\d*)", name)
    return int(found.group(1) or 0) if found else 0
