"""All the state of a run, written whole or not at all, so that an interrupted run continues to the same bits.

    checkpoints/round-00010/
        policy.safetensors  critic.safetensors  reference.safetensors     weights, of the models that there are:
        reward_model.safetensors                                          these and a learned reward model
        optimizer.pt                                                      moments, rates, counts of updates
        replay.safetensors                                                completions that are to be trained on again
        state.json                                                        ledger, controller, meter, evaluations so far
        checksums.json                                                    the sha256 of each file above

There is no generator to save: every draw of noise and of prompts is a function of the seed and of counters
that the ledger holds (harness/rollout/rng.py).

A checkpoint is used only where its checksums hold and the logs hold what had been logged then.  One that is not is set
aside (`aside-round-00010`), and the one before it is used.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.config.errors import CannotResume
from harness.models.parallel.state import load_optimizer, load_weights, optimizer_state, save_weights
from harness.processes.group import current
from harness.records import checksums
from harness.records.io import write_json
from harness.records.schema import SCHEMA
from harness.records.upgrade import upgrade_state, upgrade_tensors
from harness.training.loop.protocol import TrainingLoop
from harness.training.resume import logs
from harness.training.trainer import Trainer


def _rounds(folder: Path) -> list[Path]:
    return sorted(folder.glob("round-*"), key=_round)


def _round(checkpoint: Path) -> int:
    number = checkpoint.name.removeprefix("round-")
    return int(number) if number.isdecimal() else -1


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint keeps beside the models, as it was at one moment."""

    rounds: int
    state: dict[str, Any]
    tensors: dict[str, Tensor]  # not copies: nothing writes into them

    @classmethod
    def of(cls, trainer: Trainer, loop: TrainingLoop, evals: list[Any], run: Path) -> Snapshot:
        """Now; `run` is the folder with the logs."""
        numbers, tensors = loop.state()
        state = copy.deepcopy({"schema": SCHEMA, **numbers, "evals": evals, "logs": logs.mark(run)})
        return cls(trainer.rounds, state, tensors)


def save(trainer: Trainer, snapshot: Snapshot, folder: Path, keep: int) -> None:
    """Write checkpoint `round-<n>` and drop all but the newest `keep`; the old ones go after the new one stands.

    The models are written as they are: they must be those of the snapshot.  Of several processes rank 0 writes.
    `folder` lies in the run's own, beside its logs.  Where it cannot be written (a full disk) what was written of it is
    removed, the old ones stand, and OSError says why.
    """
    if not current().first:
        if trainer.policy.shards:
            _write_models(trainer, None)
        return
    folder.mkdir(parents=True, exist_ok=True)
    target, temporary = folder / f"round-{snapshot.rounds:05d}", folder / ".writing"
    if target.exists():  # written before an interruption; a round has one state
        return
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        _write(trainer, snapshot, temporary)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    os.replace(temporary, target)
    for old in _rounds(folder)[:-keep]:
        shutil.rmtree(old)


def _write(trainer: Trainer, snapshot: Snapshot, folder: Path) -> None:
    _write_models(trainer, folder)
    if snapshot.tensors:
        save_file({name: x.contiguous() for name, x in snapshot.tensors.items()}, folder / "replay.safetensors")
    write_json(folder / "state.json", snapshot.state)
    checksums.write_checksums(folder)
    for file in folder.iterdir():  # on the disk before the name is: a power cut leaves the old checkpoint
        with file.open("rb") as written:
            os.fsync(written.fileno())


def _write_models(trainer: Trainer, folder: Path | None) -> None:
    """Whole, whatever they were over; a process that writes nothing (None) hands on its shares."""
    for name, module in trainer.modules().items():
        save_weights(module, folder and folder / f"{name}.safetensors")
    optimizer = optimizer_state(trainer.policy.optimizer)
    if folder is not None:
        torch.save(optimizer, folder / "optimizer.pt")


