"""Where requests wait for their turn with the model: it has a process of its own, and answers one at a time."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from typing import Self

from parity.errors import ParityError
from parity.generation import Finish, Message, Sampling
from parity.running.party import Crash
from parity.running.single import Writer
from parity.serving.refusal import unavailable

GRACE = 60.0
"""Seconds until a model that is told to stop is ended: it looks up before each forward pass, which may take some."""


@dataclass(frozen=True)
class Ended:
    """The last event of an answer; `finish` is None where the backend does not count."""

    finish: Finish | None


class ClientGone(Exception):
    """Nobody waits for an answer any more."""


class Order:
    """One request: a conversation, and what comes of it.

    Made in the event loop, which waits for its events; they may come from any thread.
    """

    def __init__(self, messages: Sequence[Message], sampling: Sampling) -> None:
        self.messages, self.sampling = messages, sampling
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[str | Ended | Exception] = asyncio.Queue()

    def tell(self, event: str | Ended | Exception) -> None:
        """Hand an event over; nobody may wait for it."""
        with suppress(RuntimeError):  # the loop has ended, with all that waits
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def event(self) -> str | Ended:
        """The next piece of text, or the end.

        Raises:
            Exception: what went wrong instead.
        """
        event = await self._events.get()
        if isinstance(event, Exception):
            raise event
        return event


class Desk:
    """A model and those who wait for it.

    Args:
        opened: loads the model in a process of its own, which the context ends.
        told: hears of each crash, in one line.
        grace: seconds until a model that is told to stop is ended.
    """

    def __init__(
        self,
        opened: Callable[[], AbstractContextManager[Writer]],
        *,
        told: Callable[[str], None] = lambda line: None,
        grace: float = GRACE,
    ) -> None:
        self._opened, self._told, self._grace = opened, told, grace
        self._changed = threading.Condition()
        self._waiting: deque[Order] = deque()
        self._current: Order | None = None
        self._is_left = self._is_ended = self._is_closed = False
        self._writer: Writer | None = None
        self._watch: threading.Timer | None = None
        self._held = ExitStack()
        self._thread = threading.Thread(target=self._work, name="desk", daemon=True)
        self.reason = "it is being loaded"

    def __enter__(self) -> Self:
        """Load the model, or fail as that does."""
        self._ready()
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        with self._changed:
            self._is_closed = True
            self._waiting.clear()
            if self._current and self._writer is None:
                return  # it is being loaded, which nothing ends but the end of this process
            if self._current and self._writer:
                self._writer.kill()
            self._changed.notify()
        self._thread.join()
        self._drop()

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded; where it is not, `reason` says why."""
        return self._writer is not None

    @property
    def waiting(self) -> int:
        """How many wait; none of them is being answered."""
        return len(self._waiting)

    def take(self, order: Order) -> None:
        """Take an order in; whoever gave it must `leave`, also when it is done."""
        with self._changed:
            self._waiting.append(order)
            self._changed.notify()

    def leave(self, order: Order) -> None:
        """Nobody waits for an order any more: it loses its place, or the model stops writing it."""
        with self._changed:
            if order in self._waiting:
                self._waiting.remove(order)
            elif order is self._current and not self._is_left:
                self._is_left = True
                if self._writer:
                    self._writer.stop()
                    self._watch = threading.Timer(self._grace, self._end, (order, self._writer))
                    self._watch.daemon = True
                    self._watch.start()

    def _end(self, order: Order, writer: Writer) -> None:
        """End a model that does not stop."""
        with self._changed:
            if self._current is order:
                self._is_ended = True
                writer.kill()

    def _work(self) -> None:
        while (order := self._next()) is not None:
            try:
                self._answer(order)
            except Exception as error:  # also a fault of our own: the next one is answered all the same
                order.tell(error)
                self._mend(error)
            with self._changed:
                self._current = None
                if self._watch:
                    self._watch.cancel()

    def _next(self) -> Order | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            self._current = None if self._is_closed else self._waiting.popleft()
            self._is_left = self._is_ended = False
            return self._current

    def _answer(self, order: Order) -> None:
        try:
            said = self._begun(order)
        except Crash as error:  # it died since the last order, for which this one is not to blame
            self._mend(error)
            said = self._begun(order)
        while said is not None:
            try:
                piece = next(said)
            except StopIteration as end:
                order.tell(Ended(end.value))
                return
            order.tell(piece)

    def _begun(self, order: Order) -> Generator[str, None, Finish | None] | None:
        """The pieces of an answer that the model begins to write; None where nobody waits for it any more."""
        try:
            writer = self._ready()
        except ParityError as error:
            raise unavailable(str(error)) from error
        with self._changed:  # who leaves from here on is heard by the model
            if self._is_left or self._is_closed:
                return None
            return writer(order.messages, order.sampling)

    def _mend(self, error: Exception) -> None:
        """Load the model again after a crash; where that fails, the next order is told why, and tries once more."""
        if self._writer is None or (isinstance(error, ParityError) and not isinstance(error, Crash)):
            return
        self._drop()
        if self._is_closed:
            return
        why = f"the model did not stop within {self._grace:g} s and was ended" if self._is_ended else str(error)
        self._told(f"{why}; it is started again")
        try:
            self._ready()
        except ParityError as failure:
            self._told(str(failure))

    def _ready(self) -> Writer:
        """The model, loaded."""
        if self._writer is None:
            try:
                self._writer = self._held.enter_context(self._opened())
            except ParityError as error:
                self.reason = str(error)
                raise
        return self._writer

    def _drop(self) -> None:
        self._writer, self.reason = None, "it is being loaded again"
        self._held.close()
