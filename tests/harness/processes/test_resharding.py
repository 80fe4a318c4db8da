"""A checkpoint is of the run, not of its processes: saved by two, gone on with by one or by four."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import harness
from harness.config.run_config import resolve
from harness.training import checkpoint
from harness.training.setup import PreparedRun, prepare
from tests.harness.processes.launching import JOB, TINY, launched, metrics_of, torchrun, written
from tests.harness.processes.test_equality import job, same


def restored(given: dict[str, Any]) -> PreparedRun:
    flags = {"algo_name": given["algo"], "model": given["model"], "budget": given["budget"], "resume": True}
    words = [f"{k}={v}" for k, v in given["settings"].items()]
    run = prepare(resolve({**flags, "name": given["name"], "out": given["out"]}, words, None))
    checkpoint.restore(run.trainer, run.loop, run.folder, [])
    return run


@pytest.mark.slow
def test_saved_by_two_resumed_by_one_and_four(taught: Path, tmp_path: Path) -> None:
    """Weights and moments arrive to the bit, and the run ends as one that was never cut."""
    settings = {**TINY, "algo": "ppo", "algo.critic": "shared", "lr": 1e-4, "dtype": "float64"}
    half = job("run", taught, tmp_path / "half", settings)
    done = launched(torchrun(2, JOB, written(tmp_path, [half])), FAULT="1 SIGKILL update 6")
    assert done.returncode != 0 and 0 < len(metrics_of(tmp_path / "half/run")) < 10
    saved = next((tmp_path / "half/run/checkpoints").iterdir())

    shutil.copytree(tmp_path / "half", tmp_path / "one")
    run = restored({**half, "out": str(tmp_path / "one")})
    weights = load_file(saved / "policy.safetensors")
    for name, w in run.trainer.policy.modules()["policy"].state_dict().items():
        assert name not in weights or torch.equal(w, weights[name])
    moments = torch.load(saved / "optimizer.pt", weights_only=True)
    mine = run.trainer.policy.optimizer.state_dict()
    assert mine["state"].keys() == moments["state"].keys()
    for place, state in moments["state"].items():
        assert all(torch.equal(x, mine["state"][place][name]) for name, x in state.items())

    shutil.copytree(tmp_path / "half", tmp_path / "four")
    torch.set_num_threads(1)
    harness.run(**job("run", taught, tmp_path / "whole", settings))
    harness.run(**{**half, "out": str(tmp_path / "one"), "resume": True})
    four = launched(torchrun(4, JOB, written(tmp_path, [{**half, "out": str(tmp_path / "four"), "resume": True}])))
    assert four.returncode == 0, four.stderr
    for out in ("one", "four"):
        same(tmp_path / "whole/run", tmp_path / out / "run", 1e-9)
