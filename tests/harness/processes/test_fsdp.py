"""FSDP2 over gloo: shares of a model train as the whole one does, and their checkpoints are everybody's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import harness
from tests.harness.processes.launching import JOB, TINY, apart, launched, metrics_of, record_of, torchrun, written
from tests.harness.processes.test_equality import ARMS, OTHERS, job, same


@pytest.mark.slow
def test_shares_train_as_the_whole_does(taught: Path, tmp_path: Path) -> None:
    """Two processes against one, in fp64; parts of memory are a half."""
    chosen = {name: (ARMS | OTHERS)[name] for name in ("grpo", "ppo", "ppo_shared", "rft", "learned")}
    settings: dict[str, dict[str, Any]] = {n: {**TINY, "lr": 1e-4, **s, "dtype": "float64"} for n, s in chosen.items()}
    shares = [job(n, taught, tmp_path / "two", {**s, "parallel": "fsdp2"}) for n, s in settings.items()]
    done = launched(torchrun(2, JOB, written(tmp_path, shares)), timeout=600)
    assert done.returncode == 0, done.stderr
    torch.set_num_threads(1)
    for name, s in settings.items():
        harness.run(**job(name, taught, tmp_path / "one", s))
        same(tmp_path / "one" / name, tmp_path / "two" / name, 1e-9)
    one, two = (record_of(tmp_path / out / "ppo")["memory"]["parts"] for out in ("one", "two"))
    for part in ("policy", "reference", "critic", "gradients", "optimizer"):
        assert 0.5 <= two[part]["bytes"] / one[part]["bytes"] < 0.52


@pytest.mark.slow
def test_a_checkpoint_of_shares_is_a_whole_one(taught: Path, tmp_path: Path) -> None:
    """Begun in two shares, gone on with as one process, and the other way round."""
    s = {**TINY, "algo": "ppo", "lr": 1e-4, "dtype": "float64"}
    whole, shares = (job(n, taught, tmp_path, {**s, "parallel": p}) for n, p in (("whole", "ddp"), ("run", "fsdp2")))
    cut = launched(torchrun(2, JOB, written(tmp_path, [shares])), FAULT="1 SIGKILL rollout 30")
    assert cut.returncode != 0 and 4 <= len(metrics_of(tmp_path / "run")) < 10
    saved = sorted(p.name for p in (tmp_path / "run/checkpoints").iterdir())
    assert saved in (["round-00004"], ["round-00008"])  # those of every fourth round, for its shares are gone
    torch.set_num_threads(1)
    harness.run(**whole)
    harness.run(**{**shares, "resume": True})
    same(tmp_path / "whole", tmp_path / "run", 1e-9)
    assert apart(tmp_path / "whole", tmp_path / "run") < 1e-9
