"""`harness plan`: from a run's configuration to the text of its plan."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable

import torch

import algos
from algos import Schedule
from harness.accounting.budget import Budget, check_spent
from harness.accounting.format import clock
from harness.config.coercion import build
from harness.config.run_config import RunConfig
from harness.planner.architecture import read
from harness.planner.compute import cost_of
from harness.planner.gpus import REACHED, Gpu, gpu_of, seconds_on
from harness.planner.memory import predict
from harness.planner.render import TimeLine, as_dict, as_text
from harness.planner.setting import Setting

GIB = 2**30
Time = Callable[[Setting], TimeLine]


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


def plan_text(
    config: RunConfig, prompt_tokens: int, limit_gib: float | None, as_json: bool, time: Time | None = None
) -> str:
    """The plan as text."""
    return planned(config, prompt_tokens, limit_gib, as_json, time)[0]


def planned(
    config: RunConfig,
    prompt_tokens: int,
    limit_gib: float | None,
    as_json: bool,
    time: Time | None = None,
    gpu: str | None = None,
) -> tuple[str, bool]:
    """The plan as text, and whether the run fits (True where there is no limit).

    `time` measures how long the run will take here; None estimates it from finished runs alone.  `gpu` is the name of
    one that is not here: its memory is the limit, its published peaks give the time.
    """
    card = gpu_of(gpu) if gpu else None
    if card:
        config = dataclasses.replace(config, device="cuda")
        limit_gib = card.memory * 1e9 / GIB if limit_gib is None else limit_gib
    setting = setting_of(config, prompt_tokens)
    limit = limit_of(limit_gib, setting.device)
    plan, cost = predict(setting), cost_of(setting)
    line = gpu_line(card, setting) if card else (time(setting) if time else None)
    text = json.dumps(as_dict(plan, cost, limit, line), indent=1) if as_json else as_text(plan, cost, limit, line)
    return text, limit is None or plan.peak <= limit


def gpu_line(card: Gpu, setting: Setting) -> TimeLine:
    """Good and poor case, from published peaks."""
    seconds, (good, poor) = seconds_on(card, setting), REACHED
    sheet = f"{card.tflops:g} TFLOP/s, {card.bandwidth:g} TB/s: {card.source}"
    if seconds is None:
        return TimeLine(f"on {card.title}: as long as the budget says")
    return TimeLine(
        f"on {card.title}: {clock(seconds[0])} to {clock(seconds[1])}, at {good:.0%} to {poor:.0%} of its published "
        f"peaks ({sheet}); rough: nothing was measured; evaluations, and a small model's kernel launches, come on top",
        seconds[1],
    )
