"""`harness plan`: from a run's configuration to the text of its plan."""

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
from harness.planner.memory import predict
from harness.planner.render import as_dict, as_text
from harness.planner.setting import Setting

GIB = 2**30


def setting_of(config: RunConfig, prompt_tokens: int) -> Setting:
    """The setting of a run.  Raises ValueError, one line, on wrong input."""
    if prompt_tokens < 1:
        raise ValueError(f"prompt_tokens: must be at least 1, not {prompt_tokens}")
    algo = build(algos.load(config.algo_name), config.algo, "algo.")
    schedule = algo.schedule(Schedule(prompts=config.prompts, group_size=config.group_size))
    check_spent(Budget.parse(config.budget), schedule.source)
    architecture = read(config.model)
    longest = prompt_tokens + config.max_new_tokens
    if architecture.positions and longest > architecture.positions:
        raise ValueError(
            f"prompt_tokens: {prompt_tokens} + max_new_tokens {config.max_new_tokens} = {longest} is more than the "
            f"{architecture.positions} positions of '{config.model}'"
        )
    return Setting(config, architecture, algo, schedule, device_of(config.device), prompt_tokens)


def device_of(requested: str) -> str:
    """`auto` is CUDA where available.  Any other need not be available: a plan needs no device."""
    if requested == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if requested != "cpu" and requested.partition(":")[0] != "cuda":
        raise ValueError(f"device: '{requested}' is not supported; valid: auto, cpu, cuda, cuda:0, ...")
    return requested


def limit_of(limit_gib: float | None, device: str) -> float | None:
    """In bytes: the given limit, or the memory of the CUDA device where there is one."""
    if limit_gib is not None:
        if not (0 < limit_gib < math.inf):
            raise ValueError(f"limit_gib: must be positive and finite, not {limit_gib}")
        return limit_gib * GIB
    if device.startswith("cuda") and torch.cuda.is_available():
        return float(torch.cuda.get_device_properties(device).total_memory)
    return None


def plan_text(config: RunConfig, prompt_tokens: int, limit_gib: float | None, as_json: bool) -> str:
    """The plan as text."""
    setting = setting_of(config, prompt_tokens)
    limit = limit_of(limit_gib, setting.device)
    plan, cost = predict(setting), cost_of(setting)
    return json.dumps(as_dict(plan, cost, limit), indent=1) if as_json else as_text(plan, cost, limit)
