"""All the state of a run, written whole or not at all, so that a run that was cut off goes on to the same bits.

    checkpoints/round-00010/   state.pt (weights, optimiser)   state.json (ledger, meter, evaluations so far)

There is no generator to save: every draw of noise and of prompts is a function of the seed and of counters
that the ledger holds (harness/noise.py).  The reference is the start model, which is loaded again.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from harness.record import write_json

if TYPE_CHECKING:
    from harness.train import Trainer


def _rounds(folder: Path) -> list[Path]:
    return sorted(folder.glob("round-*"))


def save(trainer: Trainer, evals: list[Any], folder: Path, keep: int) -> None:
    """Write checkpoint `round-<n>` and drop all but the newest `keep`; the old ones go after the new one stands."""
    folder.mkdir(parents=True, exist_ok=True)
    target, temporary = folder / f"round-{trainer.rounds:05d}", folder / ".writing"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    policy = trainer.policy
    torch.save({"model": policy.model.state_dict(), "optimizer": policy.optimizer.state_dict()}, temporary / "state.pt")
    state = {
        "rounds": trainer.rounds,
        "updates": policy.updates,
        "spend": trainer.spend.as_dict(),
        "phases": trainer.meter.as_dict(),
        "checks": trainer.checks,
        "costs": trainer.planner.costs,
        "activation_bytes": trainer.activation_bytes,
        "peak_cache_bytes": trainer.sampler.peak_cache_bytes,
        "evals": evals,
    }
    write_json(temporary / "state.json", state)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(temporary, target)
    for old in _rounds(folder)[:-keep]:
        shutil.rmtree(old)


def restore(trainer: Trainer, folder: Path) -> list[Any] | None:
    """Bring `trainer` to the newest checkpoint of `folder`; returns the evaluations so far, None without one."""
    found = _rounds(folder)
    if not found:
        return None
    tensors = torch.load(found[-1] / "state.pt", map_location=trainer.policy.device, weights_only=True)
    state = json.loads((found[-1] / "state.json").read_text())
    trainer.policy.model.load_state_dict(tensors["model"])
    trainer.policy.optimizer.load_state_dict(tensors["optimizer"])
    trainer.policy.updates, trainer.rounds = state["updates"], state["rounds"]
    for f in dataclasses.fields(trainer.spend):
        setattr(trainer.spend, f.name, state["spend"][f.name])
    trainer.meter.load(state["phases"])
    trainer.checks.update(state["checks"])
    trainer.planner.costs[:] = [(int(groups), float(cost)) for groups, cost in state["costs"]]
    trainer.activation_bytes, trainer.sampler.peak_cache_bytes = state["activation_bytes"], state["peak_cache_bytes"]
    return list(state["evals"])


def rewind(folder: Path, rounds: int) -> None:
    """Cut the per-round files of a run's folder back to their first `rounds` rounds."""
    for name in ("metrics.jsonl", "samples.jsonl"):
        file = folder / name
        if file.is_file():
            lines = [line for line in file.read_text().splitlines() if line.endswith("}")]
            kept = [line for line in lines if json.loads(line)["round"] <= rounds]
            file.write_text("".join(line + "\n" for line in kept))
