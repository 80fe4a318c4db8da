"""16-bit matrices: what autocast makes of a model in every forward, made once.

Autocast casts the weights of matrix products and leaves embeddings and norms alone.  So a model that is only read under
autocast gives the same numbers, to the bit, with its matrices held in the 16-bit type: half the bytes, and no casts.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from harness.models.backbone import Autocast


def autocast_dtype(autocast: Autocast, device: torch.device) -> torch.dtype | None:
    """What matrix products are cast to; None where nothing is cast."""
    with autocast():
        return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


def _matrices(model: Any) -> list[Any]:
    return [m for m in model.modules() if isinstance(m, nn.Linear | Conv1D)]


def computes_with_weights(model: Any) -> bool:
    """Does a layer do more with a matrix than multiply by it?  DoRA takes norms of W + B A, which are others in 16
    bits; a quantized one puts its matrix together first."""
    packed = any(not p.is_floating_point() for p in model.parameters())
    return packed or any(len(getattr(m, "lora_magnitude_vector", ())) for m in model.modules())


def to_half_precision(model: Any, dtype: torch.dtype) -> Any:
    """The model itself, its matrices now in `dtype` (an output head tied to the embedding gets one of its own)."""
    for module in _matrices(model):
        module.weight = nn.Parameter(module.weight.detach().to(dtype), requires_grad=False)
    return model


def half_precision_copy(model: Any, dtype: torch.dtype) -> Any:
    """A copy with its matrices in `dtype`; every other tensor is the model's own."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    copied = {id(m.weight) for m in _matrices(model)} - embeddings
    memo = {id(x): x for x in [*model.parameters(), *model.buffers()] if id(x) not in copied}
    return to_half_precision(copy.deepcopy(model, memo), dtype)


def refresh(twin: Any, model: Any) -> None:
    """Copy the model's matrices into its half-precision copy."""
    with torch.no_grad():
        for mine, theirs in zip(_matrices(twin), _matrices(model), strict=True):
            mine.weight.copy_(theirs.weight)


def matrix_bytes(model: Any) -> int:
    """Of the matrices alone: what a half-precision copy adds."""
    return sum(m.weight.nbytes for m in _matrices(model))
