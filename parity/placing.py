"""Where a known bug can be: in other layers, or in other modules of the same kind, than where its variant has it."""

from __future__ import annotations

from parity.contract import Contract
from parity.errors import UsageError
from parity.variant import PLACE, Variant, matched

EVERYWHERE = "*"
"""Each place where a variant's lines are computed."""


def placed(variant: Variant, step: str, contract: Contract) -> Variant | None:
    """The variant in the place where that step is the first that it makes wrong; None where it is none of its."""
    place = matched(step, variant.first)
    if place is not None:
        here = variant.at(place) if place else variant
        if not place or fits(variant, here, contract):
            return here
    away = any(matched(step, first) is not None for first, _ in variant.elsewhere)
    return variant.at(step) if away and contract.get(step) is not None else None


def behind(variant: Variant, step: str, contract: Contract) -> Variant | None:
    """The variant in the place that a step belongs to, whichever of its steps it is; None where it is in none."""
    before, somewhere, _ = variant.first.partition(PLACE)
    if not somewhere:
        return variant
    words = step.removeprefix(before).split(".") if step.startswith(before) else []
    places = (variant.at(".".join(words[:count])) for count in range(1, len(words) + 1))
    return next((here for here in places if fits(variant, here, contract)), None)


def fits(variant: Variant, here: Variant, contract: Contract) -> bool:
    """Whether the reference computes the variant's first step there as it does in the variant's own place.

    A model that lacks that place may have others.
    """
    own, found = contract.get(variant.at().first), contract.get(here.first)
    return found is not None and (own is None or own.source == found.source)


def require_places(variant: Variant, place: str, contract: Contract) -> tuple[Variant, ...]:
    """The variant in a place, or in each place where its lines are computed.

    Raises:
        UsageError: as `require`.
    """
    if place != EVERYWHERE or not variant.place:
        return (require(variant, "" if place == EVERYWHERE else place, contract),)
    found = (placed(variant, step.name, contract) for step in contract.steps)
    return tuple({here.first: here for here in found if here}.values())


def require(variant: Variant, place: str, contract: Contract) -> Variant:
    """The variant in a place (empty: its own).

    Raises:
        UsageError: for a place, where it can be in one alone; for a place that the model does not have; and for one
            where something else is computed.
    """
    here = variant.at(place)
    if contract.get(here.first) is None:
        raise UsageError(f"variant {variant.name} cannot be there: the model has no step {here.first}")
    if not here.away and not fits(variant, here, contract):
        raise UsageError(f"variant {variant.name} cannot be there: {here.first} is computed by other lines")
    return here
