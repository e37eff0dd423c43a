"""Any model of the installed mlx-lm, by a learned table: a tap stands behind every value of its source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from implementations.mlx import Backend as Mlx
from implementations.mlx_lm import Backend as Gemma3n
from implementations.mlx_lm.any_patches import PATCHES
from implementations.mlx_packages.patch import edits_of
from parity import backend
from parity.checkpoint import config_of
from parity.discovery import TABLE
from parity.errors import BackendUnavailable, UsageError
from parity.fault import ALL, OPTION, Fault, chosen
from parity.learnable import Learnable
from parity.learning.sizes import sizes_of
from parity.learning.taps import ANY, MEANING, Taps, digests, modules_of
from parity.media import Prompt
from parity.site import Edit
from parity.tap import SILENT, Tap

if TYPE_CHECKING:
    from mlx.nn.layers.base import Module

PACKAGE = "mlx_lm.models."
OUTSIDE = ("mlx_lm.models.cache",)
"""What keeps the past in a form of its own, which the reference does not have."""


class Backend(backend.Backend, Learnable):
    """A language model of mlx-lm, as installed."""

    name: ClassVar[str] = "mlx-lm"
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "bfloat16", "float16")
    options: ClassVar[Mapping[str, str]] = {
        TABLE: MEANING,
        OPTION: f"mend what is known of this type of model: NAME, several with + between, {ALL}",
    }
    forks: ClassVar[bool] = True
    edits: Sequence[Edit] = ()
    """Changes of the source that are in force while it runs."""

    def __init__(self, model: Module, checkpoint: Path, table: str) -> None:
        from implementations.mlx.tensors import MlxTensors

        self.tensors = MlxTensors()
        self._model = model
        self._sizes = sizes_of(config_of(checkpoint))
        modules = dict(model.named_modules())  # type: ignore[no-untyped-call]  # MLX leaves it unannotated
        self._paths = {id(module): name for name, module in modules.items()}
        self.modules = modules_of([*modules.values()], PACKAGE, OUTSIDE)
        self._taps = Taps(table, "candidate", self.modules)
        self.start(padding=(0,), cache=True)

    @classmethod
    def environment(cls) -> Mapping[str, str]:
        """That of our own MLX backend: an optimised BLAS, and float32 products that are float32's."""
        return Mlx.environment()

    @classmethod
    def preload(cls) -> None:
        """The package, which imports transformers."""
        from implementations.mlx_lm import any_loading  # noqa: F401

    @classmethod
    def versions(cls) -> Mapping[str, str]:
        """Versions of the package and of MLX."""
        return {cls.name: version(cls.name), **Mlx.versions()}

    @classmethod
    def architectures(cls) -> Sequence[str]:
        """Modules of the package, and what it takes for one of them."""
        from implementations.mlx_lm.any_loading import architectures

        return architectures()

    @classmethod
    def known(cls, model: str) -> Sequence[Fault]:
        """What `implementations.mlx_lm.any_patches` holds of it."""
        return PATCHES.get(model, ())

    @classmethod
    def load(cls, checkpoint: Path, dtype: str, **options: str) -> Self:
        """Load a checkpoint with mlx-lm's own loader, then cast it with `set_dtype`, as its users do.

        Raises:
            BackendUnavailable: when the package is missing, or cannot take the checkpoint.
            UsageError: for a dtype or a table that cannot be.
        """
        if dtype not in cls.dtypes:
            raise UsageError(f"backend {cls.name} runs in {', '.join(cls.dtypes)}; not in {dtype}")
        try:
            from implementations.mlx_lm.any_loading import load

            found = version(cls.name)
        except (ImportError, PackageNotFoundError) as error:
            raise BackendUnavailable(f"{cls.name} is not installed: {Gemma3n.cure()} ({error})") from error
        known = PATCHES.get(str(config_of(checkpoint).get("model_type")), ())
        edits = edits_of(chosen(cls.name, known, options.get(OPTION, "")))
        made = load(f"{cls.name} {found}", checkpoint, dtype, edits=edits)
        backend = cls(made, checkpoint, options.get(TABLE, ANY))
        backend.edits = (*cls.edits, *edits)
        return backend

    def sources(self) -> Mapping[str, str]:
        """A digest of each file that is woven."""
        return digests(self.modules)

    def tap_by(self, table: Path) -> None:
        """Tap by a draft."""
        self._taps = Taps(str(table), "candidate", self.modules, draft=True)

    def start(self, *, padding: tuple[int, ...], cache: bool) -> None:
        """Begin a conversation with the package's own caches; those of the last one are dropped."""
        from implementations.mlx_lm.caches import caches

        if any(padding) and not cache:
            raise UsageError("mlx-lm reads left padding from its caches: a padded batch needs start(cache=True)")
        self._cache = caches(self._model, padding) if cache else None

    def forward(
        self, token_ids: NDArray[np.int64], *, prompts: Sequence[Prompt] = (), tap: Tap = SILENT
    ) -> NDArray[Any]:
        """Run the next chunk of ``[batch, token]`` ids; returns logits ``[batch, token, vocabulary]``."""
        import mlx.core as mx

        with self._listening(tap, token_ids.shape):
            logits = self._model(mx.array(token_ids.astype(np.int32)), cache=self._cache)
        mx.eval(logits, [cache.state for cache in self._cache or ()])
        return self.tensors.to_numpy(logits, None)

    @contextmanager
    def _listening(self, tap: Tap, shape: tuple[int, ...]) -> Iterator[None]:
        from implementations.mlx_lm.any_loading import is_activation, kept
        from implementations.mlx_packages.woven import as_python
        from parity.learning.everywhere import weave_everywhere
        from parity.learning.listening import Listener

        if tap is SILENT and not self.edits:
            yield
            return
        hear = kept(self._taps.hear(tap, {"batch": shape[0], "token": shape[1], **self._sizes}))
        listener = Listener(self._paths, is_activation, hear)
        with as_python(), weave_everywhere(self.modules, listener, self.edits) as missing:
            self.unwoven = tuple(map(str, missing))
            yield
