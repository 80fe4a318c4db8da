"""Seeded bugs, to show that the tests can fail.  A pytest plugin: `MUTANT=name pytest -p tests.algos.mutants`.

A mutant wraps one function of `algos.ops`; every reference to that function inside `algos` is replaced before a
test is imported.  Without MUTANT in the environment nothing happens.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

import algos
from algos import Totals
from algos.ops import advantages, aggregate, kl, ratios, select, values

for _name in algos.names():  # so that everything that could refer to an op is loaded
    algos.load(_name)

Function = Callable[..., Any]


def flipped_advantage(f: Function) -> Function:
    return lambda *a, **k: -f(*a, **k)


def no_baseline_of_ones_own(f: Function) -> Function:
    """leave_one_out falls back to the group's mean."""
    return lambda r, g, v, center, *rest: f(r, g, v, "group" if center == "leave_one_out" else center, *rest)


def flipped_ddof(f: Function) -> Function:
    return lambda x, g, v, scale, ddof=0, *eps: f(x, g, v, scale, 1 - ddof, *eps)


def deviation_plus_epsilon(f: Function) -> Function:
    """The usual x / (std + eps) in place of the rule for equal rewards."""
    return lambda x, g, v, scale, ddof=0, *eps: f(x, g, v, scale, ddof, *eps) + 1e-6


def everyone_is_valid(f: Function) -> Function:
    return lambda x, g, v: f(x, g, torch.ones_like(v))


def steps_behind(f: Function) -> Function:
    """The steps that ended before a token, in the place of those to come."""

    def mutant(reward: torch.Tensor, end: torch.Tensor, mask: torch.Tensor, *a: Any, **k: Any) -> torch.Tensor:
        return torch.where(mask, f(reward.flip(1), end.flip(1), torch.ones_like(mask), *a, **k).flip(1), 0)

    return mutant


def steps_not_pooled(f: Function) -> Function:
    """Every completion's steps normalised on their own."""
    return lambda r, e, m, group, *a, **k: f(r, e, m, torch.arange(len(group)), *a, **k)


def mean_of_steps_always(f: Function) -> Function:
    return lambda r, e, m, g, v, steps="sum", *a, **k: f(r, e, m, g, v, "mean", *a, **k)


def inverted_ratio(f: Function) -> Function:
    return lambda new, old, mask, level="token": f(new, old, mask, level) ** -1


def mask_by_multiplication(f: Function) -> Function:
    """0 times infinity is not 0."""
    return lambda new, old, mask: mask * (new - old)


def swapped_clip_bounds(f: Function) -> Function:
    return lambda ratio, advantage, low, high, dual=None: f(ratio, advantage, high, low, dual)


def pessimism_dropped(f: Function) -> Function:
    """clip(rho) A alone, without the minimum."""
    return lambda ratio, advantage, low, high, dual=None: ratio.clamp(1 - low, 1 + high) * advantage


def weight_with_gradient(f: Function) -> Function:
    """CISPO without its stop-gradient."""

    def mutant(ratio: Any, new: Any, advantage: Any, mask: Any, low: float, high: float) -> Any:
        return ratio.clamp(1 - low, 1 + high) * advantage * torch.where(mask, new, 0)

    return mutant


def swapped_fractions(f: Function) -> Function:
    return lambda *a, **k: f(*a, **k)[::-1]


def flipped_x(f: Function) -> Function:
    """k3 with log pi_ref - log pi for x."""
    return lambda new, ref, mask, estimator="k3": f(*((ref, new) if estimator == "k3" else (new, ref)), mask, estimator)


def dropped_mask(f: Function) -> Function:
    return lambda x, mask, totals, over="sequence": f(x, torch.ones_like(mask), totals, over)


def denominators_of_the_slice(f: Function) -> Function:
    def mutant(x: Any, mask: Any, totals: Totals, over: str = "sequence") -> Any:
        return f(x, mask, replace(totals, sequences=len(x), tokens=int(mask.sum())), over)

    return mutant


