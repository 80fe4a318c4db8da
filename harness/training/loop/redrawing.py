"""Dynamic sampling (DAPO, 2503.14476): a round draws until enough of its groups have something to teach.

Every draw is charged, and is numbered like any other prompt draw.  A budget that updates are paid from is refused:
what a round will have cost is not known while it still draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from algos import Algorithm, Schedule
from harness.accounting.budget import Budget
from harness.rewards.base import JudgedRound, RewardedRollouts
from harness.rollout.collate import join

REFUSED = ("flops", "trained_tokens")


def check_draws(schedule: Schedule, budget: Budget) -> None:
    """Raises ValueError where a round may draw again and its budget cannot foresee what that costs."""
    if schedule.draws > 1 and schedule.source != "live":
        raise ValueError("algo.draws: only an algorithm that samples from the live policy draws again")
    if schedule.draws > 1 and budget.unit in REFUSED:
        raise ValueError(
            f"algo.draws: with a budget in {budget.unit} a round that still draws does not know what its updates will "
            "cost; valid: prompts, completions, generated_tokens, updates, device_seconds"
        )


def redrawn(
    collected: RewardedRollouts,
    algo: Algorithm,
    groups: int,
    draws: int,
    affordable: Callable[[], int],
    collect: Callable[[int], RewardedRollouts],
    pad: int,
) -> RewardedRollouts:
    """`collected`, and up to `draws` - 1 pieces more, until `groups` groups have something to teach."""
    for _ in range(draws - 1):
        lacking = groups - algo.live_groups(collected.rollouts)
        count = min(lacking, affordable()) if lacking > 0 else 0
        if count <= 0:
            break
        collected = joined(collected, collect(count), pad)
    return collected


def joined(one: RewardedRollouts, other: RewardedRollouts, pad: int) -> RewardedRollouts:
    """The second piece's groups after the first's."""
    after = replace(other.rollouts, group_N=other.rollouts.group_N + int(one.rollouts.group_N.max()) + 1)
    judged = JudgedRound([*one.judged.verdicts, *other.judged.verdicts], {**one.judged.metrics, **other.judged.metrics})
    problems, texts = [*one.problems, *other.problems], [*one.texts, *other.texts]
    return RewardedRollouts(join([one.rollouts, after], pad), problems, texts, judged)
