"""Running calls: several at once, each for a limited time, whatever it raises or returns.

A user's tool runs in a thread of its own, which cannot be killed: at its time limit it is left alone, its place given
to the next, and what it may still return is never read.  A tool that is `local` (the built-in ones) answers at once and
runs where it is called.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from harness.rollout.tools.protocol import ToolError

FAILED = "error: "  # how an answer begins that is none


@dataclass(frozen=True)
class Call:
    """Call("search", "price of belzor")"""

    tool: str
    query: str


class Pending:
    """A call under way; `answer` waits for it."""

    def __init__(self, tool: Any, query: str, gate: threading.Semaphore, timeout: float) -> None:
        self.tool, self.query, self.gate, self.timeout = tool, query, gate, timeout
        self.begun, self.ended, self.lock = threading.Event(), threading.Event(), threading.Lock()
        self.began, self.holds, self.text = 0.0, False, ""
        self.local = bool(getattr(tool, "local", False))
        if not self.local:
            threading.Thread(target=self._run, daemon=True).start()

    def answer(self) -> str:
        """What the policy reads: the tool's text, or why there is none."""
        if self.local:
            return answered(self.tool, self.query)
        self.begun.wait()
        left = self.began + self.timeout - time.monotonic() if self.timeout else None
        if not self.ended.wait(None if left is None else max(left, 0.0)):
            self._let_go()
            return f"{FAILED}{self.tool.name} took more than {self.timeout:g} seconds"
        return self.text

    def _run(self) -> None:
        self.gate.acquire()
        self.holds, self.began = True, time.monotonic()
        self.begun.set()
        self.text = answered(self.tool, self.query)
        self.ended.set()
        self._let_go()

    def _let_go(self) -> None:
        """Once, by whoever comes first: the thread that has ended, or who no longer waits for it."""
        with self.lock:
            held, self.holds = self.holds, False
        if held:
            self.gate.release()


def answered(tool: Any, query: str) -> str:
    """The tool's text, or why there is none, in one line."""
    try:
        text = tool.call(query)
    except ToolError as error:
        return f"{FAILED}{error}"
    except (Exception, SystemExit) as error:  # noqa: BLE001  a user's code may raise anything
        reason = " ".join(str(error).split())[:200]
        return f"{FAILED}{type(error).__name__}{f': {reason}' if reason else ''}"
    if not isinstance(text, str):
        return f"{FAILED}{tool.name} gave no text but {type(text).__name__}"
    return text
