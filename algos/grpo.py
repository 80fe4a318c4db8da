"""GRPO: Group Relative Policy Optimization (DeepSeekMath, 2402.03300).

    A_i  = (r_i - mean_g r) / std_g r                                       over the G completions of a prompt (§4.1.2)
    J    = avg_i avg_t { min[rho A_i, clip(rho, 1-lo, 1+hi) A_i] - beta k3 }                              (eq. 3)
    rho  = pi(o_t) / pi_old(o_t),   k3 = u - log u - 1,   u = pi_ref(o_t) / pi(o_t)                         (eq. 4)

The defaults are the paper's; its relatives are settings of the same fields, and have names (`--algo dr_grpo`): the
table algos/variants/family.toml, and frameworks' dialects (`--preset trl`): algos/variants/dialects.toml.  With rewards
for steps (--reward process-rule, process-model) supervision=process is §4.1.3; others: algos/ops/reasoning.py.

With one update per round (the paper's setting) rho is 1 and no clip can act.  A zero-variance group, whose rewards are
all equal, has advantage 0: only the KL term moves it.  With kl_placement=reward it is no longer one: the differences
that the penalty makes are divided by a deviation that is the penalty's alone; normalize=none leaves them as small as
they are.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import torch
from torch import Tensor

from algos.core.algorithm import Algorithm
from algos.core.checks import check_at_least_one, check_not_negative
from algos.core.paradigm import Row
from algos.core.types import Batch, Credit, Metrics, PolicyOutputs, Requirement, Rollouts, Schedule
from algos.grouping import catalog
from algos.grouping.base import Baseline, GroupKey
from algos.grouping.checks import check_grouping, check_process
from algos.ops import advantages, aggregate, kl, policy_gradient, reasoning, select


@dataclass(frozen=True, kw_only=True)
class GRPO(Algorithm):
    """Group-relative advantages, a clipped ratio, KL in the loss.  Needs groups of two or more."""

    paradigm = Row(
        reward="rule or model", coefficient="A_i + beta (pi_ref/pi - 1)", equation="21", transform="2 arcsin sqrt p"
    )

    supervision: Literal["outcome", "process", "weighted", "apart", "min", "leave_one_out"] = (
        "outcome"  # §4.1.2; process: a reward for each step, §4.1.3; the others: answer and steps together
    )
    step_weight: float = 1.0  # of the steps beside the answer, where they are together
    step_temperature: float = 0.1  # of supervision=min: towards 0 the worst step counts, towards infinity the mean
    step_reduction: advantages.StepReduction = "sum"  # §4.1.3, of supervision=process; mean: a length-neutral control
    signed_reward: bool = False  # 2 r - 1: a wrong completion is -1, not 0
    baseline: str = "group"  # what a reward is compared with: its group's mean, §4.1.2; see `harness list --family`
    group_by: str = "prompt"  # the group that baseline and normalize are over, §4.1; see `harness list --family`
    group_blend: float = 1.0  # weight of that group's advantage beside the prompt's, where it is another
    normalize: advantages.Normalize = "group"  # what the difference is divided by: its group's std, §4.1.2
    std_ddof: int = 0  # the paper says only "std"; chosen: the population's (1: torch's, verl's)
    std_eps: float = 0.0  # added to a deviation; the paper has none; frameworks have 1e-9 to 1e-4
    whiten: Literal["none", "tokens", "completions"] = "none"  # advantages, over the round at last; none in the paper
    whiten_eps: float = 0.0  # added to its deviation
    ratio: policy_gradient.Ratio = "token"  # pi / pi_old, eq. 3; sequence: GSPO; geometric: GMPO; none: REINFORCE
    clip: policy_gradient.Clip = (
        "surrogate"  # the less of rho A and clipped rho A, eq. 3; others: ops/policy_gradient.py
    )
    clip_low: float = 0.2  # epsilon below 1; the paper gives none; chosen: PPO's 0.2
    clip_high: float = 0.2  # epsilon above 1; DAPO: 0.28
    clip_dual: float | None = None  # off in the paper; c of dual clip where it is on
    gate_positive: float = 1.0  # of clip=soft: tau where A > 0
    gate_negative: float = 1.05  # of clip=soft: tau where not
    kl_coef: float = 0.04  # beta, §4.2
    kl_placement: Literal["loss", "reward", "to_go"] = "loss"  # of the KL, §4.1.1; reward: summed; to_go: as in PPO
    kl_estimator: kl.Estimator = "k3"  # eq. 4; in the reward it is always k1
    kl_importance: bool = False  # multiply the KL in the loss by rho, with its gradient (DeepSeek-V3.2)
    kl_score: bool = False  # multiply it by pi / sg(pi): its value, and the gradient of sampling (NeMo-RL)
    proximal_coef: float = 0.0  # of (log rho)^2 in the loss, a pull towards the sampler (prime-rl)
    entropy_coef: float = 0.0  # no entropy bonus in the paper
    loss_aggregation: aggregate.Aggregation = "sequence"  # eq. 3: 1/|o_i|, then 1/G
    filter_groups: select.GroupFilter = "none"  # groups that leave the update and its denominators
    draws: int = 1  # pieces of P groups drawn at the most until P groups stay; 1: none is drawn for those that leave
    select_completions: select.Selection = "all"  # positive: A > 0; largest: |A|; extremes: of each group, by variance
    select_share: float = 0.5  # of completions, that largest and extremes keep
    drop_truncated: bool = False  # DAPO's overlong mask: completions cut at the limit leave the update
    epochs: int = 1  # §4.2: a single update per exploration stage
    minibatches: int = 1  # updates per pass, by whole groups

    @property
    def needs(self) -> frozenset[Requirement]:
        needed: set[Requirement] = {*self._baseline.needs, *self._key.needs}
        if self.kl_coef:
            needed.add("reference")
        if self.entropy_coef:
            needed.add("entropy")
        if self.supervision != "outcome":
            needed.add("steps")
        return frozenset(needed)

    @property
    def _baseline(self) -> Baseline:
        return catalog.baseline(self.baseline)

    @property
    def _key(self) -> GroupKey:
        return catalog.group_key(self.group_by)

    def __post_init__(self) -> None:
        check_not_negative(self, "clip_low", "clip_high", "kl_coef", "std_eps", "whiten_eps", "proximal_coef")
        check_at_least_one(self, "epochs", "minibatches", "draws")
        if self.std_ddof not in (0, 1):
            raise ValueError(f"algo.std_ddof: must be 0 or 1, not {self.std_ddof}")
        for name in ("gate_positive", "gate_negative", "select_share"):
            if not getattr(self, name) > 0:
                raise ValueError(f"algo.{name}: must be positive, not {getattr(self, name)}")
        if self.select_share > 1:
            raise ValueError(f"algo.select_share: must be at most 1, not {self.select_share}")
        if self.clip_dual is not None and (self.clip_dual <= 1 or self.clip != "surrogate"):
            raise ValueError(f"algo.clip_dual: must be above 1 and go with clip=surrogate, not {self.clip_dual}")
        if self.ratio == "geometric" and self.clip != "surrogate":
            raise ValueError(f"algo.clip: ratio=geometric clips log-ratios itself: surrogate, not {self.clip}")
        if self.draws > 1 and self.filter_groups == "none":
            raise ValueError("algo.draws: groups are drawn for those that leave: give algo.filter_groups")
        check_grouping(self)
        check_process(self)

    def schedule(self, base: Schedule) -> Schedule:
        by_group = self._baseline.per_group or self.normalize in ("group", "others") or self.filter_groups != "none"
        if by_group and base.group_size < 2:
            raise ValueError(
                f"group_size: a group-relative advantage needs at least 2 completions per prompt, not {base.group_size}"
            )
        self._key.check_prompts(base.prompts)
        return replace(base, epochs=self.epochs, minibatches=self.minibatches, draws=self.draws)

    def credit(self, rollouts: Rollouts) -> Credit:
        r = rollouts
        assert r.reward_N is not None and r.valid_N is not None and r.finished_N is not None
        valid_N = r.valid_N
        if self.select_completions == "extremes":
            valid_N = valid_N & select.extremes(valid_N, r.group_N, r.reward_N, self.select_share)
        advantage_NT = self._by_outcome(r, valid_N) if self.supervision == "outcome" else self._by_step(r)
        keep_N = valid_N & select.keep_groups(r.reward_N, r.group_N, r.valid_N, self.filter_groups)
        if self.drop_truncated:
            keep_N = keep_N & r.finished_N
        if self.select_completions == "positive":
            keep_N = keep_N & (advantage_NT > 0).any(1)
        elif self.select_completions == "largest":
            keep_N = select.largest(keep_N, advantage_NT.abs().amax(1), self.select_share)
        return Credit(
            advantage_NT=advantage_NT,
            keep_N=keep_N,
            zero_gradient_N=torch.zeros_like(keep_N) if self._moves_without() else (advantage_NT == 0).all(1),
            metrics=None if self.supervision == "outcome" else self._step_metrics(r),
        )

    def _moves_without(self) -> bool:
        """Does the loss move a completion whose advantage is 0?"""
        return bool(self.entropy_coef or self.proximal_coef or (self.kl_coef and self.kl_placement == "loss"))

    def _by_outcome(self, r: Rollouts, valid_N: Tensor) -> Tensor:
        """§4.1.2: one number per completion, the same for each of its tokens."""
        assert r.reward_N is not None
        mask_NT, reward_N = r.completion_mask_NT, 2 * r.reward_N - 1 if self.signed_reward else r.reward_N
        penalty_NT = torch.zeros_like(r.logp_NT)
        if self.kl_coef and self.kl_placement != "loss":
            assert r.ref_logp_NT is not None
            penalty_NT = self.kl_coef * kl.estimate(r.logp_NT, r.ref_logp_NT, mask_NT, "k1")
            if self.kl_placement == "reward":
                reward_N = reward_N - penalty_NT.sum(1)
        advantage_N = self.outcome_advantages(reward_N, valid_N, r)
        if self.whiten == "completions":
            advantage_N = advantages.whiten(advantage_N, valid_N, self.std_ddof, self.whiten_eps)
        advantage_NT = torch.where(mask_NT, advantage_N[:, None], 0)
        if self.kl_coef and self.kl_placement == "to_go":
            advantage_NT = advantage_NT - advantages.reward_to_go(penalty_NT, mask_NT)
        if self.whiten == "tokens":
            valid_NT = mask_NT & valid_N[:, None]
            advantage_NT = advantages.whiten(advantage_NT, valid_NT, self.std_ddof, self.whiten_eps)
        return torch.where(valid_N[:, None], advantage_NT, 0)

    def outcome_advantages(self, reward_N: Tensor, valid_N: Tensor, r: Rollouts) -> Tensor:
        """(r_i - baseline_i) / scale_i, 0 where not valid, as `baseline`, `group_by` and `normalize` have it.  (N,)."""
        state, key_N = self.state(), r.group_N
        if self.group_by != "prompt":
            key_N = self._key.groups(r, valid_N, state.get("key", {}))
        advantage_N = self._over(reward_N, valid_N, key_N, r)
        if self.group_by != "prompt" and self.group_blend < 1:
            own_N = self._over(reward_N, valid_N, r.group_N, r)
            advantage_N = self.group_blend * advantage_N + (1 - self.group_blend) * own_N
        return advantage_N

    def _over(self, reward_N: Tensor, valid_N: Tensor, key_N: Tensor, r: Rollouts) -> Tensor:
        memory = self.state().get("baseline", {})
        baseline_N = self._baseline.values(reward_N, valid_N, key_N, r, memory)
        divisor_N = advantages.scale(reward_N, key_N, valid_N, self.normalize, self.std_ddof, self.std_eps)
        advantage_N = (reward_N - baseline_N) / divisor_N
        advantage_N = self._baseline.finish(advantage_N, reward_N, valid_N, key_N, r, memory)
        return torch.where(valid_N, advantage_N, 0)

    # What baseline and key remember from round to round.

    def state(self) -> Mapping[str, Any]:
        learned: Mapping[str, Any] = getattr(self, "_learned", {})
        return learned

    def with_state(self, state: Mapping[str, Any]) -> Self:
        algo = copy.copy(self)
        object.__setattr__(algo, "_learned", state)
        return algo

    def adapt(self, rollouts: Rollouts) -> Self:
        before = self.state()
        parts = {"baseline": self._baseline, "key": self._key}
        learned = {name: part.learn(rollouts, before.get(name, {})) for name, part in parts.items()}
        learned = {name: memory for name, memory in learned.items() if memory}
        return self.with_state(learned) if learned else self

    def probes(self, problems: list[int]) -> list[int]:
        return self._baseline.probes(problems, self.state().get("baseline", {}))

    def flops(self, rollouts: Rollouts) -> float:
        return self._baseline.flops(rollouts, self.state().get("baseline", {}))

    @property
    def remembers_prompts(self) -> bool:
        return self._baseline.remembers

    def live_groups(self, rollouts: Rollouts) -> int:
        r = rollouts
        assert r.reward_N is not None and r.valid_N is not None
        return len(r.group_N[select.keep_groups(r.reward_N, r.group_N, r.valid_N, self.filter_groups)].unique())

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
            self.std_eps,
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
            gate=(self.gate_positive, self.gate_negative),
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
            kl_score=self.kl_score,
            entropy_coef=self.entropy_coef,
            proximal_coef=self.proximal_coef,
        )
        per_token["entropy"] = outputs.entropy_NT
        if self.kl_coef:
            assert r.ref_logp_NT is not None
            per_token["kl"] = kl.estimate(logp_NT, r.ref_logp_NT, mask_NT, "k1")
        loss = -aggregate.mean(objective_NT, mask_NT, batch.totals, self.loss_aggregation)
        return loss, aggregate.token_means(per_token, mask_NT, batch.totals)
