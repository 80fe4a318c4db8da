"""GRPO against the paper's equations, written out as loops, and against its own relatives."""

from __future__ import annotations

import dataclasses
import math
import statistics
import typing
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

import algos
from algos import Credit, PolicyOutputs, Rollouts, Schedule
from algos.grpo import GRPO
from tests.algos.builders import (
    HORIZON,
    booleans,
    check_shares,
    f64,
    gradient_of,
    integers,
    loss_of,
    moved,
    random_round,
    simple_round,
    stepped,
)
from tests.helpers import close

# --- the paper, as loops -------------------------------------------------------------------------------------


def paper_advantages(rewards: list[float], groups: list[int]) -> list[float]:
    """§4.1.2: (r - mean) / std, each over the completions of the same prompt."""
    advantages = []
    for r, g in zip(rewards, groups, strict=True):
        group = [s for s, h in zip(rewards, groups, strict=True) if h == g]
        advantages.append((r - statistics.fmean(group)) / statistics.pstdev(group))
    return advantages


def paper_k3(new: float, old: float, ref: float) -> float:
    u = math.exp(ref) / math.exp(new)  # eq. 4
    return u - math.log(u) - 1


def paper_loss(
    r: Rollouts,
    new: list[list[float]],
    advantages: list[float],
    epsilon: float = 0.2,
    beta: float = 0.04,
    penalty: Callable[[float, float, float], float] = paper_k3,
) -> float:
    """Minus eq. 3, and its mean over the prompts: 1/P sum_q 1/G sum_i 1/|o_i| sum_t { min[...] - beta D }."""
    assert r.ref_logp_NT is not None
    old, ref, mask, groups = (
        r.logp_NT.tolist(),
        r.ref_logp_NT.tolist(),
        r.completion_mask_NT.tolist(),
        r.group_N.tolist(),
    )
    total = 0.0
    for g in set(groups):
        members = [i for i, h in enumerate(groups) if h == g]
        for i in members:
            tokens = [t for t, m in enumerate(mask[i]) if m]
            for t in tokens:
                rho = math.exp(new[i][t]) / math.exp(old[i][t])
                clipped = min(max(rho, 1 - epsilon), 1 + epsilon)
                objective = min(rho * advantages[i], clipped * advantages[i])
                objective -= beta * penalty(new[i][t], old[i][t], ref[i][t])
                total += objective / len(tokens) / len(members)
    return -total / len(set(groups))


def second_update(seed: int = 0, step: float = 0.5) -> tuple[Rollouts, PolicyOutputs]:
    """A round, and the live policy after it has moved: ratios well outside the clip on both sides."""
    rollouts = random_round(seed)
    fresh = moved(rollouts, step)
    ratio_NT = (fresh.logp_NT - rollouts.logp_NT).exp().detach()
    if step:
        assert ratio_NT.min() < 0.7
        assert ratio_NT.max() > 1.4
    return rollouts, fresh


# --- against the paper ---------------------------------------------------------------------------------------


