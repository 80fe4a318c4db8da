"""What a pipeline's file says, and what is wrong with it.

    question = "..."
    seeds = 5
    budget = "flops=4e11"                    # of the whole: each stage spends its share of it
    [base]                                   # fields of every stage, as in a --config file
    model = "nano"
    [[stages]]
    name = "cold_start"
    kind = "sft"                             # on the task's written solutions, or on `data = FILE`
    share = 0.1
    [[stages]]
    name = "collect"
    kind = "rejection_sample"                # samples alone; what it accepts is data for an sft stage
    model = "stage:cold_start"
    share = 0.3
    [[stages]]
    name = "refit"
    kind = "sft"
    data = "stage:collect"
    share = 0.6
    [controls.rl_only]                       # one stage that spends the whole budget
    kind = "rl"

A stage begins with the base's model, or with the one of an earlier stage.  Every other field of it is a run's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from evals.statistics.comparison import MARGIN
from harness.accounting.budget import Budget
from harness.config.files.paths import check_name
from harness.config.overrides import Fields, check_groups, merge_overrides

MARK = "stage:"  # before the name of a stage, where a model or a file of data is named
# What each kind of stage runs, where its file does not say; and where its completions come from (`Schedule.source`).
KINDS: dict[str, tuple[Fields, str]] = {
    "sft": ({"algo": {"name": "sft"}}, "dataset"),
    "rl": ({"algo": {"name": "grpo"}}, "live"),
    "rejection_sample": ({"algo": {"name": "rft", "epochs": 0}}, "initial"),
}
TAKEN = ("start", "tune", "whole")  # names that reports and folders have already
SET_BY_US = ("seed", "name", "out", "resume", "budget")  # of a run, by its place in the pipeline
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One run of each seed."""

    name: str
    kind: str  # sft, rl, rejection_sample
    share: float | None = None  # of the budget; None: not stated, as in a paper that does not say
    updates: int | None = None  # in its place, where there is no budget: optimiser steps, as papers state them
    fields: Fields = field(default_factory=dict)  # of the run, `model` and `data` as the file has them

    @property
    def model(self) -> str | None:
        """The stage whose model it begins with; None: it names a model, or takes the base's."""
        return _stage_of(self.fields.get("model"))

    @property
    def data(self) -> str | None:
        """The stage whose accepted completions it is fine-tuned on; None: another file, or none."""
        return _stage_of(self.fields.get("data"))

    @property
    def needs(self) -> dict[str, str]:
        """Field -> the stage that it names."""
        return {name: stage for name, stage in (("model", self.model), ("data", self.data)) if stage is not None}


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Read by `loading.load`; every error names the file, the stage and the field."""

    name: str  # of the folder of its records; the file's own name
    stages: list[Stage]
    seeds: list[int]
    budget: str = ""  # UNIT=LIMIT of the whole; "": none is stated, and stages state updates
    controls: list[Stage] = field(default_factory=list)  # each spends the whole budget
    base: Fields = field(default_factory=dict)
    question: str = ""
    source: str = ""
    prediction: str = ""
    endpoint: str = "in"  # an evaluation set; "in": the task's own, greedy
    margin: float = 100 * MARGIN  # points of accuracy within which ends are equivalent
    architecture: str = ""  # a config.json that costs are predicted from, where the model's own is not at hand

    @property
    def whole(self) -> Budget | None:
        return Budget.parse(self.budget) if self.budget else None

    @property
    def all(self) -> list[Stage]:
        return [*self.stages, *self.controls]

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.all if stage.name == name)

    def budget_of(self, stage: Stage) -> str | None:
        """UNIT=LIMIT of a stage's run; None where none is stated.

        >>> stage = Stage(name="a", kind="sft", share=0.25)
        >>> Pipeline(name="p", stages=[stage], seeds=[0], budget="flops=4e11").budget_of(stage)
        'flops=100000000000'
        """
        if self.whole is not None and stage.share is not None:
            return f"{self.whole.unit}={stage.share * self.whole.limit:.12g}"
        return f"updates={stage.updates}" if stage.updates is not None else None

    def origin(self, stage: Stage) -> str | None:
        """The model with which the chain of models that leads to a stage began; None: a run's default."""
        while stage.model is not None:
            stage = self.stage(stage.model)
        model = stage.fields.get("model", self.base.get("model"))
        return None if model is None else str(model)


def check(pipeline: Pipeline) -> Pipeline:
    """What the types do not say.  Raises ValueError naming the stage and the field."""
    check_name(pipeline.name, "name")
    if not pipeline.stages:
        raise ValueError("stages: a pipeline needs at least one")
    if not pipeline.margin >= 0:
        raise ValueError(f"margin: must not be negative, not {pipeline.margin:g}")
    _check_names(pipeline)
    for stage in pipeline.all:
        _check_fields(stage.fields, place_of(pipeline, stage))
    _check_fields(pipeline.base, "base: ")
    for group in ("algo", "data", "algo_name"):
        if group in merge_overrides(pipeline.base):
            raise ValueError(f"base: {group}: stages differ in it: it is a stage's own")
    if str(pipeline.base.get("model", "")).startswith(MARK):
        raise ValueError("base: model: a stage's model is named by a stage that needs it")
    for stage in pipeline.all:
        _check_kind(pipeline, stage)
    _check_needs(pipeline)
    _check_shares(pipeline)
    return pipeline


