"""Transformers' Gemma 3n as the reference: in float64 it is the oracle, in a candidate's dtype the baseline."""

from __future__ import annotations

import functools
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from parity import backend
from parity.arithmetic import Arithmetic, available
from parity.contract import Contract
from parity.errors import BackendUnavailable, UsageError
from parity.media import Part, Prompt
from parity.placing import EVERYWHERE, require_places
from parity.scenario import Drawn, Scenario
from parity.tap import SILENT, Tap
from parity.weave import locate
from reference.common.conversation import NAME as CONVERSATION
from reference.common.conversation import build_conversation
from reference.common.device import CPU, MEANING, OPTION, device_of, require_device
from reference.common.drawn import drawn
from reference.common.media_schedules import WITH_MEDIA, Rows, build_media
from reference.common.schedules import Facts
from reference.common.towers import Towers
from reference.gemma3n import MODEL_TYPES
from reference.gemma3n.scenarios import MEANINGS, build, facts_of, places_of
from reference.gemma3n.steps.contract import ALL_STEPS, contract, steps_of, towers_of
from reference.gemma3n.steps.inputs import EXTRACTOR
from reference.gemma3n.variants import asked_by, catalogue

if TYPE_CHECKING:
    import torch
    from transformers import Gemma3nForConditionalGeneration

LIBRARIES = ("torch", "transformers", "timm")
LIGHTEST = "What"
"""The single token that runs where no prompt is given."""


