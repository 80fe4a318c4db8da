"""A child process that is one side: it loads, waits, and takes one step whenever it is asked to.

    python -m harness.bench.vs_trl.worker JOB     JOB as `Job.dumps` writes it

Asked by a line on stdin, it answers with a line of JSON on stdout: first {"ready": ...}, then one a step, or
{"error": "one line"}.  Everything else that is printed goes to stderr.  It waits blocked: an idle child takes no time.
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
    """The pipes to the parent.  Takes stdout for itself and gives whoever prints stderr in its place."""

    def __init__(self) -> None:
        self.answers: TextIO = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def tell(self, answer: dict[str, Any]) -> None:
        self.answers.write(json.dumps(answer) + "\n")
        self.answers.flush()

    def asked(self) -> bool:
        """Waits.  False where the parent wants no more."""
        return bool(sys.stdin.readline().strip())


def rehearse(job: Job) -> None:
    """Import what either side will import while it loads: nothing of it is a model's memory."""
    import torch
    import torch._dynamo  # the optimiser's step asks for it
    from transformers import AutoConfig, AutoModelForCausalLM

    material(job)
    with torch.device("meta"):
        AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(job.folder))


class Memory:
    """Peak memory from here on: on CUDA the allocator's, elsewhere the process's resident set.

    `growth_bytes` leaves out what was resident when this was made, which is after the imports and before the model.
    """

    def __init__(self, cuda: bool) -> None:
        self.cuda, self.peak = cuda, 0
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew; see proc(5)
        self.imported = resident_peak()

    def read(self, seen: int = 0) -> dict[str, int]:
        """`seen`: a peak that was read elsewhere, before a mark was reset."""
        if self.cuda:
            import torch

            self.peak = max(self.peak, seen, int(torch.cuda.max_memory_allocated()))
            return {"peak_bytes": self.peak, "growth_bytes": self.peak}
        self.peak = max(self.peak, seen, resident_peak())
        return {"peak_bytes": self.peak, "growth_bytes": self.peak - self.imported}


def ready(memory: Memory, device: str) -> dict[str, Any]:
    """The first answer: where this side runs."""
    import torch

    name = torch.cuda.get_device_name(device) if memory.cuda else device
    return {"ready": True, "device": name, "threads": torch.get_num_threads(), "imported_bytes": memory.imported}


def main() -> None:
    channel = Channel()
    job = Job.loads(sys.argv[1])
    try:
        importlib.import_module(f"harness.bench.vs_trl.{job.side}").serve(job, channel)
    except Exception as error:  # whatever it is, the parent needs one line, and the rest stands on stderr
        import traceback

        traceback.print_exc()
        lines = str(error).strip().splitlines()
        channel.tell({"error": f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]})
        sys.stdout.flush()
        os._exit(1)  # a peer's threads may still be at work


if __name__ == "__main__":
    main()
