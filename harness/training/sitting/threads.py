"""How many threads a run has, and what becomes of them where other work wants the same cores.

`threads` of the configuration:

    fixed   as many as torch takes, all the time.  The same count gives the same bits, so that a run beside other work
            ends in the weights that it has alone; it says that it is slowed down, and by what it would be faster
    auto    as many as torch takes; from where other work slows them down as many as it leaves cores for, if that is
            faster.  The bits that the run ends in then depend on what else ran: the record's sittings hold every count
    N       N
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from harness.accounting.threads import Waiting

SHARED = 0.25  # of their time the threads waited for a core: one process for each other one is 0.5
TWICE = 2  # in a row, since a moment's work of the system is none,
LONG = 2.0  # or over so many seconds


@dataclass
class ThreadCount:
    """`between(...)` is called between rounds and after evaluations: while nothing is computed.

    `say` tells the user, once; `change(threads, why)` is told of every change before it acts.
    """

    requested: str
    say: Callable[[str], None]
    change: Callable[[int, str], None]
    now: Callable[[], int] = torch.get_num_threads
    waiting: Waiting = field(default_factory=Waiting)

    def __post_init__(self) -> None:
        self.full = self.now()
        self.contended, self.told = 0, False
        self.before: float | None = None  # tokens per second before fewer threads were tried
        self.last = (0.0, 0.0)  # tokens and seconds at the last call
        self.decided = self.requested != "auto" or self.full == 1

    def between(self, tokens: float, seconds: float) -> None:
        """`tokens` and charged `seconds` of the run so far."""
        share, passed, rate = self.waiting.share(), seconds - self.last[1], self._rate(tokens, seconds)
        if self.before is not None and rate is not None:
            self._judge(rate)
            return
        if share is None or self.now() == 1:
            return
        self.contended = self.contended + 1 if share > SHARED else 0
        if not self.contended or (self.contended < TWICE and passed < LONG):
            return
        if not self.told:
            self.told = True
            self.say(self._message(share))
        if not self.decided and self.before is None and rate is not None:
            self.before = rate
            fewer = max(1, int(self.full * (1 - share)))
            self._set(fewer, f"fewer threads: other work kept {self.full} waiting for {share:.0%} of their time")

    def _rate(self, tokens: float, seconds: float) -> float | None:
        """Tokens per charged second since the last call; None where nothing was charged in between."""
        last, self.last = self.last, (tokens, seconds)
        return (tokens - last[0]) / (seconds - last[1]) if seconds > last[1] else None

    def _judge(self, rate: float) -> None:
        """Fewer threads have made a round: was it faster than all of them were?"""
        before, self.before, self.decided = self.before or 0.0, None, True
        if rate < before:
            self._set(self.full, f"threads as before: {self.now()} made {rate:,.0f} tokens a second, all {before:,.0f}")

    def _set(self, threads: int, why: str) -> None:
        self.change(threads, why)
        torch.set_num_threads(threads)

    def _message(self, share: float) -> str:
        slowed = f"other work shares these cores: {self.full} threads waited for {share:.0%} of their time"
        if self.requested == "auto":
            return f"{slowed}; going on with fewer, if that is faster (the record says from where)"
        return f"{slowed}; --threads auto goes on with fewer where that is faster (the last digits are others then)"


def set_threads(requested: str) -> None:
    """N threads where a number is requested."""
    if requested.isdecimal():
        torch.set_num_threads(int(requested))
