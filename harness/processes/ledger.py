"""Seconds of every device in one ledger."""

from __future__ import annotations

from typing import Any

from harness.processes.group import current


def enter_seconds(spend: Any, profiler: Any) -> None:
    """Bring `spend.device_seconds` up to date: the charged seconds of every rank's device, added up.

    Each rank adds what its profiler has counted since the last time, so that a run which goes on with another number of
    processes keeps what it had spent.  All ranks enter the same sum.
    """
    if current().size == 1:
        spend.device_seconds = profiler.charged_seconds
        return
    now = profiler.charged_seconds
    spend.device_seconds += sum(current().gather(now - profiler.entered_seconds))
    profiler.entered_seconds = now
