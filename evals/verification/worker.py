"""The worker behind the verifier: math-verify in a process of its own, which can be killed.

sympy may take hours over one expression and cannot be interrupted from within, so it runs in a child process.  The
limit is `timeout` seconds of *processor* time, which the child's own clock measures: a loaded machine changes no
verdict.  What takes longer is not equal (an answer that holds up the judge is no answer), nor is anything math-verify
fails over.  The parent waits as long as the child computes.  A child that dies, or sleeps for STUCK seconds, is
replaced, and its item tried once more; after that it is an error.

The child is a fresh interpreter (nothing is forked, no `__main__` is imported again) that reads one JSON array
`[gold, answer, seconds]` per line and writes `{"equal": bool}` or `{"error": str}` per line.  math-verify and sympy
are imported there and nowhere else.  It ends with its parent: at end of input, or by its own alarm.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from evals.verification import math_verify_comparison
from evals.verification.math_verify_comparison import Compare

logger = logging.getLogger(__name__)

STUCK = 20.0  # clock seconds without any processor time after which a child is taken for dead
ORPHAN = 3600.0  # clock seconds after which a child ends that nobody reads
STARTUP = 120.0  # clock seconds for the imports of a new child
MEMORY = 4 << 30  # bytes of address space a child may have


class WorkerError(Exception):
    """The item could not be decided: the child died twice over it, reported an error, or cannot be started."""


# ---------------------------------------------------------------- the parent's side


def command() -> list[str]:
    """The command line of a child that sees the same modules as this process.

    >>> command()[1:2]
    ['-c']
    """
    code = f"import sys; sys.path[:] = {sys.path!r}; from evals.verification.worker import serve; serve()"
    return [sys.executable, "-c", code]


class Worker:
    r"""One child, started at the first call and replaced when it is lost.  Not thread-safe: the verifier holds a lock.

    >>> with Worker() as worker:
    ...     worker.equal("1/2", r"\frac{2}{4}"), worker.equal("x+1", "x+2")
    (True, False)
    """

    def __init__(self, timeout: float = 2.0, argv: Sequence[str] | None = None, stuck: float = STUCK) -> None:
        if not 0 < timeout <= 3600:
            raise ValueError(f"timeout must be seconds in (0, 3600], not {timeout!r}")
        self.timeout = timeout
        self.argv = argv
        self.stuck = stuck
        self.undecided = 0  # items that went beyond the budget, or that math-verify failed over: not equal
        self.restarts = 0  # children lost over an item
        self.unavailable: str | None = None  # why there can be no worker, once that is known
        self._child: subprocess.Popen[bytes] | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None

    def equal(self, gold: str, answer: str) -> bool:
        """Does math-verify find the answer equal to the gold answer?  WorkerError where the child dies twice."""
        for _ in range(2):
            child = self._started()
            try:
                reply = self._ask(child, [gold, answer, self.timeout])
            except BaseException:  # interrupted half-way: its late reply must not answer the next question
                self.close()
                raise
            if reply is not None:
                self.undecided += "error" in reply
                return bool(reply.get("equal"))
            over_budget = child.wait() == -signal.SIGPROF if self._has_ended(child) else False
            self.close()
            self.restarts += 1
            if over_budget:
                self.undecided += 1
                return False
        raise WorkerError("the worker died, twice")

    @staticmethod
    def _has_ended(child: subprocess.Popen[bytes]) -> bool:
        """Has it ended by itself?  It closes its output a moment before."""
        try:
            child.wait(1.0)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """Ends the child.  A later call starts another; closing twice is harmless."""
        if self._finalizer is not None:
            self._finalizer()
        self._child = self._finalizer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _started(self) -> subprocess.Popen[bytes]:
        """The running child.  Where none can be started, the reason is kept, logged once and raised each time."""
        if self.unavailable is not None:
            raise WorkerError(self.unavailable)
        if self._child is not None and self._child.poll() is None:
            return self._child
        env = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}  # sympy orders some sets by hash
        pipe = subprocess.PIPE
        why = "it ended while starting"
        for _ in range(2):
            self.close()
            child = subprocess.Popen(
                self.argv or command(), stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, bufsize=0, env=env
            )
            self._child, self._finalizer = child, weakref.finalize(self, _end, child)
            reply = _read(child, STARTUP, cpu=False)
            if reply is not None and "error" not in reply:
                return child
            if reply is not None:  # an import failed, and would again
                why = str(reply["error"])
                break
        self.close()
        self.unavailable = f"no worker: {why}"
        logger.warning("answers that are not plain numbers cannot be verified (%s)", self.unavailable)
        raise WorkerError(self.unavailable)

    def _ask(self, child: subprocess.Popen[bytes], item: list[Any]) -> dict[str, Any] | None:
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(item).encode() + b"\n")
        except OSError:  # the child is gone
            return None
        return _read(child, self.stuck)


def _read(child: subprocess.Popen[bytes], seconds: float, cpu: bool = True) -> dict[str, Any] | None:
    """The child's next line, or None where it died, wrote no JSON object or was idle for `seconds`.

    With `cpu` a child that has used processor time since the last look is not idle, nor one that waits for a processor.
    """
    assert child.stdout is not None
    poll = select.poll()  # not select(): a training process may hold more than 1024 descriptors
    poll.register(child.stdout, select.POLLIN)
    line, end, used = b"", time.monotonic() + seconds, _processor_time(child.pid)
    while not line.endswith(b"\n"):
        if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
            now = _processor_time(child.pid)
            if not cpu or now is None or now == used:
                return None
            end, used = time.monotonic() + seconds, now
            continue
        part = os.read(child.stdout.fileno(), 65536)
        if not part:
            return None
        line += part
    try:
        reply = json.loads(line)
    except ValueError:
        return None
    return reply if isinstance(reply, dict) else None


def _processor_time(pid: int) -> object:
    """What changes while a process computes or waits for a processor, None where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return time.monotonic() if sys.platform != "linux" else None
    return time.monotonic() if fields[0] == "R" else (fields[11], fields[12])


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()


# ---------------------------------------------------------------- the child's side


def serve(load: Callable[[], Compare] | None = None) -> None:
    """Replies to questions until the end of input.  `load` returns the comparison (default: math-verify's).

    A test's own child is `serve(lambda: lambda gold, answer: gold == answer)`.
    """
    import resource

    for limit, value in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # a lower limit stands already, or the system has none
            resource.setrlimit(limit, (value, value))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # the default action ends the process, even inside C code
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    out, sys.stdout = os.dup(1), sys.stderr  # a library that prints must not speak for us

    def reply(message: dict[str, Any]) -> None:
        os.write(out, json.dumps(message).encode() + b"\n")

    try:
        compare = (load or math_verify_comparison.load)()
    except Exception as error:  # noqa: BLE001  not installed, or broken: either way the parent is told
        reply({"error": f"{type(error).__name__}: {error}"[:500]})
        return
    reply({"ready": True})
    for line in sys.stdin.buffer:
        gold, answer, seconds = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, ORPHAN)  # should the parent be gone
        try:
            message: dict[str, Any] = {"equal": bool(compare(gold, answer))}
        except Exception as error:  # noqa: BLE001  whatever an answer sets off is reported
            message = {"error": type(error).__name__}  # not its text: printing an expression may take forever
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        reply(message)
