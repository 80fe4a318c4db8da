"""Baselines and scales, against numbers derived by hand and against a slow oracle in plain Python."""

from __future__ import annotations

import math
import random
import statistics
from typing import get_args

import pytest
import torch
from torch import Tensor

from algos.ops import advantages
from tests.algos.builders import booleans, f64, integers
from tests.helpers import close

CENTERS = get_args(advantages.Baseline)
SCALES = get_args(advantages.Normalize)
R3 = math.sqrt(3)


def advantages_of(
    rewards: list[float],
    baseline: str = "group",
    normalize: str = "group",
    ddof: int = 0,
    groups: list[int] | None = None,
    valid: list[int] | None = None,
    lengths: list[int] | None = None,
) -> Tensor:
    return advantages.group_advantages(
        f64(rewards),
        integers(groups or [0] * len(rewards)),
        booleans(valid or [1] * len(rewards)),
        baseline,
        normalize,
        ddof,
        integers(lengths or [1] * len(rewards)),
    )


def oracle(
    rewards: list[float],
    groups: list[int],
    valid: list[int],
    baseline: str,
    normalize: str,
    ddof: int,
    lengths: list[int],
) -> list[float]:
    """The definitions, one completion at a time."""
    everyone = [j for j in range(len(rewards)) if valid[j]]

    def compared_with(i: int) -> float:
        group = [j for j in everyone if groups[j] == groups[i]]
        others = [j for j in group if j != i]
        if baseline == "none":
            return 0.0
        if baseline == "batch":
            return statistics.fmean(rewards[j] for j in everyone)
        if baseline == "length":
            return sum(lengths[j] * rewards[j] for j in group) / sum(lengths[j] for j in group)
        if baseline == "leave_one_out":
            return statistics.fmean(rewards[j] for j in others) if others else rewards[i]
        return statistics.fmean(rewards[j] for j in group)

    def deviation(values: list[float]) -> float:
        if max(values) == min(values):
            return 1.0
        return statistics.stdev(values) if ddof else statistics.pstdev(values)

    centred = {j: rewards[j] - compared_with(j) for j in everyone}

    def spread(i: int) -> float:
        group = [rewards[j] for j in everyone if groups[j] == groups[i]]
        if normalize == "none":
            return 1.0
        if normalize == "group":
            return deviation(group)
        if normalize == "others":
            rest = [rewards[j] for j in everyone if groups[j] == groups[i] and j != i]
            return deviation(rest) if len(rest) > 1 else 1.0
        if normalize == "mean":
            return statistics.fmean(group) if sum(group) > 0 else math.inf
        if normalize == "beta":
            means = [
                statistics.fmean(rewards[j] for j in everyone if groups[j] == g) for g in {groups[j] for j in everyone}
            ]
            return 1.0 if max(group) == min(group) else beta_density(means, statistics.fmean(group))
        return deviation([rewards[j] for j in everyone])

    return [centred[i] / spread(i) if valid[i] else 0.0 for i in range(len(rewards))]


def beta_density(means: list[float], p: float) -> float:
    """Of (1 + a/3, 1 + b/3), with (a, b) by the method of moments."""
    m, v = statistics.fmean(means), statistics.pvariance(means)
    if not 0 < v < m * (1 - m):
        return 1.0
    a, b = (1 + x * (m * (1 - m) / v - 1) / 3 for x in (m, 1 - m))
    log_norm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(log_norm + (a - 1) * math.log(p) + (b - 1) * math.log1p(-p))


