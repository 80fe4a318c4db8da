"""The parent's end of a side: start it, ask it for a step, end it."""

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
# OpenMP is left as a user has it: a passive wait would spare an idle side its milliseconds of spinning, and doubles the
# time of a side that makes many small operations.


class SideFailed(Exception):
    """A side could not go on; one line says why."""


class Side:
    """A child process at work on a job.  `with Side(job) as side: side.step()`."""

    def __init__(self, job: Job, patience: float = 1800.0) -> None:
        """`patience`: seconds for an answer."""
        self.patience, self._rest = patience, b""
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the side
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.bench.vs_trl.worker", job.dumps()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={"CUDA_VISIBLE_DEVICES": "0", **os.environ, **OFFLINE},  # of several GPUs the first
        )

    def answer(self) -> dict[str, Any]:
        """The next line.  Raises SideFailed where it is an error, an end or too late."""
        found: dict[str, Any] = json.loads(self._line())
        if "error" in found:
            raise SideFailed(found["error"])
        return found

    def step(self) -> dict[str, Any]:
        """One step, from start to end."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(b"step\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: what it said last is read below
        return self.answer()

    def _line(self) -> bytes:
        assert self.process.stdout is not None
        until = time.monotonic() + self.patience
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise SideFailed(f"no answer within {self.patience:.0f} seconds")
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
        return f"ended with {code}: {lines[-1].strip() if lines else 'no word'}"[:300]

    def close(self) -> None:
        """Asks it to end, and ends it."""
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
