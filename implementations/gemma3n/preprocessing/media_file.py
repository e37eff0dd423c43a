"""Opening image and audio files that anybody may have written: each failure is one line that names the file."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from parity.errors import BackendUnavailable, UsageError
from parity.native import quiet

Source = Path | bytes
"""A file, or its content."""


@contextmanager
def requires(package: str) -> Iterator[None]:
    """Import what `package` installs inside this block.

    Raises:
        BackendUnavailable: where it is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise BackendUnavailable(f"{package} is not installed: pip install {package} ({error})") from error


def name_of(source: Source) -> str:
    """What errors call a source: its path, or the size of its content."""
    return f"of {len(source)} bytes" if isinstance(source, bytes) else str(source)


@contextmanager
def opened(source: Source, kind: str) -> Iterator[BinaryIO]:
    """The content of `source`, open for reading; `kind` is "image" or "audio", for errors.

    Raises:
        UsageError: for a file that is missing, empty or no regular file, or that cannot be opened; and for any failure
            to read its content inside this block, whatever the decoder calls it.
    """
    where = f"{kind} {name_of(source)}"
    try:
        with _stream(source, where) as stream, quiet():
            yield stream
    except (UsageError, BackendUnavailable):
        raise
    except OSError as error:
        raise UsageError(f"{where}: {error.strerror or _line(error)}") from error
    except MemoryError as error:
        raise UsageError(f"{where}: too large for this machine's memory") from error
    except Exception as error:  # decoders meet malformed content with errors of every kind
        raise UsageError(f"{where}: cannot be read ({_line(error)})") from error


class Steady:
    """A stream for a library that seeks as the file's content says: to where nothing is, it stays where it was.

    An error would come out of the library's call back into Python, where it cannot be raised and is printed.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.read, self.tell = stream.read, stream.tell

    def readinto(self, buffer: Any) -> int:
        """As of any stream."""
        return self._stream.readinto(buffer)  # type: ignore[attr-defined]  # of files and of `BytesIO`

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Where the stream stands now."""
        with suppress(OSError, ValueError, OverflowError):
            self._stream.seek(offset, whence)
        return self.tell()


def _stream(source: Source, where: str) -> BinaryIO:
    if isinstance(source, bytes):
        if not source:
            raise UsageError(f"{where}: empty")
        return io.BytesIO(source)
    found = source.stat()
    # Reading a pipe or a device might never end.
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{where}: {'a folder' if stat.S_ISDIR(found.st_mode) else 'not a regular file'}")
    if found.st_size == 0:
        raise UsageError(f"{where}: empty")
    return source.open("rb")


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
