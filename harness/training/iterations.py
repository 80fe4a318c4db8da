"""Iterative RL (DeepSeekMath, 2402.03300, Algorithm 1): what is renewed while a run goes on.

    iteration 1                  iteration 2                  ...   I of them, at equal shares of the budget
    [train the reward model]     [reference <- policy]              `reset_reference`
    RL rounds ...                [refresh the reward model]         `refresh_reward`
                                 RL rounds ...

Whether the paper's reward model is updated inside or after the step loop its typeset algorithm does not show; its prose
(§4.1.4) reads as once an iteration, and so it is here.  One iteration renews nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.training.trainer import Trainer


@dataclass
class Iterations:
    """I, the two switches, and how many iterations have begun."""

    count: int = 1
    reset_reference: bool = False
    refresh_reward: bool = False
    begun: int = 0

    def turn(self, loop: Trainer) -> None:
        """Before a round: begin whatever iteration the budget spent so far has come to."""
        due = min(1 + int(loop.budget.fraction(loop.spend) * self.count + 1e-9), self.count)
        if self.begun == 0:
            loop.source.begin(loop)
            self.begun = 1
        if self.begun < due:  # once, if a round has crossed several boundaries: between them nothing has moved
            if self.reset_reference:
                loop.policy.reset_reference()
            if self.refresh_reward:
                loop.source.refresh(loop)
            self.begun = due
