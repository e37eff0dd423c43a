"""Backends for tests of the server: they say what they are asked for, and do what no model should."""

from __future__ import annotations

import os
import time
from pathlib import Path

from parity.errors import ContextExceeded, UsageError
from parity.generation import Finish, until
from parity.tap import silence
from tests.toy import Port


class Speaking(Port):
    """Does what the last message's first word says; says back anything else, word by word."""

    def generate(self, messages, sampling, *, hear=silence):
        """Counts words for tokens."""
        words = [part.value for message in messages for part in message.prompt]
        said = []
        pieces = self.words(words[-1], messages, sampling, hear)
        stopped = yield from until(noted(pieces, said), sampling.stop)
        return Finish(len(words), len(said), "stop" if stopped or len(said) < sampling.max_tokens else "length")

    def words(self, text, messages, sampling, hear):
        """The pieces."""
        first, _, rest = text.partition(" ")
        if (act := getattr(self, f"do_{first}", None)) is not None:
            yield from act(rest, hear)
            return
        told = {"roles": [message.role for message in messages], "sampling": sampling, "message": messages[-1]}
        for number, word in enumerate(str(told.get(first, text)).split()):
            if number == sampling.max_tokens:
                return
            hear()
            yield word + " "

    def do_crash(self, rest, hear):
        """As a fault in a kernel ends it; behind a word, if there is one to say."""
        if rest:
            yield rest
        os._exit(9)

    def do_memory(self, rest, hear):
        """As where there is no room."""
        raise MemoryError("no room for 9 GB")
        yield

    def do_refuse(self, rest, hear):
        """As a file that cannot be read."""
        raise UsageError(f"it cannot be: {rest}\x1b")
        yield

    def do_exceed(self, rest, hear):
        """As a prompt that is too long."""
        raise ContextExceeded("the prompt has 9 tokens, the context is 8; shorten the prompt")
        yield

    def do_wait(self, rest, hear):
        """Say a word until told to stop; files say that it has begun, and ended."""
        (folder := Path(rest)).joinpath("begun").touch()
        try:
            while True:
                hear()
                yield "on "
                time.sleep(0.01)
        finally:
            folder.joinpath("ended").touch()

    def do_read(self, rest, hear):
        """Read a long prompt, pass by pass, and say nothing meanwhile."""
        (folder := Path(rest)).joinpath("begun").touch()
        try:
            while True:
                hear()
                time.sleep(0.01)
        finally:
            folder.joinpath("ended").touch()
        yield

    def do_deaf(self, rest, hear):
        """Hang."""
        Path(rest, "begun").write_text(str(os.getpid()))
        time.sleep(600)
        yield

    def do_flood(self, rest, hear):
        """Say more than any connection holds."""
        while True:
            hear()
            yield "x" * (1 << 20)

    def do_clog(self, rest, hear):
        """Say more than a connection holds, and end."""
        yield "x" * (16 << 20)

    def do_hold(self, rest, hear):
        """Wait until there is a file that lets it go on."""
        (folder := Path(rest)).joinpath("begun").touch()
        while not folder.joinpath("go").exists():
            hear()
            time.sleep(0.01)
        yield "held"


class Failing(Speaking):
    """Cannot be loaded while there is a file that says so."""

    @classmethod
    def load(cls, checkpoint, dtype, **options):
        """Look for it."""
        if Path(os.environ["FAILING"]).exists():
            raise UsageError("its weights are gone")
        return super().load(checkpoint, dtype, **options)


def noted(pieces, into):
    """The pieces, each kept as it is said."""
    for piece in pieces:
        into.append(piece)
        yield piece
