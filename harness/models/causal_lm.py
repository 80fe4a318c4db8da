"""A transformers causal LM as the harness reads it: a backbone, whose states foresee tokens, and a head over them.

Completions are read packed (`packing.py`).  Whether a model can be is tried on two small prompts when it is opened,
against plain passes over one row at a time: an architecture that cannot (recurrent layers, attention sinks) is read in
padded rows instead, slower and no less right.  Logits exist for chosen tokens alone, and for no more of them at once
than `logit_bytes` are.

Shapes: N completions, S whole sequence, T completion columns, M tokens that the policy chose, V vocabulary.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from algos import Rollouts
from harness.models.backbone import Autocast, Backbone, SelectedTokens, View, backbone_of, plain_logits, rows_alone
from harness.models.limits import logit_rows

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}  # of the trial, relative to the largest logit; 0.03 in 16 bits


class CausalLM(Backbone):
    """A backbone and its head.  Raises ValueError where the model's logits are not its head's, scaled or capped."""

    def __init__(self, model: Any, autocast: Autocast = nullcontext, view: View = nullcontext) -> None:
        super().__init__(backbone_of(model), True, autocast, view=view)  # packed or not, and how: `_try` finds out
        self.model, self.head = model, model.get_output_embeddings()
        config = model.config.get_text_config()
        caps = (getattr(config, name, None) for name in ("final_logit_softcapping", "logits_soft_cap"))
        self.cap: float | None = next(filter(None, caps), None)
        self.scale = float(getattr(config, "logit_scale", None) or 1.0) / float(
            getattr(config, "logits_scaling", None) or 1.0
        )
        self._try()

    def logits(self, states: Tensor) -> Tensor:
        """Over the vocabulary, as the model gives them."""
        logits = self.head(states)
        if self.scale != 1.0:
            logits = logits * self.scale
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)

    def token_logprobs(
        self, chosen: SelectedTokens, temperature: float, entropy: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy of each chosen token, at `temperature`, in fp32 at least.  Two (M,) tensors.

        log pi(o) = z_o - log sum_v exp z_v with z = logits / temperature.  The entropy has a gradient where `entropy`.
        """
        states, targets = chosen.state_MH, chosen.target_M
        rows = logit_rows(self.head.weight.shape[0], self.varlen)

        def part(state: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
            with self.autocast():
                logits = self.logits(state)
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            return log_chosen(logits if temperature == 1.0 else logits.div_(temperature), target, entropy)

        if len(states) <= rows:
            return part(states, targets)
        pieces = zip(states.split(rows), targets.split(rows), strict=True)
        outputs = [checkpoint(part, s, t, use_reentrant=False, preserve_rng_state=False) for s, t in pieces]
        return torch.cat([logp for logp, _ in outputs]), torch.cat([h for _, h in outputs])

    @torch.no_grad()
    def _try(self) -> None:
        """Find the fastest way to read this model that gives its own logits.  ValueError where none does."""
        training, on_cuda = self.model.training, self.head.weight.is_cuda
        self.model.eval()
        try:
            with self.view(), self.autocast():
                r, theirs = self._trial()
                for self.packs, self.varlen in ((True, True), (True, False), (False, False))[0 if on_cuda else 1 :]:
                    if self._agrees(r, theirs):
                        return
                raise ValueError(
                    f"model: {type(self.model).__name__} reads rows beside one another as other than alone"
                )
        finally:
            self.model.train(training)

    def _trial(self) -> tuple[Rollouts, Tensor]:
        """Two small prompts, and what the model itself says of their completions, each row alone."""
        r = _example(self.head.weight.device, self.head.weight.shape[0])
        rows = rows_alone(r)
        theirs = [plain_logits(self.model, row, places) for row, places in rows]
        if not all(torch.isfinite(x).all() for x in theirs):
            raise ValueError(
                "model: its logits are not finite: its weights hold NaN, infinite or far too large numbers"
            )
        row, places = rows[0]
        states = self.module(input_ids=row[None], use_cache=False).last_hidden_state[0, places]
        if not _near(self.logits(states), theirs[0]):
            name = type(self.model).__name__
            raise ValueError(f"model: {name} makes more of its head's output than a scale or a cap: it cannot be read")
        return r, torch.cat(theirs)

    def _agrees(self, r: Rollouts, theirs: Tensor) -> bool:
        try:
            return _near(self.logits(self.hidden_states(r).state_MH), theirs)
        except Exception:  # an architecture may fail in any way here: it is then read in another
            return False


def log_chosen(logits_MV: Tensor, target_M: Tensor, entropy: bool) -> tuple[Tensor, Tensor]:
    """log softmax at the target, and the entropy -sum p log p in nats."""
    logp_M, entropy_M = _LogChosen.apply(logits_MV, target_M)  # type: ignore[no-untyped-call]
    if entropy and torch.is_grad_enabled():
        logp_MV = torch.log_softmax(logits_MV, -1)
        entropy_M = -(logp_MV.exp() * logp_MV).sum(-1)
    return logp_M, entropy_M


class _LogChosen(torch.autograd.Function):
    """log p_o = z_o - log sum exp z.  Its gradient, (1[v = o] - p_v) g, is written into one buffer: softmax, scatter
    and their sum would hold three."""

    @staticmethod
    def forward(ctx: Any, logits_MV: Tensor, target_M: Tensor) -> tuple[Tensor, Tensor]:
        logp_MV = torch.log_softmax(logits_MV, -1)
        ctx.save_for_backward(logp_MV, target_M)
        entropy_M = -logp_MV.exp().mul_(logp_MV).sum(-1)
        ctx.mark_non_differentiable(entropy_M)
        return logp_MV.gather(1, target_M[:, None])[:, 0], entropy_M

    @staticmethod
    def backward(ctx: Any, grad_M: Tensor, _: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        logp_MV, target_M = ctx.saved_tensors
        grad_MV = logp_MV.exp().mul_(-grad_M[:, None])
        return grad_MV.scatter_add_(1, target_M[:, None], grad_M[:, None]), None


def _near(ours: Tensor, theirs: Tensor) -> bool:
    ours, theirs = ours.detach(), theirs.detach()
    return float((ours - theirs).abs().max()) <= TOLERANCE.get(ours.dtype, 0.03) * float(theirs.abs().max())


def _example(device: torch.device, vocabulary: int) -> Rollouts:
    """Prompts of 3 and 5 tokens, two completions each, of 1 to 4 tokens."""
    prompts, lengths = [3, 3, 5, 5], [4, 2, 3, 1]
    column = torch.arange(9, device=device)
    prompt_N, length_N = torch.tensor(prompts, device=device), torch.tensor(lengths, device=device)
    group_N = torch.tensor([0, 0, 1, 1], device=device)
    left = (column >= 5 - prompt_N[:, None]) & (column < 5)
    right = (column >= 5) & (column < 5 + length_N[:, None])
    own_NS = torch.where(
        column < 5, 7 * column + 3 * group_N[:, None], 5 * column + 11 * torch.arange(4, device=device)[:, None]
    )
    return Rollouts(
        tokens_NS=own_NS % vocabulary,
        attention_mask_NS=left | right,
        completion_mask_NT=right[:, 5:],
        logp_NT=torch.zeros(4, 4, device=device),
        group_N=group_N,
    )