# Rewards [1, 0, 0, 0], completions of 1, 2, 3 and 4 tokens, one group.
#   baselines   none 0 | group 1/4 | batch 1/4 (the only group) | length (1*1)/(1+2+3+4) = 1/10
#               leave_one_out: 0 for the first (the others' mean), 1/3 for each of the rest
#   deviations  of the rewards: sum of squares (3/4)^2 + 3 (1/4)^2 = 3/4,
#               so population sqrt(3/16) = sqrt(3)/4 and sample sqrt(3/4 / 3) = 1/2
#   others      of the first all are 0: 1; of the rest [1, 0, 0]: mean 1/3, squares 2/3: sqrt(2)/3, sqrt(1/3)
#   mean        1/4;   beta: one group, nothing to fit: 1
CENTRED = {
    "none": [1, 0, 0, 0],
    "group": [3 / 4, -1 / 4, -1 / 4, -1 / 4],
    "leave_one_out": [1, -1 / 3, -1 / 3, -1 / 3],
    "length": [9 / 10, -1 / 10, -1 / 10, -1 / 10],
    "batch": [3 / 4, -1 / 4, -1 / 4, -1 / 4],
}
DEVIATION = {
    ("group", 0): [R3 / 4] * 4,
    ("group", 1): [1 / 2] * 4,
    ("batch", 0): [R3 / 4] * 4,
    ("batch", 1): [1 / 2] * 4,
    ("others", 0): [1] + [math.sqrt(2) / 3] * 3,
    ("others", 1): [1] + [1 / R3] * 3,
    **{("mean", ddof): [1 / 4] * 4 for ddof in (0, 1)},
    **{(name, ddof): [1] * 4 for name in ("none", "beta") for ddof in (0, 1)},
}


def test_the_hand_derived_table_covers_every_choice() -> None:
    assert set(CENTRED) == set(CENTERS)
    assert {normalize for normalize, _ in DEVIATION} == set(SCALES)


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("normalize", SCALES)
@pytest.mark.parametrize("baseline", CENTERS)
def test_one_right_of_four(baseline: str, normalize: str, ddof: int) -> None:
    expected = [x / deviation for x, deviation in zip(CENTRED[baseline], DEVIATION[normalize, ddof], strict=True)]
    close(advantages_of([1, 0, 0, 0], baseline, normalize, ddof, lengths=[1, 2, 3, 4]), expected)


def test_the_docstrings_example() -> None:
    # mean 1/4, std sqrt(3)/4: (3/4)/(sqrt(3)/4) = sqrt(3), (-1/4)/(sqrt(3)/4) = -1/sqrt(3)
    close(advantages_of([1, 0, 0, 0]), [R3, -1 / R3, -1 / R3, -1 / R3])


def test_batch_scale_measures_the_rewards_whatever_was_centred() -> None:
    # Groups [1,0,0,0] and [1,1,1,1]: five of eight, so the variance is 5/8 * 3/8 = 15/64.  (Of what is left after the
    # groups' means it would be 3/32.)  torch.std(rewards, unbiased=False), as TRL's scale_rewards="batch" but for n-1.
    rewards, groups = [1, 0, 0, 0, 1, 1, 1, 1], [0] * 4 + [1] * 4
    by_all = math.sqrt(15 / 64)
    close(
        advantages_of(rewards, "group", "batch", groups=groups),
        [0.75 / by_all] + [-0.25 / by_all] * 3 + [0] * 4,
    )
    close(advantages_of(rewards, "none", "batch", groups=groups), [x / by_all for x in rewards])
    close(advantages_of(rewards, "batch", "batch", groups=groups), [(x - 5 / 8) / by_all for x in rewards])


def test_group_and_batch_scale_agree_when_groups_are_alike() -> None:
    # Two groups with the same mean and the same deviation: the batch's deviation is the groups'.
    rewards, groups = [1, 0, 0, 0, 0, 0, 1, 0], [0] * 4 + [1] * 4
    close(
        advantages_of(rewards, "group", "batch", groups=groups), advantages_of(rewards, "group", "group", groups=groups)
    )


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("normalize", SCALES)
@pytest.mark.parametrize("baseline", CENTERS)
def test_against_the_definitions(baseline: str, normalize: str, ddof: int) -> None:
    rng = random.Random(f"{baseline}{normalize}{ddof}")
    for _ in range(12):
        groups = [g for g in range(5) for _ in range(rng.randint(1, 5))]
        rng.shuffle(groups)
        rewards = [rng.choice([0.0, 1.0, rng.uniform(0 if normalize == "beta" else -3, 1)]) for _ in groups]
        valid = [int(rng.random() < 0.8) for _ in groups]
        if not any(valid):
            continue
        lengths = [rng.randint(1, 9) for _ in groups]
        case = (rewards, groups, valid, baseline, normalize, ddof, lengths)
        close(advantages_of(rewards, baseline, normalize, ddof, groups, valid, lengths), oracle(*case))


