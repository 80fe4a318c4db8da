"""A study: one question, arms that each change named fields of one base, seeds, one budget, and how arms are compared.

    question = "Does the clip matter with one update per round?"
    seeds = 5                                # or a list
    [base]                                   # as in a --config file
    budget = "completions=5120"
    [arms.narrow]
    algo.name = "grpo"
    [arms.wide]
    algo.name = "grpo"
    algo.clip_high = 0.4
    label = "GRPO, wide clip"                # optional: its name in figures; `about`: what it is, in one line
    scale.lr = 1e-4                          # optional: fields that belong to the model; a profile overrides them
    [tune]                                   # optional: as many trials for every arm
    grid.lr = [1e-4, 2e-4, 4e-4]
    widen = 3                                # optional: further trials, until the best of every arm lies inside
    [report]                                 # optional: blocks, family, margin, level, endpoint, logged
    [[hypotheses]]                           # optional: what a paper says, and what a fair test of it compares
    id = "H1"
    says = "a wider clip ends higher"
    arms = ["wide", "narrow"]

It expands into planned runs: each arm with each seed, and each trial with each tuning seed.  Each is one `harness run`.
Nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.config.coercion import build
from harness.config.files.paths import check_name
from harness.config.files.tables import ENDS, load_table
from harness.config.overrides import NAMED, Fields, check_groups, merge_overrides
from harness.config.run_config import RunConfig
from harness.studies.planned_run import PlannedRun, label
from harness.studies.schema import ALONE, START, Hypothesis, Report, ScaleProfile, Tune

STUDIES = Path(__file__).parent / "library"
ARM_KEYS = ("seeds", "tuned_as", "scale", "label", "about")  # of an arm itself; the rest are fields of its runs


@dataclass(frozen=True, kw_only=True)
class Study:
    """Read by `load` or made by `harness compare`; every error names the file and the field."""

    name: str  # of the folder of its records; the file's own name
    arms: dict[str, Fields]  # name -> the fields that make it; also seeds, tuned_as and scale of its own
    seeds: list[int]  # a count or a list
    base: Fields = field(default_factory=dict)  # fields of every run, as in a --config file
    question: str = ""  # what the study asks, in one line
    source: str = ""  # paper and section, where the question has one
    prediction: str = ""  # what was expected before it was run
    tune: Tune | None = None  # the same trials for every arm, before the runs
    report: Report = field(default_factory=Report)  # what the report compares
    hypotheses: list[Hypothesis] = field(default_factory=list)  # claims that the report judges
    profile: ScaleProfile | None = None  # another scale than the base's

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def trials(self) -> list[PlannedRun]:
        """Those of the grids; `tuning.planned_trials` adds those that their results lead to."""
        arms = [arm for arm in self.arms if self.tuned_as(arm) == arm]
        return [run for arm in arms for run in self.trials_of(arm, self.tune.points(arm) if self.tune else [])]

    def trials_of(self, arm: str, points: Iterable[Fields]) -> list[PlannedRun]:
        """One per point and tuning seed."""
        if self.tune is None:
            return []
        tune, root = self.tune, f"{self.tune.store or self.name}/tune"
        end, split = {"eval_fractions": [1.0]}, {"eval_split": "selection"}
        fields, base = dict(self._arms())[arm], self._base(arm)
        return [
            PlannedRun(
                arm,
                seed,
                f"{root}/{arm}/{label(point)}",
                merge_overrides(base, end, tune.base, fields, point, split),
            )
            for point in points
            for seed in tune.seeds
        ]

    def runs(self, tuned: Mapping[str, Fields] | None = None) -> list[PlannedRun]:
        """By seed and then by arm, so that an interruption leaves as many pairs as possible.

        `tuned` are the fields of each arm's best trial.
        """
        runs = [
            PlannedRun(
                arm, seed, f"{self.name}/{arm}", merge_overrides(self._base(arm), fields, (tuned or {}).get(arm, {}))
            )
            for arm, fields in self._arms()
            for seed in self.seeds_of(arm)
        ]
        return sorted(runs, key=lambda run: run.seed)

    def _arms(self) -> list[tuple[str, Fields]]:
        return [(arm, {k: v for k, v in own.items() if k not in ARM_KEYS}) for arm, own in self.arms.items()]

    def _base(self, arm: str) -> Fields:
        """What lies under an arm's own fields: the base, the arm's scale, the profile."""
        base = merge_overrides(self.base, self.arms[arm].get("scale", {}))
        algo = merge_overrides(base, self.arms[arm]).get("algo", {}).get("name", RunConfig.algo_name)
        return merge_overrides(base, self.profile.of(Path(algo).stem)) if self.profile else base

    def seeds_of(self, arm: str) -> list[int]:
        """The arm's own seeds, or the study's."""
        return list(self.arms[arm].get("seeds", self.seeds))

    def tuned_as(self, arm: str) -> str:
        """The arm whose trials give this one its fields: itself, or the one that it names."""
        return str(self.arms[arm].get("tuned_as", arm))

    def label(self, arm: str) -> str:
        """What figures and a paper's tables call an arm: its `label`, or its name."""
        return str(self.arms.get(arm, {}).get("label", arm))

    def about(self, arm: str) -> str:
        """What an arm is, in its study's words; "" where the study says nothing."""
        return str(self.arms.get(arm, {}).get("about", ""))


