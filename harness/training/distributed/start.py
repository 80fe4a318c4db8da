"""Before the first round: are these ranks of one run?  And what the record says of them."""

from __future__ import annotations

import socket
from typing import Any

import torch

from harness.config.run_config import RunConfig
from harness.processes.agreement import check_same
from harness.processes.group import current
from harness.records.schema import Record

LOCAL = ("device", "threads", "cpu", "variables", "processes", "dirty")  # of an environment: each machine's own


def agree(config: RunConfig, record: Record) -> None:
    """Raises ValueError, on every rank, where one has another configuration, other data, weights or code."""
    if current().size == 1:
        return
    what = {k: v for k, v in record["environment"].items() if k not in LOCAL}
    resolved = {**record["config"], "resume": config.resume, "name": config.name, "out": config.out}
    check_same("configuration", {k: _plain(v) for k, v in resolved.items()}, "give every process the same command")
    check_same("inputs", {k: _plain(v) for k, v in what.items()}, "give every machine the same files")


def _plain(value: Any) -> Any:
    return {str(k): _plain(v) for k, v in value.items()} if isinstance(value, dict) else repr(value)


def processes(config: RunConfig) -> dict[str, Any]:
    """`environment.processes`; nothing of a run that is one process."""
    group = current()
    if group.size == 1:
        return {}
    ranks = group.gather((socket.gethostname(), config.device, torch.get_num_threads()))
    return {
        "processes": {
            "count": group.size,
            "hosts": len({host for host, _, _ in ranks}),
            "backend": torch.distributed.get_backend_config(),
            "threads": [threads for *_, threads in ranks],
        }
    }
