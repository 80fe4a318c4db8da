"""Problems in the order a run sees them, and the tokens they become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evals.tasks import Problem
from harness.rollout.rng import permutation


@dataclass(frozen=True)
class PromptStream:
    """An endless, seeded walk over the training problems: draw k is the same for every arm of a seed."""

    problems: Sequence[Problem]
    seed: int
    stream: str = "prompts"  # another walk over the same problems

    def take(self, ordinal: int, count: int) -> list[Problem]:
        """Draws ordinal .. ordinal+count-1.  Every epoch visits each problem once, in an order of its own."""
        return [self.problems[place] for place in self.places(ordinal, count)]

    def places(self, ordinal: int, count: int) -> list[int]:
        """Where those draws stand among the problems."""
        drawn, size = [], len(self.problems)
        order, epoch = None, -1
        for k in range(ordinal, ordinal + count):
            if k // size != epoch:
                epoch = k // size
                order = permutation(self.seed, self.stream, epoch, size)
            assert order is not None
            drawn.append(int(order[k % size]))
        return drawn
