"""GRPO: Group Relative Policy Optimization (DeepSeekMath, 2402.03300).

    A_i  = (r_i - mean_g r) / std_g r                                       over the G completions of a prompt (§4.1.2)
    J    = avg_i avg_t { min[rho A_i, clip(rho, 1-lo, 1+hi) A_i] - beta k3 }                              (eq. 3)
    rho  = pi(o_t) / pi_old(o_t),   k3 = u - log u - 1,   u = pi_ref(o_t) / pi(o_t)                         (eq. 4)

The defaults are the paper's; its relatives are settings of the same fields, and have names (`--algo dr_grpo`):

    process supervision      supervision=process, with rewards for steps (§4.1.3; --reward process-rule, process-model)
    answer and steps         supervision=weighted, apart, min (PURE) or leave_one_out (PRIME): `ops/reasoning.py`
    dr_grpo   (2503.20783)   normalize=none loss_aggregation=horizon kl_coef=0
    dapo      (2503.14476)   clip_high=0.28 loss_aggregation=token kl_coef=0 filter_groups=zero_variance
    gspo      (2507.18071)   ratio=sequence clip_low=3e-4 clip_high=4e-4 kl_coef=0
    cispo     (2506.13585)   clip=weight clip_low=1 clip_high=4 loss_aggregation=token kl_coef=0
    rloo      (2402.14740)   baseline=leave_one_out normalize=none ratio=none clip=none loss_aggregation=sum
                             kl_placement=reward kl_coef=0.03
    lite_ppo  (2508.08221)   normalize=batch loss_aggregation=token kl_coef=0

With one update per round (the paper's setting) rho is 1 and no clip can act.  A zero-variance group, whose rewards are
all equal, has advantage 0: only the KL term moves it.  With kl_placement=reward it is no longer one: the differences
that the penalty makes are divided by a deviation that is the penalty's alone; normalize=none leaves them as small as
they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from algos.core.algorithm import Algorithm
from algos.core.paradigm import Row
from algos.core.types import Batch, Credit, Metrics, PolicyOutputs, Requirement, Rollouts, Schedule
from algos.ops import advantages, aggregate, kl, policy_gradient, ratios, reasoning, select


@dataclass(frozen=True, kw_only=True)
class GRPO(Algorithm):
    """Group-relative advantages, a clipped ratio, KL in the loss.  Needs groups of two or more."""

    paradigm = Row(reward="rule or model", coefficient="A_i + beta (pi_ref/pi - 1)", equation="21")

    supervision: Literal["outcome", "process", "weighted", "apart", "min", "leave_one_out"] = (
        "outcome"  # §4.1.2; process: a reward for each step, §4.1.3; the others: answer and steps together
    )
    step_weight: float = 1.0  # of the steps beside the answer, where they are together
    step_temperature: float = 0.1  # of supervision=min: towards 0 the worst step counts, towards infinity the mean
    step_reduction: advantages.StepReduction = "sum"  # §4.1.3, of supervision=process; mean: a length-neutral control
    baseline: advantages.Baseline = "group"  # what a reward is compared with: its group's mean, §4.1.2
    normalize: advantages.Normalize = "group"  # what the difference is divided by: its group's std, §4.1.2
    std_ddof: int = 0  # the paper says only "std"; chosen: the population's (1: torch's, verl's)
    ratio: ratios.Level = "token"  # pi / pi_old of each token, eq. 3; sequence: GSPO; none: REINFORCE
    clip: policy_gradient.Clip = "surrogate"  # the less of rho A and clipped rho A, eq. 3; weight: CISPO; none: rho A
    clip_low: float = 0.2  # epsilon below 1; the paper gives none; chosen: PPO's 0.2
    clip_high: float = 0.2  # epsilon above 1; DAPO: 0.28
    clip_dual: float | None = None  # off in the paper; c of dual clip where it is on
    kl_coef: float = 0.04  # beta, §4.2
    kl_placement: Literal["loss", "reward"] = "loss"  # where the KL penalty stands, §4.1.1; reward: as in PPO
    kl_estimator: kl.Estimator = "k3"  # eq. 4; in the reward it is always k1
    kl_importance: bool = False  # multiply the KL in the loss by rho, with its gradient (DeepSeek-V3.2)
    entropy_coef: float = 0.0  # no entropy bonus in the paper
    loss_aggregation: aggregate.Aggregation = "sequence"  # eq. 3: 1/|o_i|, then 1/G
    filter_groups: select.GroupFilter = "none"  # groups that leave the update and its denominators
    drop_truncated: bool = False  # DAPO's overlong mask: completions cut at the limit leave the update
    epochs: int = 1  # §4.2: a single update per exploration stage
    minibatches: int = 1  # updates per pass, by whole groups

    @property
    def needs(self) -> frozenset[Requirement]:
        needed: set[Requirement] = set()
        if self.kl_coef:
            needed.add("reference")
        if self.entropy_coef:
            needed.add("entropy")
        if self.supervision != "outcome":
            needed.add("steps")
        return frozenset(needed)

    def __post_init__(self) -> None:
        for name in ("clip_low", "clip_high", "kl_coef"):
            if getattr(self, name) < 0:
                raise ValueError(f"algo.{name}: must not be negative, not {getattr(self, name)}")
        for name in ("epochs", "minibatches"):
            if getattr(self, name) < 1:
                raise ValueError(f"algo.{name}: must be at least 1, not {getattr(self, name)}")
        if self.std_ddof not in (0, 1):
            raise ValueError(f"algo.std_ddof: must be 0 or 1, not {self.std_ddof}")
        if self.clip_dual is not None and (self.clip_dual <= 1 or self.clip != "surrogate"):
            raise ValueError(f"algo.clip_dual: must be above 1 and go with clip=surrogate, not {self.clip_dual}")
        pooled = self.baseline == "group" and self.normalize != "batch" and self.kl_placement == "loss"
        by, valid = self.supervision, "baseline=group, normalize=group or none, and kl_placement=loss"
        if by != "outcome" and not pooled:
            raise ValueError(f"algo.supervision: {by} goes with {valid}")
        if by != "outcome" and self.filter_groups != "none":
            raise ValueError(f"algo.filter_groups: {self.filter_groups} reads outcomes, and supervision={by} steps")
        if not self.step_temperature > 0:
            raise ValueError(f"algo.step_temperature: must be positive, not {self.step_temperature}")

    def schedule(self, base: Schedule) -> Schedule:
        group_baseline = self.baseline in ("group", "leave_one_out", "length")
        if (group_baseline or self.normalize == "group" or self.filter_groups != "none") and base.group_size < 2:
            raise ValueError(
                f"group_size: a group-relative advantage needs at least 2 completions per prompt, not {base.group_size}"
            )
        return replace(base, epochs=self.epochs, minibatches=self.minibatches)

    def credit(self, rollouts: Rollouts) -> Credit:
        r = rollouts
        assert r.reward_N is not None and r.valid_N is not None and r.finished_N is not None
        advantage_NT = self._by_outcome(r) if self.supervision == "outcome" else self._by_step(r)
        keep_N = r.valid_N & select.keep_groups(r.reward_N, r.group_N, r.valid_N, self.filter_groups)
        if self.drop_truncated:
            keep_N = keep_N & r.finished_N
        moved = bool(self.entropy_coef or (self.kl_coef and self.kl_placement == "loss"))  # by more than its advantage
        return Credit(
            advantage_NT=advantage_NT,
            keep_N=keep_N,
            zero_gradient_N=torch.zeros_like(keep_N) if moved else (advantage_NT == 0).all(1),
            metrics=None if self.supervision == "outcome" else self._step_metrics(r),
        )

    def _by_outcome(self, r: Rollouts) -> Tensor:
        """§4.1.2: one number per completion, the same for each of its tokens."""
        assert r.reward_N is not None and r.valid_N is not None
        reward_N = r.reward_N
        if self.kl_coef and self.kl_placement == "reward":
            assert r.ref_logp_NT is not None
            penalty_NT = kl.estimate(r.logp_NT, r.ref_logp_NT, r.completion_mask_NT, "k1")
            reward_N = reward_N - self.kl_coef * penalty_NT.sum(1)
        advantage_N = advantages.group_advantages(
            reward_N, r.group_N, r.valid_N, self.baseline, self.normalize, self.std_ddof, r.completion_mask_NT.sum(1)
        )
        return torch.where(r.completion_mask_NT, advantage_N[:, None], 0)

    def _by_step(self, r: Rollouts) -> Tensor:
        """§4.1.3: the normalised rewards of the steps to come; or answer and steps together."""
        assert r.step_reward_NT is not None and r.step_end_NT is not None and r.valid_N is not None
        assert r.reward_N is not None and self.supervision != "outcome"
        return reasoning.combined(
            r.reward_N,
            r.step_reward_NT,
            r.step_end_NT,
            r.completion_mask_NT,
            r.group_N,
            r.valid_N,
            self.supervision,
            self.step_weight,
            self.step_temperature,
            self.step_reduction,
            self.normalize,
            self.std_ddof,
        )

    @staticmethod
    def _step_metrics(r: Rollouts) -> dict[str, float]:
        """The share of groups whose step rewards are all equal, and steps per completion."""
        assert r.step_reward_NT is not None and r.step_end_NT is not None and r.valid_N is not None
        row_K, column_K = r.step_end_NT.nonzero(as_tuple=True)
        equal_P = advantages.zero_variance_groups(r.step_reward_NT[row_K, column_K], r.group_N[row_K], r.valid_N[row_K])
        return {"frac_step_reward_zero_std": float(equal_P.double().mean()), "steps": len(row_K) / len(r.group_N)}

    def loss(self, batch: Batch, outputs: PolicyOutputs) -> tuple[Tensor, Metrics]:
        r, mask_NT, logp_NT = batch.rollouts, batch.rollouts.completion_mask_NT, outputs.logp_NT
        objective_NT, per_token = policy_gradient.objective(
            logp_NT,
            r.logp_NT,
            batch.credit.advantage_NT,
            mask_NT,
            self.clip_low,
            self.clip_high,
            dual=self.clip_dual,
            ratio=self.ratio,
            clip=self.clip,
        )
        objective_NT = policy_gradient.regularised(
            objective_NT,
            logp_NT,
            r.logp_NT,
            r.ref_logp_NT,
            outputs.entropy_NT,
            mask_NT,
            kl_coef=self.kl_coef if self.kl_placement == "loss" else 0.0,
            kl_estimator=self.kl_estimator,
            kl_importance=self.kl_importance,
            entropy_coef=self.entropy_coef,
        )
        per_token["entropy"] = outputs.entropy_NT
        if self.kl_coef:
            assert r.ref_logp_NT is not None
            per_token["kl"] = kl.estimate(logp_NT, r.ref_logp_NT, mask_NT, "k1")
        loss = -aggregate.mean(objective_NT, mask_NT, batch.totals, self.loss_aggregation)
        return loss, aggregate.token_means(per_token, mask_NT, batch.totals)
