"""The environment changes no run: what it asks for is ignored, refused or in the record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness.config.run_config import resolve
from harness.models.loading import accelerator
from harness.records import variables
from harness.records.environment import environment
from harness.training.evaluation import evaluate_checkpoint
from harness.training.setup import prepare
from tests.helpers import ROOT

# What accelerate and libraries below it read, and what becomes of it.
IGNORED = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "8",
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_DYNAMO_BACKEND": "inductor",
    "ACCELERATE_TORCH_DEVICE": "meta",
    "ACCELERATE_USE_CPU": "true",
    "OMPI_COMM_WORLD_SIZE": "4",
    "PMI_SIZE": "4",
    "MV2_COMM_WORLD_SIZE": "4",
    "LOCAL_RANK": "3",
    "RANK": "3",
}
REFUSED = {
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_USE_MEGATRON_LM": "true",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "true",
    "ACCELERATE_USE_SAGEMAKER": "true",
    "WORLD_SIZE": "2",
}
RECORDED = {
    "NVIDIA_TF32_OVERRIDE": "1",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    "PYTORCH_TUNABLEOP_ENABLED": "1",
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "OMP_NUM_THREADS": "1",
    "MKL_CBWR": "COMPATIBLE",
}
# What `accelerate launch` sets where nothing was asked for.
LAUNCHED = {
    "ACCELERATE_MIXED_PRECISION": "no",
    "ACCELERATE_DYNAMO_BACKEND": "NO",
    "ACCELERATE_USE_CPU": "False",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1",
    "ACCELERATE_USE_FSDP": "false",
    "ACCELERATE_DEBUG_MODE": "false",
    "WORLD_SIZE": "1",
    "LOCAL_RANK": "0",
}


def gradient() -> torch.Tensor:
    """Of a model of one weight, as a policy's step is taken."""
    placed = accelerator("cpu", "float32")
    model, optimizer = torch.nn.Linear(3, 1), None
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0, 3.0]]))
    model, optimizer = placed.prepare(model, torch.optim.AdamW(model.parameters(), lr=1e-3))
    with placed.autocast():
        placed.backward(model(torch.tensor([[0.1, 0.2, 0.3]])).sum())
    assert placed.device.type == "cpu" and placed.mixed_precision == "no" and placed.num_processes == 1
    assert isinstance(model, torch.nn.Linear)  # neither compiled nor wrapped
    return model.weight.grad.clone()


@pytest.mark.parametrize("name", IGNORED)
def test_what_is_ignored_changes_no_gradient(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = gradient()
    monkeypatch.setenv(name, IGNORED[name])
    assert torch.equal(gradient(), expected)
    assert os.environ[name] == IGNORED[name]  # it is there for whoever reads it next
    [notice] = variables.notices({name: IGNORED[name]})
    assert f"{name}={IGNORED[name]}" in notice


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_run_cannot_do_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, REFUSED[name])
    with pytest.raises(ValueError, match=f"^{name}={REFUSED[name]} in the environment ") as caught:
        accelerator("cpu", "float32")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scorer", ["ours", "hf"])
def test_no_checkpoint_is_scored_in_a_group_of_processes(
    scorer: str, taught: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="^WORLD_SIZE=2 in the environment "):
        evaluate_checkpoint(resolve({"model": str(taught), "eval_limit": 1}, [], None), scorer)


@pytest.mark.parametrize("name", RECORDED)
def test_what_acts_below_is_in_the_record(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, RECORDED[name])
    assert environment("cpu", 1)["variables"][name] == RECORDED[name]
    assert variables.notices({name: RECORDED[name]}) == []


def test_a_plain_launch_is_a_plain_run() -> None:
    assert variables.notices(LAUNCHED) == [] and variables.recorded(LAUNCHED) == {}
    variables.check(LAUNCHED)
    assert variables.recorded({"HOME": "/root", "HF_TOKEN": "secret"}) == {}


def test_every_variable_that_accelerate_reads_has_a_rule() -> None:
    """Of those that its `Accelerator` and its states name: a new one is a new line of the table."""
    import re

    import accelerate

    folder = Path(accelerate.__file__).parent
    source = "".join((folder / name).read_text() for name in ("accelerator.py", "state.py"))
    read = set(re.findall(r"(?:environ\.get|from_env)\(\s*\"(\w+)\"", source))
    assert {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "LOCAL_RANK"} <= read
    only_hardware = {"MASTER_PORT", "MASTER_ADDR", "PT_HPU_LAZY_MODE", "DEEPSPEED_USE_HPU"}
    assert [name for name in sorted(read - only_hardware) if variables._rule(name) is None] == []


def test_a_run_says_and_records_it(taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "8")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    run = prepare(resolve({"model": str(taught), "out": str(tmp_path)}, [], None))
    assert any("ACCELERATE_GRADIENT_ACCUMULATION_STEPS=8 in the environment is ignored" in n for n in run.notices)
    assert run.record["environment"]["variables"]["NVIDIA_TF32_OVERRIDE"] == "1"


@pytest.mark.slow
def test_a_run_under_a_launchers_variables_ends_in_the_same_weights(taught: Path, tmp_path: Path) -> None:
    """As a command, in a process that begins with them."""
    weights = []
    for name, more in {"plain": {}, "launched": IGNORED}.items():
        words = f"run --model {taught} --out {tmp_path} --name {name} --budget completions=32 --eval-limit 1 --quiet"
        settings = ("task.train_size=16", "task.test_size=16", "task.other_size=4", "eval_fractions=1")
        command = [sys.executable, "-m", "harness.cli", *words.split(), *(w for s in settings for w in ("--set", s))]
        environ = {**os.environ, **more, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, env=environ, cwd=tmp_path, check=True, capture_output=True, timeout=300)
        weights.append((tmp_path / name / "checkpoints/final/model.safetensors").read_bytes())
        notices = json.loads((tmp_path / name / "record.json").read_text())["notices"]
        assert sum("in the environment is ignored" in n for n in notices) == len(more)
    assert weights[0] == weights[1]
