"""Dialects against the frameworks' own functions, imported from their wheels or checkouts (`stubs.py` says how).

    DIALECTS_RECORD=algos/variants/dialects.json PEER_SOURCES=FOLDER python -m pytest -m peers tests/algos/peers

writes the differences down.  Where a part is no function of the framework (an advantage in the middle of a trainer),
the transcription of `test_dialects.py` stands in for that part, and the record says so.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from algos import Rollouts
from tests.algos.dialect_rounds import STEPS, Theirs, differences
from tests.algos.peers.stubs import function_of, function_of_wheel, module_of
from tests.algos.test_dialects import BOUND, at_end, grouped, tokens, whitened

pytestmark = pytest.mark.peers


class Config(SimpleNamespace):
    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)


def verl_config() -> Config:
    """verl's actor, as far as its policy loss reads it."""
    return Config(clip_ratio=0.2, clip_ratio_low=0.2, clip_ratio_high=0.2, clip_ratio_c=3.0, global_batch_info={})


def verl() -> tuple[Theirs, str]:
    core, config = module_of("verl.trainer.ppo.core_algos"), verl_config()

    def loss(r: Rollouts, logp_NT: Tensor) -> Tensor:
        mask = r.completion_mask_NT
        last = torch.zeros_like(r.logp_NT)
        last[:, 0] = r.reward_N  # type: ignore[assignment]
        a, _ = core.compute_grpo_outcome_advantage(last, mask.to(last.dtype), np.array(r.group_N))
        value, _ = core.compute_policy_loss_vanilla(r.logp_NT, logp_NT, a, mask.to(last.dtype), "token-mean", config)
        return value

    return loss, "functions of the wheel (advantage, loss)"


def openrlhf() -> tuple[Theirs, str]:
    losses, utils = module_of("openrlhf.models.loss"), module_of("openrlhf.models.utils")
    policy_loss = losses.PolicyLoss(clip_eps_low=0.2, clip_eps_high=0.2, token_level_loss=True)

    def loss(r: Rollouts, logp_NT: Tensor) -> Tensor:
        x, mask = grouped(r), r.completion_mask_NT
        z = ((x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-9)).reshape(-1)
        kl = torch.where(mask, r.logp_NT - r.ref_logp_NT, 0)
        reward = utils.compute_reward(z, 0.01, kl, action_mask=mask)
        returns = torch.where(mask, reward, 0).flip(1).cumsum(1).flip(1)  # get_cumulative_returns, gamma 1
        value = policy_loss(logp_NT, r.logp_NT, returns, action_mask=mask.to(x.dtype))
        return value[0] if isinstance(value, tuple) else value

    return loss, "functions of the wheel (reward, loss); z-score and returns transcribed"


def ppo_verl() -> tuple[Theirs, str]:
    core, config = module_of("verl.trainer.ppo.core_algos"), verl_config()

    def loss(r: Rollouts, logp_NT: Tensor, value_NT: Tensor) -> Tensor:
        mask = r.completion_mask_NT.to(logp_NT.dtype)
        rewards = at_end(r, 0.0)
        a, returns = core.compute_gae_advantage_return(rewards, r.value_NT, mask, gamma=1.0, lam=1.0)
        policy, _ = core.compute_policy_loss_vanilla(r.logp_NT, logp_NT, a, mask, "token-mean", config)
        value, _ = core.compute_value_loss(value_NT, returns, r.value_NT, mask, cliprange_value=0.5)
        return policy + value

    return loss, "functions of the wheel (GAE and whitening, policy loss, value loss)"


