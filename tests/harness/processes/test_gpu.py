"""Several processes on GPUs, over NCCL."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import harness
from tests.harness.processes.launching import JOB, TINY, apart, launched, record_of, torchrun, written
from tests.harness.processes.test_equality import job

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="two processes need two CUDA devices"),
]


@pytest.mark.parametrize("more", [{}, {"parallel": "fsdp2"}, {"parallel": "fsdp2", "cpu_offload": True}])
def test_two_devices_are_one(more: dict[str, object], taught: Path, tmp_path: Path) -> None:
    settings = {**TINY, "algo": "grpo", "lr": 1e-4, "dtype": "float32", "device": "cuda", "budget": "completions=64"}
    two = job("two", taught, tmp_path, {**settings, **more})
    done = launched(torchrun(2, JOB, written(tmp_path, [two])))
    assert done.returncode == 0, done.stderr
    harness.run(**job("one", taught, tmp_path, settings))
    assert (tmp_path / "one/samples.jsonl").read_text() == (tmp_path / "two/samples.jsonl").read_text()
    assert apart(tmp_path / "one", tmp_path / "two") < 1e-5
    assert "nccl" in record_of(tmp_path / "two")["environment"]["processes"]["backend"]
