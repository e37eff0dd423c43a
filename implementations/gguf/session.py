"""A GGUF file loaded by llama.cpp, and one context of it at a time."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from implementations.gguf.engine.library import WRITE_AGAIN, Library
from implementations.gguf.options import FLASH, KV_TYPES, Options
from implementations.gguf.part import Part
from parity.errors import BackendUnavailable, UsageError

ARCHITECTURE = "gemma3n"


class Session:
    """The model of a file.

    Args:
        library: llama.cpp.
        file: GGUF.
        options: how it is run.

    Attributes:
        hidden: width of the stream.
        layers: their number.
        vocabulary: number of token ids.

    Raises:
        UsageError: for a file that llama.cpp refuses, or of another architecture.
    """

    def __init__(self, library: Library, file: Path, options: Options) -> None:
        self._library, self._options = library, options
        params = library.c.llama_model_default_params()
        # without repacked weights, which another kernel multiplies; and on the processor, where each node can be read
        params.use_extra_bufts, params.n_gpu_layers = False, 0
        self._model = library.c.llama_model_load_from_file(os.fsencode(file), params)
        if self._model == library.ffi.NULL:
            raise UsageError(f"llama.cpp cannot load {file}: {library.reason()}; {WRITE_AGAIN}")
        weakref.finalize(self, library.c.llama_model_free, self._model)
        if (found := self._text("general.architecture")) != ARCHITECTURE:
            raise UsageError(f"{file} is of the architecture {found}; backend llama-cpp is for {ARCHITECTURE}")
        self.hidden: int = library.c.llama_model_n_embd(self._model)
        self.layers: int = library.c.llama_model_n_layer(self._model)
        self.vocabulary: int = library.c.llama_vocab_n_tokens(library.c.llama_model_get_vocab(self._model))
        self._context: Any = None
        self._close: Callable[[], object] = lambda: None
        self._shape: tuple[int, int] = (0, 0)

    def begin(self, rows: int, positions: int, callback: Any) -> None:
        """Forget what was read; there is room for so many positions in each of the rows."""
        c = self._library.c
        if self._shape != (rows, positions):
            self._close()
            self._context, self._shape = self._opened(rows, positions, callback), (rows, positions)
            self._close = weakref.finalize(self, c.llama_free, self._context)
        c.llama_memory_clear(c.llama_get_memory(self._context), True)

    def decode(self, given: NDArray[Any], part: Part, *, last_only: bool) -> NDArray[np.float32]:
        """Compute a part's real tokens.

        Args:
            given: token ids ``[row column]``, or rows in their place, ``[row column hidden]``.
            part: which tokens they are.
            last_only: whether logits are wanted of each row's last token alone.

        Returns:
            Logits ``[token, vocabulary]``.

        Raises:
            BackendUnavailable: where llama.cpp cannot compute.
        """
        c, (rows, columns) = self._library.c, np.nonzero(part.tokens >= 0)
        batch = c.llama_batch_init(len(rows), self.hidden if part.soft else 0, 1)
        try:
            batch.n_tokens = len(rows)
            if part.soft:
                values = np.ascontiguousarray(given[rows, columns], np.float32)
                self._library.ffi.memmove(batch.embd, self._library.ffi.from_buffer(values), values.nbytes)
            for index, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
                if not part.soft:
                    batch.token[index] = given[row, column]
                batch.pos[index] = part.positions[row, column]
                batch.n_seq_id[index], batch.seq_id[index][0] = 1, row
                batch.logits[index] = not last_only or column == part.end - part.begin - 1
            outputs = sum(batch.logits[index] for index in range(len(rows)))
            if (code := c.llama_decode(self._context, batch)) != 0:
                raise BackendUnavailable(f"llama.cpp cannot compute ({code}): {self._library.reason()}")
            found = self._library.ffi.buffer(c.llama_get_logits(self._context), outputs * self.vocabulary * 4)
            return np.frombuffer(found, np.float32).reshape(outputs, self.vocabulary).copy()
        finally:
            c.llama_batch_free(batch)

    def _opened(self, rows: int, positions: int, callback: Any) -> Any:
        params = self._library.c.llama_context_default_params()
        params.n_ctx, params.n_seq_max, params.kv_unified = rows * positions, rows, True
        params.n_batch = params.n_ubatch = max(self._options.chunk, rows)
        params.n_threads = params.n_threads_batch = self._options.threads
        params.type_k = params.type_v = KV_TYPES[self._options.kv]
        params.flash_attn_type = FLASH[self._options.flash]
        params.swa_full = False  # as its programs have it: a sliding layer's cache keeps a window alone
        params.no_perf, params.cb_eval = True, callback
        context = self._library.c.llama_init_from_model(self._model, params)
        if context == self._library.ffi.NULL:
            raise BackendUnavailable(f"llama.cpp cannot make a context: {self._library.reason()}")
        return context

    def _text(self, key: str) -> str:
        buffer = self._library.ffi.new("char[]", 128)
        length = self._library.c.llama_model_meta_val_str(self._model, key.encode(), buffer, len(buffer))
        return self._library.text(buffer) if length >= 0 else "no name"
