"""A stage with a seed: one `harness run`, in OUT/NAME/seed<k>/STAGE."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evals.tasks.traces import ACCEPTED
from harness.config.overrides import Fields, merge_overrides
from harness.config.run_config import RunConfig, merge
from harness.pipelines.schema import KINDS, Pipeline, Stage, place_of
from harness.studies.planned_run import PlannedRun

if TYPE_CHECKING:
    from harness.config.experiment import Experiment

FINAL = Path("checkpoints", "final")


@dataclass(frozen=True)
class StageRun(PlannedRun):
    """`arm` is the stage's name; the fields name models and files under OUT."""

    @property
    def name(self) -> str:
        return self.arm


def stage_run(pipeline: Pipeline, stage: Stage, seed: int, out: str) -> StageRun:
    """The run of a stage.  Raises ValueError where its budget is not stated."""
    budget = pipeline.budget if stage in pipeline.controls else pipeline.budget_of(stage)
    if budget is None:
        budget = "" if pipeline.budget else "--budget UNIT=LIMIT and "
        raise ValueError(
            f"{place_of(pipeline, stage)}share: none is stated, so that nothing bounds it; give {budget}"
            f"--set {stage.name}.share=SHARE"
        )
    places = {name: str(place_of_made(pipeline, name, needed, seed, out)) for name, needed in stage.needs.items()}
    fields = merge_overrides(_fields(pipeline, stage), {"budget": budget}, places)
    return StageRun(stage.name, seed, f"{pipeline.name}/seed{seed}", fields)


def place_of_made(pipeline: Pipeline, field: str, stage: str, seed: int, out: str) -> Path:
    """Where a stage leaves what another needs of it: the folder of its model, or its accepted completions."""
    run = Path(out, pipeline.name, f"seed{seed}", stage)
    return run / FINAL if field == "model" else run / ACCEPTED


def planned_config(pipeline: Pipeline, stage: Stage, out: str = "results") -> RunConfig:
    """The configuration of a stage before any other has run: with the model that its chain began with.

    Its budget is RunConfig's where none is stated.  Raises ValueError naming the stage.
    """
    budget = pipeline.budget if stage in pipeline.controls else pipeline.budget_of(stage)
    fields = {k: v for k, v in _fields(pipeline, stage).items() if k not in stage.needs}
    own: Fields = {"out": out, **({"budget": budget} if budget else {})}
    model = pipeline.origin(stage)
    try:
        return merge([("file", fields), ("file", own), *([("file", {"model": model})] if model else [])])
    except ValueError as error:
        raise ValueError(f"{place_of(pipeline, stage)}{error}") from error


def check_stages(pipeline: Pipeline) -> None:
    """Every stage as a run: its algorithm, its task, its budget.  Raises ValueError naming the stage and the field."""
    for stage in pipeline.all:
        experiment_of(pipeline, stage)


def experiment_of(pipeline: Pipeline, stage: Stage, out: str = "results") -> Experiment:
    """What a stage will do, its algorithm of the kind that the file says.  Raises ValueError."""
    from harness.config.experiment import resolve_experiment

    place, config = place_of(pipeline, stage), planned_config(pipeline, stage, out)
    try:
        experiment = resolve_experiment(config)
    except ValueError as error:
        raise ValueError(f"{place}{error}") from error
    if stage.kind != "rejection_sample" and 1.0 not in config.eval_fractions:
        raise ValueError(f"{place}eval_fractions: must name 1, the end, where stages are compared")
    schedule, wanted = experiment.schedule, KINDS[stage.kind][1]
    if schedule.source != wanted or (stage.kind == "rejection_sample" and schedule.epochs):
        kinds = {source: kind for kind, (_, source) in KINDS.items()}
        fits = "none (it trains, too)" if schedule.source == "initial" and schedule.epochs else kinds[schedule.source]
        raise ValueError(f"{place}algo.name: {config.algo_name} is of kind {fits}, and the stage of {stage.kind}")
    return experiment


def _fields(pipeline: Pipeline, stage: Stage) -> Fields:
    """All that the file says of a stage's run.  A model is measured where it is made, and the one that all begin with
    before the first stage; sampling alone changes no model."""
    sampling, first = stage.kind == "rejection_sample", stage is pipeline.stages[0]
    measured: Fields = {"eval_fractions": [] if sampling else [0.0, 1.0] if first else [1.0]}
    below = {name: x for name, x in pipeline.base.items() if not (sampling and name == "eval_fractions")}
    return merge_overrides(measured, below, KINDS[stage.kind][0], stage.fields)


def check_made(pipeline: Pipeline, stage: Stage, seed: int, out: str) -> None:
    """Raises ValueError where an earlier stage has not left what this one needs, or has left nothing in it."""
    for field, needed in stage.needs.items():
        made = place_of_made(pipeline, field, needed, seed, out)
        place = f"{place_of(pipeline, stage)}{field}: "
        if not made.exists():
            raise ValueError(f"{place}{made}: stage '{needed}' has left no such thing; run the pipeline from there")
        if field == "data" and not made.stat().st_size:
            raise ValueError(f"{place}stage '{needed}' accepted none of its completions ({made} is empty)")
