"""Any language model of transformers: in float64 it is the oracle, in a candidate's dtype the baseline."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from parity import backend
from parity.arithmetic import available
from parity.checkpoint import config_of
from parity.contract import Contract
from parity.discovery import TABLE
from parity.errors import BackendUnavailable, UsageError
from parity.learnable import Learnable
from parity.learning.sizes import of_call, sizes_of
from parity.learning.taps import ANY, MEANING, Taps, digests, modules_of
from parity.media import Part, Prompt
from parity.scenario import Scenario
from parity.tap import SILENT, Tap
from reference.any_model.scenarios import DRAWN, MEANINGS, build, drawn, facts_of, survey_scenarios

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LIBRARIES = ("torch", "transformers")
PACKAGE = "transformers."
OUTSIDE = (
    "transformers.cache_utils",
    "transformers.conversion_mapping",
    "transformers.integrations.flash_attention",
    "transformers.integrations.hub_kernels",
    "transformers.masking_utils",
    "transformers.modeling_flash_attention_utils",
    "transformers.modeling_utils",
    "transformers.monkey_patching",
    "transformers.utils.",
)
"""Modules that every model uses, and that compute nothing of a model: to weave their 400 functions takes half a second
of each party."""
CURE = "install the extra [hf]"
PAST, RECURRENT = "past_key_values", "cache_params"
"""What a model calls its cache, and one without attention. Arguments of another name are passed over in silence: a
model that is given its cache so forgets each chunk. The mask that goes with the latter is of the chunk alone."""


class Reference(backend.Reference, Learnable):
    """`AutoModelForCausalLM`, with a tap behind every value of its source while it is recorded."""

    name: ClassVar[str] = "transformers"
    dtypes: ClassVar[tuple[str, ...]] = ("float64", "float32", "bfloat16", "float16", *available())
    scenarios: ClassVar[Mapping[str, str]] = MEANINGS
    options: ClassVar[Mapping[str, str]] = {TABLE: MEANING}
    forks: ClassVar[bool] = True

    def __init__(self, model: PreTrainedModel, checkpoint: Path, dtype: str, table: str) -> None:
        from reference.common.arithmetics import arithmetic, prepare
        from reference.common.chunks import Chunks
        from reference.common.executions import Executions
        from reference.common.torch_tensors import TorchTensors

        self.tensors = TorchTensors()
        self._model, self._checkpoint = model, checkpoint
        self._arithmetic = arithmetic(dtype)
        prepare(model, {}, self._arithmetic)
        self._executions, self._execution = Executions(self._arithmetic), ""
        self.executions, self.plain = self._executions.excess, True
        self._sizes = sizes_of(config_of(checkpoint))
        self._paths = {id(module): name for name, module in model.named_modules()}
        self._takes = signature(model.forward).parameters
        self._taps = Taps(table, "reference", self.modules)
        self._chunks = Chunks(model.config.get_text_config())

    @classmethod
    def versions(cls) -> Mapping[str, str]:
        """Torch and transformers."""
        return {name: version(name) for name in LIBRARIES}

    @classmethod
    def preload(cls) -> None:
        """Transformers, and what runs it."""
        import transformers  # noqa: F401

        from reference.any_model import loading  # noqa: F401
        from reference.common import arithmetics, executions  # noqa: F401

    @classmethod
    def load(cls, checkpoint: Path, dtype: str, **options: str) -> Self:
        """Load a checkpoint with transformers; float64 is the oracle's arithmetic.

        Raises:
            UsageError: for a dtype or a table that cannot be.
            BackendUnavailable: when transformers is missing, or cannot take the checkpoint.
        """
        if dtype not in cls.dtypes:
            raise UsageError(f"the reference has no dtype {dtype!r}; it has {', '.join(cls.dtypes)}")
        try:
            from reference.any_model.loading import load
            from reference.common.arithmetics import arithmetic
        except ImportError as error:
            raise BackendUnavailable(f"the reference needs {error.name}; {CURE}") from error
        return cls(load(checkpoint, arithmetic(dtype)), checkpoint, dtype, options.get(TABLE, ANY))

    @classmethod
    def architectures(cls) -> Sequence[str]:
        """Those of `AutoModelForCausalLM` that are of text alone."""
        from reference.any_model.configuration import of_text

        return of_text()

    @classmethod
    def survey_scenarios(cls, config: Mapping[str, Any]) -> Sequence[str]:
        """Rows of unequal length, a row beyond the window, and where there is one, a row within it."""
        return survey_scenarios(config)

    @classmethod
    def reduce(cls, model: str, folder: Path) -> None:
        """A random one with the same layers, as `parity draw` writes it."""
        from reference.any_model.drawing import draw

        draw(model, folder)

    @functools.cached_property
    def modules(self) -> Sequence[ModuleType]:
        """The source that is woven."""
        return modules_of([*map(type, self._model.modules())], PACKAGE, OUTSIDE)

    def sources(self) -> Mapping[str, str]:
        """A digest of each file that is woven."""
        return digests(self.modules)

    def contract(self) -> Contract:
        """The steps of the table; none where every place is one."""
        table = self._taps.table
        return table.contract() if table else Contract(self._model.config.model_type, (), "")

    def scenario(self, name: str, prompt: str | None, media: Sequence[Part] = ()) -> Scenario:
        """Scenario `name` for a prompt's tokens, or for some that are drawn."""
        from reference.common.loading import tokenize

        if media:
            raise UsageError(f"a learned table is of text: leave out the {media[0].kind}")
        facts = facts_of(self._model.config)
        if prompt is None:
            return build(name, drawn(1, DRAWN, facts)[0], facts)
        return build(name, tokenize(self._checkpoint, prompt, facts.ids, True), facts)

    def execute_as(self, name: str) -> None:
        """Add and round in another way that is as right, or one term after the other: `reference.common.executions`."""
        self._executions.running(name)  # refuses what there is not
        self._execution = name

    def start(self, *, padding: tuple[int, ...], cache: bool) -> None:
        """Forget the last conversation."""
        self._chunks.begin(padding, cache=cache)

    def forward(
        self, token_ids: NDArray[np.int64], *, prompts: Sequence[Prompt] = (), tap: Tap = SILENT
    ) -> NDArray[Any]:
        """Run the next chunk, woven only while a tap listens."""
        import torch

        from reference.common.arithmetics import running

        execution = self._executions.running(self._execution)
        with self._listening(tap, token_ids.shape), torch.no_grad(), running(self._arithmetic), execution:
            logits = self._logits(torch.from_numpy(token_ids))
        return self.tensors.to_numpy(logits, None)

    @contextmanager
    def _listening(self, tap: Tap, shape: tuple[int, ...]) -> Iterator[None]:
        from parity.learning.everywhere import weave_everywhere
        from parity.learning.listening import Listener
        from reference.any_model.loading import is_activation

        sizes = of_call(*shape) | self._sizes
        listener = Listener(self._paths, is_activation, self._taps.hear(tap, sizes))
        with nullcontext(()) if tap is SILENT else weave_everywhere(self.modules, listener) as missing:
            self.unwoven = tuple(map(str, missing))
            yield

    def _logits(self, ids: Any) -> Any:
        given = self._chunks.read(ids.shape[1])
        given["position_ids"] = given["position_ids"].clamp(min=0)  # of padding too, as where transformers generates
        if RECURRENT in self._takes:
            given[RECURRENT], given["attention_mask"] = given.pop(PAST), given["attention_mask"][:, -ids.shape[1] :]
        elif PAST not in self._takes:
            raise UsageError(
                f"transformers' {self._model.config.model_type} takes no cache: it has no past to go on from"
            )
        if not any(self._chunks.padding):  # some architectures take another path with a mask of ones
            del given["attention_mask"]
        return self._model(input_ids=ids, **given).logits
