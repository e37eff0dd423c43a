"""What a report says in words: of a verdict, of tokens, of the floor. Everything is escaped for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from parity.axes import said
from parity.cost.result import Cost
from parity.errors import DEBUG, ExitCode
from parity.fault import Inputs
from parity.judging.judgement import Comparison, Judgement
from parity.judging.verdict import Deviation, Status, StepVerdict, TokenVerdict
from parity.report.console import plain
from parity.report.numbers import count, error, floors
from parity.variant import Variant

WORD = {
    ExitCode.PARITY: "parity",
    ExitCode.DIVERGED: "diverged",
    ExitCode.UNAVAILABLE: "crashed",
    ExitCode.INCOMPLETE: "incomplete",
}
SHORT_DIGEST = 12


def inputs(given: Inputs | Variant) -> str:
    """A scenario with its pictures and sounds, e.g. ``decode + gradient.png``."""
    return " + ".join((given.scenario, *given.media))


def title(judgement: Judgement) -> str:
    """Who ran what, e.g. ``mlx float32, one-shot``."""
    return plain(f"{judgement.candidate} {judgement.dtype}, {judgement.scenario}")


def in_phase(step: StepVerdict) -> str:
    """A step and its phase, e.g. ``text.norm (decode.3)``."""
    again = f"#{step.occurrence}" if step.occurrence else ""
    return plain(f"{step.step}{again} ({step.phase})")


def worst(deviation: Deviation) -> str:
    """The worst place, e.g. ``row 0, token 2: 1.3e-07``; a part or channel, where the deviation is judged by that."""
    decides = deviation.decides
    shown = decides or next((one for one in deviation.worst if one.look == "place"), None)
    if shown is None:
        return ""
    judged = f" = {floors(shown.ratio)}" if decides else ""
    return plain(f"{said(shown.where)}: {error(shown.error)}{judged}")


def verdict(judgement: Judgement) -> str:
    """The verdict's word and its reason, e.g. ``parity. 1,293 of 1,293 steps covered``."""
    say = {
        ExitCode.PARITY: _parity,
        ExitCode.DIVERGED: _diverged,
        ExitCode.UNAVAILABLE: _crashed,
        ExitCode.INCOMPLETE: _incomplete,
    }
    said = unsearched(judgement)
    return f"{say[judgement.exit_code](judgement)}{f'; {said}' if said else ''}"


def unsearched(judgement: Judgement) -> str:
    """That causes may be missing because the search for them failed; empty where it did not."""
    if not judgement.unsearched:
        return ""
    return plain(f"the search for causes ended in an internal error, {judgement.unsearched}; {DEBUG}=1 shows where")


def _parity(judgement: Judgement) -> str:
    worst = judgement.worst
    most = f"; worst {floors(worst.ratio)} at {in_phase(worst)}" if worst else ""
    return f"parity. {covered(judgement)} steps covered, {_hidden(judgement)}{_coarse(judgement)}none introduced{most}"


def _diverged(judgement: Judgement) -> str:
    first, begin = judgement.first_divergence, f"diverged: {unsteady(judgement)}{returned(judgement)}"
    if first is None:
        said = "" if judgement.unsteady or judgement.returned else tokens(judgement)
        return f"{begin}{said}{'; ' if said else ''}{counts(judgement)}"
    alone = "" if judgement.introduced else f"{no_origin(judgement)}; "
    return f"{begin}{alone}first at {in_phase(first)}: {how_far(first)}; {counts(judgement)}"


def _coarse(judgement: Judgement) -> str:
    """How many steps only the order of a sum keeps from being ok; nothing where none is."""
    number = judgement.counts[Status.COARSE]
    return f"{number:,} coarse (sums in plain order), " if number else ""


def unsteady(judgement: Judgement) -> str:
    """That a candidate says one thing and then another; empty where it does not."""
    if judgement.unsteady is None:
        return ""
    phase, step, _ = judgement.unsteady
    where = plain(f"{step} ({phase})")
    return f"not deterministic: from the same inputs its two runs differ at {where}, so no floor holds; "


