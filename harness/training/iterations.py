"""Iterative RL (DeepSeekMath, 2402.03300, Algorithm 1): what is renewed during a run.

    iteration 1                  iteration 2                  ...   I of them, at equal shares of the budget
    [train the reward model]     [reference <- policy]              `reset_reference`
    RL rounds ...                [refresh the reward model]         `refresh_reward`
                                 RL rounds ...

The paper's typeset algorithm does not show whether its reward model is updated inside or after the step loop; its prose
(§4.1.4) reads as once per iteration, and so it is here.  One iteration renews nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Iterations:
    """I, the two switches, and how many iterations have begun."""

    count: int = 1
    reset_reference: bool = False
    refresh_reward: bool = False
    begun: int = 0

    def due(self, fraction: float) -> int:
        """The iteration, 1 to I, that this fraction of the budget belongs to.

        >>> [Iterations(count=3).due(f) for f in (0.0, 0.3, 0.34, 1.0)]
        [1, 1, 2, 3]
        """
        return min(1 + int(fraction * self.count + 1e-9), self.count)
