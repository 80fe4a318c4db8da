"""From a run's configuration to its plan: what `harness plan` does."""

from __future__ import annotations

import json
import math

import torch

import algos
from algos import Schedule
from harness.accounting.budget import Budget, check_spent
from harness.config.coercion import build
from harness.config.run_config import RunConfig
from harness.planner.architecture import read
from harness.planner.compute import cost_of
from harness.planner.memory import Setting, predict
from harness.planner.render import as_dict, said

GIB = 2**30


def setting_of(config: RunConfig, prompt_tokens: int) -> Setting:
    """Everything that is planned for.  Raises ValueError, one line, on anything the user got wrong."""
    if prompt_tokens < 1:
        raise ValueError(f"prompt_tokens: must be at least 1, not {prompt_tokens}")
    algo = build(algos.load(config.algo_name), config.algo, "algo.")
    schedule = algo.schedule(Schedule(prompts=config.prompts, group_size=config.group_size))
    check_spent(Budget.parse(config.budget), schedule.source)
    anatomy = read(config.model)
    longest = prompt_tokens + config.max_new_tokens
    if anatomy.positions and longest > anatomy.positions:
        raise ValueError(
            f"prompt_tokens: {prompt_tokens} + max_new_tokens {config.max_new_tokens} = {longest} is more than the "
            f"{anatomy.positions} positions of '{config.model}'"
        )
    return Setting(config, anatomy, algo, schedule, device_of(config.device), prompt_tokens)


def device_of(asked: str) -> str:
    """`auto` is CUDA where there is one.  Any other is taken at its word: a plan needs no device."""
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked != "cpu" and asked.partition(":")[0] != "cuda":
        raise ValueError(f"device: '{asked}' is not supported; valid: auto, cpu, cuda, cuda:0, ...")
    return asked


def limit_of(asked: float | None, device: str) -> float | None:
    """In bytes: what was asked for, or the CUDA device's memory where there is one."""
    if asked is not None:
        if not (0 < asked < math.inf):
            raise ValueError(f"limit_gib: must be positive and finite, not {asked}")
        return asked * GIB
    if device.startswith("cuda") and torch.cuda.is_available():
        return float(torch.cuda.get_device_properties(device).total_memory)
    return None


def planned(config: RunConfig, prompt_tokens: int, limit_gib: float | None, as_json: bool) -> str:
    """The plan as text."""
    setting = setting_of(config, prompt_tokens)
    limit = limit_of(limit_gib, setting.device)
    plan, cost = predict(setting), cost_of(setting)
    return json.dumps(as_dict(plan, cost, limit), indent=1) if as_json else said(plan, cost, limit)
