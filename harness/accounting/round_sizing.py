"""How many groups the next round may draw, so that spend ends at or just under the limit."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.accounting.budget import Budget, Spend


@dataclass
class RoundSizer:
    """How many groups the next round may draw, so that spend ends at or just under the limit.

    A group's cost is estimated from the groups before it; before the first, `bound` (the most that one group
    can cost, where that is known) is used.  Nothing is ever cut to fit.  The run is over when less than
    max(1 %, one group) is left.

    What would be less than a round is drawn with the one before it, in pieces, so that no update is made on a few
    completions: the last round is of half to two rounds' groups (of prompts and completions one and a half).  (Seconds
    are known too late: there, rounds shrink.)

    >>> RoundSizer(Budget("completions", 2048), prompts=32, bound=16).groups(Spend(completions=1536))
    32
    >>> RoundSizer(Budget("completions", 2000), prompts=32, bound=16).groups(Spend(completions=1536))
    29
    """

    budget: Budget
    prompts: int
    bound: float | None  # None: unknown until tried (seconds)
    costs: list[tuple[int, float]] = field(default_factory=list)  # (groups, cost) of the rounds so far

    MARGIN = 2.0  # towards the end a piece takes half of what would fit: groups get dearer as completions grow

    def observe(self, groups: int, cost: float) -> None:
        self.costs.append((groups, cost))

    @property
    def exact(self) -> bool:
        return self.budget.unit in ("prompts", "completions", "updates")

    @property
    def group_cost(self) -> float | None:
        """Expected cost of one group: the dearest of all rounds so far, of the last three and of the last."""
        if self.exact or not self.costs:
            return self.bound
        means = [
            sum(c for _, c in part) / sum(g for g, _ in part) for part in (self.costs, self.costs[-3:], self.costs[-1:])
        ]
        return max(means)

    def groups(self, spend: Spend) -> int:
        """Groups of the next round; 0 where the budget is spent."""
        left = self.budget.limit - self.budget.used(spend)
        if self.budget.unit == "updates":  # a round's updates do not depend on its groups
            return self.prompts if self.bound is not None and left >= self.bound else 0
        cost = self.group_cost
        if cost is None:
            return max(1, self.prompts // 8)  # a probe
        if left < cost or (not self.exact and left < 0.01 * self.budget.limit):
            return 0
        fit = left / cost
        if not self.exact and fit < 2 * self.prompts:
            fit = fit / self.MARGIN if fit / self.MARGIN >= 1 else 1
        return min(self.prompts, int(fit + 1e-9))

    def more(self, spend: Spend, drawn: int, cost: float) -> int:
        """Groups that the round under way, of `drawn` so far that will cost `cost` with their updates, draws besides:
        none where a whole round would be left after it.  `spend` is that before the round."""
        if self.budget.unit in ("device_seconds", "updates"):
            return 0
        if self.exact:  # known to the last completion: half a round and more is a round of its own
            assert self.bound
            rest = int((self.budget.limit - self.budget.used(spend)) / self.bound + 1e-9) - drawn
            return max(rest, 0) if drawn == self.prompts and 2 * rest < drawn else 0
        left = self.budget.limit - self.budget.used(spend) - cost
        each = max(cost / drawn, self.group_cost or 0.0) if self.costs else cost / drawn
        if left < each or left < 0.01 * self.budget.limit:
            return 0
        fit = left / each
        if drawn >= self.prompts and fit >= self.prompts:
            return 0
        piece = min(int(max(fit / self.MARGIN, 1.0) + 1e-9), drawn)  # no more than what the estimate rests on
        return min(piece, self.prompts - drawn) if drawn < self.prompts else piece