def returned(judgement: Judgement) -> str:
    """That users get other logits than those that were judged; empty where they get the same."""
    if not judgement.returned:
        return ""
    (phase, how), others = judgement.returned[0], len(judgement.returned) - 1
    more = f", and in {count(others, 'phase')} more" if others else ""
    return plain(f"it returns other logits than it emits, in {phase}: {how}{more}; ")


def values(comparison: Comparison) -> str:
    """How many of the oracle's values were compared, e.g. ``3,406,123``; empty where it is not known."""
    numbers = [judgement.values for judgement in comparison.judgements if judgement.values]
    if not numbers:
        return ""
    several = f", in {count(len(numbers), 'comparison')}" if len(numbers) > 1 else ""
    return f"{sum(numbers):,} compared with the oracle's{several}"


def no_origin(judgement: Judgement) -> str:
    """Why no step is called introduced though some are beyond what is allowed."""
    if not any(step.status.diverged for step in judgement.steps):
        return "no step errs by more than sums in plain order do, which --strict does not allow"
    if judgement.free_alone:
        return "only a lockstep run tells which steps err by themselves"
    return "errors add up though no step errs from exact inputs"


def _incomplete(judgement: Judgement) -> str:
    if not judgement.steps:
        return "incomplete: no step was compared"
    gaps = [(judgement.counts[status], status) for status in (Status.UNCOVERED, Status.UNEXPECTED)]
    gap = ", ".join(f"{number:,} {status}" for number, status in gaps if number)
    held = f"{covered(judgement)} steps covered, {_hidden(judgement)}{gap}"
    return f"incomplete: {held}; none introduced among those compared"


def _hidden(judgement: Judgement) -> str:
    """How many steps no tap can see; nothing where all can be seen."""
    number = judgement.counts[Status.HIDDEN]
    return f"{number:,} not observable, " if number else ""


def _crashed(judgement: Judgement) -> str:
    """As the party told it (``mlx crashed at text.norm: SIGSEGV``, ``mlx failed: no weights``), without the name.

    The title has said that already.
    """
    told = plain(judgement.crash).removeprefix(f"{plain(judgement.candidate)} ")
    return told if told.startswith(("crashed", "failed", "is ")) else f"crashed: {told}"


def hides(step: StepVerdict, allowed: float) -> str:
    """What an ok is worth: the fault that may still be in the step. Empty where the step is not ok, or exact."""
    most = step.hides(allowed) if step.status is Status.OK else None
    return f"no fault larger than {error(most)} of the step's size" if most else ""


def hides_at_most(judgement: Judgement) -> str:
    """The same of all steps that are ok; empty where there is none."""
    most = [size for step in judgement.steps if step.status is Status.OK and (size := step.hides(judgement.allowed))]
    if not most:
        return ""
    return f"an ok means: no fault larger than {error(median(most))} in the median step, {error(max(most))} in any"


def how_far(step: StepVerdict) -> str:
    """How wrong a step is: its floors, or how it breaks the contract."""
    if step.status in (Status.CONTRACT, Status.NONFINITE) and step.note:
        return plain(f"nonfinite, {step.note}" if step.status is Status.NONFINITE else step.note)
    deviation = step.lockstep if step.status is Status.INTRODUCED and step.lockstep else step.free or step.lockstep
    return floors(deviation.ratio) if deviation else str(step.status)


def covered(judgement: Judgement) -> str:
    """Compared steps of those in the contract, e.g. ``1,293 of 1,293``."""
    expected = len(judgement.steps) - judgement.counts[Status.UNEXPECTED]
    absent = judgement.counts[Status.UNCOVERED] + judgement.counts[Status.HIDDEN]
    return f"{expected - absent:,} of {expected:,}"


