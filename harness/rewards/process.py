"""Rewards of steps by the task's own checker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from algos import Rollouts
from evals.tasks import Problem, Step, Task
from evals.tasks.traces import Trace
from harness.rewards.base import JudgedCompletions, RewardSource
from harness.rewards.step_alignment import scatter_step_rewards, step_end_tokens


class ProcessReward(RewardSource):
    """`process-rule`: the task's own checker of steps (or a file's annotation), and the verdict for the last one."""

    def __init__(self, task: Task, tokenizer: Any) -> None:
        super().__init__()
        self.task, self.tokenizer = task, tokenizer

    def steps(self, problem: Problem, text: str) -> Sequence[Step]:
        """As a file annotates them, else as the task's checker finds them."""
        annotated = problem.steps if isinstance(problem, Trace) else None
        return (self.task.steps(problem, text) or []) if annotated is None else annotated

    def rate(self, rollouts: Rollouts, answers: JudgedCompletions) -> tuple[Rollouts, dict[str, float]]:
        rollouts, _ = super().rate(rollouts, answers)
        assert rollouts.reward_N is not None
        steps = [self.steps(p, text) for p, text, _ in answers.rows()]
        finals = rollouts.reward_N.tolist()
        rewards = [[float(s.right) for s in written] + [final] for written, final in zip(steps, finals, strict=True)]
        at = step_end_tokens(self.tokenizer, rollouts, [[s.end for s in written] for written in steps])
        end_NT, reward_NT = scatter_step_rewards(rollouts, at, rewards)
        marks = [s.right for written in steps for s in written]
        metrics = {"steps/right": sum(marks) / max(len(marks), 1), "steps/written": len(marks) / max(len(steps), 1)}
        return replace(rollouts, step_end_NT=end_NT, step_reward_NT=reward_NT), metrics
