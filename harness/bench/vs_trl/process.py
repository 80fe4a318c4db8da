"""The parent's handle of a side: start it, request steps, end it."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from types import TracebackType
from typing import Any

from harness.bench.vs_trl.job import Job

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "PYTHONUNBUFFERED": "1",
}
# OpenMP keeps its default: a passive wait would save an idle side milliseconds of spinning, but doubles the time of
# many small operations.


class SideFailed(Exception):
    """A side failed; the message is one line."""


class Side:
    """A child process for a job.  `with Side(job) as side: side.step()`."""

    def __init__(self, job: Job, patience: float = 1800.0) -> None:
        """`patience`: seconds to wait for a reply."""
        self.patience, self._rest = patience, b""
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the side
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.bench.vs_trl.worker", job.dumps()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={"CUDA_VISIBLE_DEVICES": "0", **os.environ, **OFFLINE},  # the first of several GPUs
        )

    def reply(self) -> dict[str, Any]:
        """The next reply.  Raises SideFailed on an error, at the end of the process, and after `patience` seconds."""
        reply: dict[str, Any] = json.loads(self._line())
        if "error" in reply:
            raise SideFailed(reply["error"])
        return reply

    def step(self) -> dict[str, Any]:
        """Request one step, and wait for its reply."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(b"step\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the process has ended: its last reply is read below
        return self.reply()

    def _line(self) -> bytes:
        assert self.process.stdout is not None
        until = time.monotonic() + self.patience
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise SideFailed(f"no reply within {self.patience:.0f} seconds")
                more = os.read(self.process.stdout.fileno(), 1 << 16)
                if not more:
                    raise SideFailed(self._last_words())
                self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _last_words(self) -> str:
        code = self.process.wait()
        self.log.seek(0)
        lines = [line for line in self.log.read().decode(errors="replace").splitlines() if line.strip()]
        return f"ended with {code}: {lines[-1].strip() if lines else 'no message'}"[:300]

    def close(self) -> None:
        """End the process, by force after 20 seconds."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def __enter__(self) -> Side:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.process.kill()
        self.close()
