"""What the fuzzer does to files: bytes are changed blindly, or what is in them is, so that readers get further."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]
Way = Callable[[Draw, bytes], bytes]
"""Makes something else of a file's content."""
MOST = 3
"""Changes at a time: readers refuse at the first, so more of them hide each other."""
SPREAD = 300
"""Bytes that are moved or written at once."""


def spoilt(whole: bytes, *ways: Way) -> st.SearchStrategy[bytes]:
    """The content of a file, changed in one of these ways."""
    return st.composite(lambda draw: draw(st.sampled_from(ways))(draw, whole))()


def some(draw: Draw) -> range:
    """So many changes, one at least."""
    return range(draw(st.integers(1, MOST)))


def blindly(draw: Draw, content: bytes) -> bytes:
    """Changes bytes, whatever they mean."""
    for _ in some(draw):
        begin = draw(st.integers(0, len(content)))
        end = min(len(content), begin + draw(st.integers(0, SPREAD)))
        content = draw(st.sampled_from((_flipped, _cut, _inserted, _repeated, _spliced, _number)))(
            draw, content, begin, end
        )
    return content


def _flipped(draw: Draw, content: bytes, begin: int, end: int) -> bytes:
    mask = draw(st.integers(1, 255))
    return content[:begin] + bytes(byte ^ mask for byte in content[begin : begin + 1]) + content[begin + 1 :]


def _cut(draw: Draw, content: bytes, begin: int, end: int) -> bytes:
    return content[:begin] + (b"" if draw(st.booleans()) else content[end:])


def _inserted(draw: Draw, content: bytes, begin: int, end: int) -> bytes:
    return content[:begin] + draw(st.binary(min_size=1, max_size=SPREAD)) + content[begin:]


def _repeated(draw: Draw, content: bytes, begin: int, end: int) -> bytes:
    return content[:end] + content[begin:end] * draw(st.sampled_from((1, 2, 100))) + content[end:]


def _spliced(draw: Draw, content: bytes, begin: int, end: int) -> bytes:
    other = draw(st.integers(0, len(content)))
    return content[:begin] + content[other : other + end - begin] + content[end:]


def _number(draw: Draw, content: bytes, begin: int, end: int) -> bytes:
    """A number of a header that is a limit of its kind: of a length, a size, a count of channels."""
    width = draw(st.sampled_from("BHIQ"))
    largest = (1 << 8 * struct.calcsize(width)) - 1
    value = draw(st.sampled_from((0, 1, 2, 3, largest, largest >> 1, (largest >> 1) + 1)) | st.integers(0, largest))
    packed = struct.pack(draw(st.sampled_from("<>")) + width, value)
    return content[:begin] + packed + content[begin + len(packed) :]


RAW = {
    "<deep>": "[" * 100_000 + "]" * 100_000,
    "<rather deep>": "[" * 70 + "]" * 70,
    "<digits>": "9" * 5000,
    "<1e999>": "1e999",
    "<-0>": "-0",
}
"""What no JSON writer writes, by the text in whose place it is put."""
TWICE = "<twice>"
"""Begins a field's name that is the name of another."""
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 7, 2**31, 2**63, 2**64 - 1, 2**64, 10**30, 0.5, -0.5, 1e308, 5e-324, float("nan"),
    float("-inf"), "", "x", "../x", "/x", "a" * 10_000, "\ud800", "\x1b[31m\n", "\0", "[red]", "é😀", "1", "NaN",
    [], {}, [[]], [None], {"": None}, *RAW,
)  # fmt: skip
"""Values that a reader may not have thought of."""


def of_json(draw: Draw, content: bytes) -> bytes:
    """Changes values of a JSON file."""
    return _text(_changed(draw, json.loads(content)))


def of_lines(draw: Draw, content: bytes) -> bytes:
    """Changes values of a file with JSON in every line."""
    data = _changed(draw, [json.loads(line) for line in content.splitlines()])
    return b"".join(_text(line) + b"\n" for line in data)


def of_table(draw: Draw, content: bytes) -> bytes:
    """Changes cells of a table with tabs between them."""
    data = _changed(draw, [line.split("\t") for line in content.decode().splitlines()])
    lines = ("\t".join(map(str, line)) if isinstance(line, list) else str(line) for line in data)
    return "".join(f"{line}\n" for line in lines).encode(errors="surrogatepass")


