"""OpenMP's threads, on a machine that other work shares.

torch cuts each operation into equal parts, one per thread, and the threads wait for the last of them: they spin, since
the next operation is microseconds away.  Where other processes want the same cores, a thread that spins holds the core
that the thread it waits for needs.  libgomp, which torch's wheels for Linux bring, spins for ever so long by default
when no thread count is exceeded; a bounded spin asks the kernel for a wake-up after that.

    bound_spin        before torch is imported: a bound, unless the user has chosen how threads wait
    Waiting           how long this process's threads waited for a core, while they could have run
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

SPIN = "100000"  # iterations; scripts/thread_waiting.py measures what others cost
CHOSEN_BY = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")  # by any of these the user has chosen
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # by these, how many


def bound_spin(environment: MutableMapping[str, str]) -> None:
    """Choose how long a thread that has nothing to do spins.  It acts on an OpenMP that is loaded after this call.

    Of libgomp alone: torch's wheels for Linux have it.  Intel's and LLVM's OpenMP have a bound of their own, 200 ms.

    >>> mine, theirs = {}, {"OMP_WAIT_POLICY": "passive"}
    >>> bound_spin(mine), bound_spin(theirs), "GOMP_SPINCOUNT" in mine, theirs
    (None, None, True, {'OMP_WAIT_POLICY': 'passive'})
    """
    if not any(name in environment for name in CHOSEN_BY):
        environment["GOMP_SPINCOUNT"] = SPIN


@dataclass
class Waiting:
    """The share of their time in which this process's threads were ready to run and had no core.

    `share()` is over the time since the last call: waited / (waited + ran), 0 on a machine of one's own, 1/2 where as
    many others want each core.  None where the kernel does not say (Linux does: /proc/PID/task/TID/schedstat).
    """

    ran: int = 0  # nanoseconds, over all threads
    waited: int = 0

    def __post_init__(self) -> None:
        self.share()

    def share(self) -> float | None:
        counters = _counters()
        if counters is None:
            return None
        ran, waited = counters[0] - self.ran, counters[1] - self.waited
        self.ran, self.waited = counters
        return max(0.0, waited / (ran + waited)) if ran + waited > 0 else 0.0


def _counters() -> tuple[int, int] | None:
    """(nanoseconds run, nanoseconds waited for a core), over the living threads.  None where there is no such file."""
    ran = waited = 0
    try:
        for task in Path("/proc/self/task").iterdir():
            try:
                numbers = (task / "schedstat").read_text().split()
            except FileNotFoundError:  # it has ended since
                continue
            ran, waited = ran + int(numbers[0]), waited + int(numbers[1])
    except (OSError, ValueError, IndexError):
        return None
    return (ran, waited) if ran else None
