"""Answer and steps together, against hand derivations and a slow reading."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from algos.ops import advantages, reasoning
from tests.algos.builders import booleans, f64, integers
from tests.helpers import close

# Two completions of one prompt.  The first: steps of 1 and 0, ending at tokens 0 and 2, a tool's answer at token 1, the
# answer (right) at token 3.  The second: one step of 1 at token 1, the answer (wrong) at token 2.
MASK = booleans([[1, 0, 1, 1], [1, 1, 1, 0]])
ENDS = booleans([[1, 0, 1, 1], [0, 1, 1, 0]])
STEPS = f64([[1, 0, 0, 1], [0, 1, 0, 0]])
REWARD, GROUP, VALID = f64([1, 0]), integers([0, 0]), booleans([1, 1])


def combined(form: Any, **changes: Any) -> torch.Tensor:
    return reasoning.combined(REWARD, STEPS, ENDS, MASK, GROUP, VALID, form, **changes)


def test_the_plain_sum() -> None:
    # r + w mean s = 1 + 2 x 1/2 = 2 and 0 + 2 x 1 = 2: equal, so that nobody is worth anything; with w = 1, 3/2 and 1:
    # mean 5/4, deviation 1/4
    close(combined("weighted", step_weight=2.0), [[0, 0, 0, 0], [0, 0, 0, 0]])
    close(combined("weighted"), [[1, 0, 1, 1], [-1, -1, -1, 0]])
    close(combined("weighted", normalize="none"), [[0.25, 0, 0.25, 0.25], [-0.25, -0.25, -0.25, 0]])


def test_process_supervision_has_the_answer_as_its_last_step() -> None:
    # 1, 0, 1 | 1, 0: mean 3/5, deviation sqrt(6)/5: 2/sqrt6, -3/sqrt6, 2/sqrt6 | 2/sqrt6, -3/sqrt6, in units of 1/sqrt6
    unit = 1 / math.sqrt(6)
    close(combined("process"), [[unit, 0, -unit, 2 * unit], [-unit, -unit, -3 * unit, 0]])


def test_normalised_apart() -> None:
    # answers: 1 and -1.  Steps 1, 0 | 1: mean 2/3, deviation sqrt(2)/3: 1/sqrt 2, -sqrt 2 | 1/sqrt 2
    #   towards: token 0 of the first 1/sqrt2 - sqrt2 = -1/sqrt2, token 2 -sqrt2, token 3 0; the second 1/sqrt2 up to 1
    half, two = 1 / math.sqrt(2), math.sqrt(2)
    close(combined("apart"), [[1 - half, 0, 1 - two, 1], [-1 + half, -1 + half, -1, 0]])


def test_the_worst_step() -> None:
    # T = 1: v = (e^-1, 1) / (1 + e^-1); R_1 = e^-1 / (1 + e^-1) = q, R_2 = 1.  LOO of answers: 1 and -1.
    #   the first: q - 1 at token 0, 0 - 1 at token 2, -1 at token 3; the second: 1 - q at tokens 0, 1, -q at token 2
    q = math.exp(-1) / (1 + math.exp(-1))
    close(combined("min", temperature=1.0), [[q, 0, 0, 0], [-q, -q, -1 - q, 0]])
    # T -> 0: R_1 = 0, the least of 1 and 0
    close(combined("min", temperature=1e-3), [[0, 0, 0, 0], [0, 0, -1, 0]])


def test_each_source_against_the_others() -> None:
    # mean steps 1/2 and 1.  The first's steps against 1: 0 and -1; the second's against 1/2: 1/2
    close(combined("leave_one_out", step_weight=0.5), [[1 - 0.5, 0, 1 - 0.5, 1], [-0.75, -0.75, -1, 0]])


@pytest.mark.parametrize("form", ["weighted", "apart", "min", "leave_one_out"])
def test_without_steps_it_is_outcome_supervision(form: Any) -> None:
    by = ("group", "group") if form in ("weighted", "apart") else ("leave_one_out", "none")
    plain_N = advantages.group_advantages(REWARD, GROUP, VALID, *by)  # type: ignore[arg-type]
    close(combined(form, step_weight=0.0), torch.where(MASK, plain_N[:, None], 0))


def slow(form: str, w: float, temperature: float, seed: int) -> tuple[list[list[float]], torch.Tensor]:
    """The docstring's sums, row by row, over a random round; and what the op says."""
    rng = torch.Generator().manual_seed(seed)
    rows, width = 9, 7
    mask = (torch.rand(rows, width, generator=rng) < 0.8).tolist()
    mask[0] = [True] * width
    ends = (torch.rand(rows, width, generator=rng) < 0.5).tolist()
    step = torch.rand(rows, width, generator=rng, dtype=torch.float64).tolist()
    reward = torch.rand(rows, generator=rng, dtype=torch.float64).tolist()
    group, valid = [0, 0, 0, 0, 1, 1, 1, 1, 2], [i != 2 for i in range(rows)]
    last = [max((t for t in range(width) if mask[i][t]), default=-1) for i in range(rows)]
    at = [[t for t in range(width) if mask[i][t] and ends[i][t] and t != last[i]] for i in range(rows)]

    def others(x: list[float], i: int) -> float:
        rest = [x[k] for k in range(rows) if group[k] == group[i] and k != i and valid[k]]
        return sum(rest) / len(rest) if rest else 0.0

    mean = [sum(step[i][t] for t in at[i]) / max(len(at[i]), 1) for i in range(rows)]
    weight = [[math.exp(-step[i][t] / temperature) for t in at[i]] for i in range(rows)]
    soft = [{t: v / sum(weight[i]) * step[i][t] for t, v in zip(at[i], weight[i], strict=True)} for i in range(rows)]
    least = [sum(s.values()) for s in soft]
    out = [[0.0] * width for _ in range(rows)]
    for i in range(rows):
        alone = sum(g == group[i] and v for g, v in zip(group, valid, strict=True)) == 1
        for t in range(width):
            if not mask[i][t] or not valid[i]:
                continue
            a = 0.0 if alone else reward[i] - others(reward, i)
            if form == "min":
                a += w * (sum(x for u, x in soft[i].items() if u >= t) - others(least, i))
            else:
                a += w * sum(step[i][u] - others(mean, i) for u in at[i] if u >= t)
            out[i][t] = a
    given = (f64(reward), f64(step), booleans(ends), booleans(mask), integers(group), booleans(valid))
    return out, reasoning.combined(*given, form, w, temperature)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["min", "leave_one_out"])
@pytest.mark.parametrize("seed", range(4))
def test_the_sums_of_the_table(form: str, seed: int) -> None:
    expected, got = slow(form, 0.7, 0.3, seed)
    close(got, expected, rtol=1e-9, atol=1e-9)


def test_softmin_weights() -> None:
    x, at = f64([[1, 2, 5], [3, 3, 0], [0, 0, 0]]), booleans([[1, 1, 0], [1, 1, 0], [0, 0, 0]])
    close(reasoning.softmin_weights(x, at, 1e-3), [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 0]])
    close(reasoning.softmin_weights(x, at, 1e9)[0], [0.5, 0.5, 0], rtol=0, atol=1e-8)


def test_an_unknown_form() -> None:
    with pytest.raises(ValueError, match="form must be process, weighted"):
        combined("max")
