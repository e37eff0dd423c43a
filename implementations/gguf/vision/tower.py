"""libmtmd with the file of a vision tower: pictures to soft tokens."""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from implementations.gguf.engine.library import PACKAGE, VERSION, WRITE_AGAIN, Library, library
from implementations.gguf.vision.cut import cut, ids_of, is_picture, marker
from implementations.gguf.vision.graph import WIDTH
from implementations.gguf.vision.watch import VisionWatch
from parity.errors import BackendUnavailable, UsageError
from parity.tap import Tap

DECLARATIONS = """
typedef struct {
    bool use_gpu; void * device; bool print_timings; int n_threads; const char * image_marker, * media_marker;
    int flash_attn_type; bool warmup; int image_min_tokens, image_max_tokens; callback cb_eval;
    void * cb_eval_user_data; int32_t batch_max_tokens; void * progress_callback, * progress_callback_user_data;
} mtmd_params;
typedef struct { const char * text; size_t length; bool add_special, parse_special; } mtmd_text;
mtmd_params mtmd_context_params_default(void);
void * mtmd_init_from_file(const char * path, const void * model, mtmd_params params);
void mtmd_free(void * context);
void mtmd_log_set(logger log, void * user_data);
const char * mtmd_default_marker(void);
void * mtmd_bitmap_init(uint32_t width, uint32_t height, const unsigned char * pixels);
void mtmd_bitmap_free(void * bitmap);
void * mtmd_input_chunks_init(void);
void mtmd_input_chunks_free(void * chunks);
size_t mtmd_input_chunks_size(const void * chunks);
const void * mtmd_input_chunks_get(const void * chunks, size_t index);
int mtmd_input_chunk_get_type(const void * chunk);
const int32_t * mtmd_input_chunk_get_tokens_text(const void * chunk, size_t * count);
size_t mtmd_input_chunk_get_n_tokens(const void * chunk);
int32_t mtmd_tokenize(void * context, void * chunks, const mtmd_text * text, const void ** bitmaps, size_t count);
int32_t mtmd_encode_chunk(void * context, const void * chunk);
float * mtmd_get_output_embd(void * context);
"""
"""What is used of mtmd.h, behind the declarations of llama.cpp."""
DEFAULTS = {
    "use_gpu": True, "n_threads": 4, "flash_attn_type": -1, "warmup": True, "image_min_tokens": -1,
    "image_max_tokens": -1, "batch_max_tokens": 1024,
}  # fmt: skip
"""What the declared build sets; a field that stands elsewhere reads as another."""


@functools.cache  # functions are declared once
def seeing_library() -> Library:
    """llama.cpp with libmtmd's functions.

    Raises:
        BackendUnavailable: where it is not installed, or is another build.
    """
    llama = library()
    llama.ffi.cdef(DECLARATIONS)
    defaults = llama.c.mtmd_context_params_default()
    for name, value in DEFAULTS.items():
        if (found := getattr(defaults, name)) != value:
            raise BackendUnavailable(
                f"the installed libmtmd is of another build than {PACKAGE} {VERSION}: the default of {name} is {found} "
                f"instead of {value}"
            )
    llama.c.mtmd_log_set(llama.logger, llama.ffi.NULL)
    return llama


def load_vocabulary(llama: Library, file: Path) -> Any:
    """A model of a file's header alone, which llama.cpp frees by `llama_model_free`.

    Raises:
        UsageError: for a file that cannot be loaded.
    """
    params = llama.c.llama_model_default_params()
    params.vocab_only = True
    model = llama.c.llama_model_load_from_file(os.fsencode(file), params)
    if model == llama.ffi.NULL:
        raise UsageError(f"llama.cpp cannot load {file}: {llama.reason()}; {WRITE_AGAIN}")
    return model


class VisionTower:
    """A tower's file, loaded.

    Args:
        file: GGUF of the tower.
        vocabulary: GGUF of a language model as wide as libmtmd holds it to be; its weights are not read.
        watch: hears of each node.
        threads: of an operation.

    Raises:
        UsageError: for a file that cannot be loaded.
    """

    def __init__(self, file: Path, vocabulary: Path, watch: VisionWatch, threads: int) -> None:
        self._library, self._watch = seeing_library(), watch
        c, self._model = self._library.c, load_vocabulary(self._library, vocabulary)
        self._context = c.mtmd_init_from_file(os.fsencode(file), self._model, self._params(threads))
        if self._context == self._library.ffi.NULL:
            c.llama_model_free(self._model)
            raise UsageError(f"libmtmd cannot load {file}: {self._library.reason()}; {WRITE_AGAIN}")
        weakref.finalize(self, _free, c, self._context, self._model)

    def see(self, pixels: NDArray[np.uint8], *, tap: Tap) -> NDArray[np.float32]:
        """Soft tokens of pictures.

        Args:
            pixels: ``[image, height, width, channel]``.
            tap: hears every step.

        Returns:
            ``[image, token, channel]``, as wide as the file has them.
        """
        return np.stack([self._one(picture, index, tap) for index, picture in enumerate(pixels)])

    def ids(self, text: str, pictures: Sequence[NDArray[np.uint8]], placeholder: int) -> list[int]:
        """Token ids of a text, with placeholders where soft tokens go.

        Args:
            text: with a marker for each picture, and without the token that it begins with.
            pictures: ``[height, width, channel]`` each.
            placeholder: the id that stands for a soft token.
        """
        with cut(self._library, self._context, text, pictures) as chunks:
            return [token for chunk in chunks for token in ids_of(self._library, chunk, placeholder)]

    def _one(self, picture: NDArray[np.uint8], index: int, tap: Tap) -> NDArray[np.float32]:
        c = self._library.c
        with cut(self._library, self._context, marker(self._library), [picture]) as chunks:
            chunk = next(chunk for chunk in chunks if is_picture(self._library, chunk))
            self._watch.begin(tap, index)
            code = c.mtmd_encode_chunk(self._context, chunk)
            self._watch.end()
            if code != 0:
                raise BackendUnavailable(f"libmtmd cannot compute ({code}): {self._library.reason()}")
            return self._output(c.mtmd_input_chunk_get_n_tokens(chunk))

    def _output(self, tokens: int) -> NDArray[np.float32]:
        found = self._library.ffi.buffer(self._library.c.mtmd_get_output_embd(self._context), tokens * WIDTH * 4)
        return np.frombuffer(found, np.float32).reshape(tokens, WIDTH).copy()

    def _params(self, threads: int) -> Any:
        params = self._library.c.mtmd_context_params_default()
        params.use_gpu = params.print_timings = params.warmup = False
        params.flash_attn_type, params.n_threads = 0, threads  # not fused, so that the context is a node
        params.cb_eval = self._watch.callback
        return params


def _free(c: Any, context: Any, model: Any) -> None:
    c.mtmd_free(context)
    c.llama_model_free(model)