@pytest.mark.parametrize("right", [1, 3, 4, 7])
def test_binary_rewards_have_closed_forms(right: int) -> None:
    # p right of G = 8: variance p(1-p), so A+ = (1-p)/sqrt(p(1-p)) = sqrt((1-p)/p) and A- = -sqrt(p/(1-p));
    # the mean is 0 and mean |A| = p A+ - (1-p) A- = 2 sqrt(p(1-p)).
    p = right / 8
    rewards = [1.0] * right + [0.0] * (8 - right)
    plus, minus = math.sqrt((1 - p) / p), -math.sqrt(p / (1 - p))
    advantage_N = advantages_of(rewards)
    close(advantage_N, [plus] * right + [minus] * (8 - right))
    close(advantage_N.mean(), 0)
    close(advantage_N.abs().mean(), 2 * math.sqrt(p * (1 - p)))
    # The sample's deviation is sqrt(G/(G-1)) times the population's.
    close(advantages_of(rewards, ddof=1), [x * math.sqrt(7 / 8) for x in [plus] * right + [minus] * (8 - right)])


def test_leave_one_out_is_the_centred_reward_stretched() -> None:
    # r_i - mean_{j != i} r_j = r_i - (G m - r_i)/(G-1) = G/(G-1) (r_i - m); Dr. GRPO's advantage is r_i - m.
    rewards = [0.3, -1.2, 2.5, 0.9, 0.0]
    mean = sum(rewards) / 5
    close(advantages_of(rewards, "leave_one_out", "none"), [5 / 4 * (r - mean) for r in rewards])
    close(advantages_of(rewards, "group", "none"), advantages_of(rewards, "leave_one_out", "none") * 4 / 5)


def test_a_pair() -> None:
    # [1, 0]: mean 1/2; population deviation 1/2, sample deviation sqrt(1/4 + 1/4) = 1/sqrt(2).
    close(advantages_of([1, 0]), [1, -1])
    close(advantages_of([1, 0], ddof=1), [1 / math.sqrt(2), -1 / math.sqrt(2)])


@pytest.mark.parametrize("normalize", SCALES)
@pytest.mark.parametrize("baseline", ["group", "leave_one_out", "length", "batch"])
@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1, 0.7, 1 / 3])
def test_equal_rewards_are_worth_exactly_nothing(baseline: str, normalize: str, reward: float) -> None:
    """Exactly: 0.1 + 0.1 + 0.1 is not 0.3, and dividing that rest by a deviation of the same size gives 1."""
    for size in (2, 3, 6, 7, 10):
        got = advantages_of([reward] * size, baseline, normalize, lengths=list(range(1, size + 1)))
        assert got.tolist() == [0.0] * size, f"{size} rewards of {reward}: {got.tolist()}"


@pytest.mark.parametrize("normalize", SCALES)
@pytest.mark.parametrize("baseline", ["group", "leave_one_out", "length"])
def test_a_round_of_zero_variance_groups_is_worth_exactly_nothing(baseline: str, normalize: str) -> None:
    rewards = [0.1] * 3 + [0.2] * 3 + [0.7] * 6 + [1 / 3] * 3
    groups = [0] * 3 + [1] * 3 + [2] * 6 + [3] * 3
    got = advantages_of(rewards, baseline, normalize, groups=groups, lengths=list(range(1, 16)))
    assert got.tolist() == [0.0] * 15


@pytest.mark.parametrize("normalize", SCALES)
@pytest.mark.parametrize("baseline", ["group", "leave_one_out", "length"])
def test_a_zero_variance_group_beside_a_lively_one_is_worth_exactly_nothing(baseline: str, normalize: str) -> None:
    got = advantages_of(
        [0.1] * 3 + [1, 0, 0], baseline, normalize, groups=[0] * 3 + [1] * 3, lengths=[1, 2, 3, 1, 2, 3]
    )
    assert got.tolist()[:3] == [0.0] * 3
    assert got[3] > 0 > got[4]