def counts(judgement: Judgement) -> str:
    """Steps by status, e.g. ``of 1,293 steps 1 introduced, 2 inherited, 1,290 ok``."""
    order = (Status.INTRODUCED, Status.NONFINITE, Status.CONTRACT, Status.INHERITED, Status.COARSE, Status.UNCOVERED)
    parts = [
        f"{judgement.counts[status]:,} {status}"
        for status in (*order, Status.UNEXPECTED, Status.HIDDEN, Status.OK)
        if judgement.counts[status]
    ]
    return f"of {count(len(judgement.steps), 'step')} {', '.join(parts)}"


def tokens(judgement: Judgement) -> str:
    """Greedy choices in one line; empty where none was compared."""
    if not judgement.tokens:
        return ""
    same = sum(token.same for token in judgement.tokens)
    parts = [f"greedy tokens: {same:,} of {len(judgement.tokens):,} the same"]
    if ties := [token for token in judgement.tokens if token.near_tie]:
        first = f"{choice(ties[0], judgement.tokens)}, margin {ties[0].margin:.2g} < noise {ties[0].noise:.2g}"
        parts.append(f"{count(len(ties), 'near tie')} ({'first ' if len(ties) > 1 else ''}{first})")
    if wrong := [token for token in judgement.tokens if token.diverged]:
        first = f"{choice(wrong[0], judgement.tokens)}, margin {wrong[0].margin:.2g}, noise {wrong[0].noise:.2g}"
        parts.append(f"{len(wrong):,} diverged (first {first})")
    return ", ".join(parts)


def choice(token: TokenVerdict, all_tokens: Sequence[TokenVerdict]) -> str:
    """Where and what was chosen, e.g. ``at decode.3: 512 instead of 17``."""
    phase = [other for other in all_tokens if other.phase == token.phase]
    row = f", row {token.row}" if any(other.row for other in phase) else ""
    index = f", token {token.token}" if any(other.token != token.token for other in phase) else ""
    return plain(f"at {token.phase}{row}{index}: {token.candidate} instead of {token.oracle}")


def reference(comparison: Comparison) -> str:
    """What the reference is called."""
    backend = comparison.oracle.backend
    return "the reference" if backend == "oracle" else plain(backend)


def floor_meaning(comparison: Comparison) -> str:
    """What a floor is, in one line; says so where it was not measured. Empty where nothing was compared."""
    judged = [judgement for judgement in comparison.judgements if judgement.steps]
    if not judged:
        return ""
    dtypes = ", ".join(sorted({plain(judgement.dtype) for judgement in judged}))
    allowed = "/".join(sorted({f"{judgement.allowed:g}" for judgement in judged}))
    limit = f"{allowed} are allowed"
    where = f"in {dtypes}" if ", " not in dtypes else "in the same dtype"
    least = "but at least the unit roundoff"
    measured = f"1 floor = the largest error that {reference(comparison)} makes {where} at that step, {least}"
    modes = sorted({mode for judgement in judged for mode in judgement.unmeasured})
    if not modes:
        return f"{measured}; {limit}."
    alone = f"1 floor = the unit roundoff of {dtypes} alone, which no real computation keeps to"
    if all(judgement.baseless for judgement in judged):
        return f"The floor was not measured, for want of a baseline: {alone}; {limit}."
    runs = " and ".join(f"{mode} run" for mode in modes)
    return f"The floor of the {runs} was not measured, for want of the baseline's: {alone}. Else {measured}; {limit}."


def cost(found: Cost) -> str:
    """What a candidate's numbers cost."""
    tokens = f"of {found.tokens:,} greedy tokens in {count(found.prompts, 'prompt')}"
    return (
        f"{tokens} {100 * found.share_kept:.1f} % are kept; "
        f"KL divergence {found.divergence:.2g} nats, {found.worst_divergence:.2g} at worst; "
        f"logits are off by {error(found.logits)}"
    )
