"""Rewards of steps by the task's own checker."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from algos import Rollouts
from evals.tasks import Task
from harness.rewards.base import JudgedCompletions, RewardSource
from harness.rewards.step_alignment import scatter_step_rewards, step_end_tokens


class ProcessReward(RewardSource):
    """`process-rule`: the task's own checker of steps, and the verdict for the last one."""

    def __init__(self, task: Task, tokenizer: Any) -> None:
        super().__init__()
        self.task, self.tokenizer = task, tokenizer

    def rate(self, rollouts: Rollouts, answers: JudgedCompletions) -> tuple[Rollouts, dict[str, float]]:
        rollouts, _ = super().rate(rollouts, answers)
        assert rollouts.reward_N is not None
        steps = [self.task.steps(p, text) or [] for p, text, _ in answers.rows()]
        finals = rollouts.reward_N.tolist()
        rewards = [[float(s.right) for s in written] + [final] for written, final in zip(steps, finals, strict=True)]
        at = step_end_tokens(self.tokenizer, rollouts, [[s.end for s in written] for written in steps])
        end_NT, reward_NT = scatter_step_rewards(rollouts, at, rewards)
        marks = [s.right for written in steps for s in written]
        metrics = {"steps/right": sum(marks) / max(len(marks), 1), "steps/written": len(marks) / max(len(steps), 1)}
        return replace(rollouts, step_end_NT=end_NT, step_reward_NT=reward_NT), metrics
