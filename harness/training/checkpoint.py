"""All the state of a run, written whole or not at all, so that an interrupted run continues to the same bits.

    checkpoints/round-00010/
        policy.safetensors  critic.safetensors  reference.safetensors     weights, of the models that there are:
        reward_model.safetensors                                          these and a learned reward model
        optimizer.pt                                                      moments, rates, counts of updates
        replay.safetensors                                                completions that are to be trained on again
        state.json                                                        ledger, controller, meter, evaluations so far

There is no generator to save: every draw of noise and of prompts is a function of the seed and of counters
that the ledger holds (harness/rollout/rng.py).
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, load_model, save_file, save_model

from harness.records.io import write_json
from harness.records.schema import SCHEMA
from harness.records.upgrade import upgrade_state, upgrade_tensors
from harness.training.trainer import Trainer, TrainingLoop


def _rounds(folder: Path) -> list[Path]:
    return sorted(folder.glob("round-*"))


def save(trainer: Trainer, loop: TrainingLoop, evals: list[Any], folder: Path, keep: int) -> None:
    """Write checkpoint `round-<n>` and drop all but the newest `keep`; the old ones go after the new one stands.

    Where it cannot be written (a full disk) what was written of it is removed, the old ones stand, and OSError
    says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target, temporary = folder / f"round-{trainer.rounds:05d}", folder / ".writing"
    if target.exists():  # written before an interruption; a round has one state
        return
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        _write(trainer, loop, evals, temporary)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    os.replace(temporary, target)
    for old in _rounds(folder)[:-keep]:
        shutil.rmtree(old)


def _write(trainer: Trainer, loop: TrainingLoop, evals: list[Any], folder: Path) -> None:
    for name, module in trainer.modules().items():
        save_model(module, str(folder / f"{name}.safetensors"))
    torch.save(trainer.policy.optimizer.state_dict(), folder / "optimizer.pt")
    numbers, tensors = loop.state()
    if tensors:
        save_file({name: x.contiguous() for name, x in tensors.items()}, folder / "replay.safetensors")
    write_json(folder / "state.json", {"schema": SCHEMA, **numbers, "evals": evals})
    for file in folder.iterdir():  # on the disk before the name is: a power cut leaves the old checkpoint
        with file.open("rb") as written:
            os.fsync(written.fileno())


def restore(trainer: Trainer, loop: TrainingLoop, folder: Path) -> list[Any] | None:
    """Bring `trainer` to the newest checkpoint of `folder`; returns the evaluations so far, None without one."""
    checkpoints = _rounds(folder)
    if not checkpoints:
        return None
    newest, policy = checkpoints[-1], trainer.policy
    for name, module in trainer.modules().items():
        load_model(module, newest / f"{name}.safetensors", device=str(policy.device))
    policy.optimizer.load_state_dict(torch.load(newest / "optimizer.pt", map_location=policy.device, weights_only=True))
    state = json.loads((newest / "state.json").read_text())
    replay = newest / "replay.safetensors"
    known = [field.name for field in fields(trainer.algo)]
    loop.load(upgrade_state(state, known), upgrade_tensors(load_file(replay)) if replay.exists() else {})
    return list(state["evals"])


def rewind(folder: Path, rounds: int) -> None:
    """Cut the per-round files of a run's folder back to their first `rounds` rounds."""
    for name in ("metrics.jsonl", "samples.jsonl"):
        file = folder / name
        if file.is_file():
            lines = [line for line in file.read_text().splitlines() if line.endswith("}")]
            kept = [line for line in lines if json.loads(line)["round"] <= rounds]
            file.write_text("".join(line + "\n" for line in kept))
