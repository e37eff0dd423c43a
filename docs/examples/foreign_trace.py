"""Writes traces of Gemma 3n's embeddings without our code or any other, as a port in another language would.

python foreign_trace.py ORACLE CHECKPOINT OUTPUT   # OUTPUT/free and OUTPUT/lockstep, then: parity diff
"""

import json
import struct
import sys
from array import array
from math import sqrt
from pathlib import Path

oracle, checkpoint, output = map(Path, sys.argv[1:])


def header(file):
    """What a safetensors file holds, and where its data begin."""
    length = struct.unpack("<Q", file.read(8))[0]
    return json.loads(file.read(length)), 8 + length


def embedded(name, ids, factor):
    """Rows of a bfloat16 table, each element times `factor`, rounded to float32: bytes, and the width of a row."""
    with (checkpoint / "model.safetensors").open("rb") as file:
        tensors, start = header(file)
        tensor, values = tensors[name], array("f")
        assert tensor["dtype"] == "BF16", tensor["dtype"]
        width = tensor["shape"][1]
        for row in ids:
            file.seek(start + tensor["data_offsets"][0] + 2 * width * row)
            halves = struct.iter_unpack("2s", file.read(2 * width))
            values.extend(struct.unpack("<f", b"\0\0" + half)[0] * factor for (half,) in halves)
    return values.tobytes(), width


def forward(rows, config):
    """The steps of one chunk, in order: name, axes, shape, dtype, bytes."""
    ids, shape = [token for row in rows for token in row], [len(rows), len(rows[0])]
    (scale,) = array("f", [sqrt(config["hidden_size"])])
    yield "text.input_ids", ["batch", "token"], shape, "int64", struct.pack(f"<{len(ids)}q", *ids)
    data, width = embedded("model.language_model.embed_tokens.weight", ids, scale)
    yield "text.embed_tokens", ["batch", "token", "hidden"], [*shape, width], "float32", data
    ple = config["hidden_size_per_layer_input"]
    data, width = embedded("model.language_model.embed_tokens_per_layer.weight", ids, sqrt(ple))
    yield (
        "text.per_layer_inputs.token",
        ["batch", "token", "layer", "ple"],
        [*shape, width // ple, ple],
        "float32",
        data,
    )


def write(folder, asked, config, **own):
    """One trace: what is asked for is copied from the oracle's manifest."""
    lines = []
    (folder / "tensors").mkdir(parents=True)
    for chunk in asked["scenario"]["chunks"]:
        entries, blob = {}, b""
        for step, axes, shape, dtype, data in forward(chunk["tokens"], config):
            kind = {"int64": "I64", "float32": "F32"}[dtype]
            entries[step] = {"dtype": kind, "shape": shape, "data_offsets": [len(blob), len(blob) + len(data)]}
            lines.append({"step": step, "phase": chunk["phase"], "axes": axes, "shape": shape, "dtype": dtype})
            blob += data
        named = json.dumps(entries).encode()
        named += b" " * (-len(named) % 8)
        file = folder / "tensors" / f"{chunk['phase']}.safetensors"
        file.write_bytes(struct.pack("<Q", len(named)) + named + blob)
    (folder / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    copied = {key: asked[key] for key in ("format", "version", "model", "weights", "contract", "scenario")}
    (folder / "manifest.json").write_text(json.dumps({**copied, **own, "records": len(lines)}))


asked, config = (json.loads(file.read_text()) for file in (oracle / "manifest.json", checkpoint / "config.json"))
for mode in ("free", "lockstep"):  # nothing here depends on an earlier float, which lockstep would replace
    own = {"backend": "foreign", "versions": {}, "dtype": "float32", "mode": mode, "tensors": True}
    write(output / mode, asked, config["text_config"], **own)
