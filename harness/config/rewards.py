"""The reward that a run asks for: `--reward`, its terms, and the fields of a learned reward model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from algos.core.registry import import_file
from evals.tasks import Problem, Task
from evals.verification.verifier import Verdict
from harness.accounting.budget import Budget
from harness.config.coercion import build
from harness.config.run_config import RunConfig

RewardFunction = Callable[[Problem, str, Verdict], float]


def rule(problem: Problem, completion: str, verdict: Verdict) -> float:
    """1 where the strict reading is correct, else 0."""
    return float(verdict.strict == "correct")


def load_function(name: str) -> RewardFunction:
    """`rule`, or FILE.py:function, which may have other parameters (harness/rewards/call_forms.py).

    Raises ValueError where it cannot be had.
    """
    if name == "rule":
        return rule
    file, colon, function = name.rpartition(":")
    if not colon or not file.endswith(".py"):
        raise ValueError(f"reward: '{name}' is none of {', '.join(NAMES)}, and not FILE.py:function")
    module = import_file(Path(file), "reward")
    member = getattr(module, function, None)
    if not callable(member):
        raise ValueError(f"reward: {file} has no function '{function}'")
    return member


LEARNED = ("outcome-model", "process-model")
STEPWISE = ("process-rule", "process-model")
NAMES = ("rule", "process-rule", *LEARNED)


def check_reward(config: RunConfig, task: Task, steps: bool) -> None:
    """Raises ValueError, one line, where a reward's name or term is unknown, the task does not give what it takes, or
    an algorithm asks for rewards of `steps` and gets none."""
    name = config.reward
    check_terms(config.reward_weights, task)
    if unknown := [name for name in config.reward_gate if name not in GATES]:
        raise ValueError(f"reward_gate: unknown '{unknown[0]}'; valid: {', '.join(GATES)}")
    if name not in NAMES:
        load_function(name)
    checked = name == "process-rule" or (name == "process-model" and config.reward_model.get("labels") == "rule")
    declared = ("steps",) if checked else ("steps", "step_ends") if name == "process-model" else ()
    if (
        declared
        and not config.data
        and all(getattr(type(task), method) is getattr(Task, method) for method in declared)
    ):
        what, requested = "checks" if checked else "declares", name
        if checked and name == "process-model":
            requested = "process-model with reward_model.labels=rule"
        raise ValueError(
            f"reward: {requested} needs a task that {what} steps, and '{task.name}' {what} none; "
            "valid: rule, outcome-model"
        )
    if steps and name not in STEPWISE:
        valid = " or ".join(STEPWISE)
        raise ValueError(f"reward: this algorithm needs rewards of steps, which {name} has not; {valid}")


ACCURACY = "accuracy"
GATES = ("format", "end", "support")  # terms of 0 and 1, without which nothing is earned
SHAPING_TERMS = (
    "format",
    "language",
    "length",
    "steps",
    "end",
    "calls",
    "f1",
    "support",
)  # what may be added to it: rewards/shaping.py has each


def check_terms(names: Iterable[str], task: Task) -> None:
    """Raises ValueError, one line, where a term is unknown or the task cannot give it."""
    can = sorted([ACCURACY, *SHAPING_TERMS])
    for name in names:
        if name not in can:
            raise ValueError(f"reward_weights.{name}: unknown term; valid: {', '.join(can)}")
    if "steps" in names and type(task).steps is Task.steps:
        valid = ", ".join(name for name in can if name != "steps")
        raise ValueError(f"reward_weights.steps: task '{task.name}' checks no steps; valid: {valid}")


@dataclass(frozen=True, kw_only=True)
class RewardModelFields:
    """The defaults suit a small model; DeepSeekMath's own values are in the comments (2402.03300)."""

    name: str | None = None  # a sequence-classification model, by folder or hub id, as it is; none: train one here
    prompts: int = 64  # problems whose completions it is trained and tested on
    samples: int = 16  # completions of each, by the policy as it then is
    held_out: float = 0.25  # share of those problems on which its quality is measured
    labels: Literal["continuations", "rule"] = "continuations"  # of steps (2312.08935 §3.3, or the task's checker)
    continuations: int = 4  # of each step prefix; 2312.08935 §4 has 8
    epochs: int = 4  # passes over what it is trained on
    lr: float = 2e-5  # §4.2, of its 7 B; a scale: the policy's profile may say another
    batch: int = 64  # completions per update
    replay: float = 0.1  # share of a refresh that is history (§4.1.4)

    def __post_init__(self) -> None:
        for name in ("prompts", "samples", "continuations", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"reward_model.{name}: must be at least 1, not {getattr(self, name)}")
        if self.prompts < 2:
            raise ValueError("reward_model.prompts: at least 2, one to train on and one to be measured on")
        if not self.lr > 0:
            raise ValueError(f"reward_model.lr: must be positive, not {self.lr}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"reward_model.held_out: must lie between 0 and 1, not {self.held_out}")
        if not 0 <= self.replay < 1:
            raise ValueError(f"reward_model.replay: must lie in 0..1, 1 excluded, not {self.replay}")


def reward_model_of(config: RunConfig, budget: Budget) -> RewardModelFields:
    """Raises ValueError where a field is wrong, or what it samples alone would be more than the budget pays for."""
    fields = build(RewardModelFields, config.reward_model, "reward_model.")
    prompts = 0 if fields.name else fields.prompts  # a later training stays out where it is not paid for
    needed = {"prompts": prompts, "completions": prompts * fields.samples}.get(budget.unit, 0)
    if needed > budget.limit:
        raise ValueError(
            f"reward_model.prompts: it would sample {needed:,} {budget.unit}, and the budget is {budget.limit:,.0f}"
        )
    return fields


def unused_settings(config: RunConfig, steps: bool) -> list[str]:
    """A line for each setting of a reward that has no effect; `steps`: the algorithm reads rewards of steps."""
    notices = []
    given = [name for name in config.reward_model if config.sources.get(f"reward_model.{name}") != "profile"]
    if given and config.reward not in LEARNED:
        notices.append(f"reward_model.{given[0]} has no effect: reward={config.reward} is not learned")
    if config.reward in STEPWISE and not steps:
        notices.append(f"{config.algo_name} reads the last step's reward alone: {config.reward} rates others in vain")
    return notices


def trainings_of(config: RunConfig, fields: RewardModelFields) -> int:
    """How often a run trains its reward model."""
    return (0 if fields.name else 1) + (config.iterations - 1 if config.refresh_reward else 0)


def check_problem_count(config: RunConfig, fields: RewardModelFields, problems: int) -> None:
    """Raises ValueError where a reward model would meet a problem twice: once to learn from, once to be measured on."""
    if (needed := trainings_of(config, fields) * fields.prompts) > problems:
        raise ValueError(
            f"reward_model.prompts: its {needed:,} problems must differ, and the task has {problems:,} to train on"
        )
