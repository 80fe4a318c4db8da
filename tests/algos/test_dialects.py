"""Dialects against the frameworks' formulas, transcribed by hand from the lines that `dialects.toml` names.

They are written as the frameworks compute them (their epsilons, their order of operations), in float64 to 1e-10 and in
float32 to 1e-6.  The frameworks' own functions, imported: `tests/algos/peers/`.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import algos
from algos import Rollouts
from algos.grpo import GRPO
from tests.algos.builders import gradient_of, loss_of, moved
from tests.algos.dialect_rounds import Theirs, differences, round_of
from tests.helpers import close

BOUND = {torch.float64: 1e-10, torch.float32: 1e-6}


def grouped(r: Rollouts) -> Tensor:
    assert r.reward_N is not None
    return r.reward_N.view(int(r.group_N.max()) + 1, -1)


def tokens(r: Rollouts, advantage_PG: Tensor) -> Tensor:
    return advantage_PG.flatten()[:, None] * r.completion_mask_NT


def token_mean(x_NT: Tensor, r: Rollouts) -> Tensor:
    return (x_NT * r.completion_mask_NT).sum() / r.completion_mask_NT.sum()


def clipped(r: Rollouts, logp_NT: Tensor, a_NT: Tensor, low: float, high: float, dual: float | None = None) -> Tensor:
    ratio = torch.exp(logp_NT - r.logp_NT)
    loss = torch.max(-a_NT * ratio, -a_NT * torch.clamp(ratio, 1 - low, 1 + high))
    return loss if dual is None else torch.where(a_NT < 0, torch.min(loss, -a_NT * dual), loss)


def trl(r: Rollouts, logp_NT: Tensor) -> Tensor:
    x = grouped(r)
    a = tokens(r, (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-4))  # grpo_trainer.py:2784-2787
    return token_mean(clipped(r, logp_NT, a, 0.2, 0.2), r)  # 3095-3119, 3168-3173


def verl(r: Rollouts, logp_NT: Tensor) -> Tensor:
    x = grouped(r)
    a = tokens(r, (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-6))  # core_algos.py:309-328
    return token_mean(clipped(r, logp_NT, a, 0.2, 0.2, dual=3.0), r)  # 1330-1366


def k3(x: Tensor) -> Tensor:
    return torch.exp(-x) - 1 + x


def nemo_rl(r: Rollouts, logp_NT: Tensor) -> Tensor:
    x = grouped(r)
    n = x.shape[1]
    others = 1 - torch.eye(n, dtype=x.dtype)
    mean, square = x @ others / (n - 1), x**2 @ others / (n - 1)  # utils.py:149-186
    std = ((square - mean**2) * ((n - 1) / (n - 2))).clamp(min=0).sqrt()  # 189-196
    std = torch.where(std < 1e-5, 0, std)  # of equal rewards; in floats the difference of squares need not be 0
    a = torch.where(std > 0, (x - mean) / (std + 1e-6), x - mean)  # advantage_estimator.py:86-97
    apart = logp_NT - r.ref_logp_NT
    penalty = 0.01 * torch.exp(logp_NT - logp_NT.detach()) * k3(apart)  # loss_functions.py: kl_importance_weights
    return token_mean(clipped(r, logp_NT, tokens(r, a), 0.2, 0.2), r) + token_mean(penalty, r)


def prime_rl(r: Rollouts, logp_NT: Tensor) -> Tensor:
    x = grouped(r)
    a = tokens(r, x - x.mean(1, keepdim=True))  # orchestrator/algo/grpo.py
    gap, moved_by = logp_NT - r.logp_NT, torch.exp(logp_NT) - torch.exp(r.logp_NT)  # loss.py:126-136
    masked = torch.where(a > 0, moved_by > 0.2, moved_by < -0.2)
    return token_mean(-(~masked).to(a.dtype) * a * torch.exp(gap) + 1e-3 * gap**2, r)  # 143-146


def tinker(r: Rollouts, logp_NT: Tensor) -> Tensor:
    x = grouped(r)
    a = tokens(r, x - x.mean(1, keepdim=True))  # data_processing.py:38-40
    return -(torch.exp(logp_NT - r.logp_NT) * a).sum()  # documentation of importance_sampling


def open_instruct(r: Rollouts, logp_NT: Tensor) -> Tensor:
    x = grouped(r)
    a = tokens(r, x - x.mean(1, keepdim=True))  # data_loader.py:1481
    apart = logp_NT - r.ref_logp_NT
    kl = torch.expm1(-apart) + apart  # model_utils.py:815
    return token_mean(clipped(r, logp_NT, a, 0.2, 0.272) + 0.05 * kl, r)  # grpo_fast.py:718


def areal(r: Rollouts, logp_NT: Tensor) -> Tensor:
    x = 10 * (grouped(r) - 0.5)
    z = tokens(r, (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-5))  # data.py:1397
    inside = z[r.completion_mask_NT]
    a = (z - inside.mean()) / (inside.std() + 1e-5)
    return token_mean(clipped(r, logp_NT, a, 0.4, 0.4), r)  # functional.py: ppo_actor_loss_fn


def openrlhf(r: Rollouts, logp_NT: Tensor) -> Tensor:
    x = grouped(r)
    a = tokens(r, (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-9))  # experience_maker.py:274
    kl = torch.where(r.completion_mask_NT, r.logp_NT - r.ref_logp_NT, 0)
    a = a - 0.01 * kl.flip(1).cumsum(1).flip(1)  # models/utils.py:144, get_cumulative_returns
    return token_mean(clipped(r, logp_NT, a, 0.2, 0.2), r)  # models/loss.py


def deepseekmath(r: Rollouts, logp_NT: Tensor) -> Tensor:
    x = grouped(r)
    std = x.std(1, keepdim=True, unbiased=False)
    a = tokens(r, (x - x.mean(1, keepdim=True)) / torch.where(std > 0, std, 1))
    term = clipped(r, logp_NT, a, 0.2, 0.2) + 0.04 * k3(logp_NT - r.ref_logp_NT)
    return ((term * r.completion_mask_NT).sum(1) / r.completion_mask_NT.sum(1)).mean()  # eq. 3, 4


# PPO: with the live values besides.  c_V is 1: the value model has a loss of its own.


def gae(reward_NT: Tensor, r: Rollouts) -> Tensor:
    """gamma and lambda 1: what is still to come, less the value.  Of completions without a hole."""
    assert r.value_NT is not None
    return (reward_NT.flip(1).cumsum(1).flip(1) - r.value_NT) * r.completion_mask_NT


def at_end(r: Rollouts, kl_coef: float) -> Tensor:
    assert r.reward_N is not None
    reward_NT = -kl_coef * torch.where(r.completion_mask_NT, r.logp_NT - r.ref_logp_NT, 0)
    reward_NT[torch.arange(len(reward_NT)), r.completion_mask_NT.sum(1) - 1] += r.reward_N
    return reward_NT


def whitened(a_NT: Tensor, r: Rollouts, unbiased: bool, added: float) -> Tensor:
    inside = a_NT[r.completion_mask_NT]
    variance = inside.var(unbiased=unbiased)
    scaled = (a_NT - inside.mean()) * torch.rsqrt(variance + added if added else variance.clamp(min=1e-8))
    return scaled * r.completion_mask_NT


def value_loss(r: Rollouts, value_NT: Tensor, return_NT: Tensor, clip: float) -> Tensor:
    near_NT = r.value_NT + (value_NT - r.value_NT).clamp(-clip, clip)
    return 0.5 * torch.max((value_NT - return_NT) ** 2, (near_NT - return_NT) ** 2)


def ppo_verl(r: Rollouts, logp_NT: Tensor, value_NT: Tensor) -> Tensor:
    a = gae(at_end(r, 0.0), r)  # core_algos.py: compute_gae_advantage_return
    policy = clipped(r, logp_NT, whitened(a, r, True, 1e-8), 0.2, 0.2, dual=3.0)
    return token_mean(policy + value_loss(r, value_NT, a + r.value_NT, 0.5), r)  # compute_value_loss


def ppo_openrlhf(r: Rollouts, logp_NT: Tensor, value_NT: Tensor) -> Tensor:
    a = gae(at_end(r, 0.01), r)  # experience_maker.py:339-368; models/utils.py: compute_reward
    policy = clipped(r, logp_NT, whitened(a, r, False, 0.0), 0.2, 0.2)  # experience_maker.py:315-333
    return token_mean(policy + value_loss(r, value_NT, a + r.value_NT, 0.5), r)  # models/loss.py: ValueLoss


def ppo_areal(r: Rollouts, logp_NT: Tensor, value_NT: Tensor) -> Tensor:
    a = gae(at_end(r, 0.1), r)  # trainer/ppo/actor.py:195-258
    term = clipped(r, logp_NT, a, 0.2, 0.2) + value_loss(r, value_NT, a + r.value_NT, 0.5)
    return token_mean(term, r)  # functional.py: ppo_actor_loss_fn, ppo_critic_loss_fn


def ppo_deepseekmath(r: Rollouts, logp_NT: Tensor, value_NT: Tensor) -> Tensor:
    a = gae(at_end(r, 0.04), r)  # eq. 2
    term = clipped(r, logp_NT, a, 0.2, 0.2) + 0.5 * (value_NT - a - r.value_NT) ** 2
    return ((term * r.completion_mask_NT).sum(1) / r.completion_mask_NT.sum(1)).mean()  # eq. 1


TRANSCRIBED: dict[str, Theirs] = {
    "grpo_deepseekmath": deepseekmath,
    "grpo_trl": trl,
    "grpo_verl": verl,
    "grpo_nemo_rl": nemo_rl,
    "grpo_prime_rl": prime_rl,
    "grpo_tinker": tinker,
    "grpo_open_instruct": open_instruct,
    "grpo_areal": areal,
    "grpo_openrlhf": openrlhf,
    "ppo_deepseekmath": ppo_deepseekmath,
    "ppo_verl": ppo_verl,
    "ppo_openrlhf": ppo_openrlhf,
    "ppo_areal": ppo_areal,
}


@pytest.mark.parametrize("dtype", BOUND, ids=str)
@pytest.mark.parametrize("name", TRANSCRIBED)
def test_loss_and_gradient_are_the_frameworks(name: str, dtype: torch.dtype) -> None:
    worst = differences(name, TRANSCRIBED[name], dtype)
    assert max(worst.values()) <= BOUND[dtype], worst


def test_every_dialect_is_transcribed_and_no_two_are_alike() -> None:
    assert set(TRANSCRIBED) == set(algos.dialect_names())
    for name in TRANSCRIBED:
        for other in [x for x in TRANSCRIBED if x != name and x[:3] == name[:3]]:
            assert max(differences(name, TRANSCRIBED[other], torch.float64, seeds=1).values()) > 1e-7, (name, other)


@pytest.mark.parametrize("name", TRANSCRIBED)
def test_a_row_is_its_base_with_the_fields_that_it_says(name: str) -> None:
    preset = algos.preset_of(name)
    assert preset is not None and preset.proof and preset.equation and preset.source
    assert preset.base == name.partition("_")[0] and preset.base in ("grpo", "ppo")
    base = vars(algos.load(preset.base)())
    assert vars(algos.load(name)()) == {**base, **preset.values}
    assert all(base[field] != value for field, value in preset.values.items())


def test_a_preset_is_named_beside_its_algorithm() -> None:
    assert (algos.with_preset("grpo", "trl"), algos.with_preset("ppo", "verl")) == ("grpo_trl", "ppo_verl")
    for algo, preset in (("grpo", "trll"), ("ppo", "trl")):
        with pytest.raises(ValueError, match=f"no dialect '{preset}' of algo '{algo}'; valid: "):
            algos.with_preset(algo, preset)


def test_a_kl_with_the_score_has_the_same_value_and_k1_then_has_a_gradient_that_is_k2s() -> None:
    """E of grad (pi/sg(pi)) k1 is that of k2 up to a term of mean 0: (x + 1) grad log pi, and x grad log pi."""
    r = round_of(0, torch.float64)
    fresh = moved(r, 0.0)
    fields = {"normalize": "none", "kl_coef": 0.3, "kl_estimator": "k1"}
    plain, scored = GRPO(**fields), GRPO(**fields, kl_score=True)
    close(loss_of(plain, r, fresh)[0].detach(), loss_of(scored, r, fresh)[0].detach())
    x_NT = torch.where(r.completion_mask_NT, r.logp_NT - r.ref_logp_NT, 0)
    weight_N1 = 0.3 / len(x_NT) / r.completion_mask_NT.sum(1, keepdim=True)
    close(gradient_of(scored, r, fresh) - gradient_of(plain, r, fresh), weight_N1 * x_NT)


def test_the_pull_towards_the_sampler_has_its_minimum_there() -> None:
    r = round_of(0, torch.float64)
    fresh = moved(r, 0.4)
    gap_NT = torch.where(r.completion_mask_NT, fresh.logp_NT.detach() - r.logp_NT, 0)
    fields = {"kl_coef": 0.0, "loss_aggregation": "token"}
    apart = gradient_of(GRPO(**fields, proximal_coef=0.5), r, fresh) - gradient_of(GRPO(**fields), r, fresh)
    close(apart, gap_NT / int(r.completion_mask_NT.sum()))
    assert not GRPO(proximal_coef=0.5).credit(r).zero_gradient_N.any()