def names() -> list[str]:
    """The studies that ship."""
    return sorted(path.stem for path in STUDIES.glob("*.toml"))


def load(name: str) -> Study:
    """A study by name, or a FILE.toml or FILE.yaml.  Raises ValueError naming file and field, and what is valid."""
    file = Path(name)
    if not name.endswith(ENDS):
        if name not in names():
            raise ValueError(f"study: unknown study '{name}'; valid: {', '.join(names())}, or a FILE.toml, FILE.yaml")
        file = STUDIES / f"{name}.toml"
    try:
        return parse(file.stem, load_table(file), file.parent)
    except ValueError as error:
        message = str(error)
        raise ValueError(message if str(file) in message else f"{file}: {message}") from error


def parse(name: str, table: Fields, folder: Path | None = None) -> Study:
    """A checked study from a TOML table.  Names of FILE.py in it are relative to `folder`."""
    table = {"name": name, **table}
    arms = table.get("arms")
    sections = [(table, ""), (table.get("tune"), "tune.")]
    sections += [(own, f"arms.{arm}.") for arm, own in arms.items()] if isinstance(arms, dict) else []
    for section, prefix in sections:
        if isinstance(section, dict) and "seeds" in section:
            section["seeds"] = seeds_of(section["seeds"], f"{prefix}seeds")
    study = build(Study, table, "")
    _check_tables(study)
    own_files = {arm: _with_files_from(fields, folder) for arm, fields in study.arms.items()}
    return check(dataclasses.replace(study, base=_with_files_from(study.base, folder), arms=own_files))


