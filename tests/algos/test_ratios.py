"""Importance ratios and clipping: values, gradients, and masks that nothing leaks through."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from algos.ops import ratios
from tests.algos.builders import booleans, f64, moved, random_round
from tests.helpers import close

LEVELS = get_args(ratios.Level)
LOW, HIGH = 0.2, 0.3  # different on purpose: swapped bounds must not pass


def gradient(output: Tensor, leaf: Tensor) -> Tensor:
    return torch.autograd.grad(output.sum(), leaf)[0]


def test_log_ratio_and_ratio_by_hand() -> None:
    # probabilities 1/2 now and 1/4 then: the ratio is 2; 1/8 now and 1/4 then: 1/2.
    new_NT, old_NT = f64([[0.5, 0.125]]).log(), f64([[0.25, 0.25]]).log()
    mask_NT = booleans([[1, 1]])
    close(ratios.log_ratio(new_NT, old_NT, mask_NT), [[math.log(2), -math.log(2)]])
    close(ratios.importance(new_NT, old_NT, mask_NT, "token"), [[2, 0.5]])
    # sequence: exp of the mean of log 2 and -log 2
    close(ratios.importance(new_NT, old_NT, mask_NT, "sequence"), [[1, 1]])
    close(ratios.importance(new_NT, old_NT, mask_NT, "none"), [[1, 1]])


@pytest.mark.parametrize("level", LEVELS)
def test_against_the_definitions(level: str) -> None:
    rollouts = random_round()
    fresh = moved(rollouts, 0.7)
    got_NT = ratios.importance(fresh.logp_NT, rollouts.logp_NT, rollouts.completion_mask_NT, level)
    new, old, mask = fresh.logp_NT.tolist(), rollouts.logp_NT.tolist(), rollouts.completion_mask_NT.tolist()
    for i, row in enumerate(mask):
        chosen = [t for t, m in enumerate(row) if m]
        logs = [new[i][t] - old[i][t] for t in chosen]
        for t, m in enumerate(row):
            expected = 1.0
            if m and level == "token":
                expected = math.exp(new[i][t]) / math.exp(old[i][t])
            if m and level == "sequence":
                expected = math.prod(math.exp(x) for x in logs) ** (1 / len(chosen))
            close(got_NT[i, t], expected)


def test_gradients_of_the_levels() -> None:
    # d rho_t / d log pi_t = rho_t;  d s / d log pi_t = s/|o| for every t;  none: 1, as if rho were log pi.
    new_NT = f64([[-0.5, -1.0, -0.3]]).requires_grad_()
    old_NT, mask_NT = f64([[-1.0, -0.8, -0.3]]), booleans([[1, 1, 0]])
    token_NT = ratios.importance(new_NT, old_NT, mask_NT, "token")
    close(gradient(token_NT, new_NT), [[math.exp(0.5), math.exp(-0.2), 0]])
    sequence_NT = ratios.importance(new_NT, old_NT, mask_NT, "sequence")
    s = math.exp((0.5 - 0.2) / 2)
    close(gradient(sequence_NT[0, 0], new_NT), [[s / 2, s / 2, 0]])
    close(gradient(ratios.importance(new_NT, old_NT, mask_NT, "none"), new_NT), [[1, 1, 0]])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("junk", [math.inf, -math.inf, math.nan, 1e300])
def test_masked_positions_change_nothing(level: str, junk: float) -> None:
    mask_NT = booleans([[1, 0, 1, 0]])
    clean_NT, old_NT = f64([[-0.5, 0, -1.0, 0]]).requires_grad_(), f64([[-1.0, 0, -0.7, 0]])
    dirty_NT, dirty_old_NT = f64([[-0.5, junk, -1.0, junk]]).requires_grad_(), f64([[-1.0, junk, -0.7, -1.0]])
    expected_NT = ratios.importance(clean_NT, old_NT, mask_NT, level)
    got_NT = ratios.importance(dirty_NT, dirty_old_NT, mask_NT, level)
    close(got_NT, expected_NT)
    close(got_NT[~mask_NT], [1, 1])
    close(gradient(got_NT, dirty_NT), gradient(expected_NT, clean_NT))
    assert gradient(ratios.log_ratio(dirty_NT, dirty_old_NT, mask_NT), dirty_NT).tolist() == [[1, 0, 1, 0]]


@pytest.mark.parametrize("junk", [math.inf, -math.inf, math.nan])
def test_masked_positions_change_no_mean_and_no_bound(junk: float) -> None:
    mask_NT, advantage_NT = booleans([[1, 0, 1]]), f64([[1, 1, 1]])
    clean_NT, old_NT = f64([[-0.5, 0, -1.0]]).requires_grad_(), f64([[-1.0, 0, -0.7]])
    dirty_NT, dirty_old_NT = f64([[-0.5, junk, -1.0]]).requires_grad_(), f64([[-1.0, junk, -0.7]])
    clean = ratios.geometric_mean(clean_NT, old_NT, advantage_NT, mask_NT, 0.2, 0.3)
    dirty = ratios.geometric_mean(dirty_NT, dirty_old_NT, advantage_NT, mask_NT, 0.2, 0.3)
    close(dirty, clean)
    close(dirty[0, 1], 1.0)
    close(gradient(dirty, dirty_NT), gradient(clean, clean_NT))
    for divergence in ("tv", "kl"):
        bounds = (advantage_NT, mask_NT, 0.2, 0.1, divergence)
        within = ratios.within_divergence(clean_NT, old_NT, *bounds)
        assert within.tolist() == ratios.within_divergence(dirty_NT, dirty_old_NT, *bounds).tolist()


def test_a_geometric_mean_clips_each_token_on_the_side_it_is_pushed_to() -> None:
    # log-ratios 0.5 and -0.3, bounds -0.2 and 0.3.  A > 0: min(0.5, 0.3) + min(-0.3, -0.2) = 0; A < 0: 0.5 - 0.2 = 0.3
    new_NT, old_NT, mask_NT = f64([[-0.5, -1.0]]), f64([[-1.0, -0.7]]), booleans([[1, 1]])
    close(ratios.geometric_mean(new_NT, old_NT, f64([[2, 2]]), mask_NT, 0.2, 0.3), [[1, 1]])
    close(ratios.geometric_mean(new_NT, old_NT, f64([[-2, -2]]), mask_NT, 0.2, 0.3), [[math.exp(0.15)] * 2])


# J = min(rho A, clip(rho, 0.8, 1.3) A), and dJ/d rho, which is A where the first term is taken and 0 where the clip is.
#   rho   A    rho A   clipped  J     dJ/drho
SURROGATE = [
    (1.5, 2.0, 2.6, 0.0),  # above, A > 0:  3.0 against 2.6: cut
    (1.5, -2.0, -3.0, -2.0),  # above, A < 0: -3.0 against -2.6: kept, the step must be undone
    (0.5, 2.0, 1.0, 2.0),  # below, A > 0:  1.0 against 1.6: kept
    (0.5, -2.0, -1.6, 0.0),  # below, A < 0: -1.0 against -1.6: cut
    (1.25, 2.0, 2.5, 2.0),  # inside the wide side; beyond a bound of 0.2
    (0.75, -2.0, -1.6, 0.0),  # outside the narrow side; within a bound of 0.3
    (1.0, 2.0, 2.0, 2.0),
    (1.0, -2.0, -2.0, -2.0),
]


@pytest.mark.parametrize(("rho", "advantage", "objective", "slope"), SURROGATE)
def test_the_surrogate_on_each_side(rho: float, advantage: float, objective: float, slope: float) -> None:
    ratio_NT = f64([[rho]]).requires_grad_()
    got_NT = ratios.clipped_surrogate(ratio_NT, f64([[advantage]]), LOW, HIGH)
    close(got_NT, [[objective]])
    close(gradient(got_NT, ratio_NT), [[slope]])


# Dual clip with c = 3: J is at least 3 A where A < 0.
DUAL = [
    (5.0, -2.0, -6.0, 0.0),  # rho A = -10 is below -6: floored
    (2.0, -2.0, -4.0, -2.0),  # rho A = -4 is above -6: as without
    (0.5, -2.0, -1.6, 0.0),  # cut by the lower bound, as without
    (5.0, 2.0, 2.6, 0.0),  # A > 0 has no floor: cut by the upper bound
    (0.01, 2.0, 0.02, 2.0),  # A > 0 has no floor: 0.02 is far below 6
]


@pytest.mark.parametrize(("rho", "advantage", "objective", "slope"), DUAL)
def test_the_dual_clip(rho: float, advantage: float, objective: float, slope: float) -> None:
    ratio_NT = f64([[rho]]).requires_grad_()
    got_NT = ratios.clipped_surrogate(ratio_NT, f64([[advantage]]), LOW, HIGH, dual=3.0)
    close(got_NT, [[objective]])
    close(gradient(got_NT, ratio_NT), [[slope]])


def test_infinite_bounds_clip_nothing() -> None:
    ratio_NT, advantage_NT = f64([[0.01, 50.0, 0.01, 50.0]]).requires_grad_(), f64([[2, 2, -2, -2]])
    got_NT = ratios.clipped_surrogate(ratio_NT, advantage_NT, math.inf, math.inf)
    close(got_NT, [[0.02, 100, -0.02, -100]])
    close(gradient(got_NT, ratio_NT), advantage_NT)


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.0), (0.2, 0.2), (3e-4, 4e-4), (1.0, 10.0), (math.inf, math.inf)])
def test_at_ratio_one_no_bound_acts(low: float, high: float) -> None:
    new_NT = f64([[-0.5, -1.5]]).requires_grad_()
    ratio_NT = ratios.importance(new_NT, new_NT.detach(), booleans([[1, 1]]))
    got_NT = ratios.clipped_surrogate(ratio_NT, f64([[2, -3]]), low, high)
    close(gradient(got_NT, new_NT), [[2, -3]])


def test_the_clipped_weight_keeps_every_gradient() -> None:
    # J = sg(clip(rho, 0, 5)) A log pi: the ratios 6, 2 and 0.01 weigh 5, 2 and 0.01; the last position is masked.
    new_NT = f64([[-1.0, -2.0, -3.0, -4.0]]).requires_grad_()
    ratio_NT = f64([[6.0, 2.0, 0.01, 7.0]])
    old_NT = new_NT.detach() - ratio_NT.log()
    mask_NT, advantage_NT = booleans([[1, 1, 1, 0]]), f64([[2, -2, 2, 2]])
    live_NT = ratios.importance(new_NT, old_NT, mask_NT)
    got_NT = ratios.clipped_weight(live_NT, new_NT, advantage_NT, mask_NT, low=1.0, high=4.0)
    close(got_NT, [[5 * 2 * -1, 2 * -2 * -2, 0.01 * 2 * -3, 0]])
    close(gradient(got_NT, new_NT), [[10, -4, 0.02, 0]])
    # With a lower bound of 0.2 the ratio 0.01 weighs 0.8, and the upper bound 0.3 makes 6 and 2 weigh 1.3.
    got_NT = ratios.clipped_weight(live_NT, new_NT, advantage_NT, mask_NT, LOW, HIGH)
    close(gradient(got_NT, new_NT), [[2.6, -2.6, 1.6, 0]])


@pytest.mark.parametrize("junk", [math.inf, -math.inf, math.nan])
def test_the_clipped_weight_ignores_masked_log_probabilities(junk: float) -> None:
    new_NT = f64([[-1.0, junk]]).requires_grad_()
    got_NT = ratios.clipped_weight(f64([[2.0, 1.0]]), new_NT, f64([[3.0, 0.0]]), booleans([[1, 0]]), 1.0, 4.0)
    close(got_NT, [[-6, 0]])
    assert gradient(got_NT, new_NT).tolist() == [[6, 0]]


def test_clip_fractions_mark_where_the_gradient_is_cut() -> None:
    # One masked position at the end, which both bounds and the sign would have counted.
    ratio_NT = f64([[row[0] for row in SURROGATE] + [0.1]]).requires_grad_()
    advantage_NT = f64([[row[1] for row in SURROGATE] + [-1.0]])
    mask_NT = booleans([[1] * len(SURROGATE) + [0]])
    below_NT, above_NT = ratios.clip_fractions(ratio_NT.detach(), advantage_NT, mask_NT, LOW, HIGH)
    assert below_NT.tolist() == [[0, 0, 0, 1, 0, 1, 0, 0, 0]]
    assert above_NT.tolist() == [[1, 0, 0, 0, 0, 0, 0, 0, 0]]
    assert below_NT.dtype == above_NT.dtype == torch.float64
    objective_NT = ratios.clipped_surrogate(ratio_NT, advantage_NT, LOW, HIGH)
    cut_NT = gradient(objective_NT, ratio_NT) == 0
    assert torch.equal((below_NT + above_NT).bool(), cut_NT & mask_NT)


def test_an_unknown_level_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="ratio must be token, sequence or none, not 'word'"):
        ratios.importance(f64([[0]]), f64([[0]]), booleans([[1]]), "word")
