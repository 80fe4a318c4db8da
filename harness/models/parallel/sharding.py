"""FSDP2 (torch's `fully_shard`): of every weight, gradient and moment each process holds one share.

    update     a layer's weights are gathered for its forward and backward, its gradients summed and scattered
    sampling   all weights are gathered first and let go afterwards, since processes decode different numbers of tokens

Every process must gather as often as every other: where one has fewer micro-batches it reads an idle one.  Modules that
are not sharded pass through all functions here as they are.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers.modeling_layers import GradientCheckpointingLayer

from harness.processes.group import current

T = TypeVar("T")


def shard(model: Any, offload: bool = False) -> Any:
    """The model itself, its layers and what is left of it sharded over all processes; `offload` keeps shares on the
    CPU.  Its parameters are other ones afterwards.

    Raises ValueError where the architecture names no layers.
    """
    from torch.distributed.fsdp import CPUOffloadPolicy, fully_shard, register_fsdp_forward_method

    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not layers:
        raise ValueError(f"parallel: {type(model).__name__} names no layers to shard; choose parallel=ddp")
    how: dict[str, Any] = {"offload_policy": CPUOffloadPolicy()} if offload else {}
    for module in (*layers, model):
        fully_shard(module, **how)
        module.set_gradient_divide_factor(1.0)  # sums: the loss is over the whole update's totals
        module.set_force_sum_reduction_for_comms(True)
    model.read_through = types.MethodType(lambda self, function: function(), model)
    register_fsdp_forward_method(model, "read_through")
    with torch.no_grad():
        model.read_through(tuple)  # the first to be read is taken for the root
    let_go([model])
    return model


def sharded(module: Any) -> bool:
    return hasattr(module, "read_through")


def reading(model: Any, function: Callable[[], T]) -> T:
    """What `function`, which reads the model's parts, returns: a tuple of tensors, where backward begins."""
    result: T = model.read_through(function) if sharded(model) else function()
    return result


def _parts(model: Any) -> list[Any]:
    from torch.distributed.fsdp import FSDPModule

    return [m for m in model.modules() if isinstance(m, FSDPModule)]


@contextmanager
def gathered(*models: Any) -> Iterator[None]:
    """While this holds every process has the whole weights, and reads without asking the others."""
    with ExitStack() as stack:
        for model in models:
            if sharded(model) and not getattr(model, "is_gathered", False):
                stack.enter_context(_gathered(model))
        yield


@contextmanager
def _gathered(model: Any) -> Iterator[None]:
    parts = _parts(model)
    model.unshard()  # the root first: it is one for all of them
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    model.is_gathered = True
    try:
        yield
    finally:
        model.is_gathered = False
        for part in parts:
            part.set_reshard_after_forward(part is not model, recurse=False)
            part.reshard()


def let_go(models: Iterable[Any]) -> None:
    """After a step: what is still gathered of the weights is from before it."""
    for model in models:
        if sharded(model):
            for part in _parts(model):
                part.reshard()


def missing(passes: int) -> int:
    """How many more micro-batches some other process has."""
    return max(current().gather(passes)) - passes


def local(x: Tensor) -> Tensor:
    """This process's share of a tensor."""
    return x.to_local() if isinstance(x, DTensor) else x


def sum_replicated_(parameters: Iterable[Tensor]) -> None:
    """Add up, over the processes, the gradients that FSDP2 has not."""
    current().sum_([p.grad for p in parameters if p.grad is not None and not isinstance(p.grad, DTensor)])


def clip_(parameters: list[Tensor], most: float) -> Tensor:
    """Scale the gradients to a norm of at most `most`; the norm over all shares before that (as torch has it)."""
    grads = [p.grad for p in parameters if p.grad is not None]
    shares = [math.fsum(_square(g) for g in grads if isinstance(g, DTensor) is kind) for kind in (True, False)]
    norm = math.sqrt(sum(current().gather(shares[0])) + shares[1])
    scale = min(1.0, most / (norm + 1e-6))
    for g in grads:
        local(g).mul_(scale)
    return torch.tensor(norm, dtype=torch.float64)


def _square(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(local(x), dtype=torch.float64)) ** 2
