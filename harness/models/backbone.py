"""A decoder stack as the harness reads it: the states in which the tokens of completions were chosen.

Packed (`packing.py`) where the architecture can be, else in rows beside one another with the padding on the right:
no token sees what stands behind it, whatever the layers are (attention, recurrence, convolution).

Shapes: N completions, S whole sequence, T completion columns, M tokens that the policy chose.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from algos import Rollouts
from harness.models.attention import attending, held
from harness.models.packing import Packed

Autocast = Callable[[], AbstractContextManager[Any]]
View = Callable[[], AbstractContextManager[None]]  # which adapter of the model acts (`models/adapters`)


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

    def __init__(
        self,
        module: Any,
        packs: bool = True,
        autocast: Autocast = nullcontext,
        varlen: bool = False,
        view: View = nullcontext,
    ) -> None:
        self.module, self.packs, self.autocast, self.varlen, self.view = module, packs, autocast, varlen, view

    def hidden_states(self, r: Rollouts) -> SelectedTokens:
        """The state in which each chosen token was chosen.  Gradient flows where it is enabled."""
        with self.view(), self.autocast():
            return self._packed(r) if self.packs else self._padded(r)

    def _packed(self, r: Rollouts) -> SelectedTokens:
        packed = Packed.of(r, self.varlen)
        with attending(self.module, packed):
            states = self.module(
                input_ids=packed.token_K[None], position_ids=packed.position_K[None], use_cache=False
            ).last_hidden_state[0]
        return SelectedTokens(states.index_select(0, packed.state_M), packed.target_M, r.completion_mask_NT)

    def _padded(self, r: Rollouts) -> SelectedTokens:
        tokens_NL, attend_NL = left_aligned(r.tokens_NS, r.attention_mask_NS)
        states = self.module(input_ids=tokens_NL, attention_mask=attend_NL.long(), use_cache=False).last_hidden_state
        mask_NT = r.completion_mask_NT
        row_M, _ = mask_NT.nonzero(as_tuple=True)
        place_M = positions(r.attention_mask_NS)[:, -mask_NT.shape[1] :][mask_NT]
        return SelectedTokens(states[row_M, place_M - 1], r.tokens_NS[:, -mask_NT.shape[1] :][mask_NT], mask_NT)


def backbone_of(model: Any) -> Any:
    """The decoder stack of a causal LM.  ValueError where transformers names none."""
    # a model whose prefix is another class's (llama 4's text model) is its own base model
    candidates = (model.base_model, model.get_decoder(), getattr(model, "model", None))
    module = next((m for m in candidates if m is not None and m is not model), None)
    if module is None:
        raise ValueError(f"model: {type(model).__name__} has no decoder stack beside its head: it cannot be read")
    return module


def positions(attention_mask_NS: Tensor) -> Tensor:
    """Position ids that ignore padding: the k-th real token of a row is at position k."""
    return (attention_mask_NS.cumsum(1) - 1).clamp(min=0)


def left_aligned(tokens_NS: Tensor, attention_mask_NS: Tensor) -> tuple[Tensor, Tensor]:
    """The rows with every real token moved to the left, in its order, and as few columns as that takes.

    >>> left_aligned(torch.tensor([[0, 5, 6, 0], [7, 8, 9, 0]]), torch.tensor([[0, 1, 1, 0], [1, 1, 1, 0]]).bool())[0]
    tensor([[5, 6, 0],
            [7, 8, 9]])
    """
    width = int(attention_mask_NS.sum(1).max())
    order_NS = torch.argsort(attention_mask_NS.logical_not().to(torch.int8), dim=1, stable=True)[:, :width]
    return tokens_NS.gather(1, order_NS), attention_mask_NS.gather(1, order_NS)


def rows_alone(r: Rollouts) -> list[tuple[Tensor, Tensor]]:
    """Each row's real tokens, and the places among them that foresee its chosen ones: what a plain pass reads."""
    width = r.completion_mask_NT.shape[1]
    place_NT = positions(r.attention_mask_NS)[:, -width:] - 1
    rows = zip(r.tokens_NS, r.attention_mask_NS, place_NT, r.completion_mask_NT, strict=True)
    return [(tokens[attend], places[chosen]) for tokens, attend, places, chosen in rows]


def plain_logits(model: Any, row: Tensor, places: Tensor) -> Tensor:
    """The model's own logits after these places of one row, by its class's forward: no padding, no cache.

    The object's forward may be accelerate's, which casts whatever the caller asks for.  (M, V).
    """
    forward, last = type(model).forward, len(row) - int(places[0])
    kept = {"logits_to_keep": last} if "logits_to_keep" in inspect.signature(forward).parameters else {}
    logits: Tensor = forward(model, input_ids=row[None], use_cache=False, **kept).logits
    return logits[0, -last:][places - places[0]]


# ---------------------------------------------------------------- gradient checkpointing

_off: list[None] = []  # not empty: no layer of any model is computed again


def checkpointed(module: Any, adapter: View = nullcontext) -> None:
    """Compute each layer again in the backward pass.  The attention layout that a pass was read with holds there too,
    and what `adapter` gives in the forward pass (`AdapterSet.held`).

    transformers' own switch needs layers in training mode.  That turns their dropout on, and takes their cache away
    while the same model samples: bloom, falcon, gpt-j and gpt-oss would then sample from another model than they train.
    Here a layer stays in evaluation mode, and is computed again only where a gradient is asked for.

    ValueError where the architecture names no layers that can be.
    """

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), _both(held(module), adapter())

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        own = type(self).forward
        if _off or not torch.is_grad_enabled():
            return own(self, *args, **kwargs)
        how: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False, "context_fn": contexts}
        return checkpoint(own, self, *args, **how, **kwargs)

    layers = [layer for layer in module.modules() if isinstance(layer, GradientCheckpointingLayer)]
    if not layers:
        raise ValueError(f"gradient_checkpointing: {type(module).__name__} has no layers that can be computed again")
    for layer in layers:
        layer.forward = types.MethodType(forward, layer)  # type: ignore[method-assign]


@contextmanager
def _both(one: AbstractContextManager[Any], two: AbstractContextManager[Any]) -> Iterator[None]:
    with one, two:
        yield


@contextmanager
def without_checkpointing() -> Iterator[None]:
    """While this holds, activations are kept: what a checkpointed pass is compared with."""
    _off.append(None)
    try:
        yield
    finally:
        _off.pop()
