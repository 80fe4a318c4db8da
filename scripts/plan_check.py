#!/usr/bin/env python3
"""Is the time that `harness plan` tells the time that the run takes?  One after the other, into one JSON file.

    python scripts/plan_check.py --out plan.json -- --algo grpo --group-size 16

What stands behind `--` are the options of both commands.  The time of the run is that of its phases, evaluations
included, without starting up: as the plan means it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from harness.records.environment import environment  # noqa: E402 - after the path


def harness(words: list[str], cache: str) -> str:
    done = subprocess.run([sys.executable, "-m", "harness.cli", *words], capture_output=True, text=True,
                          env={**os.environ, "XDG_CACHE_HOME": cache, "PYTHONPATH": str(ROOT)})  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--eval-limit", default=None, help="of the run alone: a plan knows no such option")
    parser.add_argument("words", nargs="+")
    args = parser.parse_args()
    limit = ["--set", f"eval_limit={args.eval_limit}"] if args.eval_limit else []
    with tempfile.TemporaryDirectory() as scratch:
        plan = json.loads(harness(["plan", *args.words, *limit, "--json"], scratch))["time"]
        harness(["run", *args.words, *limit, "--out", scratch, "--name", "run", "--quiet"], scratch)
        record = json.loads(Path(scratch, "run", "record.json").read_text())
    took = sum(phase["seconds"] for phase in record["phases"].values())
    row = {
        "options": " ".join([*args.words, *limit]),
        "planned_seconds": plan["seconds"],
        "plan": plan["text"],
        "seconds": took,
        "planned_over_taken": plan["seconds"] / took if plan["seconds"] else None,
        "phases": {name: phase["seconds"] for name, phase in record["phases"].items()},
        "environment": environment(record["environment"]["device"], record["environment"]["threads"]),
    }
    rows = json.loads(args.out.read_text()) if args.out.exists() else []
    args.out.write_text(json.dumps([*rows, row], indent=1) + "\n")
    print(f"planned {plan['seconds']:.1f} s, took {took:.1f} s")


if __name__ == "__main__":
    main()
