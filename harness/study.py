"""A study: one question, arms that each change named fields of one base, seeds, one budget, and how it is judged.

    question = "Does the clip matter with one update a round?"
    seeds = 5                                # or a list
    [base]                                   # as in a --config file
    budget = "completions=5120"
    [arms.narrow]
    algo.name = "grpo"
    [arms.wide]
    algo.name = "grpo"
    algo.clip_high = 0.4
    [tune]                                   # optional: the same trials for every arm
    seeds = [100, 101]
    grid.lr = [1e-4, 2e-4]
    [report]                                 # optional: blocks, family, margin, level, endpoint

It expands into cells, arm x seed (and trial), each of which is one `harness run`.  Nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evals.stats import MARGIN
from harness.config import GROUPS, RunConfig, build, load_toml, merge

STUDIES = Path(__file__).parent / "studies"
Fields = dict[str, Any]  # as in a --config file: `algo` and `task` hold tables
FLAGGED = ("algo.name", "task.name", "task.train_file", "task.test_file", "group_size", "model", "reward", "budget")
OWN = ("seeds", "tuned_as")  # what an arm says of itself, beside the fields of its runs


@dataclass(frozen=True, kw_only=True)
class Tune:
    """Every arm gets the same trials: the grid's points, or `trials` of them drawn with a fixed seed.

    A trial is run for each tuning seed and judged by the mean of the endpoint on the selection split; the best
    goes into the arm's runs.  `base` changes what trials do not share with runs, e.g. a smaller budget.
    """

    grid: dict[str, list[Any]]
    seeds: list[int]
    trials: int | None = None  # of each arm; None: the whole grid
    base: Fields = field(default_factory=dict)
    store: str | None = None  # the study in whose folder the trials lie, where several share them

    def points(self) -> list[Fields]:
        """The trials' fields, e.g. [{"lr": 1e-4}, {"lr": 2e-4}]."""
        whole = [dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]
        if self.trials is None or self.trials >= len(whole):
            return whole
        return random.Random(0).sample(whole, self.trials)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is asked of the records.  Each block is a family of its own; the first one is primary."""

    endpoint: str = "in"  # an evaluation set: its greedy strict accuracy at the end; "in": the task's own
    margin: float = 100 * MARGIN  # points of accuracy within which arms are equivalent
    blocks: dict[str, list[str]] = field(default_factory=dict)  # name -> arms; none: one block of all arms
    family: list[list[str]] = field(default_factory=list)  # pairs that are compared; none: all pairs of a block
    level: float = 0.9  # accuracy whose cost is shown


@dataclass(frozen=True, kw_only=True)
class Study:
    """Read by `load` or made by `harness compare`; every error names the file and the field."""

    name: str
    arms: dict[str, Fields]
    seeds: list[int]
    base: Fields = field(default_factory=dict)
    question: str = ""
    source: str = ""  # paper and section, where the question has one
    prediction: str = ""
    tune: Tune | None = None
    report: Report = field(default_factory=Report)

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def trials(self) -> list[Cell]:
        if self.tune is None:
            return []
        t, root = self.tune, f"{self.tune.store or self.name}/tune"
        end, split = {"eval_fractions": [1.0]}, {"eval_split": "selection"}
        return [
            Cell(arm, seed, f"{root}/{arm}/{label(point)}", over(self.base, end, t.base, of, point, split))
            for arm, of in self._arms()
            if self.tuned_as(arm) == arm
            for point in t.points()
            for seed in t.seeds
        ]

    def runs(self, chosen: Mapping[str, Fields] | None = None) -> list[Cell]:
        """The runs of record, by seed and then by arm, so that what an interruption leaves is as paired as can be.

        `chosen` holds the tuned fields of each arm.
        """
        found = [
            Cell(arm, seed, f"{self.name}/{arm}", over(self.base, of, (chosen or {}).get(arm, {})))
            for arm, of in self._arms()
            for seed in self.arms[arm].get("seeds", self.seeds)
        ]
        return sorted(found, key=lambda cell: cell.seed)

    def _arms(self) -> list[tuple[str, Fields]]:
        return [(arm, {k: v for k, v in of.items() if k not in OWN}) for arm, of in self.arms.items()]

    def tuned_as(self, arm: str) -> str:
        """The arm whose trials decide for this one: itself, or another that it says."""
        return str(self.arms[arm].get("tuned_as", arm))


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


def over(*layers: Fields) -> Fields:
    """Later layers over earlier ones, field by field in tables of fields; dotted names reach into those."""
    merged: Fields = {}
    for layer in layers:
        for name, value in layer.items():
            group, dot, inner = name.partition(".")
            if dot:
                name, value = group, {inner: value}
            if name in ("algo", "task") and isinstance(value, str):
                value = {"name": value}
            if name in GROUPS and isinstance(value, dict):
                merged[name] = {**merged.get(name, {}), **value}
            else:
                merged[name] = value
    return merged


def names() -> list[str]:
    """The studies that ship."""
    return sorted(path.stem for path in STUDIES.glob("*.toml"))


def load(name: str) -> Study:
    """A study by name, or a FILE.toml.  Raises ValueError naming the file and the field, and what is valid."""
    file = Path(name)
    if not name.endswith(".toml"):
        if name not in names():
            raise ValueError(f"study: unknown study '{name}'; valid: {', '.join(names())}, or a FILE.toml")
        file = STUDIES / f"{name}.toml"
    try:
        return parse(file.stem, load_toml(file), file.parent)
    except ValueError as error:
        said = str(error)
        raise ValueError(said if str(file) in said else f"{file}: {said}") from error


def parse(name: str, table: Fields, beside: Path | None = None) -> Study:
    """A checked study from a TOML table.  FILE.py names are taken as lying `beside` the file."""
    table = {"name": name, **table}
    for section, prefix in ((table, ""), (table.get("tune"), "tune."), *_named(table.get("arms"), "arms.")):
        if isinstance(section, dict) and "seeds" in section:
            section["seeds"] = seeds_of(section["seeds"], f"{prefix}seeds")
    study = build(Study, table, "")
    arms = {arm: _beside(of, beside) for arm, of in study.arms.items()}
    return check(dataclasses.replace(study, base=_beside(study.base, beside), arms=arms))


def _named(tables: Any, prefix: str) -> list[tuple[Any, str]]:
    return [(of, f"{prefix}{name}.") for name, of in tables.items()] if isinstance(tables, dict) else []


def seeds_of(value: Any, name: str) -> list[int]:
    """A count or a list: 3 is [0, 1, 2]."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return list(range(value))
    if isinstance(value, list) and value and all(type(x) is int and x >= 0 for x in value):
        if len(set(value)) == len(value):
            return value
        raise ValueError(f"{name}: {value} has a seed twice")
    raise ValueError(f"{name}: must be a count or a list of different whole numbers, not {value!r}")


