"""A configuration with what it names: algorithm, schedule, task and budget, built and checked before any model is."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import algos
from algos import Algorithm, Schedule
from evals import tasks
from evals.tasks import Task
from harness.accounting.budget import Budget, check_spent
from harness.config.coercion import build
from harness.config.rewards import LEARNED, check_reward, reward_model_of
from harness.config.run_config import RunConfig


@dataclass(frozen=True)
class Built:
    """What a run will do."""

    config: RunConfig
    algo: Algorithm
    schedule: Schedule
    task: Task
    budget: Budget

    def as_dict(self) -> dict[str, Any]:
        """The configuration as its record holds it, every field filled in; tuples are lists, as in a file."""
        config = self.config
        whole = {
            **config.as_dict(),
            "algo": dataclasses.asdict(self.algo),
            "schedule": dataclasses.asdict(self.schedule),
            # of the task those that were asked for, as it has them: a word of the command line has become a number
            "task": {name: getattr(self.task, name) for name in config.task},
            "reward_model": dataclasses.asdict(reward_model_of(config)) if config.reward in LEARNED else {},
        }
        return dict(json.loads(json.dumps(whole)))


def built(config: RunConfig) -> Built:
    """Raises ValueError, one line, on what the algorithm, the task or the budget does not know or cannot do."""
    algo = build(algos.load(config.algo_name), config.algo, "algo.")
    base = Schedule(prompts=config.prompts, group_size=config.group_size)
    schedule = check_schedule(algo.schedule(base), algo)
    task = build(tasks.load(config.task_name), config.task, "task.")
    check_reward(config, task, "steps" in algo.needs)
    check_iterations(config, algo, schedule)
    return Built(config, algo, schedule, task, check_spent(Budget.parse(config.budget), schedule.source))


def check_schedule(schedule: Schedule, algo: Algorithm) -> Schedule:
    """Raises ValueError where an algorithm asks for a round that the harness cannot draw."""
    if (schedule.source, schedule.restart) not in (("live", False), ("start", True), ("dataset", False)):
        raise ValueError(
            f"algo: source={schedule.source} with restart={schedule.restart} is not there; "
            f"valid: live or dataset without restart, start with restart"
        )
    if schedule.source == "dataset" and schedule.group_size != 1:
        raise ValueError(f"algo: source=dataset has one solution a prompt, not group_size={schedule.group_size}")
    if ("values" in algo.needs) != (schedule.critic != "none"):
        raise ValueError(f"algo: critic={schedule.critic} in the schedule does not go with needs {set(algo.needs)}")
    if schedule.critic_warmup and schedule.critic == "none":
        raise ValueError("algo: critic_warmup without a critic: there is nothing to warm up")
    return schedule


def filled(old: Mapping[str, Any], algo: str, task: str) -> dict[str, Any]:
    """A record's configuration with the fields that did not exist when it was made, at their defaults: a new field's
    default is what was done before there was one."""
    defaults = built(RunConfig(algo_name=algo, task_name=task)).as_dict()
    inner = {name: {**defaults[name], **old.get(name, {})} for name in ("algo", "schedule")}
    return {**defaults, **old, **inner}


def check_iterations(config: RunConfig, algo: Algorithm, schedule: Schedule) -> None:
    """Raises ValueError where there is nothing to iterate, to reset, or to reward."""
    if schedule.source == "dataset" and config.reward in LEARNED:
        raise ValueError(f"reward: {config.reward} would be trained for nothing: written solutions are not rewarded")
    if config.iterations > 1 and schedule.source != "live":
        raise ValueError("iterations: only an algorithm that samples from the live policy has a further one")
    if config.measure_kl and schedule.source != "live":
        raise ValueError("measure_kl: KL is estimated from the live policy's own completions, which this arm has not")
    if schedule.source == "start" and config.reward in LEARNED and config.budget.startswith(("updates", "trained_")):
        raise ValueError(
            f"budget: in {config.budget.partition('=')[0]} an arm that samples once would pay for its reward model and "
            "others would not; valid: prompts, completions, generated_tokens, flops, device_seconds"
        )
    if config.reset_reference and "reference" not in algo.needs:
        raise ValueError("reset_reference: nothing reads a reference here; give algo.kl_coef above 0")