def ppo_openrlhf() -> tuple[Theirs, str]:
    losses, utils = module_of("openrlhf.models.loss"), module_of("openrlhf.models.utils")
    names = ["get_advantages_and_returns"]
    [gae_of] = function_of_wheel("openrlhf", "trainer/ppo_utils/experience_maker.py", names, {"torch": torch})
    policy_loss = losses.PolicyLoss(clip_eps_low=0.2, clip_eps_high=0.2, token_level_loss=True)
    of_value = losses.ValueLoss(clip_eps=0.5, token_level_loss=True)

    def loss(r: Rollouts, logp_NT: Tensor, value_NT: Tensor) -> Tensor:
        mask = r.completion_mask_NT
        kl = torch.where(mask, r.logp_NT - r.ref_logp_NT, 0)
        reward = utils.compute_reward(r.reward_N, 0.01, kl, action_mask=mask)
        a, returns = gae_of(None, r.value_NT, reward, mask, 1.0, 1.0)
        policy = policy_loss(logp_NT, r.logp_NT, whitened(a, r, False, 0.0), action_mask=mask.to(a.dtype))
        policy = policy[0] if isinstance(policy, tuple) else policy
        return policy + of_value(value_NT, r.value_NT, returns, action_mask=mask.to(a.dtype))

    return loss, "functions of the wheel (reward, GAE, policy loss, value loss); the whitening transcribed"


def areal() -> tuple[Theirs, str]:
    scope = {"torch": torch, "np": np, "dist": torch.distributed}
    [normalization] = function_of_wheel("areal", "utils/data.py", ["Normalization"], dict(scope))
    [actor_loss] = function_of_wheel("areal", "utils/functional/functional.py", ["ppo_actor_loss_fn"], dict(scope))
    norm = SimpleNamespace(mean_leave1out=False, std_unbiased=True, eps=1e-5)
    by_group = normalization(SimpleNamespace(**vars(norm), mean_level="group", std_level="group", group_size=8))
    by_batch = normalization(SimpleNamespace(**vars(norm), mean_level="batch", std_level="batch", group_size=1))

    def loss(r: Rollouts, logp_NT: Tensor) -> Tensor:
        mask = r.completion_mask_NT
        z = by_group((r.reward_N - 0.5) * 10)  # type: ignore[operator]
        a = by_batch(z[:, None] * mask, mask.float()).to(logp_NT.dtype)
        value, _ = actor_loss(
            logprobs=logp_NT,
            proximal_logprobs=r.logp_NT,
            old_logprobs=r.logp_NT,
            advantages=a,
            eps_clip=0.4,
            loss_mask=mask,
        )
        return value

    return loss, "functions of the wheel (advantage, in fp32 there, and loss)"


def ppo_areal() -> tuple[Theirs, str]:
    scope = {"torch": torch, "functools": functools}
    [estimator] = function_of_wheel("areal", "utils/data.py", ["KLEstimator"], dict(scope))
    [advantages] = function_of_wheel("areal", "trainer/ppo/actor.py", ["_compute_advantages"], dict(scope))
    names = ["ppo_actor_loss_fn", "ppo_critic_loss_fn", "_mse_loss"]
    actor_loss, critic_loss, _ = function_of_wheel("areal", "utils/functional/functional.py", names, dict(scope))
    config = SimpleNamespace(overlong_reward_penalty=False, use_decoupled_loss=False, recompute_logprob=False)
    own = SimpleNamespace(
        config=config, reward_bias=0.0, reward_scaling=1.0, reward_clip=20.0, reward_norm=None, adv_norm=None,
        kl_ctl=0.1, kl_estimator=estimator("k1"), mask_no_eos_with_zero=False, discount=1.0, gae_lambda=1.0,
    )  # fmt: skip

    def loss(r: Rollouts, logp_NT: Tensor, value_NT: Tensor) -> Tensor:
        mask = r.completion_mask_NT
        zero = torch.zeros(len(mask), 1)  # a prompt of one token; what a token gets stands at the token before it
        shifted = torch.cat([mask, zero.bool()], 1)
        data = {
            "input_ids": shifted.long(), "rewards": r.reward_N.float(),
            "attention_mask": torch.cat([~zero.bool(), mask], 1),
            "loss_mask": torch.cat([zero.bool(), mask], 1), "logprobs": torch.cat([zero, r.logp_NT.float()], 1),
            "ref_logp": torch.cat([r.ref_logp_NT.float(), zero], 1), "values": torch.cat([r.value_NT.float(), zero], 1),
        }  # fmt: skip
        data = advantages(own, data)
        a, returns = data["advantages"][:, :-1], data["returns"][:, :-1]
        old = r.logp_NT.float()
        policy, _ = actor_loss(logp_NT.float(), old, old, a, eps_clip=0.2, loss_mask=mask)
        value, _ = critic_loss(value_NT.float(), r.value_NT.float(), returns, 0.5, loss_mask=mask)
        return policy + value

    return loss, "functions of the wheel (advantage, policy loss, value loss), which compute in fp32"


