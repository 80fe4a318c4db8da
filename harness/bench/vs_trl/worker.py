"""A child process that runs one side: it loads, waits, and takes one step per request.

    python -m harness.bench.vs_trl.worker JOB     JOB as `Job.dumps` writes it

A request is a line on stdin; a reply is a line of JSON on stdout: first {"ready": ...}, then one per step, or
{"error": "one line"}.  All other output goes to stderr.  Waiting blocks: an idle child uses no processor time.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from harness.accounting.profiler import resident_peak
from harness.bench.vs_trl.job import Job, material


class Channel:
    """The pipes to the parent.  Takes over stdout; other output is redirected to stderr."""

    def __init__(self) -> None:
        self.replies: TextIO = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def send(self, reply: dict[str, Any]) -> None:
        self.replies.write(json.dumps(reply) + "\n")
        self.replies.flush()

    def wait(self) -> bool:
        """Wait for the next request.  False at the end."""
        return bool(sys.stdin.readline().strip())


def rehearse(job: Job) -> None:
    """Import everything that a side imports while it loads, so that it is not counted as the model's memory."""
    import torch
    import torch._dynamo  # imported by the optimiser's step
    from transformers import AutoConfig, AutoModelForCausalLM

    material(job)
    with torch.device("meta"):
        config = AutoConfig.from_pretrained(job.folder, trust_remote_code=False)
        AutoModelForCausalLM.from_config(config, trust_remote_code=False)


class Memory:
    """Peak memory from here on: on CUDA the allocator's, elsewhere the process's resident set.

    `growth_bytes` is relative to the resident set at construction: after the imports, before the model.
    """

    def __init__(self, cuda: bool) -> None:
        self.cuda, self.peak = cuda, 0
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark; see proc(5)
        self.imported = resident_peak()

    def read(self, seen: int = 0) -> dict[str, int]:
        """`seen`: a peak that was read before the mark was reset."""
        if self.cuda:
            import torch

            self.peak = max(self.peak, seen, int(torch.cuda.max_memory_allocated()))
            return {"peak_bytes": self.peak, "growth_bytes": self.peak}
        self.peak = max(self.peak, seen, resident_peak())
        return {"peak_bytes": self.peak, "growth_bytes": self.peak - self.imported}


def ready(memory: Memory, device: str) -> dict[str, Any]:
    """The first reply: the device of this side."""
    import torch

    name = torch.cuda.get_device_name(device) if memory.cuda else device
    return {"ready": True, "device": name, "threads": torch.get_num_threads(), "imported_bytes": memory.imported}


def main() -> None:
    channel = Channel()
    job = Job.loads(sys.argv[1])
    try:
        importlib.import_module(f"harness.bench.vs_trl.{job.side}").serve(job, channel)
    except Exception as error:  # the parent gets one line; the traceback is on stderr
        import traceback

        traceback.print_exc()
        lines = str(error).strip().splitlines()
        channel.send({"error": f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]})
        sys.stdout.flush()
        os._exit(1)  # a peer's threads may still be running


if __name__ == "__main__":
    main()
