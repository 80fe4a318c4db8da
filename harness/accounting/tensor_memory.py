"""The bytes of live tensors while a block runs, and the most that they came to.

On CUDA the allocator counts.  On the CPU every operation is watched, those of the backward pass too: the storage of
each tensor that one returns is counted once, from then until nobody holds it; autograd, for what it saved, is a holder.

    peak = max over time of sum over live storages of their bytes

What a kernel takes and returns within one operation (its scratch) is no tensor, and is counted on CUDA alone.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass
class Ledger:
    """Bytes at the start, now, and at the worst moment; `where` names that moment's operation (CPU alone)."""

    start: int = 0
    now: int = 0
    peak: int = 0
    where: str = ""

    @property
    def rise(self) -> int:
        """What the peak is above the start."""
        return self.peak - self.start


class _Watch(TorchDispatchMode):
    """Enters every storage that an operation makes into the ledger, and strikes it out when it dies."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger, self.living, self.open = ledger, dict[int, int](), True

    def begin(self, resident: list[Tensor]) -> None:
        for x in resident:
            self.enter(x, "start")
        self.ledger.start = self.ledger.now

    def enter(self, x: Tensor, name: str) -> None:
        storage = x.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.living or size == 0:
            return
        self.living[key] = size
        self.ledger.now += size
        if self.ledger.now > self.ledger.peak:
            self.ledger.peak, self.ledger.where = self.ledger.now, name
        weakref.finalize(storage, self.strike, key).atexit = False

    def strike(self, key: int) -> None:
        size = self.living.pop(key, 0)
        if self.open:
            self.ledger.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if _counted(x):
                self.enter(x, str(func))
        return out


def _counted(x: Any) -> bool:
    return isinstance(x, Tensor) and x.layout == torch.strided and x.device.type != "meta"


def _resident() -> list[Tensor]:
    """Every tensor that Python can reach, and its gradient."""
    tensors = [x for x in gc.get_objects() if type(x) in (Tensor, torch.nn.Parameter) and _counted(x)]
    return [t for x in tensors for t in (x, x.grad if x.is_leaf else None) if t is not None]


@contextmanager
def measured(device: str = "cpu") -> Iterator[Ledger]:
    """`with measured() as ledger: ...`, then `ledger.peak`.  Every tensor that there is at the start counts from it."""
    ledger = Ledger()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        ledger.start = torch.cuda.memory_allocated()
        try:
            yield ledger
        finally:
            torch.cuda.synchronize()
            ledger.now, ledger.peak = torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
        return
    gc.collect()
    watch = _Watch(ledger)
    watch.begin(_resident())
    try:
        with watch:
            yield ledger
    finally:
        watch.open = False
