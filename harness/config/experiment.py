"""A configuration with what it names: algorithm, schedule, task and budget, built and checked before any model is."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import algos
from algos import Algorithm, Schedule, Source
from evals import tasks
from evals.tasks import Task
from harness.accounting.budget import Budget, check_spent
from harness.config.coercion import build
from harness.config.lora import LoraFields, lora_of
from harness.config.rewards import LEARNED, RewardModelFields, check_reward, reward_model_of
from harness.config.run_config import RunConfig
from harness.config.tools import ToolFields, tools_of

FILES = ("train_file", "test_file", "eval_files")  # fields of every task that reads any


@dataclass(frozen=True)
class Experiment:
    """What a run will do.  It is resolved once, and handed down."""

    config: RunConfig
    algo: Algorithm
    schedule: Schedule
    task: Task
    budget: Budget
    reward_model: RewardModelFields | None  # None where the reward is not learned
    lora: LoraFields | None = None  # None where the whole model is trained
    tools: ToolFields | None = None  # limits of the tools that the policy may call; None where there are none

    def as_dict(self) -> dict[str, Any]:
        """The configuration as its record holds it, every field filled in; tuples are lists, as in a file."""
        config = self.config
        whole = {
            **config.as_dict(),
            "algo": dataclasses.asdict(self.algo),
            "schedule": dataclasses.asdict(self.schedule),
            # of the task those that were given, as it has them: a word of the command line has become a number
            "task": {name: getattr(self.task, name) for name in config.task},
            "reward_model": dataclasses.asdict(self.reward_model) if self.reward_model else {},
            "lora": dataclasses.asdict(self.lora) if self.lora else {},
            "tool": dataclasses.asdict(self.tools) if self.tools else {},
        }
        return dict(json.loads(json.dumps(whole)))


def resolve_experiment(config: RunConfig) -> Experiment:
    """Raises ValueError, one line, on what the algorithm, the task or the budget does not know or cannot do."""
    algo = build(algos.load(config.algo_name), config.algo, "algo.")
    base = Schedule(prompts=config.prompts, group_size=config.group_size)
    schedule = check_schedule(algo.schedule(base), algo)
    task = task_of(config)
    budget = check_spent(config.parsed_budget, schedule.source)
    check_reward(config, task, "steps" in algo.needs)
    check_iterations(config, algo, schedule, budget)
    reward_model = reward_model_of(config, budget) if config.reward in LEARNED else None
    lora = lora_of(config.lora)
    if reward_model and lora and lora.base != "full":
        raise ValueError(f"lora.base: reward={config.reward} begins as a copy of the model, which cannot be of 4 bits")
    tools = tools_of(config, task)[1]
    return Experiment(config, algo, schedule, task, budget, reward_model, lora, tools)


def task_of(config: RunConfig) -> Task:
    """The task that a configuration names, with its fields.  Raises ValueError, one line."""
    cls = tasks.load(config.task_name)
    known: set[str] = {f.name for f in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    if files := [name for name in FILES if name in config.task and name not in known]:
        raise ValueError(
            f"task.{files[0]}: task '{config.task_name}' reads no files (unknown field); for your own: --task qa"
        )
    with tasks.named_errors(cls):
        return build(cls, _with_benchmarks(config, cls), "task.")


def _with_benchmarks(config: RunConfig, cls: type[Task]) -> dict[str, Any]:
    """The task's fields, with the benchmarks of eval_tasks among its eval files: its prompt, its verifier.

    Raises ValueError where the task has no eval files, or the benchmark's answers need a verifier of their own.
    """
    benchmarks = [name for name in config.eval_tasks if name in tasks.benchmark_names()]
    if not benchmarks:
        return config.task
    if other := [name for name in benchmarks if name in tasks.names()]:
        raise ValueError(f"eval_tasks: {other[0]}'s answers need its own verifier; give --task {other[0]}")
    if "eval_files" not in {f.name for f in dataclasses.fields(cls)}:  # type: ignore[arg-type]
        raise ValueError(
            f"eval_tasks: {benchmarks[0]} is evaluated by a task with eval files: qa, gsm8k, word_problems or a "
            f"benchmark, and '{config.task_name}' has none; lm-eval's own task is lm_eval:{benchmarks[0]}"
        )
    return {**config.task, "eval_files": {**{name: name for name in benchmarks}, **config.task.get("eval_files", {})}}


def check_schedule(schedule: Schedule, algo: Algorithm) -> Schedule:
    """Raises ValueError where an algorithm asks for a round that the harness cannot draw."""
    if schedule.source not in (sources := typing.get_args(Source)):
        raise ValueError(f"algo: no source '{schedule.source}'; valid: {', '.join(sources)}")
    if schedule.source == "dataset" and schedule.group_size != 1:
        raise ValueError(f"algo: source=dataset has one solution per prompt, not group_size={schedule.group_size}")
    if ("values" in algo.needs) != (schedule.critic != "none"):
        raise ValueError(f"algo: critic={schedule.critic} in the schedule does not go with needs {set(algo.needs)}")
    if schedule.critic_warmup and schedule.critic == "none":
        raise ValueError("algo: critic_warmup without a critic: there is nothing to warm up")
    return schedule


def with_defaults(old: Mapping[str, Any], algo: str, task: str) -> dict[str, Any]:
    """A record's configuration with the fields that are newer than it at their defaults: what was done before there was
    such a field is what its default does."""
    defaults = resolve_experiment(RunConfig(algo_name=algo, task_name=task)).as_dict()
    inner = {name: {**defaults[name], **old.get(name, {})} for name in ("algo", "schedule")}
    if "likelihood" not in old.get("schedule", {}) and old.get("temperature", 1.0) != 1.0:
        inner["schedule"]["likelihood"] = "sampler"  # of every algorithm, before there was such a field
    return {**defaults, **old, **inner}


def check_iterations(config: RunConfig, algo: Algorithm, schedule: Schedule, budget: Budget) -> None:
    """Raises ValueError where there is nothing to read, to iterate, to reset, or to reward."""
    source, learned = schedule.source, config.reward in LEARNED
    if config.data and source != "dataset":
        raise ValueError(f"data: {config.algo_name} samples its completions; sft trains on those of a file")
    if config.data_completion and not config.data:
        raise ValueError("data_completion: it is written from the columns of a file; give data=FILE")
    if source == "dataset" and learned:
        raise ValueError(f"reward: {config.reward} would be trained for nothing: written solutions are not rewarded")
    if config.iterations > 1 and source != "live":
        raise ValueError("iterations: only an algorithm that samples from the live policy has a second one")
    if config.log_reference_kl and source != "live":
        raise ValueError("log_reference_kl: KL is estimated from completions of the live policy: this arm has none")
    if source == "initial" and learned and budget.unit in ("updates", "trained_tokens"):
        raise ValueError(
            f"budget: in {budget.unit} an arm that samples once would pay for its reward model and others would not; "
            "valid: prompts, completions, generated_tokens, flops, device_seconds"
        )
    if config.reset_reference and "reference" not in algo.needs:
        raise ValueError("reset_reference: this arm has no reference policy; give algo.kl_coef above 0")
