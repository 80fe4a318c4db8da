"""Strong scaling: the same run on one process with two threads, and on two processes with one thread each.

    python scripts/strong_scaling.py results/distributed/strong_scaling.json

Both have the same cores.  Seconds are those of the record's phases (rank 0's): starting Python and loading a model are
not in them.  The runs themselves are thrown away.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RUN = ["-m", "harness", "run", "--algo", "grpo", "--group-size", "16", "--budget", "completions=4096", "--eval-limit"]
RUN += ["50", "--quiet", "--device", "cpu", "--set", "eval_fractions=1", "--set", "keep_checkpoints=0"]
LAUNCH = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29611"]
WAYS = {"one process, two threads": ([], 2), "two processes, one thread each": (LAUNCH, 1)}
PARTS = ("rollout", "reward", "annotate", "update", "eval")


def measured(launcher: list[str], threads: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as out:
        words = [*launcher, *RUN, "--out", out, "--name", "run"]
        began = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
        elapsed = time.perf_counter() - began
        record = json.loads(Path(out, "run", "record.json").read_text())
    seconds = {name: round(record["phases"][name]["seconds"], 2) for name in PARTS}
    charged = sum(seconds[name] for name in PARTS if name != "eval")
    return {
        "command": " ".join([f"OMP_NUM_THREADS={threads}", "python", *words[:-4]]),
        "seconds": seconds,
        "charged_seconds": round(charged, 2),
        "device_seconds": round(record["spend"]["device_seconds"], 2),
        "generated_tokens": record["spend"]["generated_tokens"],
        "generated_tokens_per_second": round(record["spend"]["generated_tokens"] / charged, 1),
        "wall_seconds_with_start": round(elapsed, 1),
        "environment": {k: record["environment"].get(k) for k in ("cpu", "threads", "processes", "commit", "dirty")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="One process with two threads against two processes.")
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    ways = {name: measured(*how) for name, how in WAYS.items()}
    one, two = (ways[name] for name in WAYS)
    shared = {name: round(one["seconds"][name] / max(two["seconds"][name], 0.01), 2) for name in PARTS}
    ratio = round(one["charged_seconds"] / two["charged_seconds"], 2)
    file.parent.mkdir(parents=True, exist_ok=True)
    result = {"cores": os.cpu_count(), "ways": ways, "speedup": {**shared, "charged": ratio}}
    file.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["speedup"]))


if __name__ == "__main__":
    main()
