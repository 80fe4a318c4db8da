"""A transformers causal LM behind the `Policy` interface: scoring, gradient, step, and the frozen reference."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from algos import Batch, Fresh, Need, Policy, Rollouts
from harness.rollout import positions


@dataclass(frozen=True)
class Optim:
    """AdamW for every arm: weight decay 0, gradient norm clipped at 1, one schedule."""

    lr: float
    warmup: int = 0  # updates over which the rate rises from 0
    decay: str = "constant"  # constant | linear: to 0 at the end of the budget
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    max_norm: float = 1.0

    def rate(self, update: int, progress: float) -> float:
        """The rate of update 0, 1, ... when a share `progress` of the budget is spent."""
        rise = min(1.0, (update + 1) / self.warmup) if self.warmup else 1.0
        return self.lr * rise * (1.0 - progress if self.decay == "linear" else 1.0)


class LMPolicy(Policy):
    """The live model, its optimiser and, where an algorithm needs it, a frozen copy as reference.

    Dropout is off throughout: the policy that is trained is the one that was sampled.
    """

    def __init__(
        self,
        model: Any,
        accelerator: Accelerator,
        optim: Optim,
        temperature: float,
        reference: bool,
        micro_tokens: int,
        progress: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.accelerator, self.optim, self.temperature = accelerator, optim, temperature
        self.micro_tokens, self.progress, self.updates, self.gradient_bytes = micro_tokens, progress, 0, 0
        model.eval()
        self.reference = copy.deepcopy(model).requires_grad_(False).to(accelerator.device) if reference else None
        optimizer = torch.optim.AdamW(model.parameters(), lr=optim.lr, betas=optim.betas, eps=optim.eps, weight_decay=0)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.model.eval()

    def annotate(self, rollouts: Rollouts, needs: frozenset[Need]) -> Rollouts:
        if "values" in needs:
            raise ValueError("this policy has no value head")
        if "reference" not in needs:
            return rollouts
        assert self.reference is not None
        return replace(rollouts, ref_logp_NT=self.score(rollouts, self.reference))

    @torch.inference_mode()
    def score(self, rollouts: Rollouts, model: Any | None = None) -> Tensor:
        """log pi of every sampled token under `model` (default: the live one), without gradient.  (N, T)."""
        rows = max(1, self.micro_tokens // rollouts.tokens_NS.shape[1])
        parts = [
            self._read(rollouts.take(torch.arange(i, min(i + rows, len(rollouts.group_N)), device=self.device)), model)
            for i in range(0, len(rollouts.group_N), rows)
        ]
        return torch.cat([logp for logp, _ in parts]).clone()

    def forward(self, batch: Batch, needs: frozenset[Need]) -> Fresh:
        logp_NT, entropy_NT = self._read(batch.rollouts, None, "entropy" in needs)
        return Fresh(logp_NT=logp_NT, entropy_NT=entropy_NT)

    def _read(self, r: Rollouts, model: Any | None = None, entropy: bool = False) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy of each completion token; both 0 at mask 0."""
        width = r.mask_NT.shape[1]
        model = self.model if model is None else model
        with self.accelerator.autocast():
            logits_NTV = model(
                input_ids=r.tokens_NS,
                attention_mask=r.attend_NS.long(),
                position_ids=positions(r.attend_NS),
                use_cache=False,
                logits_to_keep=width + 1,
            ).logits[:, :-1]
        dtype = torch.promote_types(logits_NTV.dtype, torch.float32)
        logp_NTV = torch.log_softmax(logits_NTV.to(dtype) / self.temperature, dim=-1)
        logp_NT = logp_NTV.gather(2, r.tokens_NS[:, -width:, None])[..., 0]
        with torch.set_grad_enabled(entropy and torch.is_grad_enabled()):
            entropy_NT = -(logp_NTV.exp() * logp_NTV).sum(-1)
        return torch.where(r.mask_NT, logp_NT, 0), torch.where(r.mask_NT, entropy_NT, 0)

    def backward(self, loss: Tensor) -> None:
        self.accelerator.backward(loss)

    def step(self) -> dict[str, float]:
        rate = self.optim.rate(self.updates, self.progress())
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.optim.max_norm)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"the gradient's norm is {float(norm)} at update {self.updates + 1}")
        self.gradient_bytes = sum(p.grad.nbytes for p in self.model.parameters() if p.grad is not None)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.updates += 1
        return {"grad_norm": float(norm), "learning_rate": rate}

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    def memory_parts(self) -> dict[str, int]:
        """Bytes of the tensors that live for the whole run, and of the gradients at the last step, counted."""

        def size(tensors: Any) -> int:
            return sum(t.numel() * t.element_size() for t in tensors)

        state = [t for s in self.optimizer.state.values() for t in s.values() if isinstance(t, Tensor)]
        parts = {"policy": size(self.model.parameters()), "gradients": self.gradient_bytes, "optimizer": size(state)}
        if self.reference is not None:
            parts["reference"] = size(self.reference.parameters())
        return parts
