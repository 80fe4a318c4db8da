"""Variants by name against their papers, written out as loops in plain Python, and against each other.

Per token, with A_i the completion's advantage, rho the ratio and w_it the weight of the average, the loss is
- sum_it w_it J_it, and its gradient by log pi(o_it) is written down here, not differentiated.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

import algos
from algos import PolicyOutputs, Rollouts
from algos.grpo import GRPO
from tests.algos.builders import HORIZON, check_shares, f64, gradient_of, loss_of, moved, random_round
from tests.algos.test_grpo import RELATIVES
from tests.helpers import close

# --- the papers, as loops ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One completion: its reward, group and the log-probabilities of its own tokens."""

    reward: float
    group: int
    new: list[float]
    old: list[float]
    ref: list[float]


Advantage = Callable[[Row, list[Row]], float]
Term = Callable[[float, list[float], float], tuple[list[float], list[float]]]  # A, rho, log pi -> J_t, dJ_t/dlog pi_t


def rewards_of(row: Row, rows: list[Row]) -> list[float]:
    return [other.reward for other in rows if other.group == row.group]


def standardised(row: Row, rows: list[Row]) -> float:
    group = rewards_of(row, rows)
    return (row.reward - statistics.fmean(group)) / (statistics.pstdev(group) or 1)


def centred(row: Row, rows: list[Row]) -> float:
    return row.reward - statistics.fmean(rewards_of(row, rows))


def over_the_batch(row: Row, rows: list[Row]) -> float:
    return centred(row, rows) / (statistics.pstdev([other.reward for other in rows]) or 1)


def left_out(row: Row, rows: list[Row]) -> float:
    """With R = r - 0.03 sum_t log(pi_old / pi_ref), and the mean of the group's others."""

    def penalised(r: Row) -> float:
        return r.reward - 0.03 * sum(o - f for o, f in zip(r.old, r.ref, strict=True))

    others = [penalised(other) for other in rows if other.group == row.group and other is not row]
    return penalised(row) - statistics.fmean(others)


def surrogate(advantage: float, ratio: float, low: float, high: float) -> tuple[float, float]:
    """min[rho A, clip(rho, 1-low, 1+high) A], and its slope by log rho: rho A where the first is the less, else 0."""
    plain = ratio * advantage
    clipped = min(max(ratio, 1 - low), 1 + high) * advantage
    return (plain, plain) if plain <= clipped else (clipped, 0.0)


def by_token(low: float, high: float) -> Any:
    def term(row: Row, advantage: float) -> list[tuple[float, float]]:
        return [surrogate(advantage, math.exp(n - o), low, high) for n, o in zip(row.new, row.old, strict=True)]

    return term


def by_sequence(row: Row, advantage: float) -> list[tuple[float, float]]:
    """GSPO: each of |o| tokens has J = min[s A, ...]; s depends on every token by 1/|o|, so the slopes are shared."""
    length = len(row.new)
    s = math.exp(sum(n - o for n, o in zip(row.new, row.old, strict=True)) / length)
    value, slope = surrogate(advantage, s, 3e-4, 4e-4)
    return [(value, slope)] * length  # the slope of sum_t J_t by log pi(o_t) is |o| * slope / |o|


def by_weight(row: Row, advantage: float) -> list[tuple[float, float]]:
    """CISPO: sg(min(rho, 5)) A log pi."""
    weights = [min(math.exp(n - o), 5.0) * advantage for n, o in zip(row.new, row.old, strict=True)]
    return [(w * n, w) for w, n in zip(weights, row.new, strict=True)]


def reinforce(row: Row, advantage: float) -> list[tuple[float, float]]:
    """RLOO: A log pi, whose value is taken as A where it is differentiated (rho = 1)."""
    return [(advantage, advantage) for _ in row.new]


def everyone(row: Row, rows: list[Row]) -> bool:
    return True


def with_a_difference(row: Row, rows: list[Row]) -> bool:
    return len(set(rewards_of(row, rows))) > 1


def mean_of_means(row: Row, kept: list[Row]) -> float:
    return 1 / (len(row.new) * len(kept))


def mean_of_tokens(row: Row, kept: list[Row]) -> float:
    return 1 / sum(len(other.new) for other in kept)


def sum_of_tokens(row: Row, kept: list[Row]) -> float:
    return 1 / len(kept)


def constant_length(row: Row, kept: list[Row]) -> float:
    return 1 / (len(kept) * HORIZON)


