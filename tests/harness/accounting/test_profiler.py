"""What a meter reads of CUDA's allocator, without one."""

from __future__ import annotations

import pytest
import torch

from harness.accounting.profiler import PhaseProfiler


def test_on_cuda_what_is_reserved_is_kept_beside_what_is_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two turns of a phase and one of another: the most of each."""
    held = iter([(70, 90), (80, 85), (10, 95)])
    now = [0, 0]

    def begin() -> None:
        now[:] = next(held)

    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 30)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", begin)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: now[0])
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: now[1])
    meter = PhaseProfiler("cuda:0")
    for name in ("rollout", "rollout", "update"):
        with meter(name):
            pass
    found = meter.as_dict()
    assert [found["rollout"][k] for k in ("peak_bytes", "rise_bytes", "reserved_bytes")] == [80, 50, 90]
    assert (meter.peak_bytes, meter.reserved_bytes) == (80, 95)
    again = PhaseProfiler("cuda:0")
    again.load(found)
    assert again.as_dict() == found


def test_on_the_cpu_nothing_is_reserved_and_nothing_said_of_it() -> None:
    meter = PhaseProfiler("cpu")
    with meter("update"):
        pass
    found = meter.as_dict()
    assert found["update"]["peak_bytes"] > 0 and all("reserved_bytes" not in phase for phase in found.values())
    again = PhaseProfiler("cpu")
    again.load(found)
    assert again.as_dict() == found
