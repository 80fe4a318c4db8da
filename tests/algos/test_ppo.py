"""PPO against its neighbours: what it is without its critic, with GRPO's baseline, and with each part on its own."""

from __future__ import annotations

import dataclasses
import math
import statistics
import typing
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from algos import Credit, PolicyOutputs, Rollouts, Schedule, ppo
from algos.grpo import GRPO
from algos.ops import kl
from algos.ppo import PPO
from tests.algos.builders import (
    HORIZON,
    batch_of,
    booleans,
    check_shares,
    f64,
    gradient_of,
    integers,
    loss_of,
    moved,
    random_round,
    settings_of,
    simple_round,
    stepped,
)
from tests.algos.test_values import VALUE_LOSS, gae_oracle
from tests.helpers import close

# The settings of the module's docstring, word for word.
RELATIVES: dict[str, dict[str, Any]] = {
    "R1's weak baseline": {"gae_lambda": 0.95, "critic_gae_lambda": 0.95, "critic_warmup": 0},
    "VC-PPO": {"gae_lambda": 0.95, "critic_gae_lambda": 1, "critic_warmup": 50},
    "VAPO": {
        "gae_lambda_alpha": 0.05,
        "critic_gae_lambda": 1,
        "clip_high": 0.28,
        "loss_aggregation": "token",
        "kl_coef": 0,
        "critic_warmup": 50,
    },
    "ORZ": {"gamma": 1, "gae_lambda": 1, "kl_coef": 0, "loss_aggregation": "token"},
    "Ziegler et al. 2019": {"kl_target": 6, "critic": "shared"},
    "no learned value": {"critic": "none"},
}
AVERAGES = ["sequence", "token", "sum", "horizon"]
POLICY_ALONE: dict[str, Any] = {"kl_coef": 0, "value_coef": 0}
PLAIN: dict[str, Any] = {**POLICY_ALONE, "whiten": False}
BASE = Schedule(prompts=3, group_size=4)


def critic_round(seed: int = 0, step: float = 0.5) -> tuple[Rollouts, PolicyOutputs]:
    """A round with values, and the live policy and critic after they have moved (step 0: not moved)."""
    rollouts, rng = random_round(seed), torch.Generator().manual_seed(seed + 100)
    value_NT, away_NT = (
        torch.randn(rollouts.completion_mask_NT.shape, generator=rng, dtype=torch.float64) for _ in range(2)
    )
    rollouts = replace(rollouts, value_NT=torch.where(rollouts.completion_mask_NT, value_NT, 0))
    new_NT = torch.where(rollouts.completion_mask_NT, value_NT + step * away_NT, 0)
    return rollouts, replace(moved(rollouts, step), value_NT=new_NT.requires_grad_())


def valued(rollouts: Rollouts, value: float | Tensor = 0.0) -> Rollouts:
    """The round with the same value at every token of a row."""
    return replace(rollouts, value_NT=torch.where(rollouts.completion_mask_NT, torch.as_tensor(value).double(), 0))


def fresh_of(rollouts: Rollouts) -> PolicyOutputs:
    """Policy and critic as they sampled."""
    assert rollouts.value_NT is not None
    return replace(moved(rollouts, 0.0), value_NT=rollouts.value_NT.clone().requires_grad_())


def value_gradient(algo: PPO, rollouts: Rollouts, fresh: PolicyOutputs) -> Tensor:
    assert fresh.value_NT is not None
    return torch.autograd.grad(loss_of(algo, rollouts, fresh)[0], fresh.value_NT)[0]


@pytest.mark.parametrize("junk", [math.nan, math.inf])
def test_what_stands_at_mask_0_reaches_no_gradient(junk: float) -> None:
    rollouts, fresh = critic_round()
    assert fresh.value_NT is not None and rollouts.value_NT is not None
    live = torch.where(rollouts.completion_mask_NT, fresh.value_NT.detach(), junk).requires_grad_()
    dirty = replace(rollouts, value_NT=torch.where(rollouts.completion_mask_NT, rollouts.value_NT, junk))
    clean = value_gradient(PPO(), rollouts, fresh)
    close(value_gradient(PPO(), dirty, replace(fresh, value_NT=live)), clean)


def weights(rollouts: Rollouts, average: str) -> list[list[float]]:
    """What one token counts in the average, 0 at mask 0."""
    mask = rollouts.completion_mask_NT.int().tolist()
    rows, tokens = len(mask), sum(map(sum, mask))

    def of(row: list[int]) -> float:
        own = max(sum(row), 1)
        return {"sequence": 1 / rows / own, "token": 1 / tokens, "sum": 1 / rows, "horizon": 1 / rows / HORIZON}[
            average
        ]

    return [[of(row) * m for m in row] for row in mask]