def place_of(pipeline: Pipeline, stage: Stage) -> str:
    """What stands before the field in a message."""
    return f"{'control' if stage in pipeline.controls else 'stage'} '{stage.name}': "


def _stage_of(value: Any) -> str | None:
    return value.removeprefix(MARK) if isinstance(value, str) and value.startswith(MARK) else None


def _check_names(pipeline: Pipeline) -> None:
    seen: set[str] = set()
    for stage in pipeline.all:
        if not NAME.fullmatch(stage.name) or stage.name in TAKEN:
            raise ValueError(
                f"stages: '{stage.name}' is no stage's name: a letter, then letters, digits, - and _; "
                f"not {', '.join(TAKEN)}"
            )
        if stage.name in seen:
            raise ValueError(f"stages: two are called '{stage.name}': each names a model and a folder")
        seen.add(stage.name)


def _check_fields(fields: Fields, place: str) -> None:
    if fixed := {*SET_BY_US} & {*fields}:
        name = min(fixed)
        raise ValueError(f"{place}{name}: the pipeline sets it{', by `share`' if name == 'budget' else ''}")
    check_groups(merge_overrides(check_groups(fields, place)), place)


def _check_kind(pipeline: Pipeline, stage: Stage) -> None:
    place = place_of(pipeline, stage)
    if stage.kind not in KINDS:
        raise ValueError(f"{place}kind: unknown kind '{stage.kind}'; valid: {', '.join(KINDS)}")
    if "data" in stage.fields and KINDS[stage.kind][1] != "dataset":
        raise ValueError(f"{place}data: a stage of kind {stage.kind} samples its completions; sft trains on data")
    if stage in pipeline.controls and (stage.needs or stage.share is not None or stage.updates is not None):
        wrong = next(iter(stage.needs), "share" if stage.share is not None else "updates")
        raise ValueError(f"{place}{wrong}: a control is one stage that spends the whole budget, and needs no other")


def _check_needs(pipeline: Pipeline) -> None:
    """Every stage that is named comes earlier, and has made what is asked of it."""
    names = [stage.name for stage in pipeline.stages]
    for i, stage in enumerate(pipeline.stages):
        for name, needed in stage.needs.items():
            place = f"{place_of(pipeline, stage)}{name}: "
            if needed not in names:
                raise ValueError(f"{place}no stage '{needed}'; earlier ones: {', '.join(names[:i]) or 'none'}")
            if circle := _circle(pipeline, stage.name, needed):
                raise ValueError(f"{place}a cycle: {' -> '.join(circle)}")
            if needed not in names[:i]:
                raise ValueError(f"{place}stage '{needed}' comes later; earlier ones: {', '.join(names[:i]) or 'none'}")
            kind = pipeline.stage(needed).kind
            if name == "data" and kind != "rejection_sample":
                makers = [s.name for s in pipeline.stages[:i] if s.kind == "rejection_sample"]
                raise ValueError(
                    f"{place}stage '{needed}' is of kind {kind}, which writes no completions; "
                    f"valid: {', '.join(makers) or 'a stage of kind rejection_sample, and there is none before it'}"
                )


def _circle(pipeline: Pipeline, start: str, at: str) -> list[str]:
    """The stages of a cycle start -> at -> ... -> start; none where there is none."""
    paths = [[start, at]]
    seen: set[str] = set()
    while paths:
        path = paths.pop()
        if path[-1] == start:
            return path
        known = [s for s in pipeline.stages if s.name == path[-1] and s.name not in seen]
        seen.add(path[-1])
        paths += [[*path, needed] for stage in known for needed in stage.needs.values()]
    return []


def _check_shares(pipeline: Pipeline) -> None:
    for stage in pipeline.stages:
        place = place_of(pipeline, stage)
        if stage.share is not None and not 0 < stage.share <= 1:
            raise ValueError(f"{place}share: must lie above 0 and not above 1, not {stage.share:g}")
        if stage.share is not None and stage.updates is not None:
            raise ValueError(f"{place}updates: it has a share of the budget already; give one of the two")
        if stage.updates is not None and stage.updates < 1:
            raise ValueError(f"{place}updates: must be at least 1, not {stage.updates}")
        if pipeline.budget and stage.updates is not None:
            raise ValueError(f"{place}updates: the pipeline has a budget; give the stage a share of it")
    total = _total(stage.share for stage in pipeline.stages)
    if total > 1 + 1e-9:
        parts = " + ".join(f"{stage.share:g}" for stage in pipeline.stages if stage.share is not None)
        raise ValueError(f"stages: share: {parts} = {total:g}, which is over 1")
    if pipeline.budget:
        Budget.parse(pipeline.budget)
    elif pipeline.controls:
        raise ValueError("controls: a control spends the whole budget, and none is given; add budget = 'UNIT=LIMIT'")


def _total(shares: Iterable[float | None]) -> float:
    return sum(share for share in shares if share is not None)
