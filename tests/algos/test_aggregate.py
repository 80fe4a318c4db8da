"""From a number per token to one number an update, whatever the update was cut into."""

from __future__ import annotations

import math
import random
from typing import get_args

import pytest
import torch

from algos import Totals
from algos.ops import aggregate
from tests.algos.builders import booleans, f64, random_round, totals_of
from tests.helpers import close

OVERS = get_args(aggregate.Aggregation)


def oracle(x: list[list[float]], mask: list[list[bool]], horizon: int, over: str) -> float:
    """The whole, from the formulas of the docstring."""
    sums = [sum(v for v, m in zip(row, chosen, strict=True) if m) for row, chosen in zip(x, mask, strict=True)]
    lengths = [sum(chosen) for chosen in mask]
    if over == "sequence":
        return sum(s / n for s, n in zip(sums, lengths, strict=True) if n) / len(x)
    if over == "token":
        return sum(sums) / sum(lengths)
    if over == "total":
        return sum(sums)
    return sum(sums) / len(x) / (horizon if over == "horizon" else 1)


# Completions of 2 and 3 tokens with a limit of 48 (the example of `Totals`), x = [1, 2] and [3, 4, 5]:
#   sequence (3/2 + 12/3)/2 = 11/4    token 15/5 = 3    sum 15/2    horizon 15/2/48 = 5/32    total 15
HAND = {"sequence": 11 / 4, "token": 3.0, "sum": 15 / 2, "horizon": 5 / 32, "total": 15.0}


@pytest.mark.parametrize("over", OVERS)
def test_two_completions_by_hand(over: str) -> None:
    x_NT, mask_NT = f64([[1, 2, 100], [3, 4, 5]]), booleans([[1, 1, 0], [1, 1, 1]])
    close(aggregate.mean(x_NT, mask_NT, Totals(sequences=2, tokens=5, max_completion_tokens=48), over), HAND[over])


def test_the_default_is_the_papers() -> None:
    x_NT, mask_NT = f64([[1, 2, 0], [3, 4, 5]]), booleans([[1, 1, 0], [1, 1, 1]])
    close(aggregate.mean(x_NT, mask_NT, Totals(sequences=2, tokens=5, max_completion_tokens=48)), HAND["sequence"])


@pytest.mark.parametrize("over", OVERS)
def test_against_the_formulas(over: str) -> None:
    for seed in range(5):
        rollouts = random_round(seed)
        totals = totals_of(rollouts.completion_mask_NT)
        x_NT = torch.randn(
            rollouts.completion_mask_NT.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
        )
        expected = oracle(x_NT.tolist(), rollouts.completion_mask_NT.tolist(), totals.max_completion_tokens, over)
        close(aggregate.mean(x_NT, rollouts.completion_mask_NT, totals, over), expected)


def test_equal_lengths_make_the_four_agree_up_to_constants() -> None:
    # n tokens each: sequence = token = sum / n = horizon * T_max / n
    x_NT, mask_NT = f64([[1, -2, 4], [0.5, 3, 7]]), booleans([[1, 1, 1], [1, 1, 1]])
    totals = Totals(sequences=2, tokens=6, max_completion_tokens=10)
    mean = {over: aggregate.mean(x_NT, mask_NT, totals, over) for over in OVERS}
    close(mean["token"], mean["sequence"])
    close(mean["sum"] / 3, mean["sequence"])
    close(mean["horizon"] * 10 / 3, mean["sequence"])


@pytest.mark.parametrize("over", OVERS)
def test_slices_of_an_update_add_up(over: str) -> None:
    rollouts = random_round(seed=4)
    mask_NT, totals = rollouts.completion_mask_NT, totals_of(rollouts.completion_mask_NT)
    x_NT = rollouts.logp_NT.clone().requires_grad_()
    whole = aggregate.mean(x_NT**2, mask_NT, totals, over)
    slope_NT = torch.autograd.grad(whole, x_NT)[0]
    rng = random.Random(0)
    for _ in range(5):
        order = rng.sample(range(len(x_NT)), len(x_NT))
        cuts = [0, *sorted(rng.sample(range(1, len(x_NT)), 3)), len(x_NT)]
        parts = [order[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
        shares = [aggregate.mean(x_NT[part] ** 2, mask_NT[part], totals, over) for part in parts]
        close(sum(shares), whole)
        close(torch.autograd.grad(sum(shares), x_NT)[0], slope_NT)


@pytest.mark.parametrize("over", OVERS)
def test_slices_of_an_update_may_be_trimmed(over: str) -> None:
    """A slice of short completions may have fewer columns."""
    x_NT, mask_NT = f64([[1, 2, 9], [3, 4, 5]]), booleans([[1, 1, 0], [1, 1, 1]])
    totals = Totals(sequences=2, tokens=5, max_completion_tokens=48)
    first = aggregate.mean(x_NT[:1, :2], mask_NT[:1, :2], totals, over)
    close(first + aggregate.mean(x_NT[1:], mask_NT[1:], totals, over), HAND[over])


@pytest.mark.parametrize("over", OVERS)
@pytest.mark.parametrize("junk", [math.inf, -math.inf, math.nan])
def test_masked_positions_change_nothing(over: str, junk: float) -> None:
    mask_NT, totals = booleans([[1, 1, 0], [1, 1, 1]]), Totals(sequences=2, tokens=5, max_completion_tokens=48)
    x_NT = f64([[1, 2, junk], [3, 4, 5]]).requires_grad_()
    got = aggregate.mean(x_NT, mask_NT, totals, over)
    close(got, HAND[over])
    slope_NT = torch.autograd.grad(got, x_NT)[0]
    assert slope_NT[0, 2] == 0
    assert slope_NT.isfinite().all()


@pytest.mark.parametrize("over", OVERS)
def test_a_completion_without_tokens_adds_nothing(over: str) -> None:
    # It still counts as a sequence where the denominator counts sequences.
    x_NT, mask_NT = f64([[1, 2], [9, 9]]).requires_grad_(), booleans([[1, 1], [0, 0]])
    got = aggregate.mean(x_NT, mask_NT, Totals(sequences=2, tokens=2, max_completion_tokens=10), over)
    close(got, {"sequence": 3 / 4, "token": 3 / 2, "sum": 3 / 2, "horizon": 3 / 20, "total": 3.0}[over])
    assert torch.autograd.grad(got, x_NT)[0][1].tolist() == [0, 0]


@pytest.mark.parametrize("over", OVERS)
def test_an_update_without_completions_is_nothing(over: str) -> None:
    x_NT, mask_NT = torch.zeros(0, 3, dtype=torch.float64), torch.zeros(0, 3, dtype=torch.bool)
    assert aggregate.mean(x_NT, mask_NT, Totals(sequences=0, tokens=0, max_completion_tokens=0), over).item() == 0


def test_an_unknown_average_lists_the_valid_ones() -> None:
    with pytest.raises(
        ValueError, match="loss_aggregation must be sequence, token, sum, horizon or total, not 'batch'"
    ):
        aggregate.mean(f64([[1]]), booleans([[1]]), Totals(1, 1, 1), "batch")