def rewards_of(rollouts: Rollouts, beta: float = 0.0) -> list[list[float]]:
    """eq. 2: R at the last token, less beta log(pi_old / pi_ref) at each."""
    assert rollouts.reward_N is not None
    assert rollouts.ref_logp_NT is not None
    logp, ref, mask = rollouts.logp_NT.tolist(), rollouts.ref_logp_NT.tolist(), rollouts.completion_mask_NT.tolist()
    result = []
    for i, row in enumerate(mask):
        result.append([-beta * (logp[i][t] - ref[i][t]) if m else 0.0 for t, m in enumerate(row)])
        result[-1][max(t for t, m in enumerate(row) if m)] += float(rollouts.reward_N[i])
    return result


def gae_of(rollouts: Rollouts, gamma: float, lam: list[float], beta: float = 0.0) -> Tensor:
    assert rollouts.value_NT is not None
    mask = rollouts.completion_mask_NT.int().tolist()
    return f64(gae_oracle(rewards_of(rollouts, beta), rollouts.value_NT.tolist(), mask, gamma, lam))


# --- what it is without this or that -------------------------------------------------------------------------


@pytest.mark.parametrize("average", AVERAGES)
def test_without_a_value_it_is_reinforce(average: str) -> None:
    """d loss / d logits = -sum_it w_it R_i (1{o_it} - pi), w_it the token's weight in the average, pi a softmax."""
    logits = [0.3, -1.0, 0.8, 0.0, -0.4]
    outputs, rewards = [[2, 0, 1], [1], [2, 2], [4, 3]], [1.0, 0.5, -2.0, 1.0]
    mask = [[int(t < len(o)) for t in range(3)] for o in outputs]
    leaf_V, mask_NT = f64(logits).requires_grad_(), booleans(mask)
    logp_NT = torch.where(mask_NT, leaf_V.log_softmax(0)[integers([[*o, 0, 0][:3] for o in outputs])], 0)
    rollouts = valued(replace(simple_round(rewards, [0, 1, 2, 3], mask), logp_NT=logp_NT.detach()))
    fresh = replace(fresh_of(rollouts), logp_NT=logp_NT)
    total = sum(map(math.exp, logits))
    expected = [0.0] * 5
    for output, reward, weight in zip(outputs, rewards, weights(rollouts, average), strict=True):
        for o, w in zip(output, weight, strict=False):
            for v in range(5):
                expected[v] -= w * reward * ((v == o) - math.exp(logits[v]) / total)
    loss, _ = loss_of(PPO(**PLAIN, loss_aggregation=average), rollouts, fresh)
    close(torch.autograd.grad(loss, leaf_V)[0], expected)


@pytest.mark.parametrize("step", [0.0, 0.5], ids=["first update", "second update"])
@pytest.mark.parametrize("average", AVERAGES)
def test_with_v_at_0_it_is_clipped_reinforce_without_a_baseline(average: str, step: float) -> None:
    """critic=none, lambda = 1: A_t = R at every token, and the clipped objective of it."""
    rollouts, fresh = critic_round(step=step)
    bare, bare_fresh = replace(rollouts, value_NT=None), replace(fresh, value_NT=None)
    algo = PPO(critic="none", kl_coef=0, whiten=False, loss_aggregation=average)
    credit = algo.credit(bare)
    assert credit.return_NT is None and not credit.metrics
    assert rollouts.reward_N is not None
    close(credit.advantage_NT, [[r * m for m in row] for r, row in zip(
        rollouts.reward_N.tolist(), rollouts.completion_mask_NT.int().tolist(), strict=True)])  # fmt: skip
    other = GRPO(baseline="none", normalize="none", kl_coef=0, loss_aggregation=average)
    close(loss_of(algo, bare, bare_fresh)[0], loss_of(other, bare, bare_fresh)[0])
    close(gradient_of(algo, bare, bare_fresh), gradient_of(other, bare, bare_fresh))
    for whiten in (False, True):  # and what it decides is what a value model that says 0 decides
        zero = valued(rollouts, 0.0)
        with_v = PPO(**{**POLICY_ALONE, "whiten": whiten, "gae_lambda": 0.9}, loss_aggregation=average)
        without = replace(with_v, critic="none")
        close(without.credit(bare).advantage_NT, with_v.credit(zero).advantage_NT)
        close(gradient_of(without, bare, bare_fresh), gradient_of(with_v, zero, fresh))


