"""Several runs after one another in one group of processes: importing torch takes longer than the runs do.

    accelerate launch --multi_gpu --num_processes 2 -m tests.harness.processes.job JOBS.json
    torchrun --nproc-per-node 2 -m tests.harness.processes.job JOBS.json

JOBS.json is a list of what `harness.run` is given.  The environment's FAULT (see `faults`) breaks one rank.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import harness
from harness.models.policy import LMPolicy
from harness.processes.launch import joined
from harness.rollout.sampler import Sampler


def go(jobs: Path) -> None:
    with joined():
        for job in json.loads(jobs.read_text()):
            harness.run(**job)


def faults(text: str) -> None:
    """`RANK SIGNAL WHERE COUNT`: that rank gets the signal as it samples (`rollout`) or steps (`update`) that time."""
    rank, number, where, count = text.split()
    if os.environ.get("RANK") != rank:
        return
    kind, name = {"rollout": (Sampler, "_sample"), "update": (LMPolicy, "step")}[where]
    whole, calls = getattr(kind, name), []

    def broken(self: Any, *args: Any) -> Any:
        calls.append(None)
        if len(calls) == int(count):
            Path(sys.argv[1]).with_suffix(".fault").write_text(str(time.time()))
            os.kill(os.getpid(), signal.Signals[number])
        return whole(self, *args)

    setattr(kind, name, broken)


if __name__ == "__main__":
    if fault := os.environ.get("FAULT"):
        faults(fault)
    from harness.cli import main

    try:
        go(Path(sys.argv[1]))
    except harness.RunFailed as error:
        main._fail(f"the run failed: {error}", 1)
        sys.stderr.flush()
        os._exit(1)
