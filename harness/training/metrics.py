"""What one round says about itself, under the names that TRL's users know."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from algos import Credit
from algos.ops.advantages import zero_variance_groups
from algos.ops.kl import estimate
from evals.verification.transcript import turns_of
from harness.accounting.budget import Budget, Spend
from harness.accounting.profiler import PhaseProfiler
from harness.rewards.base import RewardedRollouts

MEASURED = frozenset(
    ("round", "loss", "grad_norm", "learning_rate", "reward", "reward_std", "frac_reward_zero_std", "unparseable")
    + ("truncated", "verifier_error", "kl/reverse", "num_tokens", "step_time")
)
MEASURED_GROUPS = (
    "accuracy/", "advantage/", "budget/", "completions/", "critic/", "mem/", "perf/", "reward/", "reward_model/",
    "sampling/", "spend/", "steps/", "task/", "tools/",
)  # fmt: skip


def check_own(names: Iterable[str]) -> None:
    """The metrics that an algorithm returns.  Raises ValueError where one has the name of what the harness measures:
    it would stand in its place."""
    if taken := sorted(name for name in names if name in MEASURED or name.startswith(MEASURED_GROUPS)):
        raise ValueError(
            f"algo: it returns a metric called '{taken[0]}', which the harness measures itself; call it otherwise"
        )


@dataclass(frozen=True)
class Round:
    """A finished round, before it is written down."""

    number: int
    collected: RewardedRollouts | None  # None: a pass over what was sampled before
    credit: Credit | None
    update: dict[str, float]  # means over the round's updates; empty where there was none
    spend: Spend
    started: float  # time.perf_counter()

    def metrics(self, budget: Budget, profiler: PhaseProfiler) -> dict[str, float]:
        """One line of metrics.jsonl.  Shares are of completions, except frac_reward_zero_std (of groups)."""
        phases, own = profiler.phases, dict((self.credit and self.credit.metrics) or {})
        check_own(own)
        return {
            "budget/fraction": budget.fraction(self.spend),
            **self._sampled(),
            **self.update,
            **own,
            "num_tokens": float(self.spend.generated_tokens),
            "step_time": time.perf_counter() - self.started,
            "perf/rollout_tok_s": _rate(phases["rollout"].tokens, phases["rollout"].seconds),
            "perf/train_tok_s": _rate(phases["update"].tokens, phases["update"].seconds),
            "perf/effective_tok_s": _rate(self.spend.generated_tokens, profiler.charged_seconds),
            **{f"mem/peak_{name}": float(p.peak_bytes) for name, p in phases.items() if p.peak_bytes},
            **{f"spend/{unit}": float(value) for unit, value in self.spend.as_dict().items()},
        }

    def _sampled(self) -> dict[str, float]:
        """What the completions of this round say."""
        if self.collected is None or self.credit is None:
            return {}
        r, judged = self.collected.rollouts, self.collected.judged
        assert r.reward_N is not None and r.valid_N is not None and r.finished_N is not None
        length_N = r.completion_mask_NT.sum(1).float()
        reward_N = r.reward_N[r.valid_N]
        return {
            "reward": float(reward_N.mean()) if len(reward_N) else 0.0,
            "reward_std": float(reward_N.std(unbiased=False)) if len(reward_N) else 0.0,
            "frac_reward_zero_std": float(zero_variance_groups(r.reward_N, r.group_N, r.valid_N).float().mean()),
            "accuracy/strict": judged.share("correct"),
            "accuracy/lenient": judged.share("correct", "lenient"),
            "unparseable": judged.share("unparseable"),
            "truncated": judged.share("truncated"),
            "verifier_error": judged.share("verifier_error"),
            "completions/mean_length": float(length_N.mean()),
            "completions/min_length": float(length_N.min()),
            "completions/max_length": float(length_N.max()),
            "completions/clipped_ratio": float((~r.finished_N).float().mean()),
            "advantage/abs_mean": float(self.credit.advantage_NT.abs().sum() / r.completion_mask_NT.sum().clamp(min=1)),
            "completions/kept": float(self.credit.keep_N.float().mean()),
            **self._reverse_kl(),
            **judged.metrics,
        }

    def _reverse_kl(self) -> dict[str, float]:
        """Sequence-level KL(pi || ref) of the sampling policy, in nats: mean of sum_t log pi - log ref over fresh
        samples.

        Unbiased, the same estimate for every algorithm, before any update of the round has moved the policy.
        """
        assert self.collected is not None
        r = self.collected.rollouts
        if r.ref_logp_NT is None or r.valid_N is None or not r.valid_N.any():
            return {}
        return {
            "kl/reverse": float(estimate(r.logp_NT, r.ref_logp_NT, r.completion_mask_NT, "k1").sum(1)[r.valid_N].mean())
        }

    def samples(self, count: int = 3) -> list[dict[str, Any]]:
        """A few completions of the round, evenly spaced, with their verdicts."""
        if self.collected is None:
            return []
        e, reward_N = self.collected, self.collected.rollouts.reward_N
        assert reward_N is not None
        step = max(1, len(e.texts) // count)
        return [
            {
                "prompt": e.problems[i].prompt,
                "completion": e.texts[i],
                "gold": e.problems[i].gold,
                "reward": float(reward_N[i]),
                "verdict": e.judged.verdicts[i].strict,
                **({"turns": [vars(t) for t in turns]} if (turns := turns_of(e.texts[i])) else {}),
            }
            for i in range(0, len(e.texts), step)
        ][:count]


def _rate(tokens: int, seconds: float) -> float:
    return tokens / seconds if seconds else 0.0


def warnings(history: Sequence[dict[str, float]], exact: bool) -> list[str]:
    """What looks wrong, in plain words.  `history` is metrics.jsonl so far; `exact` says fp32 on the CPU,
    where sampler and trainer must agree to 1e-3."""
    lines: list[str] = []
    if history and history[-1].get("sampling/max_abs_logratio", 0.0) > (1e-3 if exact else 0.5):
        lines.append(
            f"the ratio is not 1 before the first update (max |log ratio| "
            f"{history[-1]['sampling/max_abs_logratio']:.2g}): sampler and trainer disagree"
        )
    sampled = [m for m in history if "reward" in m]  # a pass over earlier completions says nothing new of them
    if not sampled or sampled[-1] is not history[-1]:
        return lines
    now, first, recent = sampled[-1], sampled[0], sampled[-3:]
    if len(recent) == 3 and all(m["advantage/abs_mean"] == 0 for m in recent):
        level = "right" if now["reward"] > 0.5 else "wrong"
        lines.append(
            f"every advantage was 0 for three rounds (all {level}): nothing is learned; take problems that "
            f"are sometimes solved, or a larger group"
        )
    for name, what in (("truncated", "cut at the token limit"), ("unparseable", "without a final answer")):
        if now[name] > max(0.2, 2 * first[name]):
            lines.append(f"{now[name]:.0%} of completions are {what} (at the start {first[name]:.0%})")
    if now.get("kl", 0.0) > 10.0:
        lines.append(f"KL to the reference is {now['kl']:.1f} nats per token: the policy diverges; lower lr")
    if now.get("reward/failed", 0) > 0:
        lines.append(f"the reward failed on {now['reward/failed']:.1%} of completions; they leave their groups")
    if now["verifier_error"] > 0:
        lines.append(f"the verifier failed on {now['verifier_error']:.1%} of completions; they leave their groups")
    return lines