def test_with_v_at_0_nothing_is_learned_or_warmed_up_for_it() -> None:
    algo = PPO(critic="none", critic_warmup=5, value_lr=1e-3)
    assert algo.needs == {"reference"} and algo.schedule(BASE) == BASE
    rollouts, fresh = critic_round()
    _, metrics = loss_of(algo, replace(rollouts, value_NT=None), replace(fresh, value_NT=None))
    assert set(metrics) == {"entropy", "clip_ratio/low", "clip_ratio/high", "kl"}


@pytest.mark.parametrize("step", [0.0, 0.5], ids=["first update", "second update"])
@pytest.mark.parametrize("average", AVERAGES)
def test_with_the_groups_mean_for_a_value_it_is_dr_grpo(average: str, step: float) -> None:
    """With lam = 1, A_t = R - V_t: with loss_aggregation="horizon" it is Dr. GRPO as in its paper."""
    rollouts, fresh = critic_round(step=step)
    reward, group = rollouts.reward_N.tolist(), rollouts.group_N.tolist()
    means = [statistics.fmean(r for r, h in zip(reward, group, strict=True) if h == g) for g in group]
    rollouts = valued(rollouts, f64(means)[:, None])
    other = GRPO(normalize="none", kl_coef=0, loss_aggregation=average)
    algo = PPO(**PLAIN, loss_aggregation=average)
    close(algo.credit(rollouts).advantage_NT, other.credit(rollouts).advantage_NT)
    close(loss_of(algo, rollouts, fresh)[0], loss_of(other, rollouts, fresh)[0])
    close(gradient_of(algo, rollouts, fresh), gradient_of(other, rollouts, fresh))
    if step == 0:  # -w (R - mean)
        rows = zip(reward, means, weights(rollouts, average), strict=True)
        close(gradient_of(algo, rollouts, fresh), [[-w * (r - m) for w in row] for r, m, row in rows])


CLIPS = [{}, {"clip_low": 0.1, "clip_high": 0.4}, {"clip_dual": 1.5}, {"entropy_coef": 0.1}]


@pytest.mark.parametrize("settings", CLIPS, ids=str)
@pytest.mark.parametrize("average", AVERAGES)
def test_the_clip_is_grpos(average: str, settings: dict[str, float]) -> None:
    rollouts, fresh = critic_round()
    algo = PPO(**POLICY_ALONE, loss_aggregation=average, **settings)
    batch = batch_of(rollouts, algo.credit(rollouts))
    loss, metrics = algo.loss(batch, fresh)
    wanted, wanted_metrics = GRPO(kl_coef=0, loss_aggregation=average, **settings).loss(batch, fresh)
    close(loss, wanted)
    close(torch.autograd.grad(loss, fresh.logp_NT)[0], torch.autograd.grad(wanted, fresh.logp_NT)[0])
    for name, value in wanted_metrics.items():
        close(metrics[name], value)
    assert min(metrics["clip_ratio/low"], metrics["clip_ratio/high"]) > 0.05  # the clip does act
    assert set(metrics) == {*wanted_metrics, "value_loss"}


# --- the reward and its KL -----------------------------------------------------------------------------------


def test_kl_in_the_reward_by_hand() -> None:
    # log(pi/ref) = 0.5, -0.25, (masked), 1; beta = 0.1, R = 1, V = 0: r = -0.05, 0.025, 1 - 0.1, and what is to go is
    # 0.875, 0.925, 0.9.  The targets are the same numbers.
    rollouts = replace(
        valued(simple_round([1], [0], [[1, 1, 0, 1]])),
        logp_NT=f64([[-1, -1, 0, -1]]),
        ref_logp_NT=f64([[-1.5, -0.75, math.nan, -2]]),
    )
    credit = PPO(kl_coef=0.1, whiten=False).credit(rollouts)
    close(credit.advantage_NT, [[0.875, 0.925, 0, 0.9]])
    close(credit.return_NT, [[0.875, 0.925, 0, 0.9]])
    # With a value of 0.5 at each token A = G - 1/2, and the targets stay.
    credit = PPO(kl_coef=0.1, whiten=False).credit(valued(rollouts, 0.5))
    close(credit.advantage_NT, [[0.375, 0.425, 0, 0.4]])
    close(credit.return_NT, [[0.875, 0.925, 0, 0.9]])


