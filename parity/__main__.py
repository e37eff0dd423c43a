"""The `parity` command, and ``python -m parity``."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; an interrupt before that can answer it ends the process all the same, in one line."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a shell has its background jobs ignore it
        signal.signal(signal.SIGINT, _interrupted)
    from parity.cli import main as run

    run()


def _interrupted(number: int, frame: FrameType | None) -> NoReturn:
    os.write(2, b"parity: interrupted\n")
    os._exit(128 + number)


if __name__ == "__main__":
    main()
