"""`harness import`: runs of other trainers as records, to be compared by `harness report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument
from typer import Option as Opt

from harness.cli.options import say

if TYPE_CHECKING:
    from harness.records.foreign.outcomes import Runs
    from harness.records.foreign.recording import Origin

imports = typer.Typer(help="Runs of other trainers as records; `harness report OUT` then compares them.")

Outcomes = Annotated[
    Path, Opt("--outcomes", help="Per-problem outcomes, CSV, JSON(L) or parquet: columns problem, correct, step.")
]
Model = Annotated[str, Opt("--model", help="The model that it began from; runs that are compared have the same.")]
Arm = Annotated[str, Opt("--arm", help="What it is an arm of, for instance grpo-lr1e-6.")]
Seed = Annotated[int, Opt("--seed", help="Its seed; arms are paired by seed.")]
Out = Annotated[Path, Opt("--out", help="The study's folder: OUT/ARM/seedK is written.")]
Algo = Annotated[str | None, Opt("--algo", help="Its algorithm.  [the arm's name]")]
Group = Annotated[int | None, Opt("--group-size", help="Completions per prompt.", min=1)]
Warmth = Annotated[float, Opt("--temperature", help="Of the evaluations; 0 is greedy.", min=0.0)]
BudgetText = Annotated[
    str | None, Opt("--budget", help="UNIT=LIMIT that the runs had.  [what was spent at the last evaluation]")
]


@imports.command("csv", epilog="Example: harness import csv outcomes.csv --model Qwen/Qwen2.5-0.5B --out theirs")
def csv(
    table: Annotated[Path, Argument(help="Rows with problem, correct, arm, seed; task, step or a unit of spend.")],
    model: Model,
    out: Out,
    budget: BudgetText = None,
    algo: Algo = None,
    group_size: Group = None,
    temperature: Warmth = 0.0,
) -> None:
    """Every run in a table of per-problem outcomes, of any trainer."""
    from harness.records.foreign.outcomes import read_outcomes

    origin = _origin("csv", [table], model, budget, algo, group_size, temperature)
    _write(out, origin, read_outcomes(table), [])


@imports.command("trl", epilog="Example: harness import trl runs/grpo --outcomes test.jsonl --arm grpo --seed 0 ...")
def trl(
    run: Annotated[Path, Argument(help="TRL's output folder, a checkpoint of it, or its trainer_state.json.")],
    outcomes: Outcomes,
    model: Model,
    arm: Arm,
    seed: Seed,
    out: Out,
    budget: BudgetText = None,
    algo: Algo = None,
    group_size: Group = None,
    temperature: Warmth = 0.0,
) -> None:
    """A run of a TRL trainer: its logged steps, with the outcomes of its evaluations from a table."""
    from harness.records.foreign.outcomes import read_outcomes
    from harness.records.foreign.trl import read_log

    rounds = read_log(run)
    origin = _origin("trl", [outcomes], model, budget, algo, group_size, temperature)
    _write(out, origin, read_outcomes(outcomes, arm, seed), rounds)


@imports.command("verl", epilog="Example: harness import verl log.jsonl --validation val --batch-size 256 ...")
def verl(
    log: Annotated[Path, Argument(help="What verl's file logger wrote (VERL_FILE_LOGGER_PATH).")],
    validation: Annotated[Path, Opt("--validation", help="trainer.validation_data_dir, with a STEP.jsonl each.")],
    batch_size: Annotated[int, Opt("--batch-size", help="data.train_batch_size: prompts a step.", min=1)],
    model: Model,
    arm: Arm,
    seed: Seed,
    out: Out,
    budget: BudgetText = None,
    algo: Algo = None,
    group_size: Group = None,
    temperature: Warmth = 0.0,
    correct_at: Annotated[float, Opt("--correct-at", help="The score from which a completion is right.")] = 1.0,
) -> None:
    """A run of verl: its logged steps and its validation dumps."""
    from harness.records.foreign.verl import read_log, read_validation

    rounds = read_log(log, batch_size, group_size)
    evaluations = read_validation(validation, batch_size, group_size, correct_at)
    origin = _origin("verl", [log], model, budget, algo, group_size, temperature)
    _write(out, origin, {(arm, seed): evaluations}, rounds)


def _origin(
    trainer: str,
    files: Sequence[Path],
    model: str,
    budget: str | None,
    algo: str | None,
    group_size: int | None,
    temperature: float,
) -> Origin:
    from harness.accounting.budget import Budget
    from harness.records.foreign.recording import Origin

    return Origin(trainer, files, model, algo, group_size, temperature, Budget.parse(budget) if budget else None)


def _write(out: Path, origin: Origin, runs: Runs, rounds: list[dict[str, float]]) -> None:
    """Nothing is written if one of the runs cannot be."""
    from harness.records.foreign.recording import check_run, write_run

    for (arm, seed), evaluations in runs.items():
        check_run(out, arm, seed, origin, evaluations)
    for (arm, seed), evaluations in runs.items():
        say(str(write_run(out, arm, seed, origin, evaluations, rounds)))
    say(f"compare them: harness report {out}")