@pytest.mark.parametrize("whiten", [False, True])
def test_credit_is_the_double_sum_of_the_rewards_with_kl(whiten: bool) -> None:
    for seed in range(3):
        rollouts, _ = critic_round(seed)
        algo = PPO(gamma=0.9, gae_lambda=0.8, critic_gae_lambda=0.6, kl_coef=0.3, whiten=whiten)
        credit, wanted_NT = algo.credit(rollouts), gae_of(rollouts, 0.9, [0.8] * 12, beta=0.3)
        close(credit.return_NT, gae_of(rollouts, 0.9, [0.6] * 12, beta=0.3) + rollouts.value_NT)
        if whiten:
            tokens = wanted_NT[rollouts.completion_mask_NT].tolist()
            white_NT = (wanted_NT - statistics.fmean(tokens)) / statistics.pstdev(tokens)
            wanted_NT = torch.where(rollouts.completion_mask_NT, white_NT, 0)
        close(credit.advantage_NT, wanted_NT)
        assert credit.keep_N.all()


@pytest.mark.parametrize("estimator", typing.get_args(kl.Estimator))
@pytest.mark.parametrize("average", AVERAGES)
def test_kl_in_the_loss_is_grpos(average: str, estimator: str) -> None:
    rollouts, fresh = critic_round()
    terms = []
    for algo in (PPO(kl_placement="loss", loss_aggregation=average), GRPO(loss_aggregation=average)):
        slopes = [gradient_of(replace(algo, kl_coef=b, kl_estimator=estimator), rollouts, fresh) for b in (0.3, 0)]
        terms.append(slopes[0] - slopes[1])
    close(*terms)
    assert terms[0].abs().max() > 1e-3
    # Its credit knows no KL.
    close(PPO(kl_placement="loss").credit(rollouts).advantage_NT, PPO(kl_coef=0).credit(rollouts).advantage_NT)


# --- one lambda for the policy, one for the critic -----------------------------------------------------------


def test_the_advantages_follow_lam_and_the_targets_lam_critic() -> None:
    rollouts, _ = critic_round()
    for lam in (0.0, 0.7, 1.0):
        for lam_critic in (0.0, 0.7, 1.0):
            credit = PPO(gae_lambda=lam, critic_gae_lambda=lam_critic, kl_coef=0, whiten=False).credit(rollouts)
            close(credit.advantage_NT, gae_of(rollouts, 1.0, [lam] * 12))
            close(credit.return_NT, gae_of(rollouts, 1.0, [lam_critic] * 12) + rollouts.value_NT)


def test_a_lambda_by_length_takes_the_place_of_lam_alone() -> None:
    rollouts, _ = critic_round()
    lengths = rollouts.completion_mask_NT.sum(1).tolist()
    assert min(lengths) <= 1 / 0.6 < max(lengths)  # both sides of the floor
    for lam in (0.3, 1.0):
        credit = PPO(gae_lambda=lam, gae_lambda_alpha=0.6, critic_gae_lambda=0.5, kl_coef=0, whiten=False).credit(
            rollouts
        )
        wanted_NT = gae_of(rollouts, 1.0, [max(1 - 1 / (0.6 * length), 0) for length in lengths])
        close(credit.advantage_NT, wanted_NT)
        close(credit.return_NT, gae_of(rollouts, 1.0, [0.5] * 12) + rollouts.value_NT)


# --- the whole round, and rows that are out ------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"kl_placement": "loss", "entropy_coef": 0.1, "value_coef": 2.0}], ids=str)
@pytest.mark.parametrize("average", AVERAGES)
def test_micro_batches_change_no_gradient_and_no_metric(average: str, settings: dict[str, Any]) -> None:
    rollouts, fresh = critic_round()
    check_shares(PPO(loss_aggregation=average, **settings), rollouts, fresh)
    check_shares(
        PPO(loss_aggregation=average, **settings), replace(rollouts, valid_N=booleans([1] * 5 + [0] + [1] * 6)), fresh
    )


def test_whitening_is_over_every_token_of_the_round() -> None:
    # Advantages R - 0 = 1 (three tokens) and 5 (one): mean 2, variance (3 + 9)/4 = 3.
    rollouts = valued(simple_round([1, 5], [0, 1], [[1, 1, 1], [1, 0, 0]]))
    s = math.sqrt(3)
    close(PPO(kl_coef=0).credit(rollouts).advantage_NT, [[-1 / s] * 3, [3 / s, 0, 0]])