def test_rewards_without_a_baseline_keep_their_worth_when_equal() -> None:
    assert advantages_of([0.1] * 3, "none", "group").tolist() == [0.1] * 3
    assert advantages_of([0.1] * 3, "none", "none").tolist() == [0.1] * 3


@pytest.mark.parametrize("normalize", SCALES)
@pytest.mark.parametrize("ddof", [0, 1])
def test_a_group_of_one(normalize: str, ddof: int) -> None:
    for baseline in ("group", "leave_one_out", "length"):
        assert advantages_of([0.7], baseline, normalize, ddof).tolist() == [0.0]
    if normalize == "group":
        close(advantages_of([0.7], "none", normalize, ddof), [0.7])


@pytest.mark.parametrize("baseline", ["group", "leave_one_out", "length", "batch"])
def test_a_group_of_one_is_its_own_baseline(baseline: str) -> None:
    one = (f64([0.7]), integers([0]), booleans([1]), baseline, integers([3]))
    close(advantages.baseline_values(*one), [0.7])


@pytest.mark.parametrize("normalize", SCALES)
@pytest.mark.parametrize("baseline", CENTERS)
def test_a_group_without_members_disturbs_nobody(baseline: str, normalize: str) -> None:
    rewards, lengths = [1, 0, 0.5, 0.75], [3, 1, 2, 2]
    with_gap = advantages_of(rewards, baseline, normalize, groups=[0, 0, 2, 2], lengths=lengths)
    close(with_gap, advantages_of(rewards, baseline, normalize, groups=[0, 0, 1, 1], lengths=lengths))


@pytest.mark.parametrize("junk", [5.0, math.nan, math.inf])
@pytest.mark.parametrize("normalize", SCALES)
@pytest.mark.parametrize("baseline", CENTERS)
def test_a_row_that_is_not_valid_changes_nothing_for_the_others(baseline: str, normalize: str, junk: float) -> None:
    rewards, groups, lengths = [1, 0, 0.5, 0.75, 0.25], [0, 0, 0, 1, 1], [3, 1, 2, 2, 4]
    alone = advantages_of(rewards, baseline, normalize, groups=groups, lengths=lengths)
    beside = advantages_of(
        [*rewards, junk, junk, junk],
        baseline,
        normalize,
        groups=[*groups, 0, 1, 2],  # group 2 has no valid member at all
        valid=[1] * 5 + [0] * 3,
        lengths=[*lengths, 7, 7, 7],
    )
    close(beside[:5], alone)
    assert beside[5:].tolist() == [0.0] * 3


@pytest.mark.parametrize("normalize", SCALES)
@pytest.mark.parametrize("baseline", CENTERS)
def test_the_order_of_rows_does_not_matter(baseline: str, normalize: str) -> None:
    rng = random.Random(3)
    rewards = [rng.uniform(0, 1) for _ in range(9)]
    groups, valid, lengths = [0, 0, 0, 1, 1, 1, 2, 2, 2], [1, 1, 1, 0, 1, 1, 1, 1, 0], [1, 2, 3, 4, 5, 4, 3, 2, 1]
    order = rng.sample(range(9), 9)
    shuffled = [[column[i] for i in order] for column in (rewards, groups, valid, lengths)]
    straight = advantages_of(rewards, baseline, normalize, 0, groups, valid, lengths)
    close(advantages_of(shuffled[0], baseline, normalize, 0, *shuffled[1:]), straight[order])


def test_the_length_baseline_weighs_by_tokens() -> None:
    # (1*1 + 3*0)/(1+3) = 1/4 in the first group, (2*4 + 2*2)/(2+2) = 3 in the second.
    got = advantages_of([1, 0, 4, 2], "length", "none", groups=[0, 0, 1, 1], lengths=[1, 3, 2, 2])
    close(got, [3 / 4, -1 / 4, 1, -1])
    # A group without tokens has baseline 0.
    close(advantages_of([1, 0], "length", "none", lengths=[0, 0]), [1, 0])


def test_the_beta_density_takes_successes() -> None:
    with pytest.raises(ValueError, match="algo.normalize: beta takes rewards for successes: they must lie in 0..1"):
        advantages_of([2, 0], normalize="beta")


