"""The command that lets a backend answer over HTTP: serve."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.guard import complain
from parity.cli.options import Dtype, Model, one_name
from parity.errors import BackendUnavailable, ExitCode, UsageError

if TYPE_CHECKING:
    from parity.serving.settings import Settings

MEGABYTE = 1 << 20


def serve(
    *,
    backend: Annotated[str, typer.Option("--backend", metavar="NAME", help="Who writes.")],
    model: Model = None,
    dtype: Dtype = "float32",
    host: Annotated[
        str, typer.Option("--host", help="Where it listens; where others reach it, PARITY_API_KEY must be set.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes one that is free.")] = 8000,
    name: Annotated[str | None, typer.Option("--name", help="What clients call the model (default: its own).")] = None,
    files: Annotated[
        Path | None,
        typer.Option("--files", metavar="DIR", help="Pictures in this folder may be asked about by their name."),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", metavar="NAME", help="A name of this machine; repeatable.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option("--allow-origin", metavar="URL", help="A site whose pages may ask; repeatable.")
    ] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Of an answer.")] = 1024,
    max_pixels: Annotated[int, typer.Option("--max-pixels", min=1, help="Of a picture.")] = 40_000_000,
    max_megabytes: Annotated[int, typer.Option("--max-megabytes", min=1, help="Of a request.")] = 20,
    queue: Annotated[int, typer.Option("--queue", min=0, help="How many may wait, while one is answered.")] = 16,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1, metavar="SECONDS", help="For a request, its waiting included.")
    ] = 600.0,
) -> int:
    """Answer OpenAI's clients over HTTP: the model in a process of its own, and a page to try it in a browser."""
    from parity.checkpoint import find_checkpoint
    from parity.media import PIXELS
    from parity.running.plan import require_admitted
    from parity.running.single import writer

    try:
        from parity.serving.server import bound
        from parity.serving.server import serve as run
    except ImportError as missing:
        cure = "pip install 'gemma3n-parity[serve]'"
        raise BackendUnavailable(f"the server needs fastapi and uvicorn: {cure} ({missing})") from missing
    from parity.serving.settings import Settings

    arithmetic, key = one_name(dtype, "--dtype"), _key()
    checkpoint = find_checkpoint(model)
    require_admitted(checkpoint, None, None, ())
    settings = Settings(
        model=name or checkpoint.name,
        fingerprint=f"{backend}-{arithmetic}-{checkpoint.weights[:12]}",
        key=key,
        names=tuple(name.lower() for name in allow_host or ()),
        origins=tuple(allow_origin or ()),
        files=_folder(files),
        most_tokens=max_tokens,
        places=queue + 1,
        seconds=timeout,
        most_bytes=max_megabytes * MEGABYTE,
    )
    listening = bound(host, port, key)
    address = _address(*listening.getsockname()[:2])
    run(
        settings,
        listening,
        lambda: writer(checkpoint=checkpoint, backend=backend, dtype=arithmetic, environment={PIXELS: str(max_pixels)}),
        lambda: _say(address, settings),
        complain,
    )
    return ExitCode.PARITY


def _key() -> str | None:
    """The key that clients must show; an empty one is most likely a mistake.

    Raises:
        UsageError: for one that no header can hold.
    """
    from parity.serving.settings import KEY

    given = os.environ.get(KEY)
    if given is not None and not (given.isascii() and given.isprintable() and given == given.strip() != ""):
        raise UsageError(f"{KEY} is empty, or no header can hold it; give printable ASCII without outer blanks")
    return given


def _folder(files: Path | None) -> Path | None:
    if files is not None and not files.is_dir():
        raise UsageError(f"--files {files}: no such folder")
    return None if files is None else files.resolve()


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _say(address: str, settings: Settings) -> None:
    from parity.report.console import plain

    print(f"{address}/v1 answers as {plain(settings.model)}; a page to try it: {address}/", flush=True)
