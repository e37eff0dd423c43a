"""What llama.cpp does otherwise than the reference: each proven by an edit of the reference that copies it.

The library is compiled, so that nothing of it is mended: `--reference transformers@variant=NAME:at=*` has the reference
compute alike, and the divergence goes away. docs/third-party.md has figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import ClassVar

from parity.errors import BackendUnavailable
from parity.fault import Fault, Inputs, Kind, Subject

PICTURE, SOUND = Inputs("one-shot", ("gradient.png",)), Inputs("one-shot", ("low-tone.wav",))


@dataclass(frozen=True, kw_only=True)
class Deviation(Fault):
    """A fault and the variants that copy it.

    Attributes:
        copies: names of the reference's variants; none where no inputs of an audit show it.
        shown: those that do where there are pictures or sounds; none for the same.
    """

    copied: ClassVar[bool] = True
    copies: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()

    def alike(self, inputs: Inputs) -> tuple[str, ...]:
        """The variants that copy it with these inputs."""
        return (self.shown if inputs.media else ()) or self.copies


DEVIATIONS = (
    Deviation(
        name="sample-deviation",
        wrong="A gate's standard deviation is that of a sample, with n - 1; the reference's is with n. So the cutoff "
        "of a sparse layer is higher by a share of 1 / 2n, and a few gates more are zero.",
        reached="Every prompt, on any checkpoint; of a published feed-forward of 16,384 it is 3e-5.",
        copies=("sparsity-sample-std",),
        steps=("text.layers.*.mlp.gate_std",),
        inputs=Inputs("one-shot"),
    ),
    Deviation(
        name="gelu-table",
        wrong="GELU is read from a table: its argument is rounded to float16, and so is its value. The reference "
        "computes it in its own arithmetic.",
        kind=Kind.DELIBERATE,
        reached="Every prompt, in a build for processors; beyond 10 the argument itself is taken, or zero.",
        copies=("mlp-gate-half-table", "ple-gate-half-table"),
        steps=("text.layers.*.mlp.activations", "text.layers.*.per_layer_activation"),
        inputs=Inputs("one-shot"),
    ),
    Deviation(
        name="per-layer-zeros",
        wrong="Ids outside the per-layer table have zeros; the reference gives them row 0. Rows of pictures and sounds "
        "do have row 0, the ids that end them have zeros.",
        reached="Ids beyond the text's, which each picture and each sound ends with. The rows are written by the "
        "converter; a file with row 0 in them has none of it.",
        copies=("ple-padding-zero",),
        shown=("ple-end-zero",),
        steps=("text.per_layer_inputs.token",),
        inputs=Inputs("outside"),
    ),
    Deviation(
        name="media-ids-as-text",
        wrong="Ids of pictures and sounds are embedded by the text's table, for there is no table of theirs; the "
        "reference embeds them by the embedder of their kind.",
        kind=Kind.DELIBERATE,
        reached="Ids beyond the text's, which each picture and each sound ends with.",
        copies=("hard-ids-as-text",),
        steps=("text.inputs_embeds", "text.merged.*"),
        inputs=Inputs("outside"),
    ),
    Deviation(
        name="magnitude-floor",
        wrong="A projected stream's magnitude is taken as it is; the reference bounds its mean square by 1e-5.",
        reached="A token that projects to a mean square below 1e-5; whether published checkpoints have one was not "
        "looked at.",
        copies=("altup-magnitude-unbounded", "altup-unembed-unbounded"),
        steps=("text.altup.embed.*.magnitude", "text.altup.unembed.*.magnitude"),
        inputs=Inputs("faint"),
    ),
    Deviation(
        name="newlines",
        wrong="A picture has a token before it and one behind, and no newlines around these; the reference's processor "
        "writes two on each side. It is the variant `prompt-newlines`.",
        reached="Every prompt with a picture that libmtmd cuts, as llama.cpp's programs have it do; here with "
        "`prompt=libmtmd`.",
        steps=("processor.token_ids",),
        proof="test_missing_newlines_are_found_and_named",
    ),
    Deviation(
        name="vision-gelu-table",
        wrong="The vision tower's GELU is read from the same table, in libmtmd too: the variant "
        "`vision-gelu-half-table`.",
        kind=Kind.DELIBERATE,
        reached="Every picture that libmtmd sees, in a build for processors.",
        steps=("vision.*.act",),
        proof="test_from_exact_inputs_the_reference_edited_alike_sees_the_same",
    ),
    Deviation(
        name="vision-half-pixels",
        wrong="A depthwise convolution gathers its pixels in float16, as its kernels must be; the reference's are in "
        "its own arithmetic. It is the variant `vision-half-pixels`.",
        kind=Kind.DELIBERATE,
        reached="Every picture that libmtmd sees.",
        steps=("vision.blocks.*.conv", "vision.blocks.*.norm.input"),
        proof="test_from_exact_inputs_the_reference_edited_alike_sees_the_same",
    ),
)


def subject(package: str) -> Subject:
    """What an audit measures, and what stands in ``about.md``.

    Raises:
        BackendUnavailable: where the package is not installed.
    """
    try:
        version(package)
    except PackageNotFoundError as error:
        raise BackendUnavailable(f"{package} is not installed: pip install 'gemma3n-parity[gguf]'") from error
    about = files("implementations.gguf").joinpath("about.md").read_text(encoding="utf-8")
    return Subject(DEVIATIONS, (PICTURE, SOUND), about)
