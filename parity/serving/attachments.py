"""Pictures and sounds of a request: files for as long as it is answered, or files of a folder that is shared."""

from __future__ import annotations

import base64
import binascii
import shutil
import tempfile
from pathlib import Path
from urllib.parse import unquote

from parity.media import Medium, Part
from parity.serving.refusal import Refusal

DATA, MARK, FILE = "data:", ";base64", "file:"


class Attachments:
    """Files of one request; `close` removes what was written.

    Args:
        home: a folder of the server's own.
        shared: the folder whose files may be named; None for none.
    """

    def __init__(self, home: Path, shared: Path | None) -> None:
        self._home, self._shared = home, shared
        self._folder: Path | None = None
        self._places: dict[str, str] = {}

    def picture(self, url: str, place: str) -> Part:
        """A picture by its URL.

        Args:
            url: with the content in it, or of a file.
            place: in the request, for messages.

        Raises:
            Refusal: for any other, or what is no base64.
        """
        if url[: len(FILE)].lower() == FILE:
            return self._named("image", url[len(FILE) :], place)
        head, comma, data = url.partition(",")
        if not (comma and head.lower().startswith(DATA) and head.lower().endswith(MARK)):
            known = "data:image/png;base64,..."
            raise _invalid(f"{place} is no data URL ({known}); nothing is fetched from elsewhere", place)
        return self._written("image", data, "", place)

    def sound(self, data: str, form: str, place: str) -> Part:
        """A sound by its content, in base64.

        Raises:
            Refusal: for what is none.
        """
        return self._written("audio", data, f".{form}", place)

    def told(self, message: str) -> str:
        """A message about files, which are called by their places in the request."""
        for path, place in self._places.items():
            message = message.replace(path, place)
        return message

    def close(self) -> None:
        """Remove what was written."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _named(self, kind: Medium, name: str, place: str) -> Part:
        if self._shared is None:
            raise _invalid(f"{place} names a file, and this server shares none; send a data URL", place)
        if (found := _within(self._shared, unquote(name.removeprefix("//")))) is None:
            raise _invalid(f"{place}: no such file in the folder that this server shares", place)
        return self._part(kind, found, place)

    def _written(self, kind: Medium, data: str, suffix: str, place: str) -> Part:
        try:
            content = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise _invalid(f"{place} is no base64: {error}", place) from error
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(dir=self._home))
        file = self._folder / f"{len(self._places)}{suffix}"
        file.write_bytes(content)
        return self._part(kind, file, place)

    def _part(self, kind: Medium, file: Path, place: str) -> Part:
        self._places[str(file)] = place
        return Part(kind, str(file))


def _within(folder: Path, name: str) -> Path | None:
    """The file of a name, wherever links lead; None where that is not in the folder, or none."""
    try:
        found = (folder / name).resolve()
        return found if found.is_relative_to(folder.resolve()) and found.is_file() else None
    except (OSError, ValueError, RuntimeError):  # a name too long, or with a zero; links in a circle
        return None


def _invalid(message: str, place: str) -> Refusal:
    return Refusal(400, message, code="invalid_value", param=place)
