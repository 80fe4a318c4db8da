"""Whole weights and moments of a model that is sharded, and back: the files are those of a run on one process."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(x: Any) -> Any:
    """All shares of a tensor, on the CPU; every process has to ask.  What is not sharded is as it is."""
    return x.full_tensor().detach().cpu() if isinstance(x, DTensor) else x


def state_of(module: Any) -> dict[str, Tensor]:
    """Weights and buffers that are kept, tied ones once; every process has to ask."""
    kept: dict[str, Tensor] = module.state_dict()
    if not any(isinstance(p, DTensor) for p in module.parameters()):
        return kept
    named = (*module.named_parameters(), *module.named_buffers())
    return {name: whole(x) for name, x in named if name in kept}


def save_weights(module: Any, file: Path | None) -> None:
    """A safetensors file; None on a process that writes none, which has to ask all the same."""
    if not any(isinstance(p, DTensor) for p in module.parameters()):
        if file is not None:
            save_model(module, str(file))
        return
    state = state_of(module)
    if file is not None:
        save_file({name: x.contiguous() for name, x in state.items()}, file)


def load_weights(module: Any, file: Path, device: str) -> None:
    """From such a file, whoever wrote it."""
    if not any(isinstance(p, DTensor) for p in module.parameters()):
        load_model(module, file, device=device)
        return
    tensors, named = load_file(file), dict(module.named_parameters(remove_duplicate=False))
    named |= {name: x for name, x in module.named_buffers(remove_duplicate=False) if name in module.state_dict()}
    read = {id(named[name]) for name in tensors}  # a tied weight has several names, of which the file has one
    if missing := [name for name, x in named.items() if id(x) not in read]:
        raise ValueError(f"{file.name} has no {missing[0]}")
    with torch.no_grad():
        for name, x in tensors.items():
            named[name].copy_(_as(named[name], x))


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