def inverted_selection(f: Function) -> Function:
    return lambda *a, **k: ~f(*a, **k)


# --- values, selection and the controller --------------------------------------------------------------------


def whiten_without_shift(f: Function) -> Function:
    return lambda x, mask: torch.where(mask, f(x, mask) + x[mask].mean() / x[mask].std(unbiased=False), 0)


def whiten_by_sample(f: Function) -> Function:
    """The sample's deviation in place of the population's."""
    return lambda x, mask: f(x, mask) * (1 - 1 / mask.sum()).sqrt()


def whiten_over_rows(f: Function) -> Function:
    """Each completion by itself, in place of the whole round."""
    return lambda x, mask: torch.cat([f(x[i : i + 1], mask[i : i + 1]) for i in range(len(x))])


def reward_at_the_first_token(f: Function) -> Function:
    return lambda reward, mask: f(reward, mask.flip(1)).flip(1)


def reward_at_the_last_column(f: Function) -> Function:
    return lambda reward, mask: f(reward, torch.ones_like(mask))


def gae_through_gaps(f: Function) -> Function:
    """Tool output between two tokens is bootstrapped from and discounted for."""

    def mutant(reward: Any, value: Any, mask: Any, gamma: float, lam: Any) -> Any:
        until_last = mask.flip(1).cumsum(1).flip(1) > 0
        return torch.where(mask, f(reward, value, until_last, gamma, lam), 0)

    return mutant


def gae_restarts_at_gaps(f: Function) -> Function:
    """A gap ends the sum: each stretch of tokens is a completion of its own."""

    def mutant(reward: Any, value: Any, mask: Any, gamma: float, lam: Any) -> Any:
        stretch, result = (~mask).cumsum(1), torch.zeros_like(reward)
        for k in range(mask.shape[1] + 1):
            result = result + f(reward, value, mask & (stretch == k), gamma, lam)
        return result

    return mutant


def gae_bootstraps_from_the_end(f: Function) -> Function:
    """The value after the last token is taken for that of the last token, as if a limit cut every completion."""

    def mutant(reward: Any, value: Any, mask: Any, gamma: float, lam: Any) -> Any:
        last = mask & (mask.cumsum(1) == mask.sum(1, keepdim=True))
        return f(torch.where(last, reward + gamma * value, reward), value, mask, gamma, lam)

    return mutant


def gae_ignores_lambda(f: Function) -> Function:
    return lambda reward, value, mask, gamma, lam: f(reward, value, mask, gamma, 1.0)


def gae_ignores_gamma(f: Function) -> Function:
    return lambda reward, value, mask, gamma, lam: f(reward, value, mask, 1.0, lam)


def gae_adds_the_value(f: Function) -> Function:
    return lambda reward, value, mask, gamma, lam: f(reward, -value, mask, gamma, lam)


def lambda_of_the_padded_length(f: Function) -> Function:
    return lambda mask, alpha: f(torch.ones_like(mask), alpha)


def lambda_without_floor(f: Function) -> Function:
    return lambda mask, alpha: 1 - 1 / (alpha * mask.sum(1).clamp(min=1))


def optimistic_value_loss(f: Function) -> Function:
    """The smaller of the two errors."""

    def mutant(value: Any, old: Any, target: Any, clip: Any) -> Any:
        near = value if clip is None else torch.minimum(torch.maximum(value, old - clip), old + clip)
        return torch.minimum((value - target) ** 2, (near - target) ** 2) / 2

    return mutant


def unclipped_value_loss(f: Function) -> Function:
    return lambda value, old, target, clip: f(value, old, target, None)


def whole_square(f: Function) -> Function:
    return lambda *a: 2 * f(*a)


def explained_with_bias(f: Function) -> Function:
    """1 - mean (R - V)^2 / Var(R): a shift counts as error."""

    def mutant(value: Any, target: Any, mask: Any) -> Any:
        r, v = target[mask], value[mask]
        return None if f(value, target, mask) is None else float(1 - (r - v).square().mean() / r.var(unbiased=False))

    return mutant