def test_credit_by_hand() -> None:
    # Group 0: [1, 0]: mean 1/2, std 1/2.  Group 1: [1, 0, 0, 0]: sqrt(3) and -1/sqrt(3).
    rollouts = simple_round([1, 0, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [[1, 1, 0], [1, 0, 1]] + [[1, 0, 0]] * 4)
    credit = GRPO().credit(rollouts_with_ref(rollouts))
    a, b = math.sqrt(3), -1 / math.sqrt(3)
    close(credit.advantage_NT, [[1, 1, 0], [-1, 0, -1], [a, 0, 0], [b, 0, 0], [b, 0, 0], [b, 0, 0]])
    assert credit.keep_N.tolist() == [True] * 6


def rollouts_with_ref(rollouts: Rollouts) -> Rollouts:
    return replace(rollouts, ref_logp_NT=torch.zeros_like(rollouts.logp_NT))


def test_credit_is_the_papers() -> None:
    for seed in range(3):
        rollouts = random_round(seed)
        advantages = paper_advantages(rollouts.reward_N.tolist(), rollouts.group_N.tolist())
        rows = zip(advantages, rollouts.completion_mask_NT.tolist(), strict=True)
        close(GRPO().credit(rollouts).advantage_NT, [[a if m else 0.0 for m in row] for a, row in rows])


def test_a_row_the_verifier_lost_leaves_group_and_update() -> None:
    rollouts = rollouts_with_ref(simple_round([1, 9, 0, 1, 0], [0, 0, 0, 1, 1]))
    rollouts = replace(rollouts, valid_N=booleans([1, 0, 1, 1, 1]))
    credit = GRPO().credit(rollouts)
    close(credit.advantage_NT, [[1], [0], [-1], [1], [-1]])
    assert credit.keep_N.tolist() == [True, False, True, True, True]


def test_a_completion_cut_at_its_limit_leaves_the_update_but_not_its_group() -> None:
    rollouts = rollouts_with_ref(simple_round([1, 0, 1, 0], [0, 0, 1, 1]))
    rollouts = replace(rollouts, finished_N=booleans([1, 0, 1, 1]))
    for drop_truncated, keep in ((False, [True] * 4), (True, [True, False, True, True])):
        credit = GRPO(drop_truncated=drop_truncated).credit(rollouts)
        assert credit.keep_N.tolist() == keep
        close(credit.advantage_NT, [[1], [-1], [1], [-1]])


@pytest.mark.parametrize("step", [0.0, 0.5], ids=["first update", "second update"])
@pytest.mark.parametrize("seed", [0, 1])
def test_loss_is_equation_3(seed: int, step: float) -> None:
    rollouts, fresh = second_update(seed, step)
    advantages = paper_advantages(rollouts.reward_N.tolist(), rollouts.group_N.tolist())
    close(loss_of(GRPO(), rollouts, fresh)[0], paper_loss(rollouts, fresh.logp_NT.tolist(), advantages))


KL_VARIANTS: dict[str, tuple[dict[str, Any], Callable[[float, float, float], float]]] = {
    "off": ({"kl_coef": 0.0}, lambda new, old, ref: 0.0),
    "k1": ({"kl_estimator": "k1"}, lambda new, old, ref: new - ref),
    "k2": ({"kl_estimator": "k2"}, lambda new, old, ref: (new - ref) ** 2 / 2),
    "k3": ({"kl_estimator": "k3"}, paper_k3),
    "k3 x rho": ({"kl_importance": True}, lambda new, old, ref: math.exp(new - old) * paper_k3(new, old, ref)),
    "k1 x rho": (
        {"kl_importance": True, "kl_estimator": "k1"},
        lambda new, old, ref: math.exp(new - old) * (new - ref),
    ),
}


@pytest.mark.parametrize("variant", KL_VARIANTS)
def test_the_kl_term_of_the_loss(variant: str) -> None:
    settings, penalty = KL_VARIANTS[variant]
    rollouts, fresh = second_update()
    advantages = paper_advantages(rollouts.reward_N.tolist(), rollouts.group_N.tolist())
    expected = paper_loss(rollouts, fresh.logp_NT.tolist(), advantages, beta=0.3, penalty=penalty)
    close(loss_of(GRPO(**{"kl_coef": 0.3, **settings}), rollouts, fresh)[0], expected)


def test_the_kl_term_of_the_reward() -> None:
    # r' = r - beta sum_t (log pi_old - log pi_ref); the loss has no KL term of its own.
    rollouts, fresh = second_update()
    assert rollouts.reward_N is not None
    assert rollouts.ref_logp_NT is not None
    rewards = []
    for i, row in enumerate(rollouts.completion_mask_NT.tolist()):
        cost = sum(float(rollouts.logp_NT[i, t] - rollouts.ref_logp_NT[i, t]) for t, m in enumerate(row) if m)
        rewards.append(float(rollouts.reward_N[i]) - 0.3 * cost)
    advantages = paper_advantages(rewards, rollouts.group_N.tolist())
    algo = GRPO(kl_coef=0.3, kl_placement="reward")
    close(algo.credit(rollouts).advantage_NT[:, 0], advantages)
    close(loss_of(algo, rollouts, fresh)[0], paper_loss(rollouts, fresh.logp_NT.tolist(), advantages, beta=0))


@pytest.mark.parametrize("ratio", ["token", "sequence", "none"])
def test_the_kl_terms_rho_is_a_tokens_at_every_level(ratio: str) -> None:
    """`ratio` is about the surrogate; the KL in the loss is per token, and so is the rho that corrects it."""
    rollouts, fresh = second_update()
    nothing = [0.0] * len(rollouts.group_N)
    expected = paper_loss(rollouts, fresh.logp_NT.tolist(), nothing, 0.2, 0.3, KL_VARIANTS["k3 x rho"][1])
    with_kl = loss_of(GRPO(ratio=ratio, kl_coef=0.3, kl_importance=True), rollouts, fresh)[0]
    close(with_kl - loss_of(GRPO(ratio=ratio, kl_coef=0), rollouts, fresh)[0], expected)


def test_the_kl_term_of_the_reward_moves_no_zero_variance_group() -> None:
    """`drop` asks the task's rewards, which a KL term in the reward does not change."""
    rollouts = replace(random_round(), reward_N=f64([1] * 4 + [0] * 4 + [1, 0, 0, 0]))
    keep_N = GRPO(kl_placement="reward", filter_groups="zero_variance").credit(rollouts).keep_N
    assert keep_N.tolist() == [False] * 8 + [True] * 4


@pytest.mark.parametrize("settings", [{}, {"kl_importance": True, "kl_coef": 0.5}, {"ratio": "sequence"}], ids=str)
def test_the_gradient_is_the_losss_slope(settings: dict[str, Any]) -> None:
    """Central differences: (f(x+h) - f(x-h)) / 2h is the slope up to about h^2."""
    rollouts, fresh = second_update()
    algo, h = GRPO(**settings), 1e-5
    slope_NT = gradient_of(algo, rollouts, fresh)
    for i, t in [(0, 0), (1, 0), (1, 2), (1, 4), (5, 0), (11, 0)]:
        ends = []
        for sign in (1, -1):
            logp_NT = fresh.logp_NT.detach().clone()
            logp_NT[i, t] += sign * h
            ends.append(loss_of(algo, rollouts, replace(fresh, logp_NT=logp_NT))[0].item())
        close(slope_NT[i, t], (ends[0] - ends[1]) / (2 * h), rtol=1e-6, atol=1e-8)


def test_the_gradient_coefficient_is_equation_21() -> None:
    """GC = A + beta (pi_ref/pi - 1), on a softmax over five tokens: at one update a stage,
    d loss / d logits = -1/G sum_i 1/|o_i| sum_t GC_it (1{o_it} - pi)."""
    logits, ref_logits, beta = [0.3, -1.0, 0.8, 0.0, -0.4], [-0.2, 0.5, 0.1, 0.9, -1.5], 0.5
    outputs, rewards = [[2, 0], [1], [2], [4, 3]], [1.0, 0.0, 1.0, 0.0]
    total, ref_total = sum(map(math.exp, logits)), sum(map(math.exp, ref_logits))
    pi, ref = [math.exp(x) / total for x in logits], [math.exp(x) / ref_total for x in ref_logits]
    expected = [0.0] * 5
    for output, advantage in zip(outputs, [1, -1, 1, -1], strict=True):  # mean 1/2, std 1/2
        for o in output:
            coefficient = advantage + beta * (ref[o] / pi[o] - 1)
            for v in range(5):
                expected[v] -= coefficient * ((v == o) - pi[v]) / len(output) / 4

    leaf_V = f64(logits).requires_grad_()
    mask_NT = booleans([[1, len(o) > 1] for o in outputs])
    token_NT = integers([[*o, 0][:2] for o in outputs])
    logp_NT = torch.where(mask_NT, leaf_V.log_softmax(0)[token_NT], 0)
    rollouts = replace(
        simple_round(rewards, [0] * 4, mask_NT.int().tolist()),
        logp_NT=logp_NT.detach(),
        ref_logp_NT=torch.where(mask_NT, f64(ref_logits).log_softmax(0)[token_NT], 0),
    )
    fresh = PolicyOutputs(logp_NT=logp_NT, entropy_NT=torch.zeros_like(logp_NT))
    loss, _ = loss_of(GRPO(kl_coef=beta), rollouts, fresh)
    close(torch.autograd.grad(loss, leaf_V)[0], expected)


# --- identities at the first update --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"clip_low": 0.0, "clip_high": 0.0},
        {"clip": "none"},
        {"clip_dual": 3.0},
        {"clip": "weight"},  # CISPO: sg(rho) is 1
        {"ratio": "none"},  # RGRA: plain REINFORCE
        {"ratio": "none", "clip": "none"},
        {"ratio": "sequence"},  # GSPO: the derivatives of s by the |o| tokens are 1/|o| each
    ],
    ids=str,
)
def test_at_one_update_clips_and_ratios_do_not_matter(settings: dict[str, Any]) -> None:
    """d loss / d log pi_it = -A_i / (N |o_i|), whatever the clip and the level of the ratio."""
    rollouts = random_round()
    advantages = paper_advantages(rollouts.reward_N.tolist(), rollouts.group_N.tolist())
    rows = zip(advantages, rollouts.completion_mask_NT.tolist(), strict=True)
    expected = [[-a / 12 / sum(row) if m else 0.0 for m in row] for a, row in rows]  # N = 12
    close(gradient_of(GRPO(kl_coef=0, **settings), rollouts, moved(rollouts, 0.0)), expected)


