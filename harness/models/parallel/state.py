"""Whole weights and moments of a model that is sharded, and back: the files are those of a run on one process."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from harness.models.parallel.sharding import sharded


def whole(x: Any) -> Any:
    """All shares of a tensor, on the CPU; every process has to ask.  What is not sharded is as it is."""
    return x.full_tensor().detach().cpu() if isinstance(x, DTensor) else x


def state_of(module: Any) -> dict[str, Tensor]:
    """Every process has to ask."""
    return {name: whole(x) for name, x in module.state_dict().items()}


def save_weights(module: Any, file: Path | None) -> None:
    """A safetensors file; None on a process that writes none, which has to ask all the same."""
    if not sharded(module) and not any(isinstance(p, DTensor) for p in module.parameters()):
        if file is not None:
            save_model(module, str(file))
        return
    named = {name: whole(p) for name, p in (*module.named_parameters(), *module.named_buffers())}  # tied ones once
    kept = module.state_dict().keys()
    if file is not None:
        save_file({name: x.contiguous() for name, x in named.items() if name in kept}, file)


def load_weights(module: Any, file: Path, device: str) -> None:
    """From such a file, whoever wrote it."""
    if not any(isinstance(p, DTensor) for p in module.parameters()):
        load_model(module, file, device=device)
        return
    tensors = load_file(file)
    with torch.no_grad():
        for name, p in (*module.named_parameters(), *module.named_buffers()):
            if name in tensors:
                p.copy_(_as(p, tensors[name]))


def _as(like: Tensor, full: Tensor) -> Tensor:
    if not isinstance(like, DTensor):
        return full.to(like.device)
    return distribute_tensor(full.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def optimizer_state(optimizer: Any) -> dict[str, Any]:
    """As `state_dict()` of one process has it; every process has to ask."""
    state = optimizer.state_dict()
    moments = {place: {name: whole(x) for name, x in s.items()} for place, s in state["state"].items()}
    return {**state, "state": moments}


def load_optimizer(optimizer: Any, state: dict[str, Any]) -> None:
    """From such a state, each process keeping its shares."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        place: {name: _as(params[place], x) if _whole_like(x, params[place]) else x for name, x in s.items()}
        for place, s in state["state"].items()
    }
    optimizer.load_state_dict({**copy.copy(state), "state": moments})


def _whole_like(x: Any, parameter: Tensor) -> bool:
    return isinstance(x, Tensor) and isinstance(parameter, DTensor) and x.shape == parameter.shape
