"""What a pipeline will cost, stage by stage: `harness pipeline --dry-run` and `harness plan --pipeline`.

Every completion is assumed to be at its token limit and every prompt as long as the longest: an upper bound per round.
"""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

from algos import Schedule
from harness.accounting.format import clock, count, flops, size
from harness.config.run_config import RunConfig
from harness.pipelines import storage
from harness.pipelines.schema import Pipeline, Stage
from harness.pipelines.stage_run import check_stages, experiment_of, planned_config, stage_run
from harness.planner.command import setting_of
from harness.planner.compute import cost_of
from harness.planner.memory import predict
from harness.records.runs import status_of

PROMPT_TOKENS = 128


def dry_run_lines(pipeline: Pipeline, out: str) -> list[str]:
    """Every command that is left of the first seed, and the cost of each stage.  Raises ValueError as `launch` does."""
    check_stages(pipeline)
    folder = Path(out, pipeline.name)
    storage.hold(folder, pipeline)
    seed = pipeline.seeds[0]
    lines = [f"# {pipeline.name}: {len(pipeline.seeds)} seeds of {len(pipeline.all)} runs; these are of seed {seed}"]
    for stage in pipeline.all:
        if pipeline.budget_of(stage) is None and stage not in pipeline.controls:
            lines.append(f"# {stage.name}: no budget is stated")
        elif status_of(folder / f"seed{seed}" / stage.name) != "finished":
            lines.append(shlex.join(stage_run(pipeline, stage, seed, out).command(out)))
    return [*lines, *(f"# {line}" for line in cost_lines(pipeline, out))]


def cost_lines(pipeline: Pipeline, out: str, prompt_tokens: int = PROMPT_TOKENS) -> list[str]:
    """A line per stage and one for the whole."""
    check_stages(pipeline)
    unknown = set[str]()
    rows = [_row(pipeline, stage, out, prompt_tokens, unknown) for stage in pipeline.all]
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = ["  ".join([*(c.ljust(w) for c, w in zip(row, wide, strict=False)), row[-1]]).rstrip() for row in rows]
    return [*lines, _whole(pipeline)]


def _row(pipeline: Pipeline, stage: Stage, out: str, prompt_tokens: int, unknown: set[str]) -> list[str]:
    control = stage in pipeline.controls
    share = "control" if control else "share not stated" if stage.share is None else f"{stage.share:.0%}"
    if stage.updates is not None:
        share = f"{stage.updates:,} updates"
    budget = pipeline.budget if control else pipeline.budget_of(stage)
    head = [stage.name, stage.kind, share, f"budget {budget}" if budget else "no budget is stated"]
    schedule = experiment_of(pipeline, stage, out).schedule
    config = planned_config(pipeline, stage, out)
    what = f"{schedule.prompts} x {schedule.group_size} a round, {prompt_tokens} + {config.max_new_tokens} tokens"
    budgeted = dataclasses.replace(config, model=pipeline.architecture or config.model)
    counted = ", ".join([what, *_tokens(pipeline, stage, schedule, config)])
    if budgeted.model in unknown:  # a hub that was not reached is not asked again for every stage
        return [*head, f"{counted}; FLOPs unknown, as above"]
    try:
        setting = setting_of(budgeted, prompt_tokens)
    except ValueError as error:
        unknown.add(budgeted.model)
        return [*head, f"{counted}; FLOPs unknown: {error}"]
    cost = cost_of(setting)
    parts = [what, f"{flops(cost.round_flops)} a round", f"peak {size(predict(setting).peak)}"]
    if budget is not None and cost.rounds is not None and cost.flops is not None:
        parts += [f"{count(cost.rounds)} rounds", flops(cost.flops)]
    if budget is not None and cost.seconds is not None:
        parts.append(f"{clock(cost.seconds)} at the rate of {cost.source}")
    return [*head, ", ".join(parts)]


def _tokens(pipeline: Pipeline, stage: Stage, schedule: Schedule, config: RunConfig) -> list[str]:
    """What can be said without an architecture: rounds and tokens, where updates are stated."""
    if stage.updates is None:
        return []
    rounds = stage.updates / schedule.updates
    tokens = rounds * schedule.prompts * schedule.group_size * config.max_new_tokens
    return [f"{count(rounds)} rounds", f"at most {count(tokens)} tokens"]


def _whole(pipeline: Pipeline) -> str:
    shares = [stage.share for stage in pipeline.stages]
    if not pipeline.budget:
        missing = ", ".join(s.name for s in pipeline.stages if pipeline.budget_of(s) is None)
        return "whole: no common budget is stated" + (f"; none at all for {missing}" if missing else "")
    stated = sum(x for x in shares if x is not None)
    controls = f"; each of {len(pipeline.controls)} controls as much again" if pipeline.controls else ""
    return f"whole: {pipeline.budget} a seed, of which stages are given {stated:.0%}{controls}"
