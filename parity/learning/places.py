"""What a place is called: its family over all layers, and the step of the contract that it becomes."""

from __future__ import annotations

import ast
import re
from contextlib import suppress

_INDEX = re.compile(r"(?<=\.)\d+(?=[./]|$)")
LAYER = "{layer}"
_NUMBER = re.compile(r"@(\d+)|~(\d+)")
_SITE = re.compile(r"(?P<text>.*?)(?:#(?P<number>\d+))?(?P<passes>~\d+)?(?P<items>(?:\[[^\]]*\])*)", re.DOTALL)


def layer_of(place: str) -> str:
    """The number of the layer that a place is in: the first index in its module's path; empty for none."""
    found = _INDEX.search(place.partition("/")[0])
    return found[0] if found else ""


def in_layers(place: str) -> str:
    """The place with its layer left open."""
    module, slash, rest = place.partition("/")
    return _INDEX.sub(LAYER, module, count=1) + slash + rest


def in_layer(template: str, layer: str) -> str:
    """The place of an open one in a layer."""
    return template.replace(LAYER, layer)


def family(place: str) -> str:
    """The place without any index of a module, and without the number of a call or a pass."""
    return _NUMBER.sub("", _INDEX.sub("*", place))


def step_name(place: str) -> str:
    """The name of the step at a place: the module's path, functions below its own, and what the value is called.

    ``model.layers.0.self_attn/Attention.forward: `self.q_proj(x)``` is ``model.layers.0.self_attn.q_proj``.
    """
    frame, _, site = place.partition(": ")
    module, *functions = frame.split("/")
    below = [name.replace("@", ".") for name in functions if "." not in name]
    found = _SITE.fullmatch(site)
    assert found is not None  # every text is one
    parts = [module, *below, _called(found["text"]), found["number"] if found["number"] not in (None, "0") else ""]
    parts += [(found["passes"] or "").lstrip("~"), *re.findall(r"\w+", found["items"])]
    return ".".join(part for part in parts if part)


def _called(text: str) -> str:
    """A variable's name, a called function's, or an expression with its signs left out."""
    if text == "return":
        return ""
    with suppress(SyntaxError):  # a long expression is cut off
        call = ast.parse(text.strip("`"), mode="eval").body
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name | ast.Attribute):
            return ast.unparse(call.func).removeprefix("self.")
    return re.sub(r"\W+", "_", text.removeprefix("param ")).strip("_")
