"""Changes of a configuration that reduce its memory: each alone, and the smallest set that fits a limit."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from harness.config.coercion import build
from harness.planner.memory import Plan, predict
from harness.planner.setting import Setting

HALVINGS = 6


@dataclass(frozen=True)
class Suggestion:
    """The `--set` options, the resulting setting, and the bytes by which the peak falls."""

    words: tuple[str, ...]
    setting: Setting
    saved: float

    @property
    def typed(self) -> str:
        return " ".join(f"--set {word}" for word in self.words)


def options(s: Setting) -> list[list[tuple[str, str]]]:
    """(field, value) pairs by change, mildest first: those that cost speed, then host memory, then change the method.

    Changes that the run has made already, or that would have no effect, are left out."""
    c = s.config
    changes = [
        _halved("rollout_batch_size", c.rollout_batch_size, s.schedule.group_size),
        _halved("micro_batch_tokens", c.micro_batch_tokens, s.prompt + c.max_new_tokens - 1),
    ]
    if not c.gradient_checkpointing:
        changes.append([("gradient_checkpointing", "true")])
    if s.cuda and "reference" in s.algo.needs and c.reference_device == "device":
        changes.append([("reference_device", "cpu")])
    if s.cuda and c.optimizer == "adamw":
        changes.append([("optimizer", "adamw8bit")])
    if s.schedule.critic == "separate" and any(f.name == "critic" for f in dataclasses.fields(s.algo)):
        changes.append([("algo.critic", "shared")])
    return [change for change in changes if change]


def _halved(name: str, value: int, least: int) -> list[tuple[str, str]]:
    """Half, a quarter, ... down to `least`, what one group or one completion needs."""
    values = [value >> k for k in range(1, HALVINGS + 1)]
    return [(name, str(v)) for v in values if v >= max(1, least)]


def apply_changes(s: Setting, words: tuple[tuple[str, str], ...]) -> Setting:
    """The setting with these fields changed.  Raises ValueError where the algorithm refuses."""
    own = {name.removeprefix("algo."): value for name, value in words if name.startswith("algo.")}
    run = {name: value for name, value in words if not name.startswith("algo.")}
    config = build(type(s.config), {**s.config.as_dict(), **run}, "")
    algo = build(type(s.algo), {**dataclasses.asdict(s.algo), **own}, "algo.")
    base = replace(s.schedule, critic="none", critic_warmup=0)
    return replace(s, config=config, algo=algo, schedule=algo.schedule(base))


def _suggestion(plan: Plan, words: tuple[tuple[str, str], ...]) -> Suggestion | None:
    try:
        setting = apply_changes(plan.setting, words)
    except ValueError:
        return None
    return Suggestion(tuple(f"{n}={v}" for n, v in words), setting, plan.peak - predict(setting).peak)


def each_alone(plan: Plan) -> list[Suggestion]:
    """Each change alone, halvings once; those that save nothing are left out."""
    tried = (_suggestion(plan, (words[0],)) for words in options(plan.setting))
    return [suggestion for suggestion in tried if suggestion is not None and suggestion.saved > 0]


def smallest_set(plan: Plan, limit: float) -> Suggestion | None:
    """The smallest set of changes with which the peak is within `limit` bytes, the mildest of its size; None where all
    of them together are not enough."""
    for words in _sets(options(plan.setting)):
        suggestion = _suggestion(plan, words)
        if suggestion is not None and plan.peak - suggestion.saved <= limit:
            return suggestion
    return None


def _sets(changes: list[list[tuple[str, str]]]) -> Iterator[tuple[tuple[str, str], ...]]:
    for size in range(1, len(changes) + 1):
        for chosen in itertools.combinations(changes, size):
            yield from itertools.product(*chosen)


def all_together(plan: Plan) -> Suggestion | None:
    """All changes together, each as far as it goes."""
    return _suggestion(plan, tuple(words[-1] for words in options(plan.setting)))