def tinker() -> tuple[Theirs, str]:
    processing = module_of("tinker_cookbook.rl.data_processing")

    def loss(r: Rollouts, logp_NT: Tensor) -> Tensor:
        groups = [SimpleNamespace(get_total_rewards=lambda row=row: row.tolist()) for row in grouped(r)]
        a = torch.stack(processing.compute_advantages(groups)).to(logp_NT.dtype)
        return -(torch.exp(logp_NT - r.logp_NT) * tokens(r, a)).sum()

    return loss, "function of the wheel (advantage, in fp32 there); the service's loss transcribed"


def trl() -> tuple[Theirs, str]:
    trainer = module_of("trl.trainer.grpo_trainer")

    def loss(r: Rollouts, logp_NT: Tensor) -> Tensor:
        x, mask = grouped(r), r.completion_mask_NT
        a = ((x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-4)).reshape(-1)
        return trl_loss(trainer, r, logp_NT, a, mask)

    return loss, "GRPOTrainer._compute_loss of the wheel; the advantage transcribed"


def trl_loss(trainer: Any, r: Rollouts, logp_NT: Tensor, a: Tensor, mask: Tensor) -> Tensor:
    """`_compute_loss` on an object that has what it reads."""
    ones = torch.ones(len(a), 1, dtype=torch.long)
    inputs = {
        "prompt_ids": ones, "prompt_mask": ones, "completion_ids": torch.ones_like(mask, dtype=torch.long),
        "completion_mask": mask.long(), "advantages": a, "old_per_token_logps": r.logp_NT,
        "num_items_in_batch": mask.sum(),
    }  # fmt: skip
    from collections import defaultdict
    from unittest.mock import MagicMock

    own = MagicMock()
    same = {name: lambda x, *_, **__: x for name in ("gather", "gather_for_metrics", "reduce")}
    accelerator = SimpleNamespace(num_processes=1, is_main_process=True, device=logp_NT.device, **same)
    own.configure_mock(
        top_entropy_quantile=1.0, importance_sampling_level="token", off_policy_mask_threshold=None, beta=0.0,
        loss_type="dapo", epsilon_low=0.2, epsilon_high=0.2, use_vllm=False, current_gradient_accumulation_steps=1,
        accelerator=accelerator, _entropy_bonus_enabled=False, tools=None, env_mask=None, use_liger_kernel=False,
    )  # fmt: skip
    own.args.delta, own.args.steps_per_generation, own.model.training = None, 1, True
    own.aux_loss_enabled = own.router_aux_loss_coef = False
    own._metrics = {"train": defaultdict(list), "eval": defaultdict(list)}
    own._get_per_token_logps_and_entropies = lambda *a, **k: (logp_NT, torch.zeros_like(logp_NT), None)
    return trainer.GRPOTrainer._compute_loss(own, own.model, inputs)


def nemo_rl() -> tuple[Theirs, str]:
    scope: dict[str, Any] = {"torch": torch}
    names = ["calculate_baseline_and_std_per_prompt", "calculate_kl", "masked_mean"]
    statistics, divergence, mean = function_of("NeMo-RL", "nemo_rl/algorithms/utils.py", names, scope)

    def loss(r: Rollouts, logp_NT: Tensor) -> Tensor:
        mask, reward_N = r.completion_mask_NT, r.reward_N
        torch.set_default_dtype(reward_N.dtype)  # type: ignore[union-attr]  # of its matrix of ones
        baseline, std = statistics(r.group_N[:, None], reward_N, torch.ones_like(reward_N))  # type: ignore[arg-type]
        torch.set_default_dtype(torch.float32)
        std = torch.where(std < 1e-4, 0, std)  # in floats the difference of squares of equal rewards need not be 0
        centred = reward_N - baseline
        a = torch.where(std > 0, centred / (std + 1e-6), centred)[:, None] * mask  # advantage_estimator.py:86-97
        weight = torch.exp(logp_NT - logp_NT.detach())
        kl = 0.01 * divergence(logp_NT, r.ref_logp_NT, importance_sampling_weights=weight)
        ratio = torch.exp(logp_NT - r.logp_NT)
        clipped = torch.max(-a * ratio, -a * ratio.clamp(0.8, 1.2))
        return mean(clipped + kl, mask)

    return (
        loss,
        "the repository's functions (statistics, with a factor in fp32; KL, mean); the clipped term transcribed",
    )