def parts_of_the_width(f: Function) -> Function:
    """Shares of the widest completion, not of each completion's own length."""

    def mutant(value: Any, target: Any, mask: Any, parts: int = 4) -> Any:
        x = f(value, target, mask, parts)
        part = torch.arange(mask.shape[1]) * parts // mask.shape[1]
        found = {k: values.explained_variance(value, target, mask & (part == k)) for k in range(parts)}
        x = {name: y for name, y in x.items() if "/part" not in name}
        return x | {f"explained_variance/part{k + 1}of{parts}": y for k, y in found.items() if y is not None}

    return mutant


def first_without_limit(f: Function) -> Function:
    return lambda keep, group, limit: f(keep, group, len(keep))


def first_is_last(f: Function) -> Function:
    return lambda keep, group, limit: f(keep.flip(0), group.flip(0), limit).flip(0)


def first_of_all_groups(f: Function) -> Function:
    return lambda keep, group, limit: f(keep, torch.zeros_like(group), limit)


def first_counts_everyone(f: Function) -> Function:
    """What is not kept uses up the limit too."""
    return lambda keep, group, limit: keep & f(torch.ones_like(keep), group, limit)


def best_is_worst(f: Function) -> Function:
    return lambda k, g, v, limit: f(k, g, -v, limit)


def best_of_everyone(f: Function) -> Function:
    return lambda k, g, v, limit: f(torch.ones_like(k), g, v, limit)


def best_of_equals_is_the_last(f: Function) -> Function:
    return lambda k, g, v, limit: f(k.flip(0), g.flip(0), v.flip(0), limit).flip(0)


def distinct_over_groups(f: Function) -> Function:
    return lambda keep, group, key: f(keep, torch.zeros_like(group), key)


def distinct_by_group(f: Function) -> Function:
    return lambda keep, group, key: f(keep, group, torch.zeros_like(key))


def distinct_among_all(f: Function) -> Function:
    """A wrong completion takes its key from a right one after it."""
    return lambda keep, group, key: keep & f(torch.ones_like(keep), group, key)


def pairs_over_groups(f: Function) -> Function:
    return lambda one, other, group, limit=None: f(one, other, torch.zeros_like(group), limit)


def pairs_without_limit(f: Function) -> Function:
    return lambda one, other, group, limit=None: f(one, other, group)


def pairs_from_the_end(f: Function) -> Function:
    return lambda one, other, group, limit=None: f(one.flip(0), other.flip(0), group.flip(0), limit).flip(0)


def everyone_in_one_pair(f: Function) -> Function:
    return lambda *a, **k: f(*a, **k).clamp(max=0)


def controller_without_bound(f: Function) -> Function:
    return lambda coef, kl, target, count, horizon: coef * (1 + (kl / target - 1) * count / horizon)


def controller_upside_down(f: Function) -> Function:
    return lambda coef, kl, target, count, horizon: 2 * coef - f(coef, kl, target, count, horizon)


def controller_per_round(f: Function) -> Function:
    return lambda coef, kl, target, count, horizon: f(coef, kl, target, 1, 1)