def seeds_of(value: Any, name: str) -> list[int]:
    """A count or a list: 3 is [0, 1, 2]."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return list(range(value))
    if isinstance(value, list) and value and all(type(x) is int and x >= 0 for x in value):
        if len(set(value)) == len(value):
            return value
        raise ValueError(f"{name}: {value} has a seed twice")
    raise ValueError(f"{name}: must be a count or a list of different whole numbers, not {value!r}")


def _with_files_from(fields: Fields, folder: Path | None) -> Fields:
    """The fields, with names of FILE.py (algorithm, task, reward, a choice of the algorithm's) in `folder` relative to
    the working directory."""
    out = merge_overrides(fields)
    if folder is not None:
        for group in NAMED:
            table = out.get(group, {})
            if str(table.get("name", "")).endswith((".py", ".yaml", ".yml")):
                out[group] = table = {**table, "name": _relative(folder / table["name"])}
            own = {field: x for field, x in table.items() if isinstance(x, str) and ".py:" in x}
            if own:
                out[group] = {**table, **{field: _relative(folder / x) for field, x in own.items()}}
        reward = out.get("reward")
        if isinstance(reward, str) and ".py:" in reward:
            out["reward"] = _relative(folder / reward)
    return out


def _relative(path: Path) -> str:
    absolute, directory = path.resolve(), Path.cwd()
    return str(absolute.relative_to(directory) if absolute.is_relative_to(directory) else path)


def check(study: Study) -> Study:
    """What the types do not say.  Raises ValueError naming the field."""
    check_name(study.name, "name")
    if not study.arms:
        raise ValueError("arms: a study needs at least one")
    for arm, own in study.arms.items():
        if not arm.replace("_", "").replace("-", "").isalnum() or arm in ("tune", START):
            raise ValueError(
                f"arms.{arm}: letters, digits, - and _ only; 'tune' names a folder, '{START}' the start model"
            )
        if wrong := [w for w in ("label", "about") if not isinstance(x := own.get(w, arm), str) or not x.strip()]:
            raise ValueError(f"arms.{arm}.{wrong[0]}: must be a text, not {own[wrong[0]]!r}")
        if study.tuned_as(arm) not in study.arms or study.tuned_as(study.tuned_as(arm)) != study.tuned_as(arm):
            raise ValueError(f"arms.{arm}.tuned_as: no arm '{own['tuned_as']}' with trials of its own")
    if twice := [name for name, n in Counter(map(study.label, study.arms)).items() if n > 1]:
        raise ValueError(f"arms: two arms are called '{twice[0]}' in figures: a label belongs to one arm")
    _check_tables(study)
    mentioned = [
        *filter(None, [study.report.placebo]),
        *itertools.chain(*study.report.blocks.values()),
        *itertools.chain(*study.report.family),
    ]
    if unknown := [arm for arm in mentioned if arm not in study.arms]:
        raise ValueError(f"report: no arm '{unknown[0]}'; valid: {', '.join(study.arms)}")
    families = study.report.blocks.values() or [study.arms]
    for pair in study.report.family:
        if len(set(pair)) != 2 or len(pair) != 2 or not any(set(pair) <= set(block) for block in families):
            raise ValueError(f"report.family: {pair} must be pairs of different arms of one block")
    if not (study.report.margin >= 0 and 0 < study.report.level <= 1):
        raise ValueError("report: margin must not be negative, and level lie in 0..1")
    _check_hypotheses(study)
    if study.tune is not None:
        _check_tune(study.tune, study)
    measured = {run.arm: set(run.config("results").eval_fractions) for run in study.runs()}
    for i, hypothesis in enumerate(study.hypotheses):
        _check_points(hypothesis, measured, f"hypotheses.{i}.")
    for arm, points in measured.items():
        if 1.0 not in points:
            fractions = ", ".join(f"{f:g}" for f in sorted(points)) or "none"
            raise ValueError(
                f"arm '{arm}': eval_fractions: must name 1, the end, where arms are compared; not {fractions}"
            )
    return study


def _check_tables(study: Study) -> None:
    """Every table of fields of runs: none has a field that the study sets, and a group of fields is a table."""
    for arm, own in study.arms.items():
        if not isinstance(own.get("scale", {}), dict):
            raise ValueError(f"arms.{arm}.scale: must be a table of fields, not {own['scale']!r}")
    tables = [*((f"arms.{arm}", own) for arm, own in study.arms.items()), ("base", study.base)]
    tables += [(f"arms.{arm}.scale", own["scale"]) for arm, own in study.arms.items() if "scale" in own]
    if study.profile is not None:
        tables.append(("profile", study.profile.fields))
    if study.tune is not None:
        tables.append(("tune.base", study.tune.base))
        tables += [("tune.grid", {name: x}) for name, values in study.tune.grid.items() for x in values]
        tables += [
            (f"tune.own.{arm}", {name: x})
            for arm, grid in study.tune.own.items()
            for name, values in grid.items()
            for x in values
        ]
    for place, table in tables:
        if fixed := {"seed", "name", "out"} & set(table):
            raise ValueError(f"{place}.{min(fixed)}: the study sets it")
        nested = merge_overrides(check_groups(table, f"{place}."))  # dotted names reach into groups
        check_groups(nested, f"{place}.")


def _check_points(h: Hypothesis, measured: Mapping[str, set[float]], place: str) -> None:
    """Every arm must be evaluated at the fractions that the hypothesis reads."""
    fractions = {h.at, *([h.since] if h.expect in ALONE else []), *([1.0] if h.expect == "slows" else [])}
    points = [(arm, at) for arm in h.arms if arm != START for at in sorted(fractions)]
    points += [(h.arms[0], 0.0)] if START in h.arms else []
    for arm, at in points:
        if at not in measured[arm]:
            valid = ", ".join(f"{f:g}" for f in sorted(measured[arm]))
            raise ValueError(
                f"{place}at: arm '{arm}' is not evaluated at {at:g} of the budget; eval_fractions: {valid}"
            )


def _check_hypotheses(study: Study) -> None:
    for i, hypothesis in enumerate(study.hypotheses):
        hypothesis.check(study.arms, f"hypotheses.{i}.")
        words = {"id": "", "says": "", "source": "", "settle": "", "note": "", "post_hoc": False}
        same = dataclasses.replace(hypothesis, **words)  # type: ignore[arg-type]
        for j, other in enumerate(study.hypotheses[:i]):
            if dataclasses.replace(other, **words) == same:  # type: ignore[arg-type]
                raise ValueError(f"hypotheses.{i}: the same test as hypotheses.{j}; its row would be there twice")


def _check_tune(tune: Tune, study: Study) -> None:
    tune.check({arm: study.tuned_as(arm) == arm for arm in study.arms})
    if shared := {run.seed for run in study.runs()} & set(tune.seeds):
        raise ValueError(f"tune.seeds: {sorted(shared)} are seeds of the runs; tuning seeds are not used again")
    for trial in study.trials():
        if not any(f > 0 for f in trial.config("results").eval_fractions):
            raise ValueError(
                f"arm '{trial.arm}': eval_fractions: a trial is measured at its last point: name one above 0"
            )
