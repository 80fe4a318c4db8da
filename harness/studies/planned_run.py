"""One run of a study, and the words of the command that makes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.config.overrides import GROUPS, Fields
from harness.config.run_config import RunConfig, merge
from harness.records.upgrade import folder_word

# fields that `harness run` has an option for, besides --set
OPTIONS = ("algo.name", "task.name", "task.train_file", "task.test_file", "group_size", "model", "reward", "budget")


@dataclass(frozen=True)
class PlannedRun:
    """An arm with a seed, and for a trial a point of the grid."""

    arm: str
    seed: int
    folder: str  # relative to OUT; the run lies in folder/seed<k>
    fields: Fields

    @property
    def name(self) -> str:
        """Of the run's own folder."""
        return f"seed{self.seed}"

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}"

    def config(self, out: str) -> RunConfig:
        """Resolved and checked, under OUT.  Raises ValueError naming the arm and the field."""
        own = {"seed": self.seed, "name": self.name, "out": f"{out}/{self.folder}"}
        try:
            return merge([("study", self.fields), ("study", own)])
        except ValueError as error:
            raise ValueError(f"arm '{self.arm}': {error}") from error

    def command(self, out: str) -> list[str]:
        """The words of its `harness run`: typed into a shell, they give the same record."""
        words = ["harness", "run", "--seed", str(self.seed)]
        words += ["--name", self.name, "--out", f"{out}/{self.folder}"]
        for name, value in self.fields.items():
            table = value if isinstance(value, dict) else {"name": value}
            settings = [(f"{name}.{inner}", x) for inner, x in table.items()] if name in GROUPS else [(name, value)]
            words += [word for setting in settings for word in _option(*setting)]
        return words


def _option(name: str, value: Any) -> list[str]:
    if name in OPTIONS:
        return [f"--{name.removesuffix('.name').removeprefix('task.').replace('_', '-')}", str(value)]
    if name == "task.eval_files":
        return [word for k, v in value.items() for word in ("--eval-file", f"{k}={v}")]
    return ["--set", f"{name}={as_word(value)}"]


def as_word(value: Any) -> str:
    """A value as `--set` takes it."""
    if isinstance(value, list | tuple):
        return ",".join(map(as_word, value))
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def label(point: Fields) -> str:
    """The name of a trial's folder.

    >>> label({"lr": 0.0002, "algo.critic_lr": 10})
    'lr0.0002-critic_lr10'
    >>> label({"algo.gae_lambda": 0.9})  # folders keep the names that they had in schema 1
    'lam0.9'
    """
    words = (folder_word(name, value) for name, value in point.items())
    return "-".join(f"{word}{as_word(value)}" for word, value in words).replace("/", "_")
