"""docs/variants.md does what it says: each command, but those that take long, finds what it plants."""

from __future__ import annotations

import pytest

from tests.marks import every_change
from tests.pages import BLOCK, ROOT, clone, commands, shell

PAGE = ROOT / "docs" / "variants.md"
LONG = ("parity variants score", "parity variants score --sample 1/10")
"""`test_score_plants_variants_in_loaded_models` scores a part of the model."""
SAID = {
    "parity variants list": "mask-no-window",
    "parity variants show mask-no-window": "mask-no-window: ",
    "parity variants run mask-no-window": "diverged: first at text.mask.sliding_attention (prefill)",
    'parity compare --candidates transformers@variant=laurel-no-sqrt2 --prompt "Hello world"':
        "diverged: first at text.layers.3.attn_laurel (prefill)",
    "parity compare --candidates transformers@variant=laurel-no-sqrt2:at=7":
        "diverged: first at text.layers.7.attn_laurel (prefill)",
    "parity compare --candidates transformers@variant=vision-relu:at=blocks.0.1.bn1.act --image samples/gradient.png":
        "diverged: first at vision.blocks.0.1.bn1.act (prefill)",
}  # fmt: skip
"""What is printed, wherever lines end; bugs at a place that is given are in `test_planted_towers`, too."""


def shown():
    """The commands of its console blocks, without their comments."""
    texts = [text for kind, _, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")) if kind == "console"]
    return [command.partition("#")[0].strip() for text in texts for command, _ in commands(text)]


def test_each_command_is_run_here_or_said_to_take_long():
    assert sorted(shown()) == sorted([*SAID, *LONG])


@pytest.mark.slow
@pytest.mark.parametrize("command", every_change(SAID, *(each for each in SAID if ":at=" not in each)))
def test_it_says(command, tmp_path):
    """A bug by its place and, where it is compared, by its name."""
    clone(tmp_path)
    printed = " ".join(shell(tmp_path)(command).split())
    assert SAID[command] in printed
    if "diverged" in SAID[command]:
        name = command.partition("variant=")[2].partition(" ")[0].partition(":")[0] or command.split()[-1]
        assert f"cause behaves as {name}: " in printed
