"""Variants by name against their papers, written out as loops in plain Python, and against each other.

Per token, with A_i the completion's advantage, rho the ratio and w_it the weight of the average, the loss is
- sum_it w_it J_it, and its gradient by log pi(o_it) is written down here, not differentiated.
"""

from __future__ import annotations

import itertools
import math
import re
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
from algos.ops import advantages
from tests.algos.builders import HORIZON, booleans, check_shares, f64, gradient_of, loss_of, moved, random_round
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
    greedy: float = 0.0  # what the prompt's greedy completion got
    embedding: tuple[float, ...] = ()  # of the completion


Advantage = Callable[[Row, list[Row]], Any]  # a number, or one per token
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


def unbaselined(row: Row, rows: list[Row]) -> float:
    return row.reward


def signed(row: Row, rows: list[Row]) -> float:
    return 2 * row.reward - 1


def by_length(row: Row, rows: list[Row]) -> float:
    group = [other for other in rows if other.group == row.group]
    return row.reward - sum(len(o.new) * o.reward for o in group) / sum(len(o.new) for o in group)


def by_mean(row: Row, rows: list[Row]) -> float:
    mean = statistics.fmean(rewards_of(row, rows))
    return (row.reward - mean) / mean if mean > 0 else 0.0


def by_beta(row: Row, rows: list[Row]) -> float:
    """BNPO: the Beta's moments are those of the groups' means."""
    means = [statistics.fmean(o.reward for o in rows if o.group == g) for g in sorted({o.group for o in rows})]
    m, v = statistics.fmean(means), statistics.pvariance(means)
    common = m * (1 - m) / v - 1
    a, b = 1 + m * common / 3, 1 + (1 - m) * common / 3
    p = statistics.fmean(rewards_of(row, rows))
    if p in (0.0, 1.0):
        return 0.0
    constant = math.gamma(a + b) / math.gamma(a) / math.gamma(b)
    return (row.reward - p) / (constant * p ** (a - 1) * (1 - p) ** (b - 1))


def to_go(row: Row, beta: float) -> list[float]:
    """beta times the log-ratios to the reference that are still to come."""
    apart = [o - f for o, f in zip(row.old, row.ref, strict=True)]
    return [beta * sum(apart[t:]) for t in range(len(apart))]


def against_greedy(row: Row, rows: list[Row]) -> list[float]:
    return [row.reward - row.greedy - later for later in to_go(row, 0.03)]


def whitened(of: Callable[[Row, list[Row]], list[float]]) -> Advantage:
    """Over the tokens of the round, by the sample's deviation."""

    def advantage(row: Row, rows: list[Row]) -> list[float]:
        every = [x for other in rows for x in of(other, rows)]
        mean, deviation = statistics.fmean(every), statistics.stdev(every)
        return [(x - mean) / deviation for x in of(row, rows)]

    return advantage


def returns(row: Row, rows: list[Row]) -> list[float]:
    return [row.reward - later for later in to_go(row, 0.01)]


def centred_tokens(row: Row, rows: list[Row]) -> list[float]:
    return [centred(row, rows)] * len(row.new)


def balanced(row: Row, rows: list[Row]) -> float:
    """DGPO."""
    live = [g for g in sorted({o.group for o in rows}) if len({o.reward for o in rows if o.group == g}) > 1]
    p = {g: statistics.fmean(o.reward for o in rows if o.group == g) for g in live}
    if row.group not in live:
        return 0.0
    share = math.exp(-p[row.group] / 2) / sum(math.exp(-p[g] / 2) for g in live)
    apart = sum(abs(x - p[row.group]) for x in rewards_of(row, rows))
    return len(rewards_of(row, rows)) * centred(row, rows) / apart * share * len(live)


def led(row: Row, rows: list[Row]) -> float:
    group = rewards_of(row, rows)
    z, p = (row.reward - statistics.fmean(group)) / (statistics.stdev(group) or 1), statistics.fmean(group)
    x = p if z > 0 else 1 - p
    return z * (0.4 + 1.1 / (1 + math.exp(10 * (x - 0.75))))


