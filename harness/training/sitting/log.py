"""The sittings of a run in its record: when, where, with how many threads, and why each ended."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from typing import Literal

from harness.records.io import utc_now
from harness.records.schema import Record, Sitting

NAMED: tuple[Literal["threads", "device"], ...] = ("threads", "device")
CUT_OFF = "cut off: its process left no word"


def begin(record: Record, earlier: Sequence[Sitting], rounds: int, threads: int) -> None:
    """One more sitting.  `earlier` are those of the run so far, `rounds` what the checkpoint that it goes on from
    holds."""
    record["sittings"] = [{**s, "end": s["end"] or CUT_OFF} for s in earlier]  # type: ignore[list-item]
    _add(record, rounds, threads)


def _add(record: Record, rounds: int, threads: int) -> None:
    sitting: Sitting = {
        "started": utc_now(),
        "ended": None,
        "first_round": rounds + 1,
        "rounds": 0,
        "device": str(record["environment"]["device"]),
        "threads": threads,
        "machine": machine(),
        "end": None,
    }
    record.setdefault("sittings", []).append(sitting)


def differences(record: Record) -> list[str]:
    """What a run that is resumed should know: where this sitting does not compute the bits of the one before."""
    if len(record["sittings"]) < 2:
        return []
    before, now = record["sittings"][-2:]
    changed = [f"{name} {before[name]} -> {now[name]}" for name in NAMED if before[name] != now[name]]
    if before["machine"] != now["machine"]:
        changed.append("machine")
    told = f"resumed with another {', '.join(changed)}: equal bits are promised for the same one alone"
    return [told] if changed else []


def count(record: Record, rounds: int) -> None:
    """It has come to the end of this round."""
    now = record["sittings"][-1]
    now["rounds"] = max(0, rounds - now["first_round"] + 1)


def why(record: Record) -> str:
    """Why a sitting has ended."""
    reason = str(record.get("reason") or "")
    return {"finished": "finished", "interrupted": reason}.get(record["status"], f"failed: {reason}")


def end(record: Record, why: str) -> None:
    record["sittings"][-1] |= {"ended": utc_now(), "end": why}


def turn(record: Record, rounds: int, threads: int, why: str) -> None:
    """The same process goes on with another number of threads: its numbers are other bits from here on."""
    count(record, rounds)
    end(record, why)
    _add(record, rounds, threads)
    record["environment"]["threads"] = threads


def machine() -> str:
    """Eight characters that are the same on the same machine, and do not tell its name."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]
