"""The objective that GRPO and PPO share, by hand and against the ops that it is made of."""

from __future__ import annotations

import math

import pytest
import torch

from algos.ops import kl, policy_gradient, ratios
from tests.algos.builders import booleans, f64
from tests.helpers import close

OLD = f64([[-1.0, -2.0, 0.0]])
NEW = f64([[-1.0 + math.log(1.5), -2.0, 7.0]])  # rho = 1.5, 1; the last token is padding
MASK = booleans([[1, 1, 0]])
ADVANTAGE = f64([[2.0, -1.0, 0.0]])


def test_the_clipped_surrogate_by_hand() -> None:
    objective_NT, metrics = policy_gradient.objective(NEW, OLD, ADVANTAGE, MASK, 0.2, 0.2)
    close(objective_NT, [[1.2 * 2.0, -1.0, 0.0]])
    close(metrics["clip_ratio/high"], [[1.0, 0.0, 0.0]])
    close(metrics["clip_ratio/low"], [[0.0, 0.0, 0.0]])


def test_without_a_clip_it_is_rho_times_the_advantage() -> None:
    objective_NT, metrics = policy_gradient.objective(NEW, OLD, ADVANTAGE, MASK, 0.2, 0.2, clip="none")
    close(objective_NT, [[1.5 * 2.0, -1.0, 0.0]])
    assert not any(x_NT.any() for x_NT in metrics.values())


@pytest.mark.parametrize("clip", ["surrogate", "weight", "none"])
def test_on_policy_the_gradient_is_that_of_the_advantage_times_log_pi(clip: policy_gradient.Clip) -> None:
    new_NT = OLD.clone().requires_grad_()
    objective_NT, _ = policy_gradient.objective(new_NT, OLD, ADVANTAGE, MASK, 0.2, 0.2, clip=clip)
    close(torch.autograd.grad(objective_NT.sum(), new_NT)[0], [[2.0, -1.0, 0.0]])


def test_the_penalty_and_the_bonus_by_hand() -> None:
    ref_NT, entropy_NT = f64([[-1.5, -2.0, 3.0]]), f64([[0.5, 0.25, 0.0]])
    plain_NT, _ = policy_gradient.objective(NEW, OLD, ADVANTAGE, MASK, 0.2, 0.2)
    given = plain_NT, NEW, OLD, ref_NT, entropy_NT, MASK
    penalty_NT = kl.estimate(NEW, ref_NT, MASK, "k3")
    close(policy_gradient.regularised(*given, kl_coef=0.1), plain_NT - 0.1 * penalty_NT)
    weighted_NT = penalty_NT * ratios.importance(NEW, OLD, MASK)
    close(policy_gradient.regularised(*given, kl_coef=0.1, kl_importance=True), plain_NT - 0.1 * weighted_NT)
    close(policy_gradient.regularised(*given, kl_coef=0.0, entropy_coef=2.0), plain_NT + 2.0 * entropy_NT)


def test_with_both_coefficients_zero_no_reference_is_read() -> None:
    plain_NT, _ = policy_gradient.objective(NEW, OLD, ADVANTAGE, MASK, 0.2, 0.2)
    assert policy_gradient.regularised(plain_NT, NEW, OLD, None, NEW, MASK, kl_coef=0.0) is plain_NT
