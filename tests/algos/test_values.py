"""Advantages from a value function, its targets and its loss, against numbers by hand and the definitions as loops."""

from __future__ import annotations

import math
import random
import statistics

import pytest
import torch
from torch import Tensor

from algos.ops import values
from tests.algos.builders import booleans, f64
from tests.helpers import close

Rows = list[list[float]]
Mask = list[list[int]]
JUNK = [math.nan, math.inf, -math.inf, 1e300]


def own(row: list[int]) -> list[int]:
    """The columns that the policy chose."""
    return [t for t, m in enumerate(row) if m]


def held(mask: Mask, x: Rows, elsewhere: float) -> Rows:
    """x at mask 1, and `elsewhere` at mask 0."""
    rows = zip(x, mask, strict=True)
    return [[y if m else elsewhere for y, m in zip(*row, strict=True)] for row in rows]


def gae_oracle(reward: Rows, value: Rows, mask: Mask, gamma: float, lam: list[float]) -> Rows:
    """A_k = sum_{l >= 0} (gamma lam)^l delta_{k+l}, a double sum over the tokens at mask 1, numbered 0, 1, ..."""
    result = [[0.0] * len(row) for row in mask]
    for i, row in enumerate(mask):
        chosen = own(row)
        delta = []
        for k, t in enumerate(chosen):
            after = value[i][chosen[k + 1]] if k + 1 < len(chosen) else 0.0
            delta.append(reward[i][t] + gamma * after - value[i][t])
        for k, t in enumerate(chosen):
            result[i][t] = sum((gamma * lam[i]) ** j * d for j, d in enumerate(delta[k:]))
    return result


def varlen(seed: int, rows: int = 8, width: int = 7) -> tuple[Rows, Rows, Mask]:
    """Rewards, values and a mask with gaps; row 0 uses every column, row 1 none, row 2 has a gap in its middle."""
    rng = random.Random(seed)
    mask = [[int(t < length and rng.random() < 0.7) for t in range(width)] for length in rng.choices(range(8), k=rows)]
    mask[:3] = [[1] * width, [0] * width, [1, 1, 0, 0, 1, 0, 1]]
    reward, value = ([[rng.gauss(0, 1) for _ in range(width)] for _ in range(rows)] for _ in range(2))
    return reward, value, mask


def gae(reward: Rows, value: Rows, mask: Mask, gamma: float, lam: float | Tensor) -> Tensor:
    return values.gae(f64(reward), f64(value), booleans(mask), gamma, lam)


# --- where the reward is -------------------------------------------------------------------------------------


