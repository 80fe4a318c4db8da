"""Between rounds: do all ranks still train the same model?  And what is kept of a round in which one was lost."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import torch

from harness.processes.group import current
from harness.training import checkpoint
from harness.training.loop.protocol import TrainingLoop
from harness.training.trainer import Trainer

APART = 1e-4  # relative: other processors round otherwise; a step that one rank has missed is more


def check_together(trainer: Trainer) -> None:
    """Raises RuntimeError, on every rank, where one has spent something else, or its policy is another."""
    if current().size == 1:
        return
    spend = {unit: value for unit, value in trainer.spend.as_dict().items() if unit != "device_seconds"}
    weights = [] if trainer.policy.shards else trainer.policy.modules()["policy"].parameters()
    mine = spend, float(sum(torch.linalg.vector_norm(w.detach(), dtype=torch.float64) for w in weights))
    ranks = current().gather(mine)
    for rank, (spent, norm) in enumerate(ranks):
        if spent != ranks[0][0] or not math.isclose(norm, ranks[0][1], rel_tol=APART):
            raise RuntimeError(
                f"after round {trainer.rounds} rank {rank} no longer has what rank 0 has: the policy's norm is "
                f"{norm:.9g} against {ranks[0][1]:.9g}, the spend {spent} against {ranks[0][0]}; what a task, reward "
                "or algorithm of your own gives must be the same on every rank"
            )


class RoundBegun:
    """The state as a round began: as long as no optimiser has stepped the models are still those of then."""

    def __init__(self, trainer: Trainer, loop: TrainingLoop, evals: list[Any], folder: Path) -> None:
        self.trainer = trainer
        self.steps, self.iterations = self._steps(), trainer.iterations.begun
        self.snapshot = checkpoint.Snapshot.of(trainer, loop, copy.copy(evals), folder)

    def _steps(self) -> list[int]:
        return [group["taken"] for group in self.trainer.policy.optimizer.param_groups]

    def keep(self, folder: Path, count: int) -> None:
        """Write it as a checkpoint, where it can be: where not, the last one stands."""
        same = self._steps() == self.steps and self.trainer.iterations.begun == self.iterations
        if same and not self.trainer.policy.shards and self.snapshot.rounds and count:
            checkpoint.save(self.trainer, self.snapshot, folder, count)
