"""Inputs that are drawn: scenarios and prompts as users have them, to see how often right code is accused."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from parity.scenario import Drawn
from reference.common.media_schedules import WITH_MEDIA

WEIGHTS = {
    "one-shot": 40, "cached": 40, "square": 20, "outside": 20, "faint": 12, "batch": 7, "long": 7, "chunked": 5,
    "decode": 2, "warm": 2, "generate": 2, "grown": 1,
}  # fmt: skip
"""How often each scenario is drawn. A scenario of nine chunks costs as much as nine of one, and shows little more."""
MEDIA = 0.05
"""The share of draws with pictures or sounds, which take ten times as long."""
QUESTIONS = ("What do you see?", "What do you hear?", "Describe it.", "How many are there?", "Was ist das?", "?", "")

WORDS = (
    "the", "of", "and", "a", "to", "in", "is", "you", "that", "it", "he", "was", "for", "on", "are", "as", "with",
    "they", "at", "be", "this", "have", "from", "one", "had", "by", "word", "but", "not", "what", "all", "were", "we",
    "when", "your", "can", "said", "there", "use", "an", "each", "which", "she", "do", "how", "their", "if", "will",
    "other", "about", "many", "then", "them", "these", "so", "some", "her", "would", "make", "like", "him", "time",
)  # fmt: skip
CODE = (
    "def f(x):\n    return x * 2 + 1\n",
    "for (int i = 0; i < n; ++i) sum += a[i];",
    "SELECT id, name FROM t WHERE x > 3;",
    '{"key": [1, 2.5, null], "ok": true}',
    "<p class='a'>text</p>",
    "$ grep -rn 'foo' . | sort -u > out.txt",
    "let y = x?.map(v => v ** 2) ?? [];",
    "\\frac{a}{b} = \\sum_{i=0}^{n} x_i",
    "| a | b |\n| --- | --- |\n| 1 | 2 |",
)
SCRIPTS = (
    (0x00C0, 0x024F), (0x0370, 0x03FF), (0x0400, 0x04FF), (0x05D0, 0x05EA), (0x0620, 0x064A), (0x0905, 0x0939),
    (0x0E01, 0x0E2E), (0x3041, 0x3096), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3), (0x2190, 0x22FF), (0x1F300, 0x1F64F),
)  # fmt: skip
"""Latin with accents, Greek, Cyrillic, Hebrew, Arabic, Devanagari, Thai, Hiragana, Han, Hangul, signs, emoji."""
LONGEST = 90
"""Most words, digits or repetitions of a text."""


def drawn(draw: random.Random, folder: Path) -> Drawn:
    """One input; pictures and sounds are written to `folder`."""
    if draw.random() < MEDIA:
        from reference.common.drawn_media import media  # needs NumPy and codecs, which most draws do without

        parts, shown = media(draw, folder)
        return Drawn(draw.choice(WITH_MEDIA), draw.choice(QUESTIONS[:-1]), parts, shown)
    (scenario,) = draw.choices(list(WEIGHTS), list(WEIGHTS.values()))
    return Drawn(scenario, text(draw))


def text(draw: random.Random) -> str:
    """A prompt of any length and script."""
    return draw.choice(KINDS)(draw)


def _length(draw: random.Random, most: int = LONGEST) -> int:
    """Mostly short: half of them have at most the root of the longest."""
    return max(1, round(most ** draw.random()))


def _words(draw: random.Random) -> str:
    said = " ".join(draw.choice(WORDS) for _ in range(_length(draw)))
    return said.capitalize() + draw.choice(("", ".", "?", "!", " ...", "\n\n"))


def _digits(draw: random.Random) -> str:
    return "".join(draw.choice("0123456789" + draw.choice(" .,-+*/=")) for _ in range(_length(draw)))


def _code(draw: random.Random) -> str:
    return "\n".join(draw.choice(CODE) for _ in range(_length(draw, 4)))


def _unicode(draw: random.Random) -> str:
    """Characters of one script; most have no piece in a small vocabulary, and become some three bytes each."""
    first, last = draw.choice(SCRIPTS)
    return "".join(chr(draw.randint(first, last)) for _ in range(_length(draw, LONGEST // 3)))


def _repetition(draw: random.Random) -> str:
    return draw.choice(("a", "ha", "very ", "\n", "  ", "00", "- ", "the the ", "🙂")) * _length(draw)


def _mixed(draw: random.Random) -> str:
    return "".join(draw.choice(KINDS[:-1])(draw) for _ in range(2))


def _character(draw: random.Random) -> str:
    return chr(draw.randint(0x20, 0x7E))


KINDS: tuple[Callable[[random.Random], str], ...] = (_words, _words, _digits, _code, _unicode, _repetition, _character,
                                                     _mixed)  # fmt: skip