def of_header(draw: Draw, content: bytes) -> bytes:
    """Changes the header of a safetensors file; now and then its length, or the end of the file."""
    length = int.from_bytes(content[:8], "little")
    header = _text(_changed(draw, json.loads(content[8 : 8 + length])))
    said = len(header) + draw(st.sampled_from((0,) * 9 + (-1, 1, 2**40)))
    made = said.to_bytes(8, "little") + header + content[8 + length :]
    return made[: len(made) - draw(st.sampled_from((0,) * 9 + (1,)))]


NAMES = re.compile(rb"(gemma3n|tokenizer|general)\.[a-z_.]+")
"""Keys of a GGUF file."""


def of_gguf(draw: Draw, content: bytes) -> bytes:
    """Changes a key of a GGUF file, its length, the type of its value, and the value or its own type and length."""
    for _ in some(draw):
        name = draw(st.sampled_from([found.span() for found in NAMES.finditer(content)]))
        begin = draw(st.sampled_from((name[0] - 8, name[0], name[1], name[1] + 4, name[1] + 8, name[1] + 16)))
        content = _number(draw, content, begin, begin)
    return content


def of_png(draw: Draw, content: bytes) -> bytes:
    """Changes chunks of a PNG, whose checksums are right again."""
    chunks = _chunks(content)
    for _ in some(draw):
        index = draw(st.integers(0, len(chunks) - 1))
        kind, body = chunks[index]
        match draw(st.sampled_from(("body", "kind", "twice", "gone"))):
            case "body":
                chunks[index] = (kind, blindly(draw, body))
            case "kind":
                names = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"zTXt")
                chunks[index] = (draw(st.sampled_from(names)), body)
            case "twice":
                chunks.insert(index, chunks[index])
            case "gone" if len(chunks) > 1:
                del chunks[index]
    return content[:8] + b"".join(map(_chunk, chunks))


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and body of each."""
    found, begin = [], 8
    while begin < len(content):
        (length,) = struct.unpack_from(">I", content, begin)
        found.append((content[begin + 4 : begin + 8], content[begin + 8 : begin + 8 + length]))
        begin += 12 + length
    return found


def _chunk(chunk: tuple[bytes, bytes]) -> bytes:
    kind, body = chunk
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _changed(draw: Draw, data: Any) -> Any:
    for _ in some(draw):
        holder, name = _place(draw, data)
        if holder is not None:
            _change(draw, holder, name)
    return data


def _place(draw: Draw, holder: Any) -> tuple[Any, Any]:
    """Somewhere inside: on every level as likely as deeper."""
    while names := list(holder) if isinstance(holder, dict) else range(len(holder)):
        name = draw(st.sampled_from(names))
        inner = holder[name]
        if not isinstance(inner, dict | list) or not inner or draw(st.booleans()):
            return holder, name
        holder = inner
    return None, None


def _change(draw: Draw, holder: Any, name: Any) -> None:
    match draw(st.sampled_from(("odd", "near", "gone", "twice", "wrapped", "other"))):
        case "odd":
            holder[name] = deepcopy(draw(st.sampled_from(ODD)))  # which the next change may change
        case "near":
            holder[name] = _near(draw, holder[name])
        case "gone":
            del holder[name]
        case "twice" if isinstance(holder, dict):
            holder[f"{TWICE}{name}"] = holder[name]
        case "twice":
            holder.insert(name, holder[name])
        case "wrapped":
            holder[name] = draw(st.sampled_from(([holder[name]], {"x": holder[name]}, str(holder[name]))))
        case "other":
            holder[name] = holder[
                draw(st.sampled_from(list(holder) if isinstance(holder, dict) else range(len(holder))))
            ]


def _near(draw: Draw, value: Any) -> Any:
    """Of the same kind."""
    match value:
        case bool():
            return not value
        case int() | float():
            return draw(st.sampled_from((value + 1, value - 1, -value, value * 2, value * 1000, value / 2, value // 3)))
        case str():
            return draw(st.sampled_from((value[:-1], value + "x", value.upper(), value * 2, f" {value}")))
        case list():
            return draw(st.sampled_from((value[:-1], value * 2, value[::-1], value[1:])))
    return value


def _text(data: Any) -> bytes:
    """JSON, with what no writer writes."""
    text = json.dumps(data).replace(f'"{TWICE}', '"')
    for name, raw in RAW.items():
        text = text.replace(json.dumps(name), raw)
    return text.encode()