@pytest.mark.parametrize("junk", [9.0, math.nan, math.inf])
@pytest.mark.parametrize("settings", [{}, {"whiten": False}, {"gae_lambda": 0.5, "gae_lambda_alpha": 0.6}], ids=str)
def test_a_row_the_verifier_lost_is_out_and_moves_nothing(settings: dict[str, Any], junk: float) -> None:
    rollouts, fresh = critic_round()
    valid_N = booleans([1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1])
    rest = rollouts.take(valid_N.nonzero()[:, 0])
    lost = replace(rollouts, valid_N=valid_N, reward_N=torch.where(valid_N, rollouts.reward_N, junk))
    algo = PPO(**settings)
    credit, alone = algo.credit(lost), algo.credit(rest)
    assert credit.keep_N.tolist() == valid_N.tolist()
    assert (credit.advantage_NT[~valid_N] == 0).all()
    close(credit.advantage_NT[valid_N], alone.advantage_NT)
    close(credit.return_NT[valid_N], alone.return_NT)
    assert dict(credit.metrics) == dict(alone.metrics)
    slope_NT = gradient_of(algo, lost, fresh)
    assert slope_NT.isfinite().all()
    assert (slope_NT[~valid_N] == 0).all()


def test_a_completion_cut_at_its_limit_is_trained_on_like_any_other() -> None:
    rollouts, _ = critic_round()
    cut = PPO().credit(replace(rollouts, finished_N=~rollouts.finished_N))
    assert cut.keep_N.all()
    close(cut.advantage_NT, PPO().credit(rollouts).advantage_NT)


def test_a_group_of_one_is_fine() -> None:
    assert PPO().schedule(Schedule(prompts=4, group_size=1)).group_size == 1
    credit: Credit = PPO(**PLAIN).credit(valued(simple_round([1, 0, 0, 1], [0, 1, 2, 3]), 0.25))
    close(credit.advantage_NT, [[0.75], [-0.25], [-0.25], [0.75]])


def test_who_is_in_a_group_does_not_matter() -> None:
    rollouts, _ = critic_round()
    apart = replace(rollouts, group_N=torch.arange(12))
    close(PPO().credit(apart).advantage_NT, PPO().credit(rollouts).advantage_NT)


