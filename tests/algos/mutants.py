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

import algos.grpo  # noqa: F401  (so that everything that could refer to an op is loaded)
from algos import Totals
from algos.ops import advantages, aggregate, kl, ratios, select

Function = Callable[..., Any]


def flipped_advantage(f: Function) -> Function:
    return lambda *a, **k: -f(*a, **k)


def no_baseline_of_ones_own(f: Function) -> Function:
    """leave_one_out falls back to the group's mean."""
    return lambda r, g, v, center, *rest: f(r, g, v, "group" if center == "leave_one_out" else center, *rest)


def flipped_ddof(f: Function) -> Function:
    return lambda x, g, v, scale, ddof=0: f(x, g, v, scale, 1 - ddof)


def deviation_plus_epsilon(f: Function) -> Function:
    """The usual x / (std + eps) in place of the rule for equal rewards."""
    return lambda x, g, v, scale, ddof=0: f(x, g, v, scale, ddof) + 1e-6


def everyone_is_valid(f: Function) -> Function:
    return lambda x, g, v: f(x, g, torch.ones_like(v))


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


MUTANTS: dict[str, tuple[Any, str, Callable[[Function], Function]]] = {
    "flipped_advantage": (advantages, "relative", flipped_advantage),
    "no_baseline_of_ones_own": (advantages, "baseline", no_baseline_of_ones_own),
    "flipped_ddof": (advantages, "spread", flipped_ddof),
    "deviation_plus_epsilon": (advantages, "spread", deviation_plus_epsilon),
    "everyone_is_valid": (advantages, "silent", everyone_is_valid),
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