def test_the_length_baseline_asks_for_lengths() -> None:
    with pytest.raises(ValueError, match="length"):
        advantages.group_advantages(f64([1, 0]), integers([0, 0]), booleans([1, 1]), "length")


def test_unknown_choices_list_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="baseline must be none, group, leave_one_out, length or batch, not 'median'"):
        advantages_of([1, 0], baseline="median")
    with pytest.raises(ValueError, match="normalize must be none, group, batch, others, mean or beta, not 'mad'"):
        advantages_of([1, 0], normalize="mad")


def test_zero_variance_is_equality_of_valid_members() -> None:
    # group 0: equal; 1: not; 2: equal but for a row that is not valid; 3: nobody; 4: one; 5: an ulp apart
    rewards = [0.1, 0.1, 0, 1, 1, 1, 0, 5, 0.1, 0.1 + 2**-56]
    groups = [0, 0, 1, 1, 2, 2, 2, 4, 5, 5]
    valid = [1, 1, 1, 1, 1, 1, 0, 1, 1, 1]
    assert rewards[8] != rewards[9]
    got = advantages.zero_variance_groups(f64(rewards), integers(groups), booleans(valid))
    assert got.dtype == torch.bool
    assert got.tolist() == [True, False, True, True, True, False]


def test_group_sum_adds_valid_members() -> None:
    got = advantages.group_sum(f64([1, 2, 4, math.nan]), integers([0, 2, 0, 2]), booleans([1, 1, 1, 0]))
    assert got.tolist() == [5, 0, 2]


# --- whitening -----------------------------------------------------------------------------------------------


def test_whitening_by_hand() -> None:
    # 1, 3, 5: mean 3, variance (4 + 0 + 4)/3, so +-2 / sqrt(8/3) = +-sqrt(3/2); the 9s are masked.
    got_NT = advantages.whiten(f64([[1, 9, 3], [5, 9, 9]]), booleans([[1, 0, 1], [1, 0, 0]]))
    close(got_NT, [[-math.sqrt(1.5), 0, 0], [math.sqrt(1.5), 0, 0]])


@pytest.mark.parametrize("junk", [0.0, 7.0, math.nan, math.inf, -math.inf])
def test_whitened_tokens_have_mean_0_and_population_deviation_1(junk: float) -> None:
    rng = random.Random(4)
    mask = [[int(rng.random() < 0.6) for _ in range(6)] for _ in range(5)]
    x = [[rng.gauss(3, 10) if m else junk for m in row] for row in mask]
    got_NT = advantages.whiten(f64(x), booleans(mask))
    chosen = [y for row, ms in zip(x, mask, strict=True) for y, m in zip(row, ms, strict=True) if m]
    mean, deviation = statistics.fmean(chosen), statistics.pstdev(chosen)
    rows = zip(x, mask, strict=True)
    close(got_NT, [[(y - mean) / deviation if m else 0 for y, m in zip(*r, strict=True)] for r in rows])
    white = got_NT[booleans(mask)].tolist()
    close(statistics.fmean(white), 0)
    close(statistics.pstdev(white), 1)


@pytest.mark.parametrize("mask", [[1, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]], ids=["equal", "one", "none"])
@pytest.mark.parametrize("x", [0.0, 0.1, -1 / 3])
def test_what_is_all_equal_is_whitened_to_exactly_nothing(mask: list[int], x: float) -> None:
    assert advantages.whiten(f64([[x, x, x, 5.0]]), booleans([mask])).tolist() == [[0.0] * 4]


def test_a_variance_eps_stands_under_the_root() -> None:
    # x = 0, 2: mean 1, variance 1 (population), 2 (sample); 1 / sqrt(1 + 3) = 1/2, 1 / sqrt(2 + 2) = 1/2
    x_NT, mask_NT = f64([[0, 2, 9]]), booleans([[1, 1, 0]])
    close(advantages.whiten(x_NT, mask_NT, variance_eps=3.0), [[-0.5, 0.5, 0]])
    close(advantages.whiten(x_NT, mask_NT, ddof=1, variance_eps=2.0), [[-0.5, 0.5, 0]])