ORACLES: dict[str, tuple[Any, Any, Any, Any]] = {  # advantage, J and slope per token, weight, which rows
    "dr_grpo": (centred, by_token(0.2, 0.2), constant_length, everyone),
    "dapo": (standardised, by_token(0.2, 0.28), mean_of_tokens, with_a_difference),
    "gspo": (standardised, by_sequence, mean_of_means, everyone),
    "cispo": (standardised, by_weight, mean_of_tokens, everyone),
    "rloo": (left_out, reinforce, sum_of_tokens, everyone),
    "lite_ppo": (over_the_batch, by_token(0.2, 0.2), mean_of_tokens, everyone),
}


def rows_of(rollouts: Rollouts, fresh: PolicyOutputs) -> list[Row]:
    assert rollouts.reward_N is not None and rollouts.ref_logp_NT is not None
    rows = []
    for i, mask_T in enumerate(rollouts.completion_mask_NT):
        tokens = [x_NT[i][mask_T].tolist() for x_NT in (fresh.logp_NT, rollouts.logp_NT, rollouts.ref_logp_NT)]
        rows.append(Row(float(rollouts.reward_N[i]), int(rollouts.group_N[i]), *tokens))
    return rows


def expected(name: str, rollouts: Rollouts, fresh: PolicyOutputs) -> tuple[float, Tensor]:
    """Loss and gradient by the loops."""
    advantage_of, terms_of, weight_of, keeps = ORACLES[name]
    rows = rows_of(rollouts, fresh)
    kept = [row for row in rows if keeps(row, rows)]
    loss, slope_NT = 0.0, torch.zeros_like(rollouts.logp_NT)
    for i, row in enumerate(rows):
        if not keeps(row, rows):
            continue
        terms, weight = terms_of(row, advantage_of(row, rows)), weight_of(row, kept)
        loss -= weight * sum(value for value, _ in terms)
        slope_NT[i, rollouts.completion_mask_NT[i]] = f64([-weight * slope for _, slope in terms])
    return loss, slope_NT


def a_round(seed: int, step: float) -> tuple[Rollouts, PolicyOutputs]:
    """Three groups of four, rewards 0 and 1, the last group all alike; the policy `step` away from the sampler."""
    rollouts = random_round(seed)
    reward_N = f64([1, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1])
    return replace(rollouts, reward_N=reward_N), moved(rollouts, step, seed)


@pytest.mark.parametrize("step", [0.0, 3e-4, 0.4, 3.0], ids=lambda s: f"moved by {s:g}")
@pytest.mark.parametrize("name", ORACLES)
def test_loss_and_gradient_are_the_papers(name: str, step: float) -> None:
    for seed in range(3):
        rollouts, fresh = a_round(seed, step)
        algo = algos.load(name)()
        loss, slope_NT = expected(name, rollouts, fresh)
        close(loss_of(algo, rollouts, fresh)[0], loss)
        close(gradient_of(algo, rollouts, fresh), slope_NT)


def test_every_variant_has_an_oracle_and_every_oracle_acts() -> None:
    assert set(ORACLES) == set(algos.variant_names()) == set(RELATIVES)
    rollouts, fresh = a_round(0, 0.4)
    slopes = {name: expected(name, rollouts, fresh)[1] for name in ORACLES}
    for name, slope_NT in slopes.items():
        for other in set(slopes) - {name}:
            assert (slope_NT - slopes[other]).abs().max() > 1e-4, f"{name} and {other} could not be told apart"


@pytest.mark.parametrize("name", ORACLES)
def test_micro_batches_change_nothing(name: str) -> None:
    check_shares(algos.load(name)(), *a_round(1, 0.4))


# --- what a name stands for ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RELATIVES)
def test_a_variant_is_grpo_with_the_settings_of_its_row(name: str) -> None:
    variant, base = algos.load(name)(), GRPO()
    assert isinstance(variant, GRPO)
    differing = {
        f.name: getattr(variant, f.name)
        for f in dataclasses.fields(variant)
        if getattr(variant, f.name) != getattr(base, f.name)
    }
    assert differing == RELATIVES[name]
    assert dataclasses.asdict(variant) == dataclasses.asdict(GRPO(**RELATIVES[name]))


# --- laws ----------------------------------------------------------------------------------------------------


def same_gradient(one: GRPO, other: GRPO, rollouts: Rollouts, fresh: PolicyOutputs, factor: float = 1.0) -> None:
    slope_NT = gradient_of(one, rollouts, fresh)
    assert slope_NT.abs().max() > 1e-3
    close(slope_NT, factor * gradient_of(other, rollouts, fresh))


