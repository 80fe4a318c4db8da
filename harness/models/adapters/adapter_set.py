"""The adapters of one frozen model, and which of them acts.

    policy      base + its adapter                  the one that acts where nothing else is said
    value model base + an adapter of its own        then its head
    reference   base alone; base + a frozen copy    where the start was an adapter, or iterations renew the reference

Every layer computes W x + (alpha / r) B A x for the adapter that acts, and W x where none does: the same operation on
the same tensors as in the model that was given, so that the reference equals it to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from harness.config.lora import LoraFields

POLICY, CRITIC, REFERENCE = "default", "critic", "reference"  # "default" is the name that a PEFT folder needs

EXTRA = "pip install 'post-training-harness[lora]'"


def check_installed() -> None:
    """Raises ValueError, naming the extra, where peft is not."""
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise ValueError(f"lora: it needs peft, which is not installed here: {EXTRA}") from error


class AdapterSet:
    """`model` is the transformers model itself, its linear layers wrapped in place; `peft_model` is around it."""

    def __init__(self, peft_model: Any, fields: LoraFields) -> None:
        from peft.tuners.lora import LoraLayer

        self.peft_model, self.fields = peft_model, fields
        self.model = peft_model.base_model.model
        self.layers: list[Any] = [m for m in self.model.modules() if isinstance(m, LoraLayer)]
        self.names: list[str] = sorted(peft_model.peft_config, key=[POLICY, CRITIC, REFERENCE].index)
        self.current: str | None = POLICY
        adapters = {id(p) for name in self.names for p in self.named(name).values()}
        self.base = [p for p in self.model.parameters() if id(p) not in adapters]
        self.base_bytes = sum(p.nbytes for p in self.base)
        for p in self.model.parameters():
            p.requires_grad_(False)
        for name in {POLICY, CRITIC} & {*self.names}:
            for p in self.parameters(name):
                p.requires_grad_(True)
        self._act(POLICY)

    def named(self, adapter: str) -> dict[str, nn.Parameter]:
        """Its tensors by the names that they have in the model, in the model's order."""
        return {name: p for name, p in self.model.named_parameters() if f".{adapter}." in name and ".lora_" in name}

    def parameters(self, adapter: str) -> list[nn.Parameter]:
        return list(self.named(adapter).values())

    def weights(self, adapter: str) -> nn.ParameterDict:
        """The same tensors as a module: what a checkpoint keeps of a model whose base never changes."""
        return nn.ParameterDict({name.replace(".", "/"): p for name, p in self.named(adapter).items()})

    @property
    def size(self) -> int:
        """Numbers in one adapter."""
        return sum(p.numel() for p in self.parameters(POLICY))

    @torch.no_grad()
    def copy(self, source: str, target: str) -> None:
        """target <- source."""
        for mine, theirs in zip(self.parameters(target), self.parameters(source), strict=True):
            mine.copy_(theirs)

    def view(self, adapter: str | None) -> Callable[[], AbstractContextManager[None]]:
        """What a reader of the model enters before it reads; None is the base alone."""
        if adapter is not None and adapter not in self.names:
            raise KeyError(adapter)
        return lambda: self.acting(adapter)

    def held(self) -> AbstractContextManager[None]:
        """What acts now, to act again later: for a layer that is computed again in the backward pass."""
        return self.acting(self.current)

    @contextmanager
    def acting(self, adapter: str | None) -> Iterator[None]:
        """While this holds, that adapter acts, or none."""
        before = self.current
        if adapter == before:
            yield
            return
        self._act(adapter)
        try:
            yield
        finally:
            self._act(before)

    def _act(self, adapter: str | None) -> None:
        """peft's own switch also turns gradients off in what does not act: a backward pass that is still to come
        would then leave them out.  So the attribute that it sets is set here, and nothing else."""
        for layer in self.layers:
            layer._active_adapter = [] if adapter is None else [adapter]
        self.current = adapter

    def state(self, adapter: str) -> dict[str, Tensor]:
        """Under the names that a PEFT folder has."""
        from peft import get_peft_model_state_dict

        return dict(get_peft_model_state_dict(self.peft_model, adapter_name=adapter, save_embedding_layers=False))