def test_at_the_second_update_they_do() -> None:
    rollouts, fresh = second_update()
    settings = [{}, {"clip": "none"}, {"clip": "weight"}, {"ratio": "none"}, {"ratio": "sequence"}]
    slopes = [gradient_of(GRPO(kl_coef=0, **s), rollouts, fresh) for s in settings]
    for i, a in enumerate(slopes):
        for b in slopes[i + 1 :]:
            assert (a - b).abs().max() > 1e-3


def test_gspo_is_a_ratio_of_sequences() -> None:
    # Tokens of ratios 2 and 1/8: s = sqrt(2/8) = 1/2 for both.  With rewards [1, 0] and eps 0.2, J of the first
    # (A = 1) is 1/2; the second (A = -1, one token of ratio 1/2) is cut at -0.8.  Loss -(1/2 - 0.8)/2 = 0.15.
    old_NT = f64([[-3, -3], [-3, 0]])
    mask_NT = [[1, 1], [1, 0]]
    rollouts = replace(simple_round([1, 0], [0, 0], mask_NT), logp_NT=old_NT)
    new_NT = f64([[-3 + math.log(2), -3 - math.log(8)], [-3 - math.log(2), 0]])
    fresh = PolicyOutputs(logp_NT=new_NT, entropy_NT=torch.zeros_like(new_NT))
    close(loss_of(GRPO(ratio="sequence", kl_coef=0), rollouts, fresh)[0], 0.15)
    # By the token: min[2, 1.2] and 1/8 for the first, -0.8 for the second: -((1.2 + 0.125)/2 - 0.8)/2.
    close(loss_of(GRPO(kl_coef=0), rollouts, fresh)[0], -((1.2 + 0.125) / 2 - 0.8) / 2)


