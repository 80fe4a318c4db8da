"""Which completions are trained on."""

from __future__ import annotations

import math
import random
from typing import get_args

import pytest
import torch

from algos.ops import select
from tests.algos.builders import booleans, f64, integers

DROPS = get_args(select.GroupFilter)
REWARDS = [1, 0, 0, 0, 1, 1, 0.5, 0.5]  # groups: mixed, all wrong, all right, all the same but neither
GROUPS = [0, 0, 1, 1, 2, 2, 3, 3]
KEPT_GROUPS = {"none": {0, 1, 2, 3}, "zero_variance": {0}, "all_wrong": {0, 2, 3}, "all_right": {0, 1, 3}}


def keep(rewards: list[float], groups: list[int], valid: list[int] | None, drop: str) -> list[bool]:
    return select.keep_groups(f64(rewards), integers(groups), booleans(valid or [1] * len(rewards)), drop).tolist()


def oracle(rewards: list[float], groups: list[int], valid: list[int], drop: str) -> list[bool]:
    """Kept or not, for the valid rows, one at a time."""
    everyone = [r for r, v in zip(rewards, valid, strict=True) if v]
    kept = []
    for i in range(len(rewards)):
        mine = {rewards[j] for j in range(len(rewards)) if valid[j] and groups[j] == groups[i]}
        unwanted = {"none": set(), "zero_variance": mine, "all_wrong": {min(everyone)}, "all_right": {max(everyone)}}[
            drop
        ]
        kept.append(not (len(mine) == 1 and mine <= unwanted))
    return kept


def test_every_choice_is_covered() -> None:
    assert set(KEPT_GROUPS) == set(DROPS)


@pytest.mark.parametrize("drop", DROPS)
def test_four_groups_by_hand(drop: str) -> None:
    assert keep(REWARDS, GROUPS, None, drop) == [g in KEPT_GROUPS[drop] for g in GROUPS]


@pytest.mark.parametrize("drop", DROPS)
def test_against_the_definitions(drop: str) -> None:
    rng = random.Random(drop)
    for _ in range(40):
        groups = [g for g in range(6) for _ in range(rng.randint(1, 3))]
        rewards = [rng.choice([0.0, 0.1, 1.0]) for _ in groups]
        valid = [int(rng.random() < 0.8) for _ in groups]
        if not any(valid):
            continue
        got, wanted = keep(rewards, groups, valid, drop), oracle(rewards, groups, valid, drop)
        assert [g for g, v in zip(got, valid, strict=True) if v] == [w for w, v in zip(wanted, valid, strict=True) if v]


@pytest.mark.parametrize("drop", DROPS)
@pytest.mark.parametrize("junk", [-5.0, 5.0, math.nan])
def test_a_row_that_is_not_valid_decides_nothing(drop: str, junk: float) -> None:
    """Neither whether its group has zero variance, nor which reward is the lowest or the highest of the round."""
    rewards, groups = [*REWARDS, junk, junk], [*GROUPS, 1, 2]
    assert keep(rewards, groups, [1] * 8 + [0] * 2, drop)[:8] == keep(REWARDS, GROUPS, None, drop)


def test_a_round_of_one_reward_is_all_wrong_and_all_right() -> None:
    for drop in ("zero_variance", "all_wrong", "all_right"):
        assert keep([1, 1, 1, 1], [0, 0, 1, 1], None, drop) == [False] * 4


@pytest.mark.parametrize("drop", DROPS)
def test_a_round_without_valid_rows_is_no_error(drop: str) -> None:
    assert len(keep([1, 0], [0, 0], [0, 0], drop)) == 2


def test_an_unknown_choice_lists_the_valid_ones() -> None:
    with pytest.raises(
        ValueError, match="filter_groups must be none, zero_variance, all_wrong or all_right, not 'best'"
    ):
        keep(REWARDS, GROUPS, None, "best")


# --- the first, and the new ----------------------------------------------------------------------------------


def first_oracle(keep: list[bool], groups: list[int], limit: int) -> list[bool]:
    """One completion after the other, with a count for each group."""
    counts: dict[int, int] = {}
    chosen = []
    for kept, g in zip(keep, groups, strict=True):
        chosen.append(kept and counts.get(g, 0) < limit)
        counts[g] = counts.get(g, 0) + kept
    return chosen


def distinct_oracle(keep: list[bool], groups: list[int], keys: list[int]) -> list[bool]:
    seen: set[tuple[int, int]] = set()
    chosen = []
    for kept, *pair in zip(keep, groups, keys, strict=True):
        chosen.append(kept and tuple(pair) not in seen)
        seen |= {tuple(pair)} if kept else set()
    return chosen


def first(keep: list[int], groups: list[int], limit: int) -> list[int]:
    return select.first(booleans(keep), integers(groups), limit).int().tolist()


def distinct(keep: list[int], groups: list[int], keys: list[int]) -> list[int]:
    return select.distinct(booleans(keep), integers(groups), integers(keys)).int().tolist()