def variant(name: str, **fields: Any) -> GRPO:
    algo = algos.load(name)(**fields)
    assert isinstance(algo, GRPO)
    return algo


def test_dr_grpo_is_rloo_without_kl_times_a_constant() -> None:
    # r - mean_g = (G-1)/G (r - mean of the others), G = 4; 1/T_max is the average's.
    rollouts, fresh = a_round(0, 0.0)
    same_gradient(variant("dr_grpo"), variant("rloo", kl_coef=0), rollouts, fresh, 3 / 4 / HORIZON)


def test_dr_grpo_weighs_groups_by_their_deviation() -> None:
    # Groups of deviation 1/2 and sqrt(3)/4: GRPO, averaged alike, has the same but for these factors.
    rollouts, fresh = a_round(0, 0.0)
    scale_N = f64([1 / 2] * 4 + [math.sqrt(3) / 4] * 4 + [1] * 4)
    plain = gradient_of(GRPO(kl_coef=0, loss_aggregation="horizon"), rollouts, fresh)
    close(gradient_of(variant("dr_grpo"), rollouts, fresh), scale_N[:, None] * plain)


def test_gspo_with_one_token_is_grpo_with_its_bounds() -> None:
    rollouts, fresh = a_round(0, 4e-4)
    first_NT = torch.zeros_like(rollouts.completion_mask_NT)
    first_NT[:, 0] = True
    single = replace(rollouts, completion_mask_NT=first_NT)
    same_gradient(variant("gspo"), GRPO(clip_low=3e-4, clip_high=4e-4, kl_coef=0), single, fresh)


@pytest.mark.parametrize("step", [0.0, 0.4])
def test_cispo_and_dapo_differ_where_the_clip_acts_alone(step: float) -> None:
    rollouts, fresh = a_round(0, step)
    cispo, dapo = variant("cispo"), variant("dapo", filter_groups="none")
    difference_NT = (gradient_of(cispo, rollouts, fresh) - gradient_of(dapo, rollouts, fresh)).abs()
    if step == 0.0:
        close(difference_NT, torch.zeros_like(difference_NT))
    ratio_NT = torch.exp(fresh.logp_NT.detach() - rollouts.logp_NT)
    inside_NT = (ratio_NT > 0.8) & (ratio_NT < 1.28)
    close(torch.where(inside_NT, difference_NT, 0), torch.zeros_like(difference_NT))
    assert step == 0.0 or difference_NT.max() > 1e-3


def test_dapo_takes_its_denominator_without_the_groups_that_it_leaves_out() -> None:
    # The last group of three is all right; it has no gradient either way, but its tokens no longer count.
    rollouts, fresh = a_round(0, 0.0)
    tokens = rollouts.completion_mask_NT.sum(1)
    factor = float(tokens.sum() / tokens[:8].sum())
    same_gradient(variant("dapo"), variant("dapo", filter_groups="none"), rollouts, fresh, factor)


def test_lite_ppo_is_token_averaged_dr_grpo_over_one_deviation() -> None:
    rollouts, fresh = a_round(0, 0.4)
    assert rollouts.reward_N is not None
    deviation = float(rollouts.reward_N.std(unbiased=False))
    by_tokens = variant("dr_grpo", loss_aggregation="token")
    same_gradient(variant("lite_ppo"), by_tokens, rollouts, fresh, 1 / deviation)


def test_rloo_has_the_same_gradient_wherever_the_policy_is() -> None:
    # REINFORCE: d(A log pi)/d log pi = A, whatever the ratio.
    rollouts, fresh = a_round(0, 0.0)
    same_gradient(variant("rloo"), variant("rloo"), rollouts, fresh)
    close(gradient_of(variant("rloo"), rollouts, fresh), gradient_of(variant("rloo"), rollouts, moved(rollouts, 2.0)))


@pytest.mark.parametrize("name", ["gspo", "cispo", "dapo", "lite_ppo", "dr_grpo"])
def test_with_one_update_no_clip_acts(name: str) -> None:
    """What the docstrings say: at rho = 1 bounds are nothing, and only baseline, scale and average are left."""
    rollouts, fresh = a_round(0, 0.0)
    wide = variant(name, clip_low=1.0, clip_high=100.0)
    same_gradient(variant(name), wide, rollouts, fresh)