def test_dr_grpo_by_hand() -> None:
    # A = r - 1/2.  One token and three tokens, T_max = 9: loss = -(1/2 * 1 - 1/2 * 3) / (2 * 9) at ratio 1.
    rollouts = simple_round([1, 0], [0, 0], [[1, 0, 0], [1, 1, 1]])
    assert HORIZON == 9
    close(loss_of(algos.load("dr_grpo")(), rollouts, moved(rollouts, 0.0))[0], 1 / 18)


# --- what an update is cut into, and what is masked ----------------------------------------------------------


@pytest.mark.parametrize("average", ["sequence", "token", "sum", "horizon"])
def test_micro_batches_change_no_gradient_and_no_metric(average: str) -> None:
    check_shares(GRPO(loss_aggregation=average, kl_coef=0.3, entropy_coef=0.1), *second_update())


@pytest.mark.parametrize("junk", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"clip": "weight"},
        {"ratio": "sequence"},
        {"ratio": "none"},
        {"kl_importance": True},
        {"kl_placement": "reward"},
        {"entropy_coef": 0.1},
    ],
    ids=str,
)
def test_masked_positions_change_nothing(settings: dict[str, Any], junk: float) -> None:
    rollouts, fresh = second_update()
    algo = GRPO(**settings)
    dirty = [
        torch.where(rollouts.completion_mask_NT, x_NT.detach(), junk)
        for x_NT in (fresh.logp_NT, fresh.entropy_NT, rollouts.ref_logp_NT, rollouts.logp_NT)
    ]
    unclean = PolicyOutputs(logp_NT=dirty[0].requires_grad_(), entropy_NT=dirty[1])
    unclean_rollouts = replace(rollouts, ref_logp_NT=dirty[2], logp_NT=dirty[3])
    close(loss_of(algo, unclean_rollouts, unclean)[0], loss_of(algo, rollouts, fresh)[0])
    slope_NT = gradient_of(algo, unclean_rollouts, unclean)
    close(slope_NT, gradient_of(algo, rollouts, fresh))
    assert (slope_NT[~rollouts.completion_mask_NT] == 0).all()