@pytest.mark.parametrize("junk", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("settings", [{}, {"kl_placement": "loss"}, {"entropy_coef": 0.1}], ids=str)
def test_masked_positions_change_nothing(settings: dict[str, Any], junk: float) -> None:
    rollouts, fresh = critic_round()
    algo, mask_NT = PPO(**settings), rollouts.completion_mask_NT
    log, old, ref, entropy = (
        torch.where(mask_NT, x_NT.detach(), junk)
        for x_NT in (fresh.logp_NT, rollouts.logp_NT, rollouts.ref_logp_NT, fresh.entropy_NT)
    )
    dirty = replace(fresh, logp_NT=log.requires_grad_(), entropy_NT=entropy)
    dirty_rollouts = replace(rollouts, logp_NT=old, ref_logp_NT=ref)
    close(loss_of(algo, dirty_rollouts, dirty)[0], loss_of(algo, rollouts, fresh)[0])
    for gradient in (gradient_of, value_gradient):
        close(gradient(algo, dirty_rollouts, dirty), gradient(algo, rollouts, fresh))
    unknown = replace(rollouts, value_NT=torch.where(mask_NT, rollouts.value_NT, junk))
    credit, clean = algo.credit(unknown), algo.credit(rollouts)
    assert credit.advantage_NT.tolist() == clean.advantage_NT.tolist()
    assert credit.return_NT.tolist() == clean.return_NT.tolist()
    assert credit.metrics == clean.metrics


# --- the critic's loss ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("coef", [0.1, 2.0])
def test_the_critics_gradient_is_its_error(average: str, coef: float) -> None:
    """d loss / d V_it = c_V w_it (V - R), without a clip; and where V has not moved, with one."""
    for step, clip in ((0.5, None), (0.0, 0.2)):
        rollouts, fresh = critic_round(step=step)
        algo = PPO(value_coef=coef, value_clip=clip, loss_aggregation=average)
        error_NT = fresh.value_NT.detach() - algo.credit(rollouts).return_NT
        close(value_gradient(algo, rollouts, fresh), coef * f64(weights(rollouts, average)) * error_NT)


@pytest.mark.parametrize("settings", [{}, {"kl_placement": "loss", "entropy_coef": 0.1}], ids=str)
def test_policy_and_critic_do_not_feel_each_others_loss(settings: dict[str, Any]) -> None:
    rollouts, fresh = critic_round()
    without, with_value = (gradient_of(PPO(value_coef=c, **settings), rollouts, fresh) for c in (0, 5))
    close(with_value, without)
    elsewhere = replace(fresh, logp_NT=(fresh.logp_NT - 0.3).detach().requires_grad_())
    algo = PPO(**settings)
    close(value_gradient(algo, rollouts, elsewhere), value_gradient(algo, rollouts, fresh))
    assert (value_gradient(PPO(value_coef=0), rollouts, fresh) == 0).all()


def test_the_clipped_value_loss_reaches_the_loss() -> None:
    # One token each: the average of the table's losses, and c_V/N times its slopes.  A = 0 in the place of advantages.
    columns = [f64(x)[:, None] for x in zip(*VALUE_LOSS, strict=True)]
    value_NT, old_NT, target_NT, loss_NT, slope_NT = columns
    rows = len(VALUE_LOSS)
    rollouts = replace(simple_round([0] * rows, list(range(rows))), value_NT=old_NT)
    credit = Credit(torch.zeros_like(old_NT), keep_N=rollouts.valid_N, return_NT=target_NT)
    fresh = replace(moved(rollouts, 0.0), value_NT=value_NT.requires_grad_())
    loss, metrics = PPO(kl_coef=0, value_coef=0.5, value_clip=0.2).loss(batch_of(rollouts, credit), fresh)
    close(loss, 0.5 * loss_NT.mean())
    close(metrics["value_loss"], loss_NT.mean())
    close(torch.autograd.grad(loss, fresh.value_NT)[0], 0.5 * slope_NT / rows)


def test_metrics() -> None:
    rollouts, fresh = critic_round()
    _, metrics = loss_of(PPO(), rollouts, fresh)
    assert set(metrics) == {"entropy", "clip_ratio/low", "clip_ratio/high", "value_loss", "kl"}
    assert not any(x.requires_grad for x in metrics.values())
    tokens = (fresh.logp_NT - rollouts.ref_logp_NT)[rollouts.completion_mask_NT].tolist()
    close(metrics["kl"], statistics.fmean(tokens))
    assert "kl" not in loss_of(PPO(kl_coef=0), replace(rollouts, ref_logp_NT=None), fresh)[1]


def test_a_perfect_critic_explains_everything() -> None:
    rollouts = valued(simple_round([1, 0, 1], [0, 0, 1], [[1, 1], [1, 0], [1, 1]]), f64([[1.0], [0.0], [1.0]]))
    credit = PPO(kl_coef=0).credit(rollouts)
    assert credit.metrics == {f"explained_variance{x}": 1 for x in ("", "/prompt", "/part1of4")}
    assert credit.advantage_NT.tolist() == [[0, 0]] * 3


# --- the coefficient that follows a target -------------------------------------------------------------------


def test_without_a_target_the_algorithm_stays_itself() -> None:
    rollouts, _ = critic_round()
    for algo in (PPO(), PPO(kl_coef=0), PPO(kl_placement="loss")):
        assert algo.adapt(rollouts) is algo
        assert "kl_coef" not in algo.credit(rollouts).metrics


def test_beta_follows_the_mean_kl_of_a_completion() -> None:
    # log(pi/ref) summed: 0.5 - 0.25 = 0.25 and 0.4; the third is not valid.  Mean 0.325; target 0.3: error 1/12, two
    # completions of a horizon of 10: beta' = 0.2 (1 + 1/12 * 2/10).
    rollouts = replace(
        valued(simple_round([1, 0, 1], [0, 0, 1], [[1, 1], [0, 1], [1, 1]])),
        logp_NT=f64([[-1, -1], [0, -1], [-1, -1]]),
        ref_logp_NT=f64([[-1.5, -0.75], [math.nan, -1.4], [-9, -9]]),
        valid_N=booleans([1, 1, 0]),
    )
    algo = PPO(kl_coef=0.2, kl_target=0.3, kl_horizon=10, gae_lambda=0.9)
    then = algo.adapt(rollouts)
    close(then.kl_coef, 0.2 * (1 + 2 / 120))
    assert replace(then, kl_coef=0.2) == algo
    assert algo.credit(rollouts).metrics["kl_coef"] == 0.2
    close(then.credit(rollouts).metrics["kl_coef"], 0.2 * (1 + 2 / 120))
    for target, coef in ((30.0, 0.2 * (1 - 0.2 * 0.2)), (0.01, 0.2 * (1 + 0.2 * 0.2))):  # the bounds
        close(replace(algo, kl_target=target).adapt(rollouts).kl_coef, coef)
    nobody = replace(rollouts, valid_N=booleans([0, 0, 0]))
    assert algo.adapt(nobody) is algo


# --- fields --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RELATIVES)
def test_the_docstrings_relatives_run(name: str) -> None:
    rollouts, fresh = critic_round()
    algo = PPO(**RELATIVES[name])
    loss, _ = loss_of(algo, rollouts, fresh)
    leaves = [fresh.logp_NT] if algo.critic == "none" else [fresh.logp_NT, fresh.value_NT]
    for slope_NT in torch.autograd.grad(loss, leaves):
        assert slope_NT.isfinite().all()
        assert slope_NT.abs().max() > 0


def test_the_docstring_still_lists_these_relatives() -> None:
    for name, settings in RELATIVES.items():
        words = settings_of(ppo.__doc__ or "", name)
        assert set(words) == set(settings)
        for field, value in settings.items():
            assert words[field] == value if isinstance(value, str) else float(words[field]) == value


def outcome(**settings: Any) -> dict[str, Any]:
    """Everything an algorithm decides, on one situation: a second update, with a ratio of 8 where A < 0 somewhere."""
    algo, (rollouts, fresh) = PPO(**settings), critic_round(4)
    rollouts = stepped(rollouts, extra=[(3, 0, 0.5)])
    credit, logp_NT = algo.credit(rollouts), fresh.logp_NT.detach().clone()
    logp_NT[0, 0] = rollouts.logp_NT[0, 0] + math.log(8)
    assert credit.advantage_NT[0, 0] < 0
    loss, metrics = loss_of(algo, rollouts, replace(fresh, logp_NT=logp_NT))
    return {
        "needs": algo.needs,
        "schedule": algo.schedule(BASE),
        "advantage": credit.advantage_NT.tolist(),
        "return": credit.return_NT.tolist(),
        "kl_coef": algo.adapt(rollouts).kl_coef,
        "loss": loss.item(),
        "value_loss": metrics["value_loss"].item() if "value_loss" in metrics else None,
    }


# field: (values that must all differ in what they decide, what they decide, what else is set)
KNOBS: dict[str, tuple[list[Any], set[str], dict[str, Any]]] = {
    "supervision": (["outcome", "process"], {"needs", "advantage", "return", "loss", "value_loss"}, {}),
    "critic": (["separate", "shared"], {"schedule"}, {}),  # and none, which has tests of its own
    "value_lr": ([None, 1e-3, 1e-4], {"schedule"}, {}),
    "critic_lr": ([10.0, 1.0], {"schedule"}, {}),
    "critic_warmup": ([0, 1], {"schedule"}, {}),
    "gamma": ([1.0, 0.9], {"advantage", "return", "loss", "value_loss"}, {}),
    "gae_lambda": ([1.0, 0.95], {"advantage", "loss"}, {}),
    "critic_gae_lambda": ([1.0, 0.95], {"return", "loss", "value_loss"}, {}),
    "gae_lambda_alpha": ([None, 0.5, 0.9], {"advantage", "loss"}, {}),
    "whiten": ([True, False], {"advantage", "loss"}, {}),
    "whiten_ddof": ([0, 1], {"advantage", "loss"}, {}),
    "whiten_variance_eps": ([0.0, 0.1], {"advantage", "loss"}, {}),
    "value_coef": ([0.1, 0.5], {"loss"}, {}),
    "value_clip": ([None, 0.2, 0.1], {"loss", "value_loss"}, {}),
    "clip_low": ([0.1, 0.2], {"loss"}, {}),
    "clip_high": ([0.1, 0.2], {"loss"}, {}),
    "clip_dual": ([None, 3.0, 6.0], {"loss"}, {}),
    "kl_coef": ([0.04, 0.1], {"advantage", "return", "loss", "value_loss", "kl_coef"}, {}),
    "kl_placement": (["reward", "loss"], {"advantage", "return", "loss", "value_loss"}, {}),
    "kl_estimator": (["k1", "k2", "k3"], {"loss"}, {"kl_placement": "loss"}),
    "kl_target": ([None, 0.01, 1000.0], {"kl_coef"}, {}),
    "kl_horizon": ([100.0, 200.0], {"kl_coef"}, {"kl_target": 0.01}),
    "entropy_coef": ([0.0, 0.01], {"needs", "loss"}, {}),
    "loss_aggregation": ([*AVERAGES, "total"], {"loss"}, {}),
    "epochs": ([1, 2], {"schedule"}, {}),
    "minibatches": ([1, 2], {"schedule"}, {}),
}


def test_the_table_of_knobs_is_complete() -> None:
    assert set(KNOBS) == {f.name for f in dataclasses.fields(PPO)}
    hints = typing.get_type_hints(PPO)
    for field, (choices, _, _) in KNOBS.items():
        if typing.get_origin(hints[field]) is typing.Literal:
            valid = set(typing.get_args(hints[field])) - ({"none"} if field == "critic" else set())
            assert set(choices) == valid


@pytest.mark.parametrize("field", KNOBS)
def test_no_knob_is_dead(field: str) -> None:
    choices, decides, others = KNOBS[field]
    outcomes = [outcome(**{**others, field: value}) for value in choices]
    for i, a in enumerate(outcomes):
        for b in outcomes[i + 1 :]:
            assert {key for key in a if a[key] != b[key]} == decides
    loss = [o["loss"] for o in outcomes]
    if "loss" in decides:
        assert min(abs(x - y) for i, x in enumerate(loss) for y in loss[i + 1 :]) > 1e-6  # not by float noise


def test_with_one_step_a_completion_process_is_outcome_and_step_rewards_are_gae_s_rewards() -> None:
    rollouts, fresh = critic_round()
    single = stepped(rollouts)
    for settings in ({}, {"kl_coef": 0, "whiten": False, "gae_lambda": 0.9}):
        outcome, process = PPO(**settings), PPO(**settings, supervision="process")  # type: ignore[arg-type]
        assert torch.equal(outcome.credit(single).advantage_NT, process.credit(single).advantage_NT)
        assert torch.equal(gradient_of(outcome, single, fresh), gradient_of(process, single, fresh))
    several = stepped(rollouts, extra=[(0, 0, 0.5), (3, 0, -0.25)])
    assert several.step_reward_NT is not None and several.value_NT is not None
    got = PPO(supervision="process", kl_coef=0, whiten=False, gae_lambda=0.9).credit(several).advantage_NT
    rows = (x.tolist() for x in (several.step_reward_NT, several.value_NT, several.completion_mask_NT))
    close(got, gae_oracle(*rows, 1.0, [0.9] * len(got)))


def test_needs() -> None:
    assert PPO(supervision="process").needs == {"values", "reference", "steps"}
    assert PPO().needs == PPO(kl_placement="loss").needs == {"values", "reference"}
    assert PPO(kl_coef=0).needs == {"values"}
    assert PPO(kl_coef=0, entropy_coef=0.01).needs == {"values", "entropy"}


@pytest.mark.parametrize("missing", ["value_NT", "ref_logp_NT"])
@pytest.mark.parametrize("kl_in", ["reward", "loss"])
def test_what_is_needed_and_missing_is_an_error(missing: str, kl_in: str) -> None:
    rollouts, fresh = critic_round()
    with pytest.raises(AssertionError):
        loss_of(PPO(kl_placement=kl_in), replace(rollouts, **{missing: None}), fresh)


def test_schedule_is_what_the_fields_say() -> None:
    base = Schedule(prompts=4, group_size=8, rounds=7)
    assert PPO().schedule(base) == replace(base, critic="separate", critic_lr=10.0, critic_warmup=1)
    algo = PPO(critic="shared", critic_lr=3.0, value_lr=1e-3, critic_warmup=5, epochs=2, minibatches=4)
    wanted = replace(base, critic="shared", critic_lr=3.0, value_lr=1e-3, critic_warmup=5, epochs=2, minibatches=4)
    assert algo.schedule(base) == wanted


BAD: dict[str, list[float]] = {
    **dict.fromkeys(("clip_low", "clip_high", "kl_coef", "value_coef"), [-0.1]),
    "critic_warmup": [-1],
    **dict.fromkeys(("gamma", "gae_lambda", "critic_gae_lambda"), [-0.1, 1.1, math.nan]),
    **dict.fromkeys(
        ("value_lr", "critic_lr", "kl_horizon", "gae_lambda_alpha", "value_clip", "kl_target"), [0.0, -1.0, math.nan]
    ),
    **dict.fromkeys(("epochs", "minibatches"), [0, -1]),
    "clip_dual": [1.0, 0.5],
}


@pytest.mark.parametrize(("field", "value"), [(f, x) for f, xs in BAD.items() for x in xs])
def test_a_bad_field_is_named(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^algo\.{field}: .*{value}"):
        PPO(**{field: value})


def test_a_target_needs_a_coefficient_to_start_from() -> None:
    with pytest.raises(ValueError, match=r"^algo\.kl_target: .*kl_coef"):
        PPO(kl_target=6.0, kl_coef=0)


def test_the_edges_of_the_fields_are_fine() -> None:
    edges = {
        "clip_low": 0,
        "clip_high": 0,
        "value_coef": 0,
        "critic_warmup": 0,
        "gamma": 0,
        "gae_lambda": 0,
        "critic_gae_lambda": 0,
    }
    algo = PPO(**edges, gae_lambda_alpha=1e-3)  # type: ignore[arg-type]
    assert {name: getattr(algo, name) for name in edges} == edges
