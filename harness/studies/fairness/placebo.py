"""Arms whose rewards say nothing of the answer: what training alone does, at the same budget and noise.

    ARM_coin      every label is a fair coin       reward_noise = 0.5: the flips of one seed are the same in all arms
    ARM_format    the task's form is all that pays reward_weights = { accuracy = 0, format = 1 }

A gain is then stated over ARM_coin (`report.placebo`), not over the start: a model may also gain from shorter answers,
from a form that parses, or from its own samples (2506.10947: random rewards).
"""

from __future__ import annotations

import dataclasses

from harness.config.overrides import Fields, merge_overrides
from harness.studies.study import Study, check

KINDS: dict[str, Fields] = {
    "coin": {"reward_noise": 0.5},
    "format": {"reward_weights": {"accuracy": 0.0, "format": 1.0}},
}


def with_placebo(study: Study, arm: str) -> Study:
    """The study with the placebos of one arm beside it; they take its tuned values.

    Raises ValueError naming the option where there is no such arm, it is one already, or its reward is not the rule's.
    """
    if arm not in study.arms:
        raise ValueError(f"--placebo: no arm '{arm}'; valid: {', '.join(study.arms)}")
    first = next(run for run in study.runs() if run.arm == arm).config("results")
    if first.reward != "rule" or first.reward_noise or first.reward_weights:
        raise ValueError(f"--placebo: arm '{arm}' is not rewarded by the rule alone: give its placebo by hand")
    names = {kind: f"{arm}_{kind}" for kind in KINDS}
    if taken := [name for name in names.values() if name in study.arms and name != study.report.placebo]:
        if study.report.placebo in names.values():
            return study
        raise ValueError(f"--placebo: the study has an arm '{taken[0]}'")
    tuned = {"tuned_as": study.tuned_as(arm)} if study.tune else {}
    own = {name: value for name, value in study.arms[arm].items() if name not in ("label", "about")}
    added = {names[kind]: {**merge_overrides(own, fields), **tuned} for kind, fields in KINDS.items()}
    blocks = {name: [*block, *(added if arm in block else ())] for name, block in study.report.blocks.items()}
    report = dataclasses.replace(study.report, placebo=names["coin"], blocks=blocks)
    return check(dataclasses.replace(study, arms={**study.arms, **added}, report=report))


def gains(study: Study, arms: list[str]) -> list[tuple[str, str]]:
    """(arm, placebo) of every other arm of a table: the contrasts by which gains are stated."""
    placebo = study.report.placebo
    return [(arm, placebo) for arm in arms if arm != placebo] if placebo in arms else []
