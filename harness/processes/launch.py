"""Joining the processes that a launcher has started, from the variables that it sets; and parting.

WORLD_SIZE RANK MASTER_ADDR MASTER_PORT      torchrun, accelerate launch, or a job script of one's own
LOCAL_RANK LOCAL_WORLD_SIZE                  which of the devices of this machine
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from harness.processes.group import Group, current, enter
from harness.processes.watch import INTERRUPTED

JOIN = timedelta(minutes=10)  # for all processes to come
WAIT = timedelta(days=1)  # for one another later: a rank may sample for hours, and `watch` knows whether it lives
STORE = timedelta(seconds=10)  # for a sign of life to be written


def asked(environment: Mapping[str, str]) -> int:
    """Processes that a launcher has started for one run, 1 without a launcher.  Raises ValueError naming the variable
    that is no number."""
    return _number(environment, "WORLD_SIZE", 1)


@contextmanager
def joined(environment: Mapping[str, str] = os.environ) -> Iterator[Group]:
    """The group of this run's processes while this holds; one process alone where no launcher is at work.

    Raises ValueError, one line, where the launcher's variables do not fit, a port is in use or libraries differ.
    """
    if current().size > 1 or asked(environment) <= 1:
        yield current()
        return
    group = _join(environment)
    enter(group)
    try:
        from harness.processes.agreement import check_same, versions

        check_same("processes", versions(), "install the same versions for all of them")
        yield group
        group.at("the end")
        group.gather(None)  # nobody leaves while another may still ask
    except BaseException as error:
        reason = INTERRUPTED if isinstance(error, KeyboardInterrupt) else " ".join(str(error).split())[:500]
        group.speaks = group.leave(reason or type(error).__name__)
        raise
    _part(group)


def _join(environment: Mapping[str, str]) -> Any:
    import torch
    import torch.distributed as dist

    from harness.processes.several import Processes
    from harness.processes.watch import Watch

    size, rank = asked(environment), _number(environment, "RANK", -1)
    if not 0 <= rank < size:
        raise ValueError(f"RANK={environment.get('RANK')}: must lie in 0..{size - 1}, for WORLD_SIZE={size}")
    host, port = environment.get("MASTER_ADDR", "127.0.0.1"), _number(environment, "MASTER_PORT", 29500)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=JOIN, rank=rank, world_size=size, init_method="env://")
    except (RuntimeError, ValueError, dist.DistNetworkError) as error:
        if "EADDRINUSE" in str(error) or "address already in use" in str(error).lower():
            raise ValueError(
                f"MASTER_PORT={port} is in use on {host}: choose another (accelerate launch --main_process_port, "
                "torchrun --master-port)"
            ) from None
        what = f"processes: rank {rank} of {size} cannot reach the others at {host}:{port}"
        raise ValueError(f"{what}: {' '.join(str(error).split())[:300]}") from error
    dist.distributed_c10d._set_pg_timeout(WAIT)
    store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=STORE) if rank == 0 else None
    own = torch.tensor([store.port if store else 0])
    dist.broadcast(own, 0)
    store = store or dist.TCPStore(host, int(own), is_master=False, wait_for_workers=False, timeout=STORE)
    watch = Watch(store, rank, size)
    watch.sign()
    dist.all_reduce(own)  # every rank has given its first sign
    watch.start()
    return Processes(watch)


def _part(group: Any) -> None:
    import torch.distributed as dist

    group.watch.close()
    enter(None)
    with suppress(Exception):
        dist.destroy_process_group()


def own_device(name: str, devices: int, environment: Mapping[str, str] = os.environ) -> str:
    """The device of this process where all were given `name`; the CPU is everybody's.  `devices`: on this machine.

    Raises ValueError where a process has none of its own.
    """
    size = current().size
    if size == 1 or name == "cpu":
        return name
    if name != "cuda":
        raise ValueError(f"device: {name} is one device, and {size} processes need one each: device=cuda")
    place = _number(environment, "LOCAL_RANK", current().rank)
    if place >= devices:
        count = max(place + 1, _number(environment, "LOCAL_WORLD_SIZE", size))
        raise ValueError(
            f"device: {count} processes on this machine, and torch finds {devices} CUDA devices; start as many "
            "processes as devices, or give --device cpu"
        )
    return f"cuda:{place}"


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "") or str(default)
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name}={text} in the environment: must be a whole number") from None