def test_metrics_by_hand() -> None:
    # Three chosen tokens.  Ratios 2, 1/2 with A = 1 (the first is cut), and 1/2 with A = -1 (cut below).
    two = math.log(2)
    rollouts = replace(
        simple_round([1, 0], [0, 0], [[1, 1], [1, 0]]),
        logp_NT=f64([[-2, -2], [-2, 0]]),
        ref_logp_NT=f64([[-1, -2], [-3, 0]]),
    )
    new_NT = f64([[-2 + two, -2 - two], [-2 - two, 0]])
    fresh = PolicyOutputs(logp_NT=new_NT.requires_grad_(), entropy_NT=f64([[0.3, 0.6], [0.9, 7.0]]).requires_grad_())
    _, metrics = loss_of(GRPO(), rollouts, fresh)
    # KL is k1 = log pi - log ref: (-2 + l + 1) + (-2 - l + 2) + (-2 - l + 3) = -1 + l - l + 1 - l = -l
    wanted = {"entropy": 0.6, "clip_ratio/low": 1 / 3, "clip_ratio/high": 1 / 3, "kl": -two / 3}
    assert set(metrics) == set(wanted)
    for name, value in wanted.items():
        close(metrics[name], value)
        assert not metrics[name].requires_grad
    assert "kl" not in loss_of(GRPO(kl_coef=0), replace(rollouts, ref_logp_NT=None), fresh)[1]


def test_the_entropy_bonus_raises_entropy() -> None:
    rollouts, fresh = second_update()
    entropy_NT = fresh.entropy_NT.clone().requires_grad_()
    loss, _ = loss_of(GRPO(entropy_coef=0.1, loss_aggregation="token"), rollouts, replace(fresh, entropy_NT=entropy_NT))
    tokens = int(rollouts.completion_mask_NT.sum())
    expected = [[-0.1 / tokens if m else 0.0 for m in row] for row in rollouts.completion_mask_NT.tolist()]
    close(torch.autograd.grad(loss, entropy_NT)[0], expected)


# --- no dead knob --------------------------------------------------------------------------------------------


def lively_round() -> tuple[Rollouts, PolicyOutputs]:
    """Groups that are mixed, all wrong, all right and constant in between; a completion cut at its limit; ratios of
    3/2 where the advantage is positive and 8 where it is negative."""
    rewards = [1, 0, 0, 0.25] + [0] * 4 + [1] * 4 + [0.5] * 4
    rollouts = replace(
        random_round(3, groups=4, size=4), reward_N=f64(rewards), finished_N=booleans([1, 0, 1, 1] + [1] * 12)
    )
    rollouts = stepped(rollouts, extra=[(0, 0, 0.5)])
    fresh = moved(rollouts, 0.5)
    logp_NT = fresh.logp_NT.detach().clone()
    logp_NT[0, 0] = rollouts.logp_NT[0, 0] + math.log(3 / 2)
    logp_NT[1, 0] = rollouts.logp_NT[1, 0] + math.log(8)
    return rollouts, replace(fresh, logp_NT=logp_NT.requires_grad_())


