"""A cell of a study: one run, and the words of the command that is this run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.config.overrides import GROUPS, Fields
from harness.config.run_config import RunConfig, merge

FLAGGED = ("algo.name", "task.name", "task.train_file", "task.test_file", "group_size", "model", "reward", "budget")


@dataclass(frozen=True)
class Cell:
    """One run of a study."""

    arm: str
    seed: int
    folder: str  # relative to OUT; the run lies in folder/seed<k>
    fields: Fields

    @property
    def path(self) -> str:
        return f"{self.folder}/seed{self.seed}"

    def config(self, out: str) -> RunConfig:
        """Resolved and checked, under OUT.  Raises ValueError naming the arm and the field."""
        own = {"seed": self.seed, "name": f"seed{self.seed}", "out": f"{out}/{self.folder}"}
        try:
            return merge([("study", self.fields), ("study", own)])
        except ValueError as error:
            raise ValueError(f"arm '{self.arm}': {error}") from error

    def command(self, out: str) -> list[str]:
        """The words of the `harness run` that is this cell: it can be typed, and gives the same record."""
        words = ["harness", "run", "--seed", str(self.seed)]
        words += ["--name", f"seed{self.seed}", "--out", f"{out}/{self.folder}"]
        for name, value in self.fields.items():
            table = value if isinstance(value, dict) else {"name": value}
            parts = [(f"{name}.{inner}", x) for inner, x in table.items()] if name in GROUPS else [(name, value)]
            words += [word for part in parts for word in _set(*part)]
        return words


def _set(name: str, value: Any) -> list[str]:
    if name in FLAGGED:
        return [f"--{name.removesuffix('.name').removeprefix('task.').replace('_', '-')}", str(value)]
    if name == "task.eval_files":
        return [word for k, v in value.items() for word in ("--eval-file", f"{k}={v}")]
    return ["--set", f"{name}={_word(value)}"]


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_word, value))
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def label(point: Fields) -> str:
    """A trial's folder: {"lr": 0.0002, "algo.critic_lr": 10} is "lr0.0002-critic_lr10"."""
    words = (f"{name.split('.')[-1]}{_word(value)}" for name, value in point.items())
    return "-".join(words).replace("/", "_")
