"""Ctrl-C, SIGTERM and a terminal that closes (SIGHUP) lose nothing: they wait for the end of a round, where the state
is whole and can be kept."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

from harness.processes.group import current

HEARD = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
ECHO = 5.0  # seconds in which a launcher hands on to its processes the signal that they have heard themselves


class Interrupt:
    """`with Interrupt(say) as interrupt: ... with interrupt.held(): ...`

    Inside `held` a first Ctrl-C is noted, and raised as KeyboardInterrupt where the block ends; a second one is
    raised at once.  Outside it is raised as always.  `whole` says whether the state can be kept.  SIGTERM, by which
    schedulers and `kill` end a process, is the same as Ctrl-C, and so is SIGHUP, unless `nohup` has it ignored; `by`
    says which of them it was.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say, self.whole, self.requested, self.by, self.heard = say, True, False, "the user", 0.0
        self.agreed = False  # all ranks of several end here

    def __enter__(self) -> Interrupt:
        self.ours = threading.current_thread() is threading.main_thread()  # signals are the main thread's
        if self.ours:
            heard = [n for n in HEARD if n == signal.SIGINT or signal.getsignal(n) is not signal.SIG_IGN]
            self.before = {number: signal.signal(number, self._hear) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.ours:
            for number, handler in self.before.items():
                signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.requested and current().size > 1 and time.monotonic() - self.heard < ECHO:
            return
        self.by = "the user" if number == signal.SIGINT else signal.Signals(number).name
        if self.whole or self.requested:
            raise KeyboardInterrupt
        self.requested, self.heard = True, time.monotonic()
        self.say("interrupted: this round is finished first; once more to stop at once")

    @contextmanager
    def held(self) -> Iterator[None]:
        self.whole = False
        yield
        if current().size > 1:  # all ranks end after the same round
            self.requested = self.agreed = any(current().gather(self.requested))
        self.whole = True  # not after an exception: the state is then between two rounds
        if self.requested:
            raise KeyboardInterrupt
