"""PPO: Proximal Policy Optimization (1707.06347) as DeepSeekMath writes it for language models (2402.03300 eq. 1, 2).

    J    = avg_i avg_t min[rho A_t, clip(rho, 1-lo, 1+hi) A_t]                                              (eq. 1)
    r_t  = R at the last token - beta log(pi_old / pi_ref) at each                                          (eq. 2)
    A_t  = sum_l (gamma lambda)^l delta_{t+l},   delta_t = r_t + gamma V_{t+1} - V_t                        (1506.02438)
    L    = -J + c_V 1/2 max[(V - R_t)^2, (clip(V, V_old +- c) - R_t)^2],   R_t = V_old + A_t

with R_t's A_t at critic_gae_lambda.

The defaults are meant as a fair PPO: prompts, group size, updates and averaging as GRPO's; lambda = 1, with which the
R1 report finds PPO next to GRPO and without which far behind (2501.12948v2 A.3); a value model of its own that is
warmed up before its advantages are used.  Where the paper is silent the choice is named.  Its relatives are settings:

    R1's weak baseline       gae_lambda=0.95 critic_gae_lambda=0.95 critic_warmup=0
    VC-PPO (2503.01491)      gae_lambda=0.95 critic_gae_lambda=1 critic_warmup=50
    VAPO's GAE (2504.05118)  gae_lambda_alpha=0.05 critic_gae_lambda=1 critic_warmup=50 clip_high=0.28
                             loss_aggregation=token kl_coef=0
    ORZ (2503.24290)         gamma=1 gae_lambda=1 kl_coef=0 loss_aggregation=token
    Ziegler et al. 2019      kl_target=6 critic=shared (1909.08593)
    step by step             supervision=process, with rewards for steps: r_t at the end of each (2312.08935 §3.4)
    no learned value         critic=none

With critic=none V is 0 everywhere: nothing is learned, warmed up or charged for it, and at gamma = lambda = 1 A_t is
the reward to go: clipped REINFORCE, from whose A_t `whiten` subtracts the round's mean and `whiten=false` nothing.
What a learned value adds is the difference to this arm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor

from algos.core.algorithm import Algorithm
from algos.core.paradigm import Row
from algos.core.types import Batch, Credit, Metrics, PolicyOutputs, Requirement, Rollouts, Schedule
from algos.ops import advantages, aggregate, kl, policy_gradient, values


@dataclass(frozen=True, kw_only=True)
class PPO(Algorithm):
    """A learned value as baseline, a clipped ratio, KL in the reward.  Works with any group size, 1 included."""

    paradigm = Row(reward="rule or model", coefficient="A_t: GAE, by the learned V", equation="18", transform="p")

    supervision: Literal["outcome", "process"] = "outcome"  # eq. 2's r_phi(q, o_<=t): at the last token, or at steps
    critic: Literal["separate", "shared", "none"] = (
        "separate"  # §4.1.1: a model of the policy's size; shared: a head on it; none: V = 0
    )
    value_lr: float | None = None  # learning rate of the value model; none: critic_lr times the policy's
    critic_lr: float = (
        10.0  # of the value model, over the policy's; the paper is silent; chosen: Search-R1's 1e-5 to 1e-6
    )
    critic_warmup: int = 1  # rounds in which only the value model learns, charged like any other; chosen
    gamma: float = 1.0  # discount; Huang et al. 2023, detail 7
    gae_lambda: float = 1.0  # of the policy's advantages; R1 v2 A.3
    critic_gae_lambda: float = 1.0  # of the value model's targets; VC-PPO: 1, the return itself
    gae_lambda_alpha: float | None = None  # VAPO's lambda = 1 - 1/(alpha l) instead
    whiten: bool = True  # advantages over the whole round, which is one update by default; Huang et al., detail 9
    whiten_ddof: int = 0  # of its deviation; Huang et al. have the biased one (1: verl's)
    whiten_variance_eps: float = 0.0  # added to its variance; none in the papers (1e-8: verl's)
    value_coef: float = 0.1  # c_V; only a shared backbone feels it; chosen
    value_clip: float | None = 0.2  # c, how far the value may move from the old one; Huang et al., detail 10
    clip_low: float = 0.2  # epsilon below 1; 1707.06347's
    clip_high: float = 0.2  # epsilon above 1; DAPO: 0.28
    clip_dual: float | None = None  # off in the papers; c of dual clip where it is on
    kl_coef: float = 0.04  # eq. 2 gives beta no number; chosen: GRPO's, so that only its place differs
    kl_placement: Literal["reward", "loss"] = "reward"  # where the KL penalty stands, eq. 2; loss: as in GRPO
    kl_estimator: kl.Estimator = "k3"  # in the loss; in the reward it is always k1
    kl_target: float | None = None  # sequence-level KL that beta is steered to (1909.08593 §2.2); off: beta is fixed
    kl_horizon: float = 10_000.0  # of the controller of kl_target, in completions
    entropy_coef: float = 0.0  # no entropy bonus in the papers
    loss_aggregation: aggregate.Aggregation = "sequence"  # eq. 1: 1/|o|
    epochs: int = 1  # as GRPO's (§4.2)
    minibatches: int = 1  # updates per pass, by whole groups

    @property
    def needs(self) -> frozenset[Requirement]:
        needed: set[Requirement] = set() if self.critic == "none" else {"values"}
        if self.kl_coef:
            needed.add("reference")
        if self.entropy_coef:
            needed.add("entropy")
        if self.supervision == "process":
            needed.add("steps")
        return frozenset(needed)

    def __post_init__(self) -> None:
        for name in ("clip_low", "clip_high", "kl_coef", "value_coef", "critic_warmup", "whiten_variance_eps"):
            if getattr(self, name) < 0:
                raise ValueError(f"algo.{name}: must not be negative, not {getattr(self, name)}")
        for name in ("gamma", "gae_lambda", "critic_gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"algo.{name}: must lie in 0..1, not {getattr(self, name)}")
        for name in ("value_lr", "critic_lr", "kl_horizon", "gae_lambda_alpha", "value_clip", "kl_target"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"algo.{name}: must be positive, not {getattr(self, name)}")
        for name in ("epochs", "minibatches"):
            if getattr(self, name) < 1:
                raise ValueError(f"algo.{name}: must be at least 1, not {getattr(self, name)}")
        if self.whiten_ddof not in (0, 1):
            raise ValueError(f"algo.whiten_ddof: must be 0 or 1, not {self.whiten_ddof}")
        if self.clip_dual is not None and self.clip_dual <= 1:
            raise ValueError(f"algo.clip_dual: must be above 1, not {self.clip_dual}")
        if self.kl_target is not None and not self.kl_coef:
            raise ValueError("algo.kl_target: needs an algo.kl_coef above 0 to start from")

    def schedule(self, base: Schedule) -> Schedule:
        base = replace(base, epochs=self.epochs, minibatches=self.minibatches)
        if self.critic == "none":
            return base
        return replace(
            base,
            critic=self.critic,
            critic_lr=self.critic_lr,
            value_lr=self.value_lr,
            critic_warmup=self.critic_warmup,
        )

    def credit(self, rollouts: Rollouts) -> Credit:
        r, mask_NT = rollouts, rollouts.completion_mask_NT
        assert r.reward_N is not None and r.valid_N is not None
        value_NT = torch.zeros_like(r.logp_NT) if self.critic == "none" else r.value_NT
        assert value_NT is not None
        reward_NT = r.step_reward_NT if self.supervision == "process" else values.at_last(r.reward_N, mask_NT)
        assert reward_NT is not None
        if self.kl_coef and self.kl_placement == "reward":
            assert r.ref_logp_NT is not None
            reward_NT = reward_NT - self.kl_coef * kl.estimate(r.logp_NT, r.ref_logp_NT, mask_NT, "k1")
        alpha = self.gae_lambda_alpha
        lam = self.gae_lambda if alpha is None else values.length_lambda(mask_NT, alpha)
        advantage_NT = values.gae(reward_NT, value_NT, mask_NT, self.gamma, lam)
        valid_NT = mask_NT & r.valid_N[:, None]
        metrics = {"kl_coef": self.kl_coef} if self.kl_target is not None else {}
        return_NT = None
        if self.critic != "none":
            target_NT = values.gae(reward_NT, value_NT, mask_NT, self.gamma, self.critic_gae_lambda)
            return_NT = torch.where(mask_NT, target_NT + value_NT, 0)
            metrics |= values.explained_by_position(value_NT, return_NT, valid_NT)
        if self.whiten:
            ddof, added = self.whiten_ddof, self.whiten_variance_eps
            advantage_NT = advantages.whiten(advantage_NT, valid_NT, ddof, variance_eps=added)
        return Credit(torch.where(valid_NT, advantage_NT, 0), keep_N=r.valid_N, return_NT=return_NT, metrics=metrics)

    def adapt(self, rollouts: Rollouts) -> Self:
        if self.kl_target is None or rollouts.valid_N is None or not rollouts.valid_N.any():
            return self
        assert rollouts.ref_logp_NT is not None
        kl_NT = kl.estimate(rollouts.logp_NT, rollouts.ref_logp_NT, rollouts.completion_mask_NT, "k1")
        kl_N = kl_NT.sum(1)[rollouts.valid_N]
        coef = kl.adapted(self.kl_coef, float(kl_N.mean()), self.kl_target, len(kl_N), self.kl_horizon)
        return replace(self, kl_coef=coef)

    def loss(self, batch: Batch, outputs: PolicyOutputs) -> tuple[Tensor, Metrics]:
        r, mask_NT = batch.rollouts, batch.rollouts.completion_mask_NT
        objective_NT, per_token = policy_gradient.objective(
            outputs.logp_NT,
            r.logp_NT,
            batch.credit.advantage_NT,
            mask_NT,
            self.clip_low,
            self.clip_high,
            dual=self.clip_dual,
        )
        objective_NT = policy_gradient.regularised(
            objective_NT,
            outputs.logp_NT,
            r.logp_NT,
            r.ref_logp_NT,
            outputs.entropy_NT,
            mask_NT,
            kl_coef=self.kl_coef if self.kl_placement == "loss" else 0.0,
            kl_estimator=self.kl_estimator,
            entropy_coef=self.entropy_coef,
        )
        per_token["entropy"] = outputs.entropy_NT
        loss_NT = -objective_NT
        if self.critic != "none":
            per_token["value_loss"] = self._value_loss(batch, outputs)
            loss_NT = self.value_coef * per_token["value_loss"] - objective_NT
        if self.kl_coef:
            assert r.ref_logp_NT is not None
            per_token["kl"] = kl.estimate(outputs.logp_NT, r.ref_logp_NT, mask_NT, "k1")
        loss = aggregate.mean(loss_NT, mask_NT, batch.totals, self.loss_aggregation)
        return loss, aggregate.token_means(per_token, mask_NT, batch.totals)

    def _value_loss(self, batch: Batch, outputs: PolicyOutputs) -> Tensor:
        mask_NT, return_NT = batch.rollouts.completion_mask_NT, batch.credit.return_NT
        assert outputs.value_NT is not None and batch.rollouts.value_NT is not None and return_NT is not None
        pair = (outputs.value_NT, batch.rollouts.value_NT)
        value_NT, old_NT = (torch.where(mask_NT, x, 0) for x in pair)  # before 0 * inf is NaN
        return values.value_loss(value_NT, old_NT, return_NT, self.value_clip)
