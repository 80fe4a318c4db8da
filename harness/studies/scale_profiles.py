"""Profiles of scale for studies: a paper's model, task, lengths and rates, to be laid over what was written for nano.

source = "..."                           # paper and section
model = "hub/id"                         # as in a --config file
without = ["process-rule", "sft"]        # rewards that its task cannot give, algorithms that its budget does not bind
[algos.grpo]                             # of one algorithm alone
kl_coef = 0.04
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from harness.config.coercion import build
from harness.config.overrides import Fields, over
from harness.config.start_models import load_toml
from harness.studies.schema import START, Profile
from harness.studies.study import STUDIES, Study


def names() -> list[str]:
    """The profiles that ship."""
    return sorted(path.stem for path in (STUDIES / "profiles").glob("*.toml"))


def load(name: str) -> Profile:
    """A profile by name, or a FILE.toml.  Raises ValueError naming the file and the field, and what is valid."""
    file = Path(name)
    if not name.endswith(".toml"):
        if name not in names():
            raise ValueError(f"profile: unknown profile '{name}'; valid: {', '.join(names())}, or a FILE.toml")
        file = STUDIES / "profiles" / f"{name}.toml"
    table = load_toml(file)
    if wrong := {"algo", "algo_name", "seed", "name", "out"} & set(table):
        said = "an arm's; what belongs to one algorithm is [algos.NAME]" if "algo" in min(wrong) else "the study's"
        raise ValueError(f"{file}: {min(wrong)}: it is {said}")
    about: Fields = {key: table.pop(key) for key in ("source", "algos", "without") if key in table}
    try:
        return build(Profile, {"name": file.stem, "fields": over(table), **about}, "")
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def laid(study: Study, profile: Profile) -> Study:
    """The study at the profile's scale, under a name of its own, for its records are others.

    What the profile sets is not tuned; where it names a task, the base's fields of its own task go.  Arms of which
    it is `without` the reward or the algorithm stay out, and with them what the study asks of them.
    """
    there = [arm for arm, of in study.arms.items() if not {*_named(over(study.base, of))} & {*profile.without}]
    study = kept(study, there)
    set_here = {*profile.fields, *(f"algo.{name}" for of in profile.algos.values() for name in of)}
    base, tune = dict(study.base), study.tune
    if "task" in profile.fields:
        base.pop("task", None)
    if tune is not None:
        grid = {name: values for name, values in tune.grid.items() if name not in set_here}
        own = {name: value for name, value in tune.base.items() if name not in set_here}
        tune = dataclasses.replace(tune, grid=grid, base=own, store=None) if grid else None
    name = f"{study.name}-{profile.name}"
    return dataclasses.replace(study, name=name, base=base, tune=tune, profile=profile)


def _named(arm: Fields) -> tuple[str | None, str | None]:
    return arm.get("reward"), arm.get("algo", {}).get("name")


def kept(study: Study, arms: list[str]) -> Study:
    """The study of these arms alone."""
    there, report = {*arms, START}, study.report
    blocks = {name: [arm for arm in block if arm in there] for name, block in report.blocks.items()}
    family = [pair for pair in report.family if there >= set(pair)]
    own = {arm: {k: v for k, v in study.arms[arm].items() if k != "tuned_as" or v in there} for arm in arms}
    asked = [h for h in study.hypotheses if there >= set(h.arms)]
    report = dataclasses.replace(report, blocks=blocks, family=family)
    return dataclasses.replace(study, arms=own, report=report, hypotheses=asked)


def asked_over(profile: Profile, asked: Fields) -> Profile:
    """The profile under what the command line asks besides."""
    algo = over(asked).get("algo", {})
    algos = {name: {k: v for k, v in of.items() if k not in algo} for name, of in profile.algos.items()}
    return dataclasses.replace(profile, fields=over(profile.fields, asked), algos=algos)