def outcome(**settings: Any) -> dict[str, Any]:
    """Everything an algorithm decides, on one situation."""
    algo = GRPO(**settings)
    rollouts, fresh = lively_round()
    rollouts = replace(rollouts, metadata={"problem": torch.arange(4).repeat_interleave(4) * 7919})
    credit = algo.credit(rollouts)
    return {
        "needs": algo.needs,
        "schedule": algo.schedule(Schedule(prompts=4, group_size=4)),
        "advantage": credit.advantage_NT.tolist(),
        "keep": credit.keep_N.tolist(),
        "loss": loss_of(algo, rollouts, fresh)[0].item(),
    }


# field: (values that must all differ in what they decide, what they decide)
KNOBS: dict[str, tuple[list[Any], set[str]]] = {
    "supervision": (["outcome", "process"], {"needs", "advantage", "loss"}),
    "signed_reward": ([False, True], {"advantage", "loss"}),
    "baseline": (["none", "group", "leave_one_out", "length", "batch", "james_stein"], {"advantage", "loss"}),
    "group_by": (["prompt", "random(bins=2)", "random(bins=3)"], {"advantage", "loss"}),
    "group_blend": ([1.0, 0.5], {"advantage", "loss"}),
    "normalize": (["none", "group", "batch", "others", "mean", "beta"], {"advantage", "loss"}),
    "std_ddof": ([0, 1], {"advantage", "loss"}),
    "std_eps": ([0.0, 0.1], {"advantage", "loss"}),
    "whiten": (["none", "tokens", "completions"], {"advantage", "loss"}),
    "whiten_eps": ([0.0, 0.1], {"advantage", "loss"}),
    "ratio": (["token", "sequence", "geometric", "none"], {"loss"}),
    "clip": (["surrogate", "weight", "soft", "tv", "kl", "none"], {"loss"}),
    "clip_low": ([0.1, 0.2], {"loss"}),
    "clip_high": ([0.1, 0.2], {"loss"}),
    "clip_dual": ([None, 3.0, 6.0], {"loss"}),
    "gate_positive": ([1.0, 2.0], {"loss"}),
    "gate_negative": ([1.05, 2.0], {"loss"}),
    "kl_coef": ([0.04, 0.1], {"loss"}),
    "kl_placement": (["loss", "reward", "to_go"], {"advantage", "loss"}),
    "kl_estimator": (["k1", "k2", "k3"], {"loss"}),
    "kl_importance": ([False, True], {"loss"}),
    "kl_score": ([False, True], set()),  # the gradient alone: test_dialects.py
    "proximal_coef": ([0.0, 0.1], {"loss"}),
    "entropy_coef": ([0.0, 0.01], {"needs", "loss"}),
    "loss_aggregation": (["sequence", "token", "sum", "horizon", "total"], {"loss"}),
    "filter_groups": (["none", "zero_variance", "all_wrong", "all_right"], {"keep", "loss"}),
    "draws": ([1, 2], {"schedule"}),
    "select_completions": (["all", "positive", "largest", "extremes"], {"keep", "loss"}),
    "select_share": ([0.5, 0.75], {"keep", "loss"}),
    "drop_truncated": ([False, True], {"keep", "loss"}),
    "epochs": ([1, 2], {"schedule"}),
    "minibatches": ([1, 2], {"schedule"}),
}
BESIDE: dict[str, dict[str, Any]] = {  # what makes a field mean something
    "signed_reward": {"baseline": "none", "normalize": "none"},
    "clip": {"clip_low": 0.05, "clip_high": 0.05},
    "whiten_eps": {"whiten": "tokens"},
    "group_blend": {"group_by": "random(bins=2)"},
    "gate_positive": {"clip": "soft"},
    "gate_negative": {"clip": "soft"},
    "draws": {"filter_groups": "zero_variance"},
    "select_share": {"select_completions": "largest"},
}


def test_the_table_of_knobs_is_complete() -> None:
    # of steps: test_process.py, test_reasoning.py
    elsewhere = {"step_reduction", "step_weight", "step_temperature"}
    assert set(KNOBS) | elsewhere == {f.name for f in dataclasses.fields(GRPO)}
    hints = typing.get_type_hints(GRPO)
    for field, (values, _) in KNOBS.items():
        if typing.get_origin(hints[field]) is typing.Literal:
            together = {"weighted", "apart", "min", "leave_one_out"} if field == "supervision" else set()
            assert set(values) | together == set(typing.get_args(hints[field]))  # together: test_reasoning.py


