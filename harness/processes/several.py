"""Several processes over torch.distributed: objects and CPU tensors go through gloo, those on CUDA through NCCL.

Each operation is begun and then asked for until it has come, so that a signal, also that of `watch`, is heard
meanwhile: a rank that waits for one that is gone does not wait for ever.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from harness.processes.group import Group, part
from harness.processes.watch import RankLost, Watch

T = TypeVar("T")
U = TypeVar("U")
BUCKET = 2**26  # bytes of tensors that are laid side by side and summed at once
PAUSE = 1e-3  # seconds, the longest between two looks


class Processes(Group):
    """The ranks of the process group that `launch` has made."""

    def __init__(self, watch: Watch) -> None:
        self.size, self.rank, self.watch = dist.get_world_size(), dist.get_rank(), watch

    def gather(self, value: T) -> list[T]:
        data = torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8)
        sizes = self._all_gather(torch.tensor([len(data)]))
        longest = max(int(size) for size in sizes)
        padded = torch.nn.functional.pad(data, (0, longest - len(data)))
        parts = self._all_gather(padded)
        return [pickle.loads(p[: int(n)].numpy().tobytes()) for p, n in zip(parts, sizes, strict=True)]

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        for bucket in _buckets(tensors):
            flat = torch.cat([x.reshape(-1) for x in bucket])
            self._wait(lambda flat=flat: dist.all_reduce(flat, async_op=True))  # type: ignore[misc]
            for x, whole in zip(bucket, flat.split([x.numel() for x in bucket]), strict=True):
                x.copy_(whole.view_as(x))

    def map(self, function: Callable[[Sequence[T]], list[U]], items: Sequence[T]) -> list[U]:
        mine = items[part(len(items), self.rank, self.size)]
        return [x for done in self.gather(function(mine) if len(mine) else []) for x in done]

    def on_first(self, function: Callable[[], T]) -> T:
        answer: tuple[bool, Any] = (True, None)
        if self.first:
            try:
                answer = True, function()
            except ValueError as error:
                answer = False, error
        well, value = self.gather(answer)[0]
        if not well:
            raise value
        return value  # type: ignore[no-any-return]

    def at(self, phase: str) -> None:
        self.watch.at(phase)

    def leave(self, reason: str) -> bool:
        return self.watch.leave(reason)

    def lost(self) -> str:
        return self.watch.find(interrupted=False)

    def _all_gather(self, x: Tensor) -> list[Tensor]:
        parts = [torch.empty_like(x) for _ in range(self.size)]
        self._wait(lambda: dist.all_gather(parts, x, async_op=True))
        return parts

    def _wait(self, begin: Callable[[], Any]) -> None:
        """Until it has come.  RankLost, where it cannot."""
        try:
            work, pause = begin(), 0.0
            while not work.is_completed():
                time.sleep(pause)
                pause = min(PAUSE, 2 * pause + 1e-6)
            work.wait()
        except (RuntimeError, dist.DistBackendError) as error:
            raise RankLost(self.watch.find() or f"the processes have lost each other: {error}") from error


def _buckets(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Neighbours of one type on one device, at most BUCKET bytes or one tensor."""
    buckets: list[list[Tensor]] = []
    room, last = 0, None
    for x in tensors:
        kind = (x.dtype, x.device)
        if kind != last or x.nbytes > room:
            buckets.append([])
            room, last = BUCKET, kind
        buckets[-1].append(x)
        room -= x.nbytes
    return buckets