class Reference(backend.Reference):
    """`Gemma3nForConditionalGeneration`, woven with taps at the contract's sites while it is recorded."""

    name: ClassVar[str] = "transformers"
    dtypes: ClassVar[tuple[str, ...]] = ("float64", "float32", "bfloat16", "float16", *available())
    model_types: ClassVar[tuple[str, ...]] = MODEL_TYPES
    scenarios: ClassVar[Mapping[str, str]] = MEANINGS
    with_media: ClassVar[tuple[str, ...]] = WITH_MEDIA
    options: ClassVar[Mapping[str, str]] = {
        "variant": "a known bug that it has, see `parity variants list`; several with +",
        "at": "where the bug is: a layer, or a tower's module; * for everywhere",
        OPTION: MEANING,
        "execution": "how it adds and rounds: blocked, stochastic or plain, see docs/architecture.md",
    }

    def __init__(self, model: Gemma3nForConditionalGeneration, checkpoint: Path, dtype: str) -> None:
        from reference.common.arithmetics import arithmetic, prepare
        from reference.common.chunks import Chunks
        from reference.common.processing import Processing
        from reference.common.torch_tensors import TorchTensors
        from reference.common.woven import Woven
        from reference.gemma3n.tables import TABLES

        self.tensors = TorchTensors()
        self._model = model
        self._device = model.device
        self._checkpoint = checkpoint
        self._compute_in(arithmetic(dtype))
        prepare(model, TABLES, self._arithmetic)
        self._woven = Woven(model, steps_of(model.model))
        self._towers = Towers(dict(towers_of(model.model)))
        self._focus: tuple[str, ...] = ()
        self._process = Processing(checkpoint, EXTRACTOR, places_of(model.config), exact=dtype == "float64")
        self._chunks = Chunks(model.config.get_text_config(), self._device)

    @classmethod
    def versions(cls) -> Mapping[str, str]:
        """Torch, transformers and timm."""
        return {name: version(name) for name in LIBRARIES}

    @classmethod
    def doctor(cls) -> Iterator[tuple[bool, str, str]]:
        """Whether the libraries are there, and whether their source still has every site."""
        for name in LIBRARIES:
            try:
                yield True, name, version(name)
            except PackageNotFoundError:
                yield False, name, "not installed; install the extra [hf]"
                return
        for site in dict.fromkeys(step.site for step in ALL_STEPS):
            line = locate(site)
            yield line is not None, str(site), f"line {line}" if line else "not in the installed source"

    @classmethod
    def check(cls, options: Mapping[str, str]) -> None:
        """Refuse what is no device, no variant of the catalogue, or no place of one."""
        require_device(options.get(OPTION, CPU))
        for name, place in asked_by(options):
            catalogue().get(name).at("" if place == EVERYWHERE else place)

    @classmethod
    def admit(cls, checkpoint: Path, prompt: str | None, media: Sequence[Part] = ()) -> None:
        """Look at architecture, towers, lengths of clips and the context."""
        from reference.gemma3n.admission import admit

        admit(checkpoint, prompt, media)

    @classmethod
    def preload(cls) -> None:
        """Transformers and timm, with the classes of the model and of its inputs."""
        import timm  # noqa: F401
        from transformers.models.gemma3n import processing_gemma3n  # noqa: F401

        from reference.common import arithmetics, processing, woven  # noqa: F401
        from reference.gemma3n import loading, tables  # noqa: F401

    @classmethod
    def load(cls, checkpoint: Path, dtype: str, **options: str) -> Self:
        """Load a checkpoint with transformers; float64 is the oracle's arithmetic.

        Raises:
            UsageError: for another architecture, a checkpoint that lacks tensors, or an option that cannot be.
            BackendUnavailable: when torch, transformers or timm is missing, or torch has no such device.
        """
        if dtype not in cls.dtypes:
            raise UsageError(f"the reference has no dtype {dtype!r}; it has {', '.join(cls.dtypes)}")
        try:
            from reference.common.arithmetics import arithmetic
            from reference.gemma3n.loading import load
        except ImportError as error:
            raise BackendUnavailable(f"the reference needs {error.name}; install the extra [hf]") from error
        chosen = arithmetic(dtype)
        device = device_of(options.get(OPTION, CPU), chosen)
        with chosen.loading():
            model = load(checkpoint, chosen, device)
        backend = cls(model, checkpoint, dtype)
        backend.vary(asked_by(options))
        backend.execute_as(options.get("execution", ""))
        return backend

    def contract(self) -> Contract:
        """The steps of this checkpoint's configuration."""
        return self._contract

    def scenario(self, name: str, prompt: str | None, media: Sequence[Part] = ()) -> Scenario:
        """Scenario `name`: the prompt with BOS, or the single token "What" without.

        With media, and in a conversation, the prompt is a user's turn in the template.
        """
        from reference.common.loading import tokenize

        self._require_senses(media)
        text = [Part("text", prompt)] if prompt else []
        if name == CONVERSATION:
            said = (*media, *text) or (Part("text", LIGHTEST),)
            with self._woven.listening(SILENT):
                return build_conversation(said, self._process.dialogue, self._facts)
        if media:
            return build_media(name, (*media, *text), self._tokens, self._facts)
        vocabulary = self._model.config.get_text_config().vocab_size
        ids = tokenize(self._checkpoint, LIGHTEST if prompt is None else prompt, vocabulary, prompt is not None)
        return build(name, ids if prompt != "" else [], self._facts)

    @classmethod
    def draw(cls, draw: random.Random, folder: Path) -> Drawn:
        """Text of any length and script, or a question about pictures and sounds, in any scenario."""
        return drawn(draw, folder)

    @classmethod
    def environments(cls) -> Mapping[str, Mapping[str, str]]:
        """Torch's instruction sets as far as the processor has them, and two threads."""
        from reference.common.machine import environments

        return environments()

    def vary(self, variants: Sequence[tuple[str, str]]) -> None:
        """Have known bugs: lines of the woven source, in force while a chunk runs and in its processing."""
        contract = self.contract()
        found = (require_places(catalogue().get(name), place, contract) for name, place in variants)
        self._woven.variants = tuple(here for places in found for here in places)

    def focus(self, steps: Collection[str]) -> None:
        """Leave out the towers that none of the steps is of."""
        self._focus = tuple(steps)

    def _compute_in(self, arithmetic: Arithmetic) -> None:
        """Compute in an arithmetic from now on, as usual."""
        from reference.common.executions import Executions

        self._arithmetic = arithmetic
        self._executions, self._execution = Executions(arithmetic, self._device.type), ""
        self.executions, self.plain = self._executions.excess, True

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Inside it, torch computes in the arithmetic and the execution that are set."""
        import torch

        from reference.common.arithmetics import running

        with torch.no_grad(), running(self._arithmetic), self._executions.running(self._execution):
            yield

    def execute_as(self, name: str) -> None:
        """Add and round in another way that is as right, or one term after the other: `reference.common.executions`."""
        self._executions.running(name)  # refuses what there is not
        self._execution = self._process.execution = name

    @functools.cached_property
    def _contract(self) -> Contract:
        return contract(self._model.model)

    @property
    def _facts(self) -> Facts:
        return facts_of(self._model.config)

    def _require_senses(self, media: Sequence[Part]) -> None:
        """Refuse media that the model has no tower for, or that transformers itself fails on.

        The end of a short clip is the embedding of the text's last id, which is no audio id where ids were added.
        """
        if media and not dict(towers_of(self._model.model)):
            raise UsageError(
                f"checkpoint {self._checkpoint} is a language model alone: give it text, no {media[0].kind}"
            )
        if self._facts.ids < self._model.config.get_text_config().vocab_size and any(p.kind == "audio" for p in media):
            raise UsageError(
                f"checkpoint {self._checkpoint}: ids were added behind audio's: transformers takes no sound"
            )

    def _require_embedded(self, ids: torch.Tensor) -> None:
        if (most := int(ids.max())) >= self._facts.ids:
            added = f"token id {most} has no embedding: it was added behind the {self._facts.ids} of text and towers"
            raise UsageError(f"checkpoint {self._checkpoint}: {added}")

    def _tokens(self, prompts: Sequence[Prompt]) -> tuple[Rows, tuple[int, ...]]:
        """Ids of each row, and its padding."""
        with self._woven.listening(SILENT):  # a known bug of the processor has its own ids
            inputs = self._process(prompts)
        return tuple(map(tuple, inputs.token_ids.tolist())), inputs.padding

    def start(self, *, padding: tuple[int, ...], cache: bool) -> None:
        """Forget the last conversation."""
        self._chunks.begin(padding, cache=cache)

    def forward(
        self, token_ids: NDArray[np.int64], *, prompts: Sequence[Prompt] = (), tap: Tap = SILENT
    ) -> NDArray[Any]:
        """Run the next chunk, woven only while a tap listens; of prompts, the processor makes the chunk's inputs."""
        return self._forward(token_ids, prompts, tap, keep=0)

    def forward_last(
        self, token_ids: NDArray[np.int64], *, prompts: Sequence[Prompt] = (), tap: Tap = SILENT
    ) -> NDArray[Any]:
        """The same for the last token's logits, as transformers' own `generate` asks for them."""
        return self._forward(token_ids, prompts, tap, keep=1)

    def _forward(self, token_ids: NDArray[np.int64], prompts: Sequence[Prompt], tap: Tap, *, keep: int) -> NDArray[Any]:
        """Logits of the last `keep` tokens; of all for 0."""
        import torch

        ids, media = torch.from_numpy(token_ids), {}
        with self._woven.listening(tap):
            if prompts:
                inputs = self._process(prompts, tap=tap)
                ids, media = inputs.token_ids, inputs.media
            silent = self._towers.only(self._focus)
            with self._computing(), silent:
                logits = self._logits(ids.to(self._device), media, keep)
        return self.tensors.to_numpy(logits, None)

    def _logits(self, ids: torch.Tensor, media: Mapping[str, torch.Tensor], keep: int) -> torch.Tensor:
        self._require_embedded(ids)
        outputs = self._model(
            input_ids=ids,
            logits_to_keep=keep,
            **self._chunks.read(ids.shape[1]),
            **{name: self._cast(given) for name, given in media.items()},
        )
        logits: torch.Tensor = outputs.logits
        return logits

    def _cast(self, given: torch.Tensor) -> torch.Tensor:
        """Pixels and features in the model's dtype, as users of the reference cast them, masks as they are; there."""
        given = given.to(self._device)
        return self._arithmetic.rounded(given.to(self._model.dtype)) if given.is_floating_point() else given
