"""An optimised BLAS for MLX's Linux wheel.

The wheel links the reference BLAS, in which a 512 x 2048 x 2048 product takes a second; with OpenBLAS in its place it
takes 17 ms. Preloading is what puts it there. It stays out of other processes: torch becomes six times slower by it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

LIBRARY = "libopenblas.so.0"
FOLDERS = ("/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib", "/opt/*/lib")
CURE = "install libopenblas0-pthread (Debian, Ubuntu) or openblas (Fedora, Arch): MLX is up to 50 times slower without"


def find_openblas() -> Path | None:
    """OpenBLAS's shared library: the dynamic linker's choice, or one in a usual folder; None where there is none."""
    return next((path for path in (*_known_to_linker(), *_in_folders()) if path.exists()), None)


def adds_in_order(preloaded: str | None = None) -> bool:
    """Whether MLX on the CPU has the wheel's own BLAS, which adds one term after the other; not with `preloaded`."""
    preloaded = os.environ.get("LD_PRELOAD", "") if preloaded is None else preloaded
    return sys.platform.startswith("linux") and "blas" not in preloaded


def preload(existing: str) -> str | None:
    """The value of LD_PRELOAD that puts OpenBLAS before what is there; None where nothing is to be changed."""
    if not adds_in_order(existing):
        return None
    library = find_openblas()
    return None if library is None else f"{library} {existing}".strip()


def _known_to_linker() -> Iterator[Path]:
    ldconfig = shutil.which("ldconfig", path=f"{os.environ.get('PATH', '')}:/sbin:/usr/sbin")
    if ldconfig is None:
        return
    listing = subprocess.run([ldconfig, "-p"], capture_output=True, text=True, check=False).stdout
    for line in listing.splitlines():
        name, _, path = line.strip().partition(" => ")
        if name.split(" ")[0] == LIBRARY:
            yield Path(path)


def _in_folders() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted(Path("/").glob(f"{folder.lstrip('/')}/{LIBRARY}"))
