"""What is asked of a learned reward model: `--set reward_model.FIELD=...`, or `[reward_model]` in a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class RewardModelFields:
    """The defaults are sizes for a small start; what DeepSeekMath says of its own stands beside them (2402.03300)."""

    name: str | None = None  # a sequence-classification model, by folder or hub id, as it is; none: train one here
    prompts: int = 64  # problems whose completions it is trained and tested on
    samples: int = 16  # completions of each, by the policy as it then is
    held_out: float = 0.25  # share of those problems on which its quality is measured
    labels: Literal["continuations", "rule"] = "continuations"  # of steps (2312.08935 §3.3, or the task's checker)
    continuations: int = 4  # of each step prefix; 2312.08935 §4 has 8
    epochs: int = 4
    lr: float = 2e-5  # §4.2, of its 7 B; a scale: the policy's profile may say another
    batch: int = 64  # completions an update
    replay: float = 0.1  # share of a refresh that is history (§4.1.4)

    def __post_init__(self) -> None:
        for name in ("prompts", "samples", "continuations", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"reward_model.{name}: must be at least 1, not {getattr(self, name)}")
        if self.prompts < 2:
            raise ValueError("reward_model.prompts: at least 2, one to train on and one to be measured on")
        if not self.lr > 0:
            raise ValueError(f"reward_model.lr: must be positive, not {self.lr}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"reward_model.held_out: must lie between 0 and 1, not {self.held_out}")
        if not 0 <= self.replay < 1:
            raise ValueError(f"reward_model.replay: must lie in 0..1, 1 excluded, not {self.replay}")
