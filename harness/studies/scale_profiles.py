"""Profiles of scale for studies: a paper's model, task, lengths and rates, laid over what was written for nano.

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
from harness.config.files.tables import ENDS, load_table
from harness.config.overrides import Fields, merge_overrides
from harness.studies.schema import START, ScaleProfile
from harness.studies.study import STUDIES, Study


def names() -> list[str]:
    """The profiles that ship."""
    return sorted(path.stem for path in (STUDIES / "profiles").glob("*.toml"))


def load(name: str) -> ScaleProfile:
    """A profile by name, or a FILE.toml.  Raises ValueError naming the file and the field, and what is valid."""
    file = Path(name)
    if not name.endswith(ENDS):
        if name not in names():
            raise ValueError(
                f"profile: unknown profile '{name}'; valid: {', '.join(names())}, or a FILE.toml, FILE.yaml"
            )
        file = STUDIES / "profiles" / f"{name}.toml"
    fields = load_table(file)
    if wrong := {"algo", "algo_name", "seed", "name", "out"} & set(fields):
        owner = "an arm's; what belongs to one algorithm is [algos.NAME]" if "algo" in min(wrong) else "the study's"
        raise ValueError(f"{file}: {min(wrong)}: it is {owner}")
    own: Fields = {key: fields.pop(key) for key in ("source", "algos", "without") if key in fields}
    try:
        return build(ScaleProfile, {"name": file.stem, "fields": merge_overrides(fields), **own}, "")
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def apply_scale_profile(study: Study, profile: ScaleProfile) -> Study:
    """The study at the profile's scale, under another name, because its records are others.

    What the profile sets is not tuned.  Where it names a task, the base's fields of its own task are dropped.  Arms
    whose reward or algorithm it is `without` are left out, and with them what the study says of them.
    """
    arms = [
        arm
        for arm, fields in study.arms.items()
        if not {*_reward_and_algorithm(merge_overrides(study.base, fields))} & {*profile.without}
    ]
    study = restrict_to_arms(study, arms)
    profile_sets = {*profile.fields, *(f"algo.{name}" for fields in profile.algos.values() for name in fields)}
    base, tune = dict(study.base), study.tune
    if "task" in profile.fields:
        base.pop("task", None)
    if tune is not None:
        grid = {name: values for name, values in tune.grid.items() if name not in profile_sets}
        tune_base = {name: value for name, value in tune.base.items() if name not in profile_sets}
        own = {a: {n: v for n, v in fields.items() if n not in profile_sets} for a, fields in tune.own.items()}
        own = {arm: fields for arm, fields in own.items() if fields and arm in arms}
        bounds = {name: pair for name, pair in tune.bounds.items() if name not in profile_sets}
        changes: Fields = {"grid": grid, "own": own, "bounds": bounds, "base": tune_base, "store": None}
        tune = dataclasses.replace(tune, **changes) if grid else None
    name = f"{study.name}-{profile.name}"
    return dataclasses.replace(study, name=name, base=base, tune=tune, profile=profile)


def _reward_and_algorithm(arm: Fields) -> tuple[str | None, str | None]:
    return arm.get("reward"), arm.get("algo", {}).get("name")


def restrict_to_arms(study: Study, arms: list[str]) -> Study:
    """The study of these arms alone.  An arm that was tuned as one of the others is tuned for itself."""
    known, report = {*arms, START}, study.report
    blocks = {name: [arm for arm in block if arm in known] for name, block in report.blocks.items()}
    family = [pair for pair in report.family if known >= set(pair)]
    own = {arm: {k: v for k, v in study.arms[arm].items() if k != "tuned_as" or v in known} for arm in arms}
    hypotheses = [h for h in study.hypotheses if known >= set(h.arms)]
    placebo = report.placebo if report.placebo in known else ""
    report = dataclasses.replace(report, blocks=blocks, family=family, placebo=placebo)
    return dataclasses.replace(study, arms=own, report=report, hypotheses=hypotheses)


def override_profile(profile: ScaleProfile, overrides: Fields) -> ScaleProfile:
    """The profile under the fields of the command line."""
    algo = merge_overrides(overrides).get("algo", {})
    algos = {name: {k: v for k, v in fields.items() if k not in algo} for name, fields in profile.algos.items()}
    return dataclasses.replace(profile, fields=merge_overrides(profile.fields, overrides), algos=algos)