def _beside(fields: Fields, folder: Path | None) -> Fields:
    """Names of a user's FILE.py (algorithm, reward) as they are reached from here."""
    out = over(fields)
    if folder is not None:
        algo = out.get("algo", {})
        if str(algo.get("name", "")).endswith(".py"):
            out["algo"] = {**algo, "name": _relative(folder / algo["name"])}
        if ".py:" in str(out.get("reward", "")):
            out["reward"] = _relative(folder / out["reward"])
    return out


def _relative(path: Path) -> str:
    whole, here = path.resolve(), Path.cwd()
    return str(whole.relative_to(here) if whole.is_relative_to(here) else path)


def check(study: Study) -> Study:
    """What the types do not say.  Raises ValueError naming the field."""
    if not study.arms:
        raise ValueError("arms: a study needs at least one")
    for arm, of in study.arms.items():
        if not arm.replace("_", "").replace("-", "").isalnum() or arm == "tune":
            raise ValueError(f"arms.{arm}: letters, digits, - and _ only, and not 'tune', for it names a folder")
        if study.tuned_as(arm) not in study.arms or study.tuned_as(study.tuned_as(arm)) != study.tuned_as(arm):
            raise ValueError(f"arms.{arm}.tuned_as: no arm '{of['tuned_as']}' with trials of its own")
    tables = {f"arms.{arm}": of for arm, of in study.arms.items()} | {"base": study.base}
    if study.tune is not None:
        tables |= {"tune.base": study.tune.base, "tune.grid": study.tune.grid}
    for name, table in tables.items():
        if fixed := {"seed", "name", "out"} & set(table):
            raise ValueError(f"{name}.{min(fixed)}: the study sets it")
    mentioned = [*itertools.chain(*study.report.blocks.values()), *itertools.chain(*study.report.family)]
    if unknown := [arm for arm in mentioned if arm not in study.arms]:
        raise ValueError(f"report: no arm '{unknown[0]}'; valid: {', '.join(study.arms)}")
    families = study.report.blocks.values() or [study.arms]
    for pair in study.report.family:
        if len(set(pair)) != 2 or len(pair) != 2 or not any(set(pair) <= set(block) for block in families):
            raise ValueError(f"report.family: {pair} must be pairs of different arms of one block")
    if not (study.report.margin >= 0 and 0 < study.report.level <= 1):
        raise ValueError("report: margin must not be negative, and level lie in 0..1")
    if study.tune is not None:
        _check_tune(study.tune, study)
    for cell in study.runs():
        cell.config("results")
    return study


def _check_tune(tune: Tune, study: Study) -> None:
    if not tune.grid or not all(isinstance(v, list) and v for v in tune.grid.values()):
        raise ValueError("tune.grid: must give each field a list of values")
    if len(tune.seeds) < 2:
        raise ValueError("tune.seeds: at least two, for one seed's best is luck")
    used = {cell.seed for cell in study.runs()}
    if shared := used & set(tune.seeds):
        raise ValueError(f"tune.seeds: {sorted(shared)} are seeds of the runs; tuning seeds are not used again")
    if tune.trials is not None and tune.trials < 1:
        raise ValueError("tune.trials: at least 1")
    for cell in study.trials():
        cell.config("results")
