#!/usr/bin/env python3
"""How should OpenMP's threads wait?  One small run under several settings, alone and beside busy processes.

    python scripts/thread_waiting.py --out threads.json [--busy 3] [--settings 10000,100000,one]

A setting is a number (GOMP_SPINCOUNT), `default` (what the run itself chooses), `libgomp` (what libgomp does when
nothing is chosen), `passive` (OMP_WAIT_POLICY), `one` (one thread) or `auto` (`threads=auto`).  The result is the
charged seconds of each repetition, and their median.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from harness.records.environment import environment

RUN = ("run", "--algo", "grpo", "--group-size", "16", "--budget", "completions=2560", "--set", "eval_fractions=",
       "--set", "keep_checkpoints=0", "--quiet")  # fmt: skip
BUSY = "while True: pass"
WORDS = {"one": {"OMP_NUM_THREADS": "1"}, "passive": {"OMP_WAIT_POLICY": "passive"}, "default": {}, "auto": {},
         "libgomp": {"KMP_BLOCKTIME": "200"}}  # fmt: skip  # the last: read by another OpenMP, so that none is chosen


def charged(setting: str, timeout: float) -> float | None:
    """Charged seconds of one run; None where it did not end in time."""
    chosen = WORDS.get(setting, {"GOMP_SPINCOUNT": setting})
    own = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_", "MKL_"))}
    extra = ["--set", "threads=auto"] if setting == "auto" else []
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "harness.cli", *RUN, *extra, "--out", out, "--name", "run"]
        try:
            subprocess.run(command, env={**own, **chosen}, timeout=timeout, check=True)
        except subprocess.TimeoutExpired:
            return None
        return float(json.loads(Path(out, "run", "record.json").read_text())["spend"]["device_seconds"])


def measure(settings: list[str], busy: int, repeats: int, timeout: float) -> dict[str, list[float | None]]:
    """Settings in turn, so that a drift of the machine meets all of them."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
    seconds: dict[str, list[float | None]] = {setting: [] for setting in settings}
    try:
        for _ in range(repeats):
            for setting in settings:
                if None not in seconds[setting]:  # one that did not end in time is not tried again
                    seconds[setting].append(charged(setting, timeout))
                    print(f"beside {busy}: {setting} {seconds[setting][-1]}", flush=True)
    finally:
        for process in processes:
            process.kill()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--busy", default="0,3", help="processes that compute beside it, comma-separated")
    parser.add_argument("--settings", default="libgomp,1000,10000,100000,one,auto")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--timeout", type=float, default=120.0)
    args = parser.parse_args()
    result = {
        "what": "charged seconds of one run, by how its threads wait and how many processes are busy beside it",
        "command": "python " + " ".join(sys.argv),
        "run": "harness " + " ".join(RUN),
        "environment": environment("cpu", len(os.sched_getaffinity(0))),
        "beside": {},
    }
    for busy in map(int, args.busy.split(",")):
        seconds = measure(args.settings.split(","), busy, args.repeats, args.timeout)
        result["beside"][str(busy)] = {
            s: {"median": statistics.median(x) if None not in x else None, "seconds": x} for s, x in seconds.items()
        }
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