def prime_rl() -> tuple[Theirs, str]:
    scope: dict[str, Any] = {"torch": torch}
    names = ["_safe_mean", "compute_importance_ratio_and_mismatch_kl", "default_loss_fn"]
    scope["LossOutputs"] = lambda loss, metrics: loss
    *_, default_loss = function_of("prime-rl", "src/prime_rl/trainer/rl/loss.py", names, scope)
    config = SimpleNamespace(dppo_mask_high=0.2, dppo_mask_low=0.2, adv_tau=1.0, kl_tau=1e-3)

    def loss(r: Rollouts, logp_NT: Tensor) -> Tensor:
        x, mask, total = grouped(r), r.completion_mask_NT, logp_NT.new_zeros(())
        a = tokens(r, x - x.mean(1, keepdim=True))
        for i in range(len(mask)):
            inputs = SimpleNamespace(
                trainer_logprobs=logp_NT[i], inference_logprobs=r.logp_NT[i], advantages=a[i], loss_mask=mask[i],
                loss_weights=None,
            )  # fmt: skip
            total = total + default_loss(inputs, config)
        return total / mask.sum()

    return loss, "the repository's function (loss); the group's mean transcribed"


def open_instruct() -> tuple[Theirs, str]:
    scope: dict[str, Any] = {"torch": torch, "GRPOLossType": SimpleNamespace(dapo="dapo", cispo="cispo")}
    [estimate] = function_of("open-instruct", "open_instruct/model_utils.py", ["estimate_kl"], {"torch": torch})
    scope["model_utils"] = SimpleNamespace(estimate_kl=estimate)
    [compute] = function_of("open-instruct", "open_instruct/grpo_utils.py", ["compute_grpo_loss"], scope)
    config = SimpleNamespace(loss_fn="dapo", clip_lower=0.2, clip_higher=0.272, kl_estimator=2)

    def loss(r: Rollouts, logp_NT: Tensor) -> Tensor:
        x, mask = grouped(r), r.completion_mask_NT
        a = tokens(r, x - x.mean(1, keepdim=True))
        ratio = torch.exp(logp_NT - r.logp_NT)
        pg, _, kl = compute(logp_NT, ratio, a, r.ref_logp_NT, config, torch.ones_like(a))
        return ((pg + 0.05 * kl) * mask).sum() / mask.sum()

    return loss, "the repository's functions (loss, KL); the group's mean and the average transcribed"


THEIRS = {
    "grpo_trl": trl,
    "grpo_verl": verl,
    "grpo_nemo_rl": nemo_rl,
    "grpo_prime_rl": prime_rl,
    "grpo_tinker": tinker,
    "grpo_open_instruct": open_instruct,
    "grpo_areal": areal,
    "grpo_openrlhf": openrlhf,
    "ppo_verl": ppo_verl,
    "ppo_openrlhf": ppo_openrlhf,
    "ppo_areal": ppo_areal,
}
IN_FP32 = {
    "ppo_areal",
    "grpo_areal",
    "grpo_tinker",
    "grpo_nemo_rl",
}  # whose advantages, or a factor of them, are always float32


@pytest.mark.parametrize("name", THEIRS)
def test_loss_and_gradient_are_the_frameworks_own(name: str) -> None:
    theirs, against = THEIRS[name]()
    found: dict[str, Any] = {"against": against}
    for dtype, bound in BOUND.items():
        # NeMo-RL clamps a token's KL at 10, which the last step goes beyond: so its row says
        worst = differences(name, theirs, dtype, steps=STEPS[:2] if name == "grpo_nemo_rl" else STEPS)
        found[str(dtype).removeprefix("torch.")] = worst
        assert max(worst.values()) <= (1e-6 if name in IN_FP32 else bound), (dtype, worst)
    if file := os.environ.get("DIALECTS_RECORD"):
        path = Path(file)
        record = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**record, name: found}, indent=1, sort_keys=True) + "\n")
