"""What makes a run fit: each lever alone, with what it saves, and the smallest set of them that is enough."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from harness.config.coercion import build
from harness.planner.memory import Plan, Setting, predict

HALVINGS = 6


@dataclass(frozen=True)
class Lever:
    """The words of `--set`, the setting that they make, and the bytes by which the peak falls."""

    words: tuple[str, ...]
    setting: Setting
    saved: float

    @property
    def typed(self) -> str:
        return " ".join(f"--set {word}" for word in self.words)


def options(s: Setting) -> list[list[tuple[str, str]]]:
    """(field, value) words by lever, the mildest first: speed alone, then memory elsewhere, then the method itself.

    A lever that the run has pulled already, or that has nothing to move, is left out."""
    c = s.config
    found = [
        _halved("rollout_rows", c.rollout_rows, s.schedule.group_size),
        _halved("micro_tokens", c.micro_tokens, s.prompt + c.max_new_tokens - 1),
    ]
    if not c.gradient_checkpointing:
        found.append([("gradient_checkpointing", "true")])
    if s.cuda and "reference" in s.algo.needs and c.reference_on == "device":
        found.append([("reference_on", "cpu")])
    if s.cuda and c.optimizer == "adamw":
        found.append([("optimizer", "adamw8bit")])
    if s.schedule.critic == "separate" and any(f.name == "critic" for f in dataclasses.fields(s.algo)):
        found.append([("algo.critic", "shared")])
    return [words for words in found if words]


def _halved(name: str, value: int, least: int) -> list[tuple[str, str]]:
    """Half, a quarter, ... as long as one group, or one completion, still needs no more."""
    values = [value >> k for k in range(1, HALVINGS + 1)]
    return [(name, str(v)) for v in values if v >= max(1, least)]


def pulled(s: Setting, words: tuple[tuple[str, str], ...]) -> Setting:
    """The setting with these fields changed.  Raises ValueError where the algorithm refuses."""
    own = {name.removeprefix("algo."): value for name, value in words if name.startswith("algo.")}
    run = {name: value for name, value in words if not name.startswith("algo.")}
    config = build(type(s.config), {**s.config.as_dict(), **run}, "")
    algo = build(type(s.algo), {**dataclasses.asdict(s.algo), **own}, "algo.")
    base = replace(s.schedule, critic="none", critic_warmup=0)
    return replace(s, config=config, algo=algo, schedule=algo.schedule(base))


def _tried(plan: Plan, words: tuple[tuple[str, str], ...]) -> Lever | None:
    try:
        setting = pulled(plan.setting, words)
    except ValueError:
        return None
    return Lever(tuple(f"{n}={v}" for n, v in words), setting, plan.peak - predict(setting).peak)


def single(plan: Plan) -> list[Lever]:
    """Each lever alone, one halving of what is halved; those that save nothing left out."""
    tried = (_tried(plan, (words[0],)) for words in options(plan.setting))
    return [lever for lever in tried if lever is not None and lever.saved > 0]


def enough(plan: Plan, limit: float) -> Lever | None:
    """The smallest set of levers with which the peak is within `limit` bytes, the mildest of its size; None where all
    of them together are not enough."""
    for words in _sets(options(plan.setting)):
        lever = _tried(plan, words)
        if lever is not None and plan.peak - lever.saved <= limit:
            return lever
    return None


def _sets(found: list[list[tuple[str, str]]]) -> Iterator[tuple[tuple[str, str], ...]]:
    for size in range(1, len(found) + 1):
        for chosen in itertools.combinations(found, size):
            yield from itertools.product(*chosen)


def least(plan: Plan) -> Lever | None:
    """Every lever pulled as far as it goes."""
    return _tried(plan, tuple(words[-1] for words in options(plan.setting)))