MUTANTS: dict[str, tuple[Any, str, Callable[[Function], Function]]] = {
    "flipped_advantage": (advantages, "group_advantages", flipped_advantage),
    "no_baseline_of_ones_own": (advantages, "baseline_values", no_baseline_of_ones_own),
    "flipped_ddof": (advantages, "scale", flipped_ddof),
    "deviation_plus_epsilon": (advantages, "scale", deviation_plus_epsilon),
    "everyone_is_valid": (advantages, "zero_variance_groups", everyone_is_valid),
    "steps_behind": (advantages, "process", steps_behind),
    "steps_not_pooled": (advantages, "process", steps_not_pooled),
    "mean_of_steps_always": (advantages, "process", mean_of_steps_always),
    "inverted_ratio": (ratios, "importance", inverted_ratio),
    "mask_by_multiplication": (ratios, "log_ratio", mask_by_multiplication),
    "swapped_clip_bounds": (ratios, "clipped_surrogate", swapped_clip_bounds),
    "pessimism_dropped": (ratios, "clipped_surrogate", pessimism_dropped),
    "weight_with_gradient": (ratios, "clipped_weight", weight_with_gradient),
    "swapped_fractions": (ratios, "clip_fractions", swapped_fractions),
    "flipped_x": (kl, "estimate", flipped_x),
    "dropped_mask": (aggregate, "mean", dropped_mask),
    "denominators_of_the_slice": (aggregate, "mean", denominators_of_the_slice),
    "inverted_selection": (select, "keep_groups", inverted_selection),
    "whiten_without_shift": (advantages, "whiten", whiten_without_shift),
    "whiten_by_sample": (advantages, "whiten", whiten_by_sample),
    "whiten_over_rows": (advantages, "whiten", whiten_over_rows),
    "reward_at_the_first_token": (values, "at_last", reward_at_the_first_token),
    "reward_at_the_last_column": (values, "at_last", reward_at_the_last_column),
    "gae_through_gaps": (values, "gae", gae_through_gaps),
    "gae_restarts_at_gaps": (values, "gae", gae_restarts_at_gaps),
    "gae_bootstraps_from_the_end": (values, "gae", gae_bootstraps_from_the_end),
    "gae_ignores_lambda": (values, "gae", gae_ignores_lambda),
    "gae_ignores_gamma": (values, "gae", gae_ignores_gamma),
    "gae_adds_the_value": (values, "gae", gae_adds_the_value),
    "gae_flipped": (values, "gae", flipped_advantage),
    "lambda_of_the_padded_length": (values, "length_lambda", lambda_of_the_padded_length),
    "lambda_without_floor": (values, "length_lambda", lambda_without_floor),
    "optimistic_value_loss": (values, "value_loss", optimistic_value_loss),
    "unclipped_value_loss": (values, "value_loss", unclipped_value_loss),
    "whole_square": (values, "value_loss", whole_square),
    "explained_with_bias": (values, "explained_variance", explained_with_bias),
    "parts_of_the_width": (values, "explained_by_position", parts_of_the_width),
    "first_without_limit": (select, "first", first_without_limit),
    "first_is_last": (select, "first", first_is_last),
    "first_of_all_groups": (select, "first", first_of_all_groups),
    "first_counts_everyone": (select, "first", first_counts_everyone),
    "best_is_worst": (select, "best", best_is_worst),
    "best_of_everyone": (select, "best", best_of_everyone),
    "best_of_equals_is_the_last": (select, "best", best_of_equals_is_the_last),
    "distinct_over_groups": (select, "distinct", distinct_over_groups),
    "distinct_by_group": (select, "distinct", distinct_by_group),
    "distinct_among_all": (select, "distinct", distinct_among_all),
    "pairs_over_groups": (select, "pairs", pairs_over_groups),
    "pairs_without_limit": (select, "pairs", pairs_without_limit),
    "pairs_from_the_end": (select, "pairs", pairs_from_the_end),
    "everyone_in_one_pair": (select, "pairs", everyone_in_one_pair),
    "controller_without_bound": (kl, "adapted", controller_without_bound),
    "controller_upside_down": (kl, "adapted", controller_upside_down),
    "controller_per_round": (kl, "adapted", controller_per_round),
}


def apply(name: str) -> None:
    """Replace the function everywhere in `algos` by its mutant."""
    home, attribute, mutate = MUTANTS[name]
    original = getattr(home, attribute)
    mutant = mutate(original)
    for module in [m for key, m in sys.modules.items() if key == "algos" or key.startswith("algos.")]:
        for key, value in list(vars(module).items()):
            if value is original:
                setattr(module, key, mutant)


if os.environ.get("MUTANT"):
    apply(os.environ["MUTANT"])
