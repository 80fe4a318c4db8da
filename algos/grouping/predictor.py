"""A learned baseline: a prompt's success, predicted before it is tried."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from algos.core.types import Rollouts
from algos.grouping.base import Baseline, Memory, group_totals, per_prompt, problems_of, spread_to_rows


@dataclass(frozen=True, kw_only=True)
class Predictor(Baseline):
    """sigmoid(w . x), x the prompt's features and its own past; w refitted after every round on the rounds before.

    x = (1, the task's features, standardised as they have been seen, log-odds of the prompt's past, log(1 + visits)).
    w minimises the cross-entropy of the last `rows` (prompt, round) pairs plus (ridge/2) |w|^2, by Newton's method,
    from 0.
    What the fit costs is charged: `steps` x rows x (2 F^2 + 4 F) + steps x F^3 FLOPs, in F features.
    """

    formula = "sigmoid(w . features and history), refitted each round"
    source = "logistic regression (ours), the control of V0, 2602.03584"
    remembers = True

    rows: int = 2048  # (prompt, round) pairs that it is fitted on, the latest
    ridge: float = 1.0  # of w
    steps: int = 8  # of Newton's method

    def __post_init__(self) -> None:
        if self.rows < 1 or self.steps < 1 or self.ridge <= 0:
            raise ValueError("algo.baseline: predictor: rows and steps must be at least 1, ridge positive")

    def _inputs(self, r: Rollouts, memory: Memory) -> Tensor:
        """Features of each group's prompt, before this round.  (P, F), float64."""
        past: dict[str, Any] = memory.get("problems", {})
        rows = []
        declared = per_prompt(r.metadata["features"], r.group_N).double().cpu() if "features" in r.metadata else None
        for i, problem in enumerate(problems_of(r)):
            total, count = past.get(str(problem), (0.0, 0))
            own = declared[i].tolist() if declared is not None else []
            rows.append([1.0, *own, math.log((total + 0.5) / (count - total + 0.5)), math.log1p(count)])
        return torch.tensor(rows, dtype=torch.float64)

    def values(self, reward_N: Tensor, valid_N: Tensor, key_N: Tensor, r: Rollouts, memory: Memory) -> Tensor:
        x_PF, w = self._inputs(r, memory), memory.get("weights")
        if w is None:
            return torch.full_like(reward_N, 0.5)
        if len(w) != x_PF.shape[1]:
            raise ValueError(
                f"algo.baseline: predictor: {x_PF.shape[1] - 3} features per prompt, and it was fitted on {len(w) - 3}"
            )
        centre, width = (torch.tensor(memory[name], dtype=torch.float64) for name in ("centre", "width"))
        p_P = torch.sigmoid((x_PF - centre) / width @ torch.tensor(w, dtype=torch.float64))
        return spread_to_rows(p_P.tolist(), r.group_N, reward_N)

    def learn(self, r: Rollouts, memory: Memory) -> Memory:
        assert r.reward_N is not None and r.valid_N is not None
        if bool((r.valid_N & ((r.reward_N < 0) | (r.reward_N > 1))).any()):
            raise ValueError("algo.baseline: predictor predicts successes: rewards must lie in 0..1")
        sums, counts = group_totals(r.reward_N, r.group_N, r.valid_N)
        x_PF, past = self._inputs(r, memory), dict(memory.get("problems", {}))
        seen = [[*x, s, c] for x, s, c in zip(x_PF.tolist(), sums, counts, strict=True) if c]
        data = [*memory.get("data", []), *seen][-self.rows :]
        for problem, total, count in zip(problems_of(r), sums, counts, strict=True):
            before = past.get(str(problem), (0.0, 0))
            past[str(problem)] = [before[0] + total, before[1] + count]
        return {"problems": past, "data": data, **self._fit(data)}

    def _fit(self, data: list[list[float]]) -> dict[str, Any]:
        if not data:
            return {}
        table = torch.tensor(data, dtype=torch.float64)
        x_KF, sums_K, counts_K = table[:, :-2], table[:, -2], table[:, -1]
        centre, width = x_KF.mean(0), x_KF.std(0, unbiased=False)
        centre[0], width = 0.0, torch.where(width > 1e-12, width, 1.0)
        x_KF = (x_KF - centre) / width
        w = torch.zeros(x_KF.shape[1], dtype=torch.float64)
        for _ in range(self.steps):
            p_K = torch.sigmoid(x_KF @ w)
            slope = x_KF.T @ (counts_K * p_K - sums_K) + self.ridge * w
            curve = (x_KF * (counts_K * p_K * (1 - p_K))[:, None]).T @ x_KF
            w = w - torch.linalg.solve(curve + self.ridge * torch.eye(len(w), dtype=torch.float64), slope)
        return {"weights": w.tolist(), "centre": centre.tolist(), "width": width.tolist()}

    def flops(self, r: Rollouts, memory: Memory) -> float:
        rows, features = len(memory.get("data", [])), len(memory.get("weights", []))
        return self.steps * (rows * (2 * features**2 + 4 * features) + features**3)
