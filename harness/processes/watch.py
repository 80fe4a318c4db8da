"""Signs of life.  Each rank writes one a second, with what it is doing, and reads the others'.

A rank that has given none for SILENCE seconds, or has said that it ends, is lost: the run ends on every rank, by
`RankLost` in the main thread, wherever that is.  Where there is a reason to look (a connection that broke, a SIGTERM of
the launcher, which ends the others when one has ended) LOOK seconds of silence are enough to say which rank it was.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

BEAT, LOOK, SILENCE = 1.0, 5.0, 30.0  # seconds
INTERRUPTED = "interrupted"


class RankLost(BaseException):
    """A rank has ended before its time: no Exception, so that nothing that tries things takes it for a failed try."""


@dataclass
class Life:
    """What is known of a rank."""

    name: str = ""  # host and process
    beat: int = -1
    phase: str = ""
    seen: float = 0.0  # monotonic: when it last gave a new sign
    end: str | None = None  # why it has ended; "": well


class Watch:
    """The thread that gives this rank's signs and looks for the others'.  `store`: torch's, a connection of its own."""

    def __init__(self, store: Any, rank: int, size: int) -> None:
        self.store, self.rank, self.phase = store, rank, "the start"
        self.lives = {k: Life(seen=time.monotonic()) for k in range(size)}
        self.name, self.count, self.found, self.armed = f"{socket.gethostname()}, process {os.getpid()}", 0, "", True
        self.gone, self.closing, self.changed, self.lock = False, False, threading.Event(), threading.Lock()
        self.main, self.ours = threading.main_thread().ident, threading.current_thread() is threading.main_thread()
        self.thread = threading.Thread(target=self._run, daemon=True, name="signs of life")

    def sign(self) -> None:
        self._write()

    def start(self) -> None:
        """Look for the others from now on: each of them has given a first sign."""
        if self.ours:
            self.handler = signal.signal(signal.SIGUSR1, self._ring)
        self.thread.start()

    def close(self) -> None:
        """All is over: nobody is missed any more."""
        self.closing = True
        self.changed.set()
        self.thread.join(2 * BEAT)
        if self.ours:
            signal.signal(signal.SIGUSR1, self.handler)

    def at(self, phase: str) -> None:
        self.phase = phase
        self.changed.set()

    def leave(self, reason: str) -> bool:
        """Say why this rank ends.  False where a rank before it says the same, or is the reason."""
        self.armed = False
        with suppress(Exception):  # the store may be gone, with rank 0
            self._write(end=reason)
        until = time.monotonic() + 2 * BEAT
        while time.monotonic() < until and not self.closing:
            with suppress(Exception):
                self._read()
            ends = [life.end for k, life in self.lives.items() if k < self.rank and life.end]
            if any(end in reason or reason in end for end in ends):
                return False
            time.sleep(BEAT / 5)
        return True

    def find(self, interrupted: bool = True) -> str:
        """Which rank is lost; "" where all give signs after some seconds of looking.  Without `interrupted` those that
        were interrupted, as this one was, are not."""
        self.armed = False
        until = time.monotonic() + LOOK + 2 * BEAT
        while not self.found and time.monotonic() < until:
            self._look(LOOK, interrupted)
            time.sleep(BEAT / 5)
        return self.found

    def _run(self) -> None:
        while not self.closing:
            self._look(SILENCE)
            if self.found and self.armed and self.ours and self.main is not None:
                signal.pthread_kill(self.main, signal.SIGUSR1)
            self.changed.wait(BEAT)
            self.changed.clear()

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if self.armed:
            self.armed = False
            raise RankLost(self.found)

    def _look(self, patience: float, interrupted: bool = True) -> None:
        try:
            self._write()
            self._read()
        except Exception:  # noqa: BLE001  whatever the store's client raises
            self.gone = True  # it says so at length each time that it is asked
            if not self.closing:
                self.found = self.found or f"rank 0 ({self.lives[0].name}) was lost during {self.lives[0].phase}"
            return
        now = time.monotonic()
        for k, life in self.lives.items():
            if self.found or k == self.rank:
                continue
            if life.end == INTERRUPTED and not interrupted:
                continue
            if life.end:
                told = life.end if life.end.startswith("rank ") else f"rank {k} ({life.name}) ended during {life.phase}"
                self.found = told if told == life.end else f"{told}: {life.end}"
            elif life.end is None and now - life.seen > patience:
                self.found = f"rank {k} ({life.name}) was lost during {life.phase}: it gives no sign of life"

    def _write(self, end: str | None = None) -> None:
        with self.lock:
            if self.lives[self.rank].end is None and not self.gone:
                self.count += 1
                self.lives[self.rank].end = end
                self.store.set(f"life/{self.rank}", json.dumps([self.name, self.count, self.phase, end]))

    def _read(self) -> None:
        with self.lock:
            if self.gone:
                return
            texts = self.store.multi_get([f"life/{k}" for k in self.lives])
            now = time.monotonic()
            for life, text in zip(self.lives.values(), texts, strict=True):
                name, beat, phase, end = json.loads(text)
                if beat != life.beat:
                    life.seen = now
                life.name, life.beat, life.phase, life.end = name, beat, phase, end
