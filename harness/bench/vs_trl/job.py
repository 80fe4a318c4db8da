"""The job of a child process, and what both sides derive from it: configuration, prompts, task."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evals.tasks import Problem, Task
from harness.config.experiment import task_of
from harness.config.run_config import RunConfig, resolve
from harness.rollout.prompts import PromptStream


@dataclass(frozen=True, kw_only=True)
class Mode:
    """How the peer generates and trains."""

    engine: str  # a key of `theirs.ENGINES`
    checkpointing: bool = False  # gradient checkpointing: less memory, more time
    parts: int = 1  # micro-batches of an update

    @property
    def name(self) -> str:
        """For tables.

        >>> Mode(engine="static", checkpointing=True, parts=4).name
        'static+checkpointing/4'
        """
        parts = f"/{self.parts}" if self.parts > 1 else ""
        return f"{self.engine}{'+checkpointing' if self.checkpointing else ''}{parts}"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One side of one case."""

    side: str  # the module harness.bench.vs_trl.SIDE
    folder: str  # the model's
    beta: float
    forced: bool  # every completion has exactly max_new_tokens tokens
    prompts: int
    group_size: int
    max_new_tokens: int
    reward: str
    device: str
    dtype: str
    cycle: int  # rounds after which the prompts repeat
    lr: float = 1e-6  # constant and small, so that completion lengths do not change
    settings: tuple[str, ...] = ()  # `--set` words, for both sides
    mode: Mode | None = None  # of the peer

    def dumps(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def loads(cls, text: str) -> Job:
        fields = json.loads(text)
        fields["settings"] = tuple(fields["settings"])
        return cls(**{**fields, "mode": fields["mode"] and Mode(**fields["mode"])})


def config_of(job: Job) -> RunConfig:
    """The job as a configuration of ours.  The standard deviation has ddof 1, as the peer's."""
    flags: dict[str, Any] = {
        "algo_name": "grpo",
        "algo": {"kl_coef": job.beta, "std_ddof": 1},
        "model": job.folder,
        "reward": job.reward,
        "budget": "prompts=1e12",
        "prompts": job.prompts,
        "group_size": job.group_size,
        "max_new_tokens": job.max_new_tokens,
        "lr": job.lr,
        "warmup": 0,
        "decay": "constant",
        "device": job.device,
        "dtype": job.dtype,
        "eval_limit": 1,
        "keep_checkpoints": 0,
    }
    return resolve(flags, list(job.settings), None)


def material(job: Job) -> tuple[Task, list[Problem]]:
    """The task, and the problems of one cycle in the order of both sides."""
    config = config_of(job)
    task = task_of(config)
    return task, PromptStream(task.train(config.seed), config.seed).take(0, job.cycle * job.prompts)


class Cycle(PromptStream):
    """The same problems repeatedly, in order."""

    def places(self, ordinal: int, count: int) -> list[int]:
        return [k % len(self.problems) for k in range(ordinal, ordinal + count)]


def cycle(problems: Sequence[Problem], seed: int) -> PromptStream:
    return Cycle(problems, seed)