def restore(trainer: Trainer, loop: TrainingLoop, folder: Path, notices: list[str]) -> list[Any]:
    """Bring `trainer` and the logs of the run in `folder` to its newest whole checkpoint, or to the beginning where
    there never was one; returns the evaluations so far.

    What the user should know is added to `notices`.  Raises CannotResume, one line, and changes no file, where there
    are checkpoints and none is whole.  Of several processes rank 0 decides, and the others read what it has read.
    """
    evals, checkpoint, told = current().on_first(lambda: _restore(trainer, loop, folder))
    notices += told
    if not current().first and checkpoint is not None and (fault := _load(trainer, loop, checkpoint)):
        raise CannotResume(f"resume: {checkpoint} cannot be read by rank {current().rank}: {fault}")
    return evals


def _restore(trainer: Trainer, loop: TrainingLoop, folder: Path) -> tuple[list[Any], Path | None, list[str]]:
    """The evaluations so far, the checkpoint that is used, and what the user should know."""
    notices: list[str] = []
    found, faults = _rounds(folder / "checkpoints")[::-1], dict[Path, str]()
    for checkpoint in found:
        if fault := _fault(checkpoint, folder) or _load(trainer, loop, checkpoint):
            faults[checkpoint] = fault
            continue
        state = _state(checkpoint)
        for unused in faults:
            aside = _set_aside(unused)
            notices.append(f"checkpoint {unused.name} is not used: {faults[unused]}; it is set aside as {aside.name}")
        if faults:
            notices.append(f"resumed from checkpoint {checkpoint.name}, the newest that is whole")
        logs.rewind(folder, trainer.rounds, state.get("logs"))
        return list(state["evals"]), checkpoint, notices
    if faults:
        reasons = "; ".join(f"{checkpoint.name}: {fault}" for checkpoint, fault in faults.items())
        raise CannotResume(
            f"resume: {folder} has no checkpoint that is whole ({reasons}); begin under another --name"
            + " (keep_checkpoints=2 keeps one to fall back on)" * (len(faults) == 1)
        )
    if logs.begun(folder):
        notices.append("there is no checkpoint: the run begins anew")
    logs.rewind(folder, 0, None)
    return [], None, notices


def _state(checkpoint: Path) -> dict[str, Any]:
    return dict(json.loads((checkpoint / "state.json").read_text()))


def _fault(checkpoint: Path, folder: Path) -> str | None:
    """Why a checkpoint is not whole, or the logs do not go as far; None where all is well."""
    try:
        fault, marked = checksums.fault(checkpoint), True
    except FileNotFoundError:  # written before there were any, or lost
        fault, marked = None, False
    if fault:
        return fault
    try:
        state = _state(checkpoint)
        if "logs" in state and not marked:
            return f"{checksums.NAME} is missing"
        return logs.fault(folder, int(state["rounds"]), state.get("logs"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"state.json cannot be read: {_reason(error)}"


def _load(trainer: Trainer, loop: TrainingLoop, checkpoint: Path) -> str | None:
    """Bring `trainer` there.  Returns why that cannot be; what was loaded until then is loaded over by the next."""
    policy, replay = trainer.policy, checkpoint / "replay.safetensors"
    try:
        for name, module in trainer.modules().items():
            load_weights(module, checkpoint / f"{name}.safetensors", str(policy.device))
        moments = torch.load(checkpoint / "optimizer.pt", map_location=policy.device, weights_only=True)
        load_optimizer(policy.optimizer, moments)
        known = [field.name for field in fields(trainer.algo)]
        tensors = upgrade_tensors(load_file(replay)) if replay.exists() else {}
        loop.load(upgrade_state(_state(checkpoint), known), tensors)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:  # safetensors, torch and json raise many kinds on a file that was cut
        if (checkpoint / checksums.NAME).is_file():  # the file is as it was written: it is not the one to set aside
            raise CannotResume(f"resume: {checkpoint} is whole, but cannot be loaded: {_reason(error)}") from error
        return f"it cannot be loaded: {_reason(error)}"
    return None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _set_aside(checkpoint: Path) -> Path:
    """Under a name that no checkpoint has."""
    names = (f"aside-{checkpoint.name}{end}" for end in ("", *(f"-{k}" for k in range(2, 10**6))))
    target = next(path for name in names if not (path := checkpoint.with_name(name)).exists())
    os.replace(checkpoint, target)
    return target