def test_the_first_of_each_group_by_hand() -> None:
    keep, groups = [0, 1, 1, 1, 1, 1, 0], [2, 0, 2, 0, 2, 0, 0]  # group 0: rows 1, 3, 5; group 2: rows 2, 4
    assert first(keep, groups, 0) == [0] * 7
    assert first(keep, groups, 1) == [0, 1, 1, 0, 0, 0, 0]
    assert first(keep, groups, 2) == [0, 1, 1, 1, 1, 0, 0]
    assert first(keep, groups, 3) == first(keep, groups, 99) == keep


def test_the_distinct_of_each_group_by_hand() -> None:
    groups, keys = [0, 1, 0, 1, 0, 1], [7, 7, 7, 8, 9, 7]
    assert distinct([1] * 6, groups, keys) == [1, 1, 0, 1, 1, 0]  # 7 in group 0 is not 7 in group 1
    assert distinct([0, 1, 1, 1, 1, 1], groups, keys) == [0, 1, 1, 1, 1, 0]  # the first that is *kept*
    assert distinct([0] * 6, groups, keys) == [0] * 6


def test_keys_may_be_any_integers() -> None:
    low, high = -(2**63), 2**63 - 1
    assert distinct([1] * 6, [0, 0, 0, 0, 1, 1], [low, high, low, 0, -1, low]) == [1, 1, 0, 1, 1, 1]


def best_oracle(keep: list[bool], groups: list[int], values: list[float], limit: int) -> list[bool]:
    """Group by group: who is kept, sorted by value and then by place."""
    chosen = [False] * len(keep)
    for g in set(groups):
        own = [i for i in range(len(keep)) if groups[i] == g and keep[i]]
        for i in sorted(own, key=lambda i: (-values[i], i))[:limit]:
            chosen[i] = True
    return chosen


def best(keep: list[int], groups: list[int], values: list[float], limit: int) -> list[int]:
    return select.best(booleans(keep), integers(groups), f64(values), limit).int().tolist()


def test_the_best_of_each_group_by_hand() -> None:
    groups, values = [0, 1, 0, 1, 0, 1], [0.2, -3.0, 0.9, -1.0, 0.9, -2.0]  # group 0: rows 2, 4, 0; group 1: 3, 5, 1
    assert best([1] * 6, groups, values, 0) == [0] * 6
    assert best([1] * 6, groups, values, 1) == [0, 0, 1, 1, 0, 0]  # of two equals the first
    assert best([1] * 6, groups, values, 2) == [0, 0, 1, 1, 1, 1]
    assert best([1] * 6, groups, values, 99) == [1] * 6
    assert best([1, 1, 0, 1, 1, 1], groups, [0.2, -3.0, math.nan, -1.0, 0.9, -2.0], 1) == [0, 0, 0, 1, 1, 0]
    assert best([0, 0, 0, 1, 1, 1], groups, values, 2) == [0, 0, 0, 1, 1, 1]  # a group keeps what it has


def test_the_best_of_rewards_of_0_and_1_are_the_first_right_ones() -> None:
    """Where a group has as many: what RAFT keeps under a rule is what `first` keeps of the right ones."""
    groups, right = [0, 1, 0, 1, 0, 1], [0, 1, 1, 1, 1, 0]
    assert best([1] * 6, groups, [float(x) for x in right], 2) == first(right, groups, 2)


def test_what_rejection_sampling_accepts() -> None:
    valid, groups, rewards = booleans([1, 1, 1, 0]), integers([0, 0, 1, 1]), f64([0.4, 0.6, 0.1, 0.9])
    assert select.accepted(valid, groups, rewards, 0.6, None).tolist() == [False, True, False, False]
    assert select.accepted(valid, groups, rewards, 1.0, 1).tolist() == [False, True, True, False]


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
def test_first_best_and_distinct_against_their_loops(share: float) -> None:
    rng = random.Random(share)
    for _ in range(25):
        rows = rng.randint(1, 24)
        groups = [rng.choice([0, 1, 3, 4]) for _ in range(rows)]  # interleaved, and group 2 has nobody
        keys = [rng.randint(-2, 2) for _ in range(rows)]
        keep = [rng.random() < share for _ in range(rows)]
        for limit in (0, 1, 2, 1000):
            assert first(keep, groups, limit) == first_oracle(keep, groups, limit)
            assert best(keep, groups, keys, limit) == best_oracle(keep, groups, keys, limit)
        assert distinct(keep, groups, keys) == distinct_oracle(keep, groups, keys)


def test_the_tokens_of_right_steps_by_a_loop_over_them() -> None:
    torch.manual_seed(0)
    for _ in range(50):
        end_NT = torch.rand(3, 7) < 0.3
        reward_NT = torch.where(end_NT, torch.rand(3, 7) < 0.5, False).float()
        expected = [
            [next((bool(r) for e, r in zip(ends[t:], rewards[t:], strict=True) if e), True) for t in range(7)]
            for ends, rewards in zip(end_NT.tolist(), reward_NT.tolist(), strict=True)
        ]
        assert select.in_right_steps(end_NT, reward_NT).tolist() == expected
    ends, rewards = torch.tensor([[0, 1, 0, 1, 0]]).bool(), torch.tensor([[0.0, 1, 0, 0, 0]])
    assert select.in_right_steps(ends, rewards).tolist() == [[True, True, False, False, True]]
