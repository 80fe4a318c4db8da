"""Starting real processes, and comparing what they leave behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.helpers import ROOT

JOB = "tests.harness.processes.job"
TIMED = ("step_time", "perf/", "mem/", "spend/device_seconds")
TINY = {"task.train_size": 16, "task.test_size": 16, "task.other_size": 4}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def accelerate(count: int, *words: str) -> list[str]:
    """The command line of `accelerate launch`; --multi_gpu is also how it starts several processes on CPUs."""
    how = ["--multi_gpu", "--num_processes", str(count), "--num_machines", "1", "--mixed_precision", "no"]
    more = ["--dynamo_backend", "no", "--main_process_port", str(free_port())]
    return [sys.executable, "-m", "accelerate.commands.launch", *how, *more, "-m", *words]


def torchrun(count: int, *words: str) -> list[str]:
    how = ["--nproc-per-node", str(count), "--master-port", str(free_port())]
    return [sys.executable, "-m", "torch.distributed.run", *how, "-m", *words]


def launched(command: list[str], timeout: float = 600, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=env, cwd=ROOT)


def written(folder: Path, jobs: list[dict[str, Any]]) -> str:
    """A file of jobs."""
    file = folder / "jobs.json"
    file.write_text(json.dumps(jobs))
    return str(file)


def record_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "record.json").read_text()))


def metrics_of(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith(TIMED)} for line in lines]


def spend_of(folder: Path) -> dict[str, float]:
    return {unit: value for unit, value in record_of(folder)["spend"].items() if unit != "device_seconds"}


def scores_of(folder: Path) -> list[tuple[Any, ...]]:
    names = ("fraction", "task", "filter", "metric", "value", "stderr", "n")
    return [tuple(row[name] for name in names) for row in record_of(folder)["evals"]]


def apart(one: Path, two: Path) -> float:
    """|w - w'| / |w| over all weights of the two final models."""
    a, b = (load_file(folder / "checkpoints/final/model.safetensors") for folder in (one, two))
    assert a.keys() == b.keys(), a.keys() ^ b.keys()
    x, y = (torch.cat([w[name].double().flatten() for name in sorted(a)]) for w in (a, b))
    return float((x - y).norm() / x.norm())