def test_the_reward_is_at_the_last_token_of_ones_own() -> None:
    # cut short, ended by a gap, without a token of its own (whose reward, here none, goes nowhere), at the limit
    mask_NT = booleans([[1, 1, 0], [1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    got_NT = values.at_last(f64([2, -3, math.nan, 7, 0.5]), mask_NT)
    close(got_NT, [[0, 2, 0], [0, 0, -3], [0, 0, 0], [0, 0, 7], [0, 0.5, 0]])
    assert got_NT.dtype == torch.float64


# --- generalized advantage estimation ------------------------------------------------------------------------


@pytest.mark.parametrize("lam", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_gae_is_its_double_sum(gamma: float, lam: float) -> None:
    for seed in range(4):
        reward, value, mask = varlen(seed)
        got_NT = gae(reward, value, mask, gamma, lam)
        close(got_NT, gae_oracle(reward, value, mask, gamma, [lam] * len(mask)))
        assert got_NT.dtype == torch.float64


@pytest.mark.parametrize("gamma", [0.9, 1.0])
def test_gae_takes_a_lambda_for_each_completion(gamma: float) -> None:
    reward, value, mask = varlen(5)
    lam = [0.0, 0.3, 0.95, 1.0, 0.5, 0.1, 0.8, 0.2]
    close(gae(reward, value, mask, gamma, f64(lam)), gae_oracle(reward, value, mask, gamma, lam))


def test_gae_by_hand() -> None:
    # gamma = 1/2, lam = 1/2, R = 8 at the end, V = 2, 4, (gap), 6.
    #   delta = 0 + 4/2 - 2 = 0;  0 + 6/2 - 4 = -1;  8 + 0 - 6 = 2
    #   A     = 0 - 1/4 + 2/16 = -1/8;  -1 + 2/4 = -1/2;  2
    close(gae([[0, 0, 9, 8]], [[2, 4, 9, 6]], [[1, 1, 0, 1]], 0.5, 0.5), [[-1 / 8, -1 / 2, 0, 2]])


def test_with_lambda_one_the_advantage_is_the_return_less_the_value() -> None:
    _, value, mask = varlen(1)
    reward_NT = values.at_last(f64([1, 2, 3, 4, 5, 6, 7, 8]), booleans(mask))
    expected = held(mask, [[i + 1 - v for v in row] for i, row in enumerate(value)], 0.0)
    close(values.gae(reward_NT, f64(value), booleans(mask), 1.0, 1.0), expected)


def test_with_lambda_zero_the_advantage_is_one_step() -> None:
    # r + gamma V' - V, where V' is that of the next token of one's own and 0 after the last
    got_NT = gae([[1, 2, 9, 3]], [[10, 20, 99, 40]], [[1, 1, 0, 1]], 0.5, 0.0)
    close(got_NT, [[1 + 10 - 10, 2 + 20 - 20, 0, 3 - 40]])


def test_without_a_value_the_advantage_is_the_reward_to_go() -> None:
    got_NT = gae([[1, 2, 9, 3], [4, 0, 0, 5]], [[0.0] * 4] * 2, [[1, 1, 0, 1], [1, 1, 1, 1]], 1.0, 1.0)
    close(got_NT, [[6, 5, 0, 3], [9, 5, 5, 5]])


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("lam", [0.0, 0.95])
def test_what_is_masked_changes_no_advantage_and_has_none(junk: float, lam: float) -> None:
    reward, value, mask = varlen(2)
    clean_NT = gae(reward, value, mask, 0.9, lam)
    assert gae(held(mask, reward, junk), held(mask, value, junk), mask, 0.9, lam).tolist() == clean_NT.tolist()
    assert clean_NT[~booleans(mask)].tolist() == [0.0] * sum(row.count(0) for row in mask)


@pytest.mark.parametrize("place", range(5))
def test_tool_output_in_between_changes_no_advantage(place: int) -> None:
    reward, value, ones = [[0.1, -0.2, 0.3, 1.0]], [[0.5, 0.4, -0.3, 0.2]], [[1] * 4]
    wide = [[[*row[:place], x, x, *row[place:]] for row in rows] for rows, x in ((reward, 9.0), (value, -9.0))]
    mask = [[1] * place + [0, 0] + [1] * (4 - place)]
    got_NT = gae(*wide, mask, 0.9, 0.8)
    close(got_NT[booleans(mask)], gae(reward, value, ones, 0.9, 0.8)[0])


def test_gae_leaves_its_arguments_alone() -> None:
    reward, value, mask = varlen(3)
    reward_NT, value_NT, mask_NT = f64(reward), f64(value), booleans(mask)
    values.gae(reward_NT, value_NT, mask_NT, 0.9, 0.8)
    assert (reward_NT.tolist(), value_NT.tolist(), mask_NT.tolist()) == (
        reward,
        value,
        [[m > 0 for m in r] for r in mask],
    )


def test_the_lambda_of_a_length() -> None:
    # 1 - 1/(0.05 l): 1 - 1/50, 1 - 1/10, 1 - 1/2, 1 - 1/1, and below 20 tokens 0.  Gaps are no length.
    lengths = [1000, 200, 40, 20, 5, 1, 0]
    mask_NT = torch.zeros(len(lengths), 2000, dtype=torch.bool)
    for row, length in zip(mask_NT, lengths, strict=True):
        row[: 2 * length : 2] = True
    close(values.length_lambda(mask_NT, 0.05), [0.98, 0.9, 0.5, 0, 0, 0, 0])
    close(values.length_lambda(mask_NT[:1], 0.5), [0.998])


# --- the value's loss ----------------------------------------------------------------------------------------

# With c = 0.2: L = 1/2 max[(V - R)^2, (V' - R)^2], V' = V held within V_old -+ 0.2; dL/dV is V - R or, beyond, 0.
#   V   V_old   R      L     dL/dV
VALUE_LOSS = [
    (1.0, 1.0, 3.0, 2.0, -2.0),  # not moved: both are 2^2
    (1.1, 1.0, 3.0, 1.9**2 / 2, -1.9),  # within
    (1.5, 1.0, 3.0, 1.62, 0.0),  # 1.5^2 against (1.2 - 3)^2 = 3.24: near enough for one update
    (1.5, 1.0, 0.0, 1.125, 1.5),  # 1.5^2 = 2.25 against 1.2^2: moved away, is pulled back
    (0.5, 1.0, 0.0, 0.32, 0.0),  # 0.5^2 against 0.8^2 = 0.64
    (0.5, 1.0, 3.0, 3.125, -2.5),  # 2.5^2 = 6.25 against 2.2^2
    (4.0, 1.0, 3.0, 1.62, 0.0),  # past the target: 1^2 against 3.24
]


@pytest.mark.parametrize(("value", "old", "target", "loss", "slope"), VALUE_LOSS)
def test_the_clipped_value_loss(value: float, old: float, target: float, loss: float, slope: float) -> None:
    value_NT = f64([[value]]).requires_grad_()
    got_NT = values.value_loss(value_NT, f64([[old]]), f64([[target]]), 0.2)
    close(got_NT, [[loss]])
    close(torch.autograd.grad(got_NT.sum(), value_NT)[0], [[slope]])


def test_without_a_clip_it_is_half_the_square() -> None:
    columns = [[list(x)] for x in zip(*VALUE_LOSS, strict=True)]
    value_NT, old_NT, target_NT = f64(columns[0]).requires_grad_(), f64(columns[1]), f64(columns[2])
    got_NT = values.value_loss(value_NT, old_NT, target_NT, None)
    close(got_NT, [[(v - r) ** 2 / 2 for v, _, r, _, _ in VALUE_LOSS]])
    close(torch.autograd.grad(got_NT.sum(), value_NT)[0], [[v - r for v, _, r, _, _ in VALUE_LOSS]])


# --- how good a critic is ------------------------------------------------------------------------------------


def explained(value: list[float], target: list[float]) -> float | None:
    """The definition on plain lists."""
    if len(set(target)) < 2:
        return None
    rest = [r - v for v, r in zip(value, target, strict=True)]
    return 1 - statistics.pvariance(rest) / statistics.pvariance(target)


# Returns 0, 2, 4: variance 8/3.
EXPLAINED = {
    "half of it": ([0, 1, 2], 3 / 4),  # the rest is 0, 1, 2: variance 2/3
    "perfect": ([0, 2, 4], 1),
    "off by a constant": ([7, 9, 11], 1),  # a shift is not variance
    "a constant": ([5, 5, 5], 0),
    "the wrong way": ([0, -2, -4], -3),  # the rest is 0, 4, 8: four times the variance
}


@pytest.mark.parametrize("case", EXPLAINED)
def test_explained_variance_by_hand(case: str) -> None:
    value, expected = EXPLAINED[case]
    close(explained([*map(float, value)], [0.0, 2.0, 4.0]), expected)
    got = values.explained_variance(f64([[*value, math.nan]]), f64([[0, 2, 4, 99]]), booleans([[1, 1, 1, 0]]))
    close(got, expected)


@pytest.mark.parametrize("mask", [[[1, 1, 1, 0]], [[0, 0, 0, 0]], [[0, 0, 0, 1]]], ids=["equal", "none", "one"])
def test_where_there_is_nothing_to_explain(mask: Mask) -> None:
    assert values.explained_variance(f64([[1, 2, 3, 4]]), f64([[0.1, 0.1, 0.1, 5]]), booleans(mask)) is None


@pytest.mark.parametrize("parts", [1, 3, 4])
def test_explained_by_position_is_explained_variance_of_each_part(parts: int) -> None:
    for seed in range(4):
        value, target, mask = varlen(seed)
        bins: dict[str, list[tuple[float, float]]] = {"": [], "/prompt": []}
        for i, row in enumerate(mask):
            for k, t in enumerate(own(row)):
                pair = (value[i][t], target[i][t])
                names = ["", *(["/prompt"] if k == 0 else []), f"/part{1 + k * parts // sum(row)}of{parts}"]
                for name in names:
                    bins.setdefault(name, []).append(pair)
        expected = {
            f"explained_variance{name}": explained(*map(list, zip(*p, strict=True))) for name, p in bins.items()
        }
        expected = {name: x for name, x in expected.items() if x is not None}
        got = values.explained_by_position(f64(value), f64(target), booleans(mask), parts)
        assert set(got) == set(expected)
        for name, x in expected.items():
            close(got[name], x)


def test_the_parts_of_a_completion_by_hand() -> None:
    # Places 0..4 of 5 in four parts: floor(k 4/5) = 0, 0, 1, 2, 3.  One of 4 tokens has one in each.  In the third part
    # the returns are equal (3, 3), so it is left out; elsewhere the critic is wrong in exactly one place.
    target = [[1.0, 0.0, 2.0, 3.0, 4.0], [2.0, 4.0, 3.0, 6.0, 0.0]]
    value = [[1.0, 0.0, 2.0, 3.0, 4.0], [2.0, 4.0, 0.0, 4.0, 0.0]]
    got = values.explained_by_position(f64(value), f64(target), booleans([[1] * 5, [1] * 4 + [0]]))
    names = ("", "/prompt", "/part1of4", "/part2of4", "/part4of4")
    assert set(got) == {f"explained_variance{x}" for x in names}
    assert [got[f"explained_variance{x}"] for x in names[1:4]] == [1, 1, 1]
    close(got["explained_variance/part4of4"], 0)  # returns 4 and 6, rest 0 and 2: the same variance


def test_what_cannot_be_said_is_left_out() -> None:
    one, zero = f64([[1.0, 0], [2.0, 0]]), f64([[0.0, 0], [0.0, 0]])
    first = booleans([[1, 0], [1, 0]])  # one token each: the first is in part 1
    assert set(values.explained_by_position(zero, one, first)) == {
        "explained_variance",
        "explained_variance/prompt",
        "explained_variance/part1of4",
    }
    assert values.explained_by_position(one, zero, first) == {}
    assert values.explained_by_position(zero, one, torch.zeros_like(first)) == {}


def test_returns_that_differ_by_rounding_alone_explain_nothing() -> None:
    """R = A + V with A = -V up to fp32's rounding: every return is 0 but for the last bit."""
    value_NT = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    mask_NT = torch.ones(4, 3, dtype=torch.bool)
    return_NT = values.gae(torch.zeros(4, 3), value_NT, mask_NT, 1.0, 1.0) + value_NT
    assert return_NT.abs().max() > 0
    assert values.explained_variance(value_NT, return_NT, mask_NT) is None