@pytest.mark.parametrize("field", KNOBS)
def test_no_knob_is_dead(field: str) -> None:
    values, decides = KNOBS[field]
    outcomes = [outcome(**{**BESIDE.get(field, {}), field: value}) for value in values]
    for i, a in enumerate(outcomes):
        for b in outcomes[i + 1 :]:
            differing = {key for key in a if a[key] != b[key]}
            differing -= {"advantage"} if field == "select_completions" else set()  # of extremes alone
            differing -= {"needs"} if field == "group_by" else set()  # of all but prompt
            assert differing == decides
    loss = [o["loss"] for o in outcomes]
    if "loss" in decides:
        assert min(abs(x - y) for i, x in enumerate(loss) for y in loss[i + 1 :]) > 1e-6  # not by float noise


def test_the_defaults_are_the_papers() -> None:
    algo = GRPO()
    assert (algo.baseline, algo.normalize, algo.ratio, algo.clip, algo.loss_aggregation) == (
        "group",
        "group",
        "token",
        "surrogate",
        "sequence",
    )
    assert (algo.kl_coef, algo.kl_placement, algo.kl_estimator, algo.epochs, algo.minibatches) == (
        0.04,
        "loss",
        "k3",
        1,
        1,
    )


# --- needs and schedule --------------------------------------------------------------------------------------


def test_needs() -> None:
    assert GRPO().needs == {"reference"}
    assert GRPO(kl_coef=0).needs == frozenset()
    assert GRPO(kl_placement="reward").needs == {"reference"}
    assert GRPO(kl_coef=0, entropy_coef=0.01).needs == {"entropy"}
    assert GRPO(entropy_coef=0.01).needs == {"reference", "entropy"}


@pytest.mark.parametrize("settings", [{"kl_coef": 0}, {"kl_coef": 0, "entropy_coef": 0.01}], ids=str)
def test_what_is_not_needed_is_not_read(settings: dict[str, Any]) -> None:
    rollouts, fresh = second_update()
    bare = replace(rollouts, ref_logp_NT=None)
    close(loss_of(GRPO(**settings), bare, fresh)[0], loss_of(GRPO(**settings), rollouts, fresh)[0])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"normalize": "none"},
        {"baseline": "none"},
        {"baseline": "batch"},
        {"baseline": "leave_one_out", "normalize": "none"},
        {"baseline": "length", "normalize": "batch"},
    ],
    ids=str,
)
def test_a_group_of_one_is_refused_where_groups_are_compared(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="group_size.* at least 2 .* not 1"):
        GRPO(**settings).schedule(Schedule(prompts=4, group_size=1))


@pytest.mark.parametrize("center", ["none", "batch"])
@pytest.mark.parametrize("scale", ["none", "batch"])
def test_a_group_of_one_is_fine_where_they_are_not(center: str, scale: str) -> None:
    algo = GRPO(baseline=center, normalize=scale, kl_coef=0)
    assert algo.schedule(Schedule(prompts=4, group_size=1)).group_size == 1
    credit: Credit = algo.credit(simple_round([1, 0, 0, 1], [0, 1, 2, 3]))
    assert credit.advantage_NT.abs().max() > 0


def test_schedule_changes_nothing_but_the_updates() -> None:
    base = Schedule(prompts=4, group_size=8, rounds=7)
    assert GRPO().schedule(base) == base
    schedule = GRPO(epochs=2, minibatches=4).schedule(base)
    assert schedule == Schedule(prompts=4, group_size=8, rounds=7, epochs=2, minibatches=4)
    assert schedule.updates == 8


def test_a_reference_that_is_needed_and_missing_is_an_error() -> None:
    """Leaving the KL term out without a word would be another algorithm."""
    rollouts, fresh = second_update()
    bare = replace(rollouts, ref_logp_NT=None)
    for algo in (GRPO(), GRPO(kl_placement="reward")):
        with pytest.raises((AssertionError, ValueError)):
            loss_of(algo, bare, fresh)
