"""A transformers causal LM as the harness reads it: a backbone, whose states foresee tokens, and a head over them.

Completions are read packed (`harness/models/packing.py`).  Whether a model's attention can be is tried on two small
prompts when it is opened: an architecture that cannot (recurrent layers, attention sinks) is read in padded rows
instead, slower and no less right.  Logits exist for chosen tokens alone, and for no more of them at once than
`logit_bytes` are.

Shapes: N completions, S whole sequence, T completion columns, M tokens that the policy chose, V vocabulary.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from algos import Rollouts
from harness.models.attention import attending, held
from harness.models.limits import logit_rows
from harness.models.packing import Packed

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}  # of the trial, relative to the largest logit; 0.03 in 16 bits

Autocast = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class SelectedTokens:
    """What a reading says of the M chosen tokens; `scatter` lays one number per token out as (N, T), 0 elsewhere."""

    state_MH: Tensor  # the backbone's state that foresaw each
    target_M: Tensor
    mask_NT: Tensor

    def scatter(self, x_M: Tensor) -> Tensor:
        return x_M.new_zeros(self.mask_NT.shape).masked_scatter(self.mask_NT, x_M)


class Backbone:
    """States of a decoder stack, packed where it can be."""

    def __init__(self, module: Any, packs: bool = True, autocast: Autocast = nullcontext, varlen: bool = False) -> None:
        self.module, self.packs, self.autocast, self.varlen = module, packs, autocast, varlen

    def hidden_states(self, r: Rollouts) -> SelectedTokens:
        """The state in which each chosen token was chosen.  Gradient flows where it is enabled."""
        with self.autocast():
            return self._packed(r) if self.packs else self._padded(r)

    def _packed(self, r: Rollouts) -> SelectedTokens:
        packed = Packed.of(r, self.varlen)
        with attending(self.module, packed):
            states = self.module(
                input_ids=packed.token_K[None], position_ids=packed.position_K[None], use_cache=False
            ).last_hidden_state[0]
        return SelectedTokens(states.index_select(0, packed.state_M), packed.target_M, r.completion_mask_NT)

    def _padded(self, r: Rollouts) -> SelectedTokens:
        width = r.completion_mask_NT.shape[1]
        states = self.module(
            input_ids=r.tokens_NS,
            attention_mask=r.attention_mask_NS.long(),
            position_ids=positions(r.attention_mask_NS),
            use_cache=False,
        ).last_hidden_state
        return SelectedTokens(
            states[:, -(width + 1) : -1][r.completion_mask_NT],
            r.tokens_NS[:, -width:][r.completion_mask_NT],
            r.completion_mask_NT,
        )


class CausalLM(Backbone):
    """A backbone and its head.  Raises ValueError where the model's logits are not its head's, scaled or capped."""

    def __init__(self, model: Any, autocast: Autocast = nullcontext) -> None:
        super().__init__(model.base_model, True, autocast)  # packed or not, and how: `_try` finds out
        self.model, self.head = model, model.get_output_embeddings()
        config = model.config.get_text_config()
        self.cap: float | None = getattr(config, "final_logit_softcapping", None)
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
        """Find the fastest way to read this model that gives its own logits."""
        training, on_cuda = self.model.training, self.head.weight.is_cuda
        self.model.eval()
        try:
            with self.autocast():
                r, theirs = self._trial()
                for self.packs, self.varlen in ((True, True), (True, False))[0 if on_cuda else 1 :]:
                    if self._agrees(r, theirs):
                        return
                self.packs = self.varlen = False
        finally:
            self.model.train(training)

    def _trial(self) -> tuple[Rollouts, Tensor]:
        """Two small prompts, and what the model itself says of their completions."""
        r = _example(self.head.weight.device, self.head.weight.shape[0])
        whole = self.model(
            input_ids=r.tokens_NS,
            attention_mask=r.attention_mask_NS.long(),
            position_ids=positions(r.attention_mask_NS),
            use_cache=False,
        ).logits
        width = r.completion_mask_NT.shape[1]
        theirs = whole[:, -(width + 1) : -1][r.completion_mask_NT]
        if not _near(self.logits(self._padded(r).state_MH), theirs):
            name = type(self.model).__name__
            raise ValueError(f"model: {name} makes more of its head's output than a scale or a cap: it cannot be read")
        return r, theirs

    def _agrees(self, r: Rollouts, theirs: Tensor) -> bool:
        try:
            return _near(self.logits(self._packed(r).state_MH), theirs)
        except Exception:  # an architecture may fail in any way here: it is then read padded
            return False


def checkpointed(module: Any) -> None:
    """Compute each layer again in the backward pass.  The layout that a pass was read with holds there too."""

    def both() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), held(module)

    module.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": both, "preserve_rng_state": False})
    for layer in module.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            layer.train = types.MethodType(_always, layer)  # type: ignore[method-assign]
            layer.train(False)


def _always(self: Any, mode: bool = True) -> Any:
    """`train` of a checkpointed layer: transformers checkpoints layers in training mode alone, and ours is evaluation
    mode, dropout off; so the layer itself reports training mode, and its children the mode that was set."""
    for child in self.children():
        child.train(mode)
    self.training = True
    return self


def positions(attention_mask_NS: Tensor) -> Tensor:
    """Position ids that ignore padding: the k-th real token of a row is at position k."""
    return (attention_mask_NS.cumsum(1) - 1).clamp(min=0)


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