def diverse(row: Row, rows: list[Row]) -> float:
    """DRA: the reward over the sum of cosines with the group, and z of that."""

    def cosine(a: Row, b: Row) -> float:
        return (
            sum(x * y for x, y in zip(a.embedding, b.embedding, strict=True))
            / math.hypot(*a.embedding)
            / (math.hypot(*b.embedding))
        )

    group = [o for o in rows if o.group == row.group]
    worth = [o.reward / (max(1.0, sum(cosine(o, p) for p in group)) + 1e-6) for o in group]
    own = next(w for o, w in zip(group, worth, strict=True) if o is row)
    return (own - statistics.fmean(worth)) / (statistics.pstdev(worth) or 1)


def best_of_four(row: Row, rows: list[Row]) -> float:
    """Over every subset of k with the completion in it: how much better than a subset is.  Groups are of 4, k of 2."""
    group = [other for other in rows if other.group == row.group]
    subsets = list(itertools.combinations(group, 2))
    best = [max(o.reward for o in subset) for subset in subsets]
    mean = statistics.fmean(best)
    own = [b - mean for b, subset in zip(best, subsets, strict=True) if any(o is row for o in subset)]
    return statistics.fmean(own) / (math.sqrt(mean * (1 - mean)) or 1)


def extreme(row: Row, rows: list[Row]) -> float:
    """PODS: z over the pair of the group that lies farthest apart (rewards are all different here)."""
    kept = [o for o in rows if farthest(o, rows) and o.group == row.group]
    group = [o.reward for o in kept]
    return (row.reward - statistics.fmean(group)) / statistics.pstdev(group)


def surrogate(advantage: float, ratio: float, low: float, high: float) -> tuple[float, float]:
    """min[rho A, clip(rho, 1-low, 1+high) A], and its slope by log rho: rho A where the first is the less, else 0."""
    plain = ratio * advantage
    clipped = min(max(ratio, 1 - low), 1 + high) * advantage
    return (plain, plain) if plain <= clipped else (clipped, 0.0)


def by_token(low: float, high: float) -> Any:
    def term(row: Row, advantage: float) -> list[tuple[float, float]]:
        ratios = [math.exp(n - o) for n, o in zip(row.new, row.old, strict=True)]
        return [surrogate(a, rho, low, high) for a, rho in zip(each(advantage, row), ratios, strict=True)]

    return term


def each(advantage: Any, row: Row) -> list[float]:
    return advantage if isinstance(advantage, list) else [advantage] * len(row.new)


def by_geometric_mean(row: Row, advantage: float) -> list[tuple[float, float]]:
    """GMPO: s A for every token; a token that is clipped has no part in s, the others each 1/|o|."""
    logs = [n - o for n, o in zip(row.new, row.old, strict=True)]
    clipped = [z > 0.4 if advantage > 0 else z < -0.4 for z in logs]
    kept = [(0.4 if z > 0 else -0.4) if c else z for z, c in zip(logs, clipped, strict=True)]
    worth = math.exp(statistics.fmean(kept)) * advantage
    return [(worth, 0.0 if c else worth) for c in clipped]


def by_gate(row: Row, advantage: float) -> list[tuple[float, float]]:
    """SAPO."""
    tau, terms = 1.0 if advantage > 0 else 1.05, []
    for n, o in zip(row.new, row.old, strict=True):
        rho = math.exp(n - o)
        sigma = 1 / (1 + math.exp(-tau * (rho - 1)))
        terms.append((4 / tau * sigma * advantage, 4 * sigma * (1 - sigma) * rho * advantage))
    return terms


def by_distance(row: Row, advantage: float) -> list[tuple[float, float]]:
    """DPPO: rho A where the probability has moved by no more than 0.2 the way that A pushes."""
    terms = []
    for n, o in zip(row.new, row.old, strict=True):
        moved_by = math.exp(n) - math.exp(o)
        inside = moved_by <= 0.2 if advantage > 0 else moved_by >= -0.2
        terms.append((math.exp(n - o) * advantage,) * 2 if inside else (0.0, 0.0))
    return terms


