"""Process supervision (2402.03300 §4.1.3): by hand, against loops, and reduced to outcome supervision."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace

import pytest
import torch

from algos import Rollouts
from algos.grpo import GRPO
from algos.ops import advantages
from tests.algos.builders import booleans, check_shares, f64, gradient_of, integers, moved, random_round, stepped
from tests.helpers import close

ROOT3 = math.sqrt(3)


def process(rewards: list[list[float]], ends: list[list[int]], groups: list[int], **settings: object) -> torch.Tensor:
    valid = settings.pop("valid", [1] * len(groups))
    mask = settings.pop("mask", [[1] * len(ends[0])] * len(groups))
    return advantages.process(
        f64(rewards), booleans(ends), booleans(mask), integers(groups), booleans(valid), **settings
    )  # type: ignore[arg-type]


def test_the_sum_of_the_steps_to_come_by_hand() -> None:
    # One group, steps at columns 1 and 3 of both: rewards 1, 1 and 1, 0.  Pool {1, 1, 1, 0}: mean 3/4, variance 3/16,
    # so 1 is worth (1/4) / (sqrt(3)/4) = 1/sqrt(3) and 0 is worth -sqrt(3).
    ends = [[0, 1, 0, 1], [0, 1, 0, 1]]
    got = process([[0, 1, 0, 1], [0, 1, 0, 0]], ends, [0, 0])
    close(got, [[2 / ROOT3, 2 / ROOT3, 1 / ROOT3, 1 / ROOT3], [1 / ROOT3 - ROOT3] * 2 + [-ROOT3] * 2])


def test_the_mean_of_the_steps_to_come_by_hand() -> None:
    got = process([[0, 1, 0, 1], [0, 1, 0, 0]], [[0, 1, 0, 1]] * 2, [0, 0], step_reduction="mean")
    close(got, [[1 / ROOT3] * 4, [(1 / ROOT3 - ROOT3) / 2] * 2 + [-ROOT3] * 2])


def test_against_loops() -> None:
    rng, rows, width = random.Random(3), 9, 7
    groups = [0, 0, 0, 1, 1, 1, 2, 2, 2]
    valid = [1, 1, 1, 1, 0, 1, 1, 1, 1]
    ends = [[int(rng.random() < 0.4) for _ in range(width)] for _ in range(rows)]
    rewards = [[rng.gauss(0, 1) * e for e in row] for row in ends]
    for steps in ("sum", "mean"):
        got = process(rewards, ends, groups, valid=valid, step_reduction=steps)
        for i in range(rows):
            mates = [j for j in range(rows) if groups[j] == groups[i] and valid[j]]
            pool = [rewards[j][t] for j in mates for t in range(width) if ends[j][t]]
            mean, deviation = statistics.fmean(pool), statistics.pstdev(pool)
            for t in range(width):
                later = [(rewards[i][u] - mean) / deviation for u in range(t, width) if ends[i][u]] if valid[i] else []
                expected = sum(later) / (max(len(later), 1) if steps == "mean" else 1)
                close(got[i, t], expected)


def last_steps(rollouts: Rollouts) -> Rollouts:
    return stepped(rollouts)


@pytest.mark.parametrize("steps", ["sum", "mean"])
@pytest.mark.parametrize("scale", ["group", "none"])
def test_one_step_a_completion_is_outcome_supervision_to_the_last_bit(steps: str, scale: str) -> None:
    for seed in range(5):
        rollouts = last_steps(random_round(seed, groups=3, size=4))
        rollouts = replace(rollouts, valid_N=booleans([1] * 5 + [0] + [1] * 6))
        outcome, by_step = GRPO(normalize=scale), GRPO(normalize=scale, supervision="process", step_reduction=steps)  # type: ignore[arg-type]
        assert torch.equal(outcome.credit(rollouts).advantage_NT, by_step.credit(rollouts).advantage_NT)
        fresh = moved(rollouts, 0.3)
        assert torch.equal(gradient_of(outcome, rollouts, fresh), gradient_of(by_step, rollouts, fresh))


def test_a_longer_chain_of_good_steps_earns_more_and_the_mean_does_not_care() -> None:
    # a: three right steps; b: one right step; c: one wrong step.  Pool {1,1,1,1,0}: mean 4/5, deviation 2/5.
    rewards, ends = [[1, 1, 1], [0, 0, 1], [0, 0, 0]], [[1, 1, 1], [0, 0, 1], [0, 0, 1]]
    close(process(rewards, ends, [0, 0, 0])[:, 0], [3 / 2, 1 / 2, -2])
    close(process(rewards, ends, [0, 0, 0], step_reduction="mean")[:, 0], [1 / 2, 1 / 2, -2])


def test_a_group_whose_steps_are_all_equal_has_no_advantage_and_is_counted() -> None:
    rollouts = replace(random_round(0, groups=3, size=4), reward_N=f64([0.1] * 4 + [1, 0, 0, 0] + [1] * 4))
    rollouts = stepped(rollouts, extra=[(8, 0, 0.0)])
    credit = GRPO(supervision="process", kl_coef=0).credit(rollouts)
    assert credit.advantage_NT[:4].tolist() == [[0.0] * 5] * 4
    assert (
        credit.zero_gradient_N is not None and credit.zero_gradient_N[:4].all() and not credit.zero_gradient_N[4:].any()
    )
    assert credit.metrics == {"frac_step_reward_zero_std": 1 / 3, "steps": 13 / 12}


def test_tokens_after_the_last_step_and_rows_without_one_get_nothing() -> None:
    got = process([[1, 0, 0], [0, 0, 0], [0, 0, 0]], [[1, 0, 0], [1, 0, 0], [0, 0, 0]], [0, 0, 0])
    close(got, [[1, 0, 0], [-1, 0, 0], [0, 0, 0]])
    assert process([[0, 0]], [[0, 0]], [0]).tolist() == [[0, 0]]


def test_masked_tokens_get_nothing() -> None:
    got = process([[0, 0, 1], [0, 0, 0]], [[0, 0, 1]] * 2, [0, 0], mask=[[1, 0, 1], [1, 1, 1]])
    close(got, [[1, 0, 1], [-1, -1, -1]])


def test_micro_batches_change_nothing() -> None:
    rollouts = stepped(random_round(2), extra=[(0, 0, 0.7), (4, 1, -0.3)])
    check_shares(GRPO(supervision="process", step_reduction="mean"), rollouts, moved(rollouts, 0.3))


def test_it_asks_for_steps_and_refuses_what_it_cannot_pool() -> None:
    assert "steps" in GRPO(supervision="process").needs and "steps" not in GRPO().needs
    for wrong in ({"baseline": "none"}, {"normalize": "batch"}, {"kl_placement": "reward"}):
        with pytest.raises(ValueError, match="algo.supervision: process goes with baseline=group"):
            GRPO(supervision="process", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="step_reduction must be sum or mean, not 'max'"):
        process([[1]], [[1]], [0], step_reduction="max")
