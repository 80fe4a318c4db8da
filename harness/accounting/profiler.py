"""Seconds, tokens and peak memory of each phase of a run."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

PHASES = ("rollout", "reward", "annotate", "update", "eval", "checkpoint")
CURVE_BRANCH = (
    "curve_branch"  # training that a curve's point needs and the run does not; entered only where there is any
)
MONITORING = "monitoring"  # what is read for the eye alone: never charged; entered only where there is any
CHARGED = (
    "rollout",
    "reward",
    "annotate",
    "update",
    "reward_model",
)  # what the budget pays for; the last: its training
_COUNTS = ("tokens", "peak_bytes", "rise_bytes", "reserved_bytes")


@dataclass
class Phase:
    seconds: float = 0.0
    tokens: int = 0
    peak_bytes: int = 0
    rise_bytes: int = 0  # of its last turn: the peak over what was resident when it began
    reserved_bytes: int = 0  # on CUDA: at most held by the allocator, what lay idle or in fragments included


class PhaseProfiler:
    """`with profiler("rollout"): ...` adds to that phase, with the device synchronised at both ends.

    peak_bytes is the allocator's high-water mark on CUDA and the process's on the CPU (the kernel's, reset
    at each phase where it can be: Linux; elsewhere it is the peak since the start).
    """

    def __init__(self, device: str, on_phase: Callable[[str], None] | None = None) -> None:
        """`on_phase` is told which phase begins."""
        self.device, self.cuda, self.on_phase = device, device.startswith("cuda"), on_phase
        self.entered_seconds = 0.0  # of the charged ones, those that are in the ledger
        self.phases = {name: Phase() for name in PHASES}

    @contextmanager
    def __call__(self, name: str) -> Iterator[Phase]:
        phase = self.phases.setdefault(name, Phase())
        if self.on_phase is not None:
            self.on_phase(name)
        level = self._reset_peak()
        start = self._now()
        try:
            yield phase
        finally:
            phase.seconds += self._now() - start
            peak = self._peak()
            phase.peak_bytes, phase.rise_bytes = max(phase.peak_bytes, peak), max(0, peak - level)
            phase.reserved_bytes = max(phase.reserved_bytes, self._reserved())

    @property
    def charged_seconds(self) -> float:
        return sum(phase.seconds for name, phase in self.phases.items() if name in CHARGED)

    @property
    def peak_bytes(self) -> int:
        return max(phase.peak_bytes for phase in self.phases.values())

    @property
    def reserved_bytes(self) -> int:
        return max(phase.reserved_bytes for phase in self.phases.values())

    def as_dict(self) -> dict[str, dict[str, float]]:
        """A phase for which nothing was reserved says nothing of it."""
        return {
            name: {k: v for k, v in asdict(phase).items() if v or k != "reserved_bytes"}
            for name, phase in self.phases.items()
        }

    def load(self, state: dict[str, dict[str, float]]) -> None:
        for name, values in state.items():
            self.phases[name] = Phase(float(values["seconds"]), *(int(values.get(k, 0)) for k in _COUNTS))
        self.entered_seconds = self.charged_seconds

    def _now(self) -> float:
        if self.cuda:
            import torch

            torch.cuda.synchronize()
        return time.perf_counter()

    def _reset_peak(self) -> int:
        """Start a new high-water mark; returns where it starts."""
        if self.cuda:
            import torch

            torch.cuda.reset_peak_memory_stats()
            return int(torch.cuda.memory_allocated())
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM; see proc(5)
        return resident_peak()

    def _peak(self) -> int:
        if self.cuda:
            import torch

            return int(torch.cuda.max_memory_allocated())
        return resident_peak()

    def _reserved(self) -> int:
        if not self.cuda:
            return 0
        import torch

        return int(torch.cuda.max_memory_reserved())


def resident_peak() -> int:
    """The process's high-water mark of resident memory, in bytes."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


PARTS = ("policy", "reference", "critic", "reward_model", "gradients", "optimizer", "kv_cache", "activations")