def with_penalty(term: Any, value: Callable[[float], float], slope: Callable[[float], float]) -> Any:
    """Less a penalty by x = log pi - log pi_ref of each token."""

    def penalised(row: Row, advantage: Any) -> list[tuple[float, float]]:
        apart = [n - f for n, f in zip(row.new, row.ref, strict=True)]
        return [(j - value(x), d - slope(x)) for (j, d), x in zip(term(row, advantage), apart, strict=True)]

    return penalised


def with_k3(term: Any) -> Any:
    return with_penalty(term, lambda x: 0.04 * (math.exp(-x) - 1 + x), lambda x: 0.04 * (1 - math.exp(-x)))


def with_k2(term: Any) -> Any:
    return with_penalty(term, lambda x: 0.01 * x**2 / 2, lambda x: 0.01 * x)


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
    return [(a, a) for a in each(advantage, row)]


def correct(row: Row, rows: list[Row]) -> bool:
    return row.reward > 0


def farthest(row: Row, rows: list[Row]) -> bool:
    """Of a group of four the pair with the largest variance: the highest and the lowest."""
    group = rewards_of(row, rows)
    return row.reward in (min(group), max(group))


def among_the_half(row: Row, rows: list[Row]) -> bool:
    """CPPO: the half of the round with the largest |A|, of equals the first."""
    order = sorted(range(len(rows)), key=lambda i: (-abs(round(standardised(rows[i], rows), 9)), i))
    return any(rows[i] is row for i in order[: len(rows) // 2])


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
    "dapo_dynamic": (standardised, by_token(0.2, 0.28), mean_of_tokens, with_a_difference),
    "gmpo": (standardised, by_geometric_mean, mean_of_means, everyone),
    "sapo": (standardised, by_gate, mean_of_means, everyone),
    "dppo": (standardised, by_distance, mean_of_tokens, everyone),
    "remax": (against_greedy, reinforce, sum_of_tokens, everyone),
    "opo": (by_length, reinforce, mean_of_tokens, everyone),
    "rgra": (standardised, with_k3(reinforce), mean_of_means, everyone),
    "reinforce_pp": (whitened(returns), by_token(0.2, 0.2), mean_of_tokens, everyone),
    "reinforce_pp_baseline": (whitened(centred_tokens), with_k2(by_token(0.2, 0.2)), mean_of_tokens, everyone),
    "bnpo": (by_beta, by_token(0.2, 0.2), mean_of_tokens, everyone),
    "maxrl": (by_mean, by_token(0.2, 0.2), mean_of_tokens, everyone),
    "raft_pp": (unbaselined, by_token(0.2, 0.2), mean_of_tokens, correct),
    "reinforce_rej": (signed, by_token(0.2, 0.2), mean_of_tokens, with_a_difference),
    "cppo": (standardised, with_k3(by_token(0.2, 0.2)), mean_of_means, among_the_half),
    "pods": (extreme, with_k3(by_token(0.2, 0.2)), mean_of_means, farthest),
    "dgpo": (balanced, by_token(0.2, 0.2), mean_of_tokens, with_a_difference),
    "dra": (diverse, with_k3(by_token(0.2, 0.2)), mean_of_means, everyone),
    "lead": (led, by_token(0.2, 0.2), mean_of_means, everyone),
    "pass_at_k": (best_of_four, by_token(0.2, 0.2), mean_of_means, everyone),
}
OF_TOKENS = {"clip_cov", "kl_cov"}  # test_covariance.py
SETTINGS: dict[str, dict[str, Any]] = {"pass_at_k": {"k": 2}}
SAME = {("dapo", "dapo_dynamic")}  # they differ in what is drawn


def rows_of(rollouts: Rollouts, fresh: PolicyOutputs) -> list[Row]:
    assert rollouts.reward_N is not None and rollouts.ref_logp_NT is not None
    rows = []
    for i, mask_T in enumerate(rollouts.completion_mask_NT):
        tokens = [x_NT[i][mask_T].tolist() for x_NT in (fresh.logp_NT, rollouts.logp_NT, rollouts.ref_logp_NT)]
        greedy = float(rollouts.metadata["probe_reward"][i])
        embedding = tuple(rollouts.metadata["completion_embedding"][i].tolist())
        rows.append(Row(float(rollouts.reward_N[i]), int(rollouts.group_N[i]), *tokens, greedy, embedding))
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


# of every pair of a group another cosine; one group's point away from each other
EMBEDDING_NE = f64([[1, 0.1 * i, (i % 3) - 0.5] if i < 8 else [(-1.0) ** i, 0.2 * (i - 8), 0.3] for i in range(12)])


def a_round(seed: int, step: float, name: str = "") -> tuple[Rollouts, PolicyOutputs]:
    """Three groups of four, rewards 0 and 1, the last group all alike; the policy `step` away from the sampler.

    For `pods` rewards are all different: which of equal rewards it keeps means nothing.
    """
    rollouts = random_round(seed)
    reward_N = f64([1, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1])
    known = {"probe_reward": f64([0.0] * 4 + [1.0] * 8), "completion_embedding": EMBEDDING_NE}
    reward_N = rollouts.reward_N if name == "pods" else reward_N
    return replace(rollouts, reward_N=reward_N, metadata=known), moved(rollouts, step, seed)


@pytest.mark.parametrize("step", [0.0, 3e-4, 0.4, 3.0], ids=lambda s: f"moved by {s:g}")
@pytest.mark.parametrize("name", ORACLES)
def test_loss_and_gradient_are_the_papers(name: str, step: float) -> None:
    for seed in range(3):
        rollouts, fresh = a_round(seed, step, name)
        algo = algos.load(name)(**SETTINGS.get(name, {}))
        loss, slope_NT = expected(name, rollouts, fresh)
        close(loss_of(algo, rollouts, fresh)[0], loss)
        close(gradient_of(algo, rollouts, fresh), slope_NT)


def test_every_variant_has_an_oracle_and_every_oracle_acts() -> None:
    assert set(ORACLES) | OF_TOKENS == set(algos.variant_names())
    rollouts, fresh = a_round(0, 0.4)
    slopes = {name: expected(name, rollouts, fresh)[1] for name in set(ORACLES) - {"pods"}}
    for name, slope_NT in slopes.items():
        for other in set(slopes) - {name}:
            if (name, other) not in SAME and (other, name) not in SAME:
                assert (slope_NT - slopes[other]).abs().max() > 1e-4, f"{name} and {other} could not be told apart"


@pytest.mark.parametrize("name", ORACLES)
def test_micro_batches_change_nothing(name: str) -> None:
    algo, (rollouts, fresh) = algos.load(name)(**SETTINGS.get(name, {})), a_round(1, 0.4, name)
    check_shares(algo, rollouts, fresh)
    assert gradient_of(algo, rollouts, fresh).abs().max() > 1e-4, "shares of nothing"


# --- what a name stands for ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(algos.variant_names()) - OF_TOKENS))
def test_a_row_is_its_base_with_the_fields_that_it_says(name: str) -> None:
    preset = algos.preset_of(name)
    assert preset is not None and re.search(r"\d{4}\.\d{5}|MathForge", preset.source) and preset.transform
    if not preset.base:
        return  # a file of its own
    variant, base = algos.load(name)(), algos.load(preset.base)()
    assert algos.load(name) is algos.load(name) and isinstance(variant, type(base))
    assert vars(variant) == {**vars(base), **preset.values}
    assert all(vars(base)[field] != value for field, value in preset.values.items()), "a field that changes nothing"
    assert all(why for _, why in preset.fields.values())


# --- laws ----------------------------------------------------------------------------------------------------


def same_gradient(one: GRPO, other: GRPO, rollouts: Rollouts, fresh: PolicyOutputs, factor: float = 1.0) -> bool:
    """Is the gradient of one `factor` times the other's, and more than nothing?  `close` says where it is not."""
    slope_NT = gradient_of(one, rollouts, fresh)
    close(slope_NT, factor * gradient_of(other, rollouts, fresh))
    return bool(slope_NT.abs().max() > 1e-3)


def variant(name: str, **fields: Any) -> GRPO:
    algo = algos.load(name)(**fields)
    assert isinstance(algo, GRPO)
    return algo


def test_dr_grpo_is_rloo_without_kl_times_a_constant() -> None:
    # r - mean_g = (G-1)/G (r - mean of the others), G = 4; 1/T_max is the average's.
    rollouts, fresh = a_round(0, 0.0)
    assert same_gradient(variant("dr_grpo"), variant("rloo", kl_coef=0), rollouts, fresh, 3 / 4 / HORIZON)


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
    assert same_gradient(variant("gspo"), GRPO(clip_low=3e-4, clip_high=4e-4, kl_coef=0), single, fresh)


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
    assert same_gradient(variant("dapo"), variant("dapo", filter_groups="none"), rollouts, fresh, factor)


def test_lite_ppo_is_token_averaged_dr_grpo_over_one_deviation() -> None:
    rollouts, fresh = a_round(0, 0.4)
    assert rollouts.reward_N is not None
    deviation = float(rollouts.reward_N.std(unbiased=False))
    by_tokens = variant("dr_grpo", loss_aggregation="token")
    assert same_gradient(variant("lite_ppo"), by_tokens, rollouts, fresh, 1 / deviation)


def test_rloo_has_the_same_gradient_wherever_the_policy_is() -> None:
    # REINFORCE: d(A log pi)/d log pi = A, whatever the ratio.
    rollouts, fresh = a_round(0, 0.0)
    assert same_gradient(variant("rloo"), variant("rloo"), rollouts, fresh)
    close(gradient_of(variant("rloo"), rollouts, fresh), gradient_of(variant("rloo"), rollouts, moved(rollouts, 2.0)))


@pytest.mark.parametrize("name", ["gspo", "cispo", "dapo", "lite_ppo", "dr_grpo"])
def test_with_one_update_no_clip_acts(name: str) -> None:
    """What the docstrings say: at rho = 1 bounds are nothing, and only baseline, scale and average are left."""
    rollouts, fresh = a_round(0, 0.0)
    wide = variant(name, clip_low=1.0, clip_high=100.0)
    assert same_gradient(variant(name), wide, rollouts, fresh)


# --- identities (each ties a member to another) ----------------------------------------------------------------


def test_gmpo_without_bounds_is_gspo_without_its_clip() -> None:
    rollouts, fresh = a_round(0, 0.4)
    assert same_gradient(variant("gmpo", clip_low=1e9, clip_high=1e9), variant("gspo", clip="none"), rollouts, fresh)


@pytest.mark.parametrize("name", ["gmpo", "sapo", "gspo"])
def test_on_the_sampler_the_sequence_methods_are_grpo_without_kl(name: str) -> None:
    rollouts, fresh = a_round(0, 0.0)
    assert same_gradient(variant(name), GRPO(kl_coef=0), rollouts, fresh)


@pytest.mark.parametrize("name", ["cispo", "dppo"])
def test_on_the_sampler_the_token_methods_are_dapo_without_its_filter(name: str) -> None:
    rollouts, fresh = a_round(0, 0.0)
    assert same_gradient(variant(name), variant("dapo", filter_groups="none"), rollouts, fresh)


def test_rgra_is_grpo_on_the_sampler_and_away_from_it_is_not() -> None:
    rollouts, fresh = a_round(0, 0.0)
    assert same_gradient(variant("rgra"), GRPO(), rollouts, fresh)
    away = moved(rollouts, 0.4)
    assert (gradient_of(variant("rgra"), rollouts, away) - gradient_of(GRPO(), rollouts, away)).abs().max() > 1e-3


def test_opo_with_equal_lengths_is_dr_grpo_by_token() -> None:
    rollouts = random_round(0)
    rollouts = replace(rollouts, completion_mask_NT=torch.ones_like(rollouts.completion_mask_NT))
    fresh = moved(rollouts, 0.0)
    assert same_gradient(variant("opo"), variant("dr_grpo", loss_aggregation="token"), rollouts, fresh)


def test_remax_with_the_others_mean_as_greedy_reward_is_rloo() -> None:
    rollouts, fresh = a_round(0, 0.0)
    assert rollouts.reward_N is not None
    total_N = rollouts.reward_N.view(-1, 4).sum(1).repeat_interleave(4)
    rollouts = replace(rollouts, metadata={"probe_reward": (total_N - rollouts.reward_N) / 3})
    assert same_gradient(variant("remax", kl_coef=0), variant("rloo", kl_coef=0), rollouts, fresh)


def test_reinforce_pp_baseline_is_lite_ppo_times_the_ratio_of_two_deviations() -> None:
    # Completions of one token: that of the rewards, population, over that of the centred rewards, sample.
    rollouts, _ = a_round(0, 0.0)
    first_NT = torch.zeros_like(rollouts.completion_mask_NT)
    first_NT[:, 0] = True
    single = replace(rollouts, completion_mask_NT=first_NT)
    fresh, reward_N = moved(single, 0.0), single.reward_N
    assert reward_N is not None
    centred_N = reward_N - reward_N.view(-1, 4).mean(1).repeat_interleave(4)
    factor = float(reward_N.std(unbiased=False) / centred_N.std())
    assert same_gradient(variant("reinforce_pp_baseline", kl_coef=0), variant("lite_ppo"), single, fresh, factor)


def test_maxrl_is_dr_grpo_by_token_over_each_groups_mean() -> None:
    rollouts, fresh = a_round(0, 0.4)
    mean_N = f64([1 / 2] * 4 + [1 / 4] * 4 + [1] * 4)
    plain = gradient_of(variant("dr_grpo", loss_aggregation="token"), rollouts, fresh)
    close(gradient_of(variant("maxrl"), rollouts, fresh), plain / mean_N[:, None])


def test_raft_pp_is_online_rft_by_token_over_the_share_of_tokens_kept() -> None:
    rollouts, fresh = a_round(0, 0.0)
    assert rollouts.reward_N is not None
    tokens = rollouts.completion_mask_NT.sum(1)
    share = int(tokens[rollouts.reward_N > 0].sum()) / int(tokens.sum())
    online = algos.load("online_rft")(loss_aggregation="token")
    close(gradient_of(variant("raft_pp"), rollouts, fresh), gradient_of(online, rollouts, fresh) / share)


def test_reinforce_rej_pulls_on_what_is_right_and_pushes_what_is_wrong_alike() -> None:
    rollouts, fresh = a_round(0, 0.0)
    slope_NT = gradient_of(variant("reinforce_rej"), rollouts, fresh)
    weight = 1 / int(rollouts.completion_mask_NT[:8].sum())
    assert rollouts.reward_N is not None
    sign_N = weight * (1 - 2 * rollouts.reward_N) * f64([1] * 8 + [0] * 4)
    close(slope_NT, torch.where(rollouts.completion_mask_NT, sign_N[:, None], 0))


def test_pass_at_one_is_grpo() -> None:
    rollouts, fresh = a_round(0, 0.4)
    assert same_gradient(variant("pass_at_k", k=1), GRPO(kl_coef=0), rollouts, fresh)


def test_cppo_and_pods_that_keep_all_are_grpo() -> None:
    for name in ("cppo", "pods"):
        rollouts, fresh = a_round(0, 0.4, name)
        assert same_gradient(variant(name, select_share=1.0), GRPO(), rollouts, fresh)


def test_a_beta_of_one_and_one_scales_nothing_and_of_three_halves_is_grpo() -> None:
    # f(p; 3/2, 3/2) = (8/pi) sqrt(p (1-p)); moments of a uniform p: m 1/2, v 1/12, so that a = b = 1 and 1 + a/3 = 4/3
    close(by_beta_density([0.5, 0.5, 0.5], [1.0, 0.0] * 6), [1.0] * 12)  # equal means: nothing to fit
    group_N = torch.arange(2).repeat_interleave(8)
    reward_N = f64([1, 0, 0, 0, 0, 0, 0, 0] + [1] * 7 + [0])  # means 1/8 and 7/8: m 1/2, v 9/64, m(1-m)/v - 1 = 7/9
    a = 1 + 0.5 * (7 / 9) / 3
    density = math.gamma(2 * a) / math.gamma(a) ** 2 * (7 / 64) ** (a - 1)
    close(advantages.beta_density(reward_N, group_N, torch.ones(16, dtype=torch.bool)), [density] * 16)


def by_beta_density(means: list[float], rewards: list[float]) -> Tensor:
    group_N = torch.arange(len(means)).repeat_interleave(4)
    return advantages.beta_density(f64(rewards), group_N, torch.ones(len(rewards), dtype=torch.bool))


def test_dra_of_completions_that_are_alike_is_grpo_and_of_copies_pays_the_original_more() -> None:
    rollouts, fresh = a_round(0, 0.0)
    alike = replace(rollouts, metadata={**rollouts.metadata, "completion_embedding": torch.ones(12, 3).double()})
    assert same_gradient(variant("dra"), GRPO(), alike, fresh)
    # one group of four right ones, three of them copies: cosines 1 + 1 + 1 + 0 for a copy, 1 for the other
    points_NE = f64([[1.0, 0], [1, 0], [1, 0], [0, 1]] * 3)
    r = replace(rollouts, reward_N=torch.ones(12).double(), metadata={"completion_embedding": points_NE})
    advantage_N = variant("dra").credit(r).advantage_NT[:, 0]
    z = 3**0.5  # worths 1/3, 1/3, 1/3, 1: mean 1/2, deviation 1/sqrt 12: -1/sqrt 3 and sqrt 3
    close(advantage_N[:4], [-1 / z, -1 / z, -1 / z, z], rtol=1e-5)


# --- degenerate rounds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", algos.variant_names())
def test_degenerate_rounds_have_finite_losses_and_no_gradient_of_noise(name: str) -> None:
    algo, rollouts = variant(name, **SETTINGS.get(name, {})), a_round(0, 0.0)[0]
    mask_NT = rollouts.completion_mask_NT.clone()
    mask_NT[3] = False  # a completion without a token
    one = booleans([1] + [0] * 3 + [1] * 8)  # a group of which one is left
    cases = {
        "all right": replace(rollouts, reward_N=torch.ones(12, dtype=torch.float64)),
        "all wrong": replace(rollouts, reward_N=torch.zeros(12, dtype=torch.float64)),
        "no token": replace(rollouts, completion_mask_NT=mask_NT),
        "one left": replace(rollouts, valid_N=one),
        "none left": replace(rollouts, valid_N=torch.zeros_like(one)),
        "all masked": replace(rollouts, completion_mask_NT=torch.zeros_like(mask_NT)),
    }
    for case, r in cases.items():
        fresh = moved(r, 0.3)
        loss, _ = loss_of(algo, r, fresh)
        slope_NT = torch.autograd.grad(loss, fresh.logp_NT)[0] if loss.requires_grad else torch.zeros(1)
        assert loss.isfinite() and slope_NT.isfinite().all(), case
        assert not slope_NT[~r.completion_mask_NT].any() if slope_NT.shape == r.logp_NT.shape else True, case
        if case in ("none left", "all masked"):
            assert not slope_NT.any(), case
        if case == "one left":
            assert not slope_NT[1:4].any(), case
