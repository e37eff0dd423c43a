"""A text cut at its pictures, as libmtmd does it: chunks of token ids and chunks of soft tokens, in turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from implementations.gguf.engine.library import Library
from parity.errors import BackendUnavailable

PICTURE = 1
"""libmtmd's number of a chunk of pictures."""


def marker(llama: Library) -> str:
    """What stands for a picture in a text."""
    return llama.text(llama.c.mtmd_default_marker())


@contextmanager
def cut(llama: Library, context: Any, text: str, pictures: Sequence[NDArray[np.uint8]]) -> Iterator[list[Any]]:
    """The chunks of a text, which live while this is open.

    llama.cpp puts the token before it that a text begins with, as its programs have it do.

    Args:
        llama: with libmtmd's functions.
        context: of libmtmd.
        text: with a marker for each picture.
        pictures: ``[height, width, channel]`` each.

    Raises:
        BackendUnavailable: where libmtmd cannot take them.
    """
    c, ffi, content = llama.c, llama.ffi, text.encode()
    with ExitStack() as stack:
        bitmaps = ffi.new("void *[]", [stack.enter_context(_bitmap(llama, picture)) for picture in pictures])
        chunks = c.mtmd_input_chunks_init()
        stack.callback(c.mtmd_input_chunks_free, chunks)
        characters = ffi.new("char[]", content)
        fields = {"text": characters, "length": len(content), "add_special": True, "parse_special": True}
        if code := c.mtmd_tokenize(context, chunks, ffi.new("mtmd_text *", fields), bitmaps, len(pictures)):
            raise BackendUnavailable(f"libmtmd cannot take the prompt ({code}): {llama.reason()}")
        yield [c.mtmd_input_chunks_get(chunks, index) for index in range(c.mtmd_input_chunks_size(chunks))]


def is_picture(llama: Library, chunk: Any) -> bool:
    """Whether a chunk is of soft tokens."""
    return bool(llama.c.mtmd_input_chunk_get_type(chunk) == PICTURE)


def ids_of(llama: Library, chunk: Any, placeholder: int) -> list[int]:
    """Token ids of a chunk; in one of soft tokens, so many placeholders."""
    if is_picture(llama, chunk):
        return [placeholder] * int(llama.c.mtmd_input_chunk_get_n_tokens(chunk))
    count = llama.ffi.new("size_t *")
    found = llama.c.mtmd_input_chunk_get_tokens_text(chunk, count)
    return [int(found[index]) for index in range(count[0])]


@contextmanager
def _bitmap(llama: Library, picture: NDArray[np.uint8]) -> Iterator[Any]:
    content = llama.ffi.from_buffer("unsigned char[]", np.ascontiguousarray(picture))
    bitmap = llama.c.mtmd_bitmap_init(picture.shape[1], picture.shape[0], content)
    try:
        yield bitmap
    finally:
        llama.c.mtmd_bitmap_free(bitmap)
