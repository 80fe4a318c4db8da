"""AdamW for every arm, and the learning rate of each update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW for every arm: weight decay 0, gradient norm clipped at 1, one schedule."""

    lr: float
    warmup: int = 0  # updates over which the rate rises from 0
    decay: str = "constant"  # constant | linear: to 0 at the end of the budget
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    max_norm: float = 1.0
    name: str = "adamw"

    def build(self, groups: list[dict[str, Any]], device: torch.device) -> Any:
        """The optimiser.  Raises ValueError where a library that it needs is not installed."""
        given: dict[str, Any] = {"lr": self.lr, "betas": self.betas, "eps": self.eps, "weight_decay": 0.0}
        if self.name == "adamw":
            return torch.optim.AdamW(groups, **given, fused=device.type == "cuda")
        try:
            import bitsandbytes
        except ImportError as error:
            raise ValueError(f"optimizer: {self.name} needs bitsandbytes, which is not installed here") from error
        kinds = {"adamw8bit": bitsandbytes.optim.AdamW8bit, "paged_adamw8bit": bitsandbytes.optim.PagedAdamW8bit}
        return kinds[self.name](groups, **given)

    def rate(self, update: int, progress: float) -> float:
        """The rate of update 0, 1, ... when a share `progress` of the budget is spent."""
        rise = min(1.0, (update + 1) / self.warmup) if self.warmup else 1.0
        return self.lr * rise * (1.0 - progress if self.decay == "linear" else 1.0)
