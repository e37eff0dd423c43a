"""What the woven packages have in common as backends. MLX and the package are imported when a checkpoint is loaded."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from implementations.mlx import Backend as Mlx
from parity.backend import Backend
from parity.errors import BackendUnavailable, UsageError
from parity.fault import OPTION, Inputs, Subject, chosen
from parity.weave import locate

if TYPE_CHECKING:
    from implementations.mlx_packages.at import At
    from implementations.mlx_packages.patch import Patch


class Package(Backend):
    """An installed package, woven.

    Attributes:
        requirement: the versions whose source has the sites.
        media: what an audit runs it with, besides text.
    """

    dtypes: ClassVar[tuple[str, ...]] = ("float32", "bfloat16", "float16")
    options: ClassVar[Mapping[str, str]] = {
        OPTION: "a proven fault that is mended in memory, see docs/third-party.md; several with +; all; or all-NAME",
    }
    requirement: ClassVar[str]
    media: ClassVar[tuple[Inputs, ...]] = ()

    @classmethod
    def steps(cls) -> Sequence[At]:
        """What is heard, and where: `STEPS` of the backend's module ``sites``.

        Raises:
            ImportError: when the package is not installed.
        """
        import_module(cls.name.replace("-", "_"))
        found: Sequence[At] = import_module(f"{cls.__module__}.sites").STEPS
        return found

    @classmethod
    def patches(cls) -> Sequence[Patch]:
        """Every proven fault: `PATCHES` of the backend's module ``patches``."""
        found: Sequence[Patch] = import_module(f"{cls.__module__}.patches").PATCHES
        return found

    @classmethod
    def subject(cls) -> Subject:
        """Its faults, and what stands in ``about.md`` beside the backend."""
        try:
            version(cls.name)
        except PackageNotFoundError as error:
            raise BackendUnavailable(f"{cls.name} is not installed: {cls.cure()}") from error
        about = files(cls.__module__).joinpath("about.md").read_text(encoding="utf-8")
        return Subject(tuple(cls.patches()), cls.media, about)

    @classmethod
    @abstractmethod
    def read(cls, checkpoint: Path, dtype: str, patches: Sequence[Patch]) -> Self:
        """Load a checkpoint with the package's own loader, then cast it with `set_dtype`, as its users do.

        Raises:
            BackendUnavailable: when the package's source is another, or it cannot take the checkpoint.
        """

    @classmethod
    def cure(cls) -> str:
        """The command that installs what is supported."""
        return f"pip install '{cls.requirement}'"

    @classmethod
    def environment(cls) -> Mapping[str, str]:
        """That of our own MLX backend: an optimised BLAS, and float32 products that are float32's."""
        return Mlx.environment()

    @classmethod
    def environments(cls) -> Mapping[str, Mapping[str, str]]:
        """Those of our own MLX backend."""
        return Mlx.environments()

    @classmethod
    def versions(cls) -> Mapping[str, str]:
        """Versions of the package and of MLX."""
        return {cls.name: version(cls.name), **Mlx.versions()}

    @classmethod
    def doctor(cls) -> Iterator[tuple[bool, str, str]]:
        """Whether the package is installed, and whether its source still has every site."""
        try:
            yield True, cls.name, version(cls.name)
            steps = cls.steps()
        except (PackageNotFoundError, ImportError):
            yield False, cls.name, f"{cls.name} is not installed: {cls.cure()}"
            return
        for site in dict.fromkeys(step.site for step in steps):
            line = locate(site)
            found = f"line {line}" if line else f"not in the installed source; {cls.cure()}"
            yield line is not None, str(site), found

    @classmethod
    def load(cls, checkpoint: Path, dtype: str, **options: str) -> Self:
        """Load a checkpoint, with the faults mended that ``patch`` names.

        Raises:
            BackendUnavailable: when the package is missing or its source is another, or it cannot take the checkpoint.
            UsageError: for an unknown dtype or patch.
        """
        if dtype not in cls.dtypes:
            raise UsageError(f"backend {cls.name} runs in {', '.join(cls.dtypes)}; not in {dtype}")
        try:
            known = cls.patches()
            cls.steps()
        except ImportError as error:
            raise BackendUnavailable(f"{cls.name} is not installed: {cls.cure()} ({error})") from error
        return cls.read(checkpoint, dtype, chosen(cls.name, known, options.get(OPTION, "")))
