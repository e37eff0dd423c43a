"""How a variant gets into the reference: its edits are woven, and the one module that deviates is marked.

An edit may hold `DEVIANT`, which is true in the marked module alone: the function's ``self`` (or its ``module``), or
the local variable that is named as in ``DEVIANT[decoder_layer]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from parity.errors import UsageError
from parity.site import Edit
from parity.variant import Variant
from parity.weave import resolve

if TYPE_CHECKING:
    from torch import nn

MARK = "variants"
"""Attribute of a marked module: the names of the variants that it has."""

DEVIANT = re.compile(r"DEVIANT(?:\[(\w+)\])?")


def edits_of(variants: Sequence[Variant]) -> tuple[Edit, ...]:
    """The edits of all variants, each asking for its own mark; those of a variant in several layers are the same."""
    return tuple(dict.fromkeys(_asking(edit, variant.name) for variant in variants for edit in variant.edits))


@contextmanager
def marked(model: nn.Module, variants: Sequence[Variant]) -> Iterator[None]:
    """Run with the module of each variant marked.

    Raises:
        UsageError: for a module that the model does not have.
    """
    places = [(_module(model, variant), variant.name) for variant in variants if variant.module]
    for module, name in places:
        setattr(module, MARK, {*getattr(module, MARK, ()), name})
    try:
        yield
    finally:
        for module, _ in places:
            if hasattr(module, MARK):  # several variants may share a module
                delattr(module, MARK)


def _asking(edit: Edit, name: str) -> Edit:
    """The edit with its `DEVIANT` written as Python."""
    if not DEVIANT.search(edit.new):
        return edit
    default = "self" if "self" in resolve(edit.function).__code__.co_varnames else "module"
    return Edit(
        edit.function,
        edit.old,
        DEVIANT.sub(lambda found: f"({name!r} in getattr({found[1] or default}, {MARK!r}, ()))", edit.new),
    )


def _module(model: nn.Module, variant: Variant) -> nn.Module:
    try:
        return model.get_submodule(variant.module)
    except AttributeError as error:
        raise UsageError(f"variant {variant.name} cannot be there: the model has no {variant.module}") from error
