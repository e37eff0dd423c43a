"""Any model of the installed mlx-lm, by a learned table: a tap stands behind every value of its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from implementations.mlx import Backend as Mlx
from implementations.mlx_lm import Backend as Gemma3n
from implementations.mlx_lm.any_patches import PATCHES
from implementations.mlx_packages.patch import edits_of
from parity.checkpoint import config_of
from parity.errors import UsageError
from parity.fault import ALL, OPTION, Fault, chosen
from parity.learning.port import Port
from parity.learning.taps import ANY
from parity.site import Edit

if TYPE_CHECKING:
    from mlx.nn.layers.base import Module


class Backend(Port):
    """A language model of mlx-lm, as installed."""

    name: ClassVar[str] = "mlx-lm"
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "bfloat16", "float16")
    options: ClassVar[Mapping[str, str]] = {
        **Port.options,
        OPTION: f"mend what is known of this type of model: NAME, several with + between, {ALL}",
    }
    forks: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("mlx_lm.models.",)
    outside: ClassVar[tuple[str, ...]] = ("mlx_lm.models.cache",)
    """What keeps the past in a form of its own, which the reference does not have."""

    def __init__(self, model: Module, checkpoint: Path, table: str = ANY) -> None:
        from implementations.mlx.tensors import MlxTensors

        self.tensors = MlxTensors()
        super().__init__(model, checkpoint, table)

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
    def mends(cls, checkpoint: Path, options: Mapping[str, str]) -> Sequence[Edit]:
        """Of the faults that are known of it those that are named."""
        known = PATCHES.get(str(config_of(checkpoint).get("model_type")), ())
        return edits_of(chosen(cls.name, known, options.get(OPTION, "")))

    @classmethod
    def cure(cls) -> str:
        """The command that installs what is supported."""
        return Gemma3n.cure()

    @classmethod
    def read(cls, checkpoint: Path, dtype: str) -> Module:
        """Load a checkpoint with mlx-lm's own loader, then cast it with `set_dtype`, as its users do.

        Raises:
            BackendUnavailable: when the loader does not take it.
        """
        from implementations.mlx_lm.any_loading import load

        model: Module = load(f"{cls.name} {version(cls.name)}", checkpoint, dtype)
        return model

    @classmethod
    def parts(cls, model: Module) -> Mapping[str, object]:
        """As MLX names them."""
        return dict(model.named_modules())  # type: ignore[no-untyped-call]  # MLX leaves it unannotated

    def start(self, *, padding: tuple[int, ...], cache: bool) -> None:
        """Begin a conversation with the package's own caches; those of the last one are dropped."""
        from implementations.mlx_lm.caches import caches

        if any(padding) and not cache:
            raise UsageError("mlx-lm reads left padding from its caches: a padded batch needs start(cache=True)")
        self._cache = caches(self.model, padding) if cache else None

    def call(self, token_ids: NDArray[np.int64]) -> Any:
        """Run the next ids, and compute all that the next chunk goes on with."""
        import mlx.core as mx

        logits = self.model(mx.array(token_ids.astype(np.int32)), cache=self._cache)
        mx.eval(logits, [cache.state for cache in self._cache or ()])
        return logits

    def eagerly(self) -> AbstractContextManager[None]:
        """Without `mx.compile`."""
        from implementations.mlx_packages.woven import as_python

        return as_python()

    def is_array(self, value: object) -> bool:
        """MLX's, of real numbers."""
        from implementations.mlx_lm.any_loading import is_activation

        return is_activation(value)

    def shown(self, value: Any) -> Any:
        """A handle of its own: some arrays are changed in place, and MLX then changes what a handle means."""
        import mlx.core as mx

        return mx.array(value)
