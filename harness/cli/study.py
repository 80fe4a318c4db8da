"""The commands over several runs: compare, ablate, report, calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option as Opt

from harness.cli.options import (
    BudgetText,
    Config,
    Device,
    DryRun,
    Dtype,
    EvalFile,
    EvalLimit,
    EvalSamples,
    EvalTasks,
    GroupSize,
    KeepCheckpoints,
    Lora,
    MaxNewTokens,
    Model,
    Name,
    Out,
    ProfileName,
    Quiet,
    Retry,
    Reward,
    Set,
    TaskName,
    Temperature,
    TestFile,
    TrainFile,
    Workers,
    counted,
    named,
    say,
)

if TYPE_CHECKING:
    from harness.studies.study import Study


Grid = Annotated[
    list[str] | None,
    Opt("--grid", help="FIELD=A,B,... to try in --tune (ARM.FIELD: of one algorithm); repeatable.  [lr, three values]"),
]
Placebo = Annotated[
    str | None,
    Opt("--placebo", help="ARM: adds it with a coin for a reward, and with format alone; gains are over the coin."),
]
Updates = Annotated[
    int | None,
    Opt("--updates", help="About so many optimiser steps for every arm: chooses minibatches, epochs or prompts."),
]


def compare(
    algos: Annotated[str, Opt(help="Algorithms (or FILE.py), comma-separated: the arms.")],
    seeds: Annotated[str, Opt(help="How many, or which: 5, or 0,1,7.")] = "3",
    group_size: GroupSize = None,
    model: Model = None,
    task: TaskName = None,
    train_file: TrainFile = None,
    test_file: TestFile = None,
    eval_file: EvalFile = None,
    eval_tasks: EvalTasks = None,
    eval_samples: EvalSamples = None,
    eval_limit: EvalLimit = None,
    reward: Reward = None,
    budget: BudgetText = None,
    name: Name = None,
    out: Out = None,
    config: Config = None,
    set_: Annotated[
        list[str] | None, Opt("--set", help="field=value for all arms, or ARM.field=value: grpo.kl_coef=0; repeatable.")
    ] = None,
    temperature: Temperature = None,
    max_new_tokens: MaxNewTokens = None,
    device: Device = None,
    dtype: Dtype = None,
    keep_checkpoints: KeepCheckpoints = None,
    tune: Annotated[bool, Opt("--tune", help="First tune every arm, with as many trials each.")] = False,
    grid: Grid = None,
    updates: Updates = None,
    placebo: Placebo = None,
    lora: Lora = None,
    workers: Workers = 1,
    retry: Retry = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Several algorithms at one budget, over seeds; resumable; ends with a report."""
    base: dict[str, Any] = {
        "task_name": task, "group_size": group_size, "model": model, "eval_tasks": eval_tasks,
        "eval_repeats": counted(eval_samples, "--eval-samples"), "eval_limit": eval_limit,
        "reward": reward, "budget": budget, "temperature": temperature, "max_new_tokens": max_new_tokens,
        "device": device, "dtype": dtype, "keep_checkpoints": keep_checkpoints,
    }  # fmt: skip
    files = {"train_file": train_file, "test_file": test_file, "eval_files": named(eval_file, "--eval-file")}
    base["task"] = {k: v for k, v in files.items() if v} or None
    from harness.config.lora import parse_lora
    from harness.studies.ad_hoc import study_from_flags, tuned_study
    from harness.studies.fairness.equal_updates import with_equal_updates
    from harness.studies.fairness.placebo import with_placebo

    base["lora"] = parse_lora(lora) if lora is not None else None
    study = study_from_flags(algos, seeds, base, set_ or [], config, name)
    if grid and not tune:
        raise ValueError("--grid: what to try in --tune; add --tune, or set a field with --set")
    study = tuned_study(study, grid or []) if tune else study
    study = with_placebo(study, placebo) if placebo is not None else study
    study = with_equal_updates(study, out or "results", updates) if updates is not None else study
    _launch(study, out, workers, retry, dry_run, quiet, None)


def ablate(
    study: Annotated[str | None, typer.Argument(help="A study by name (see --list), or a FILE.toml.")] = None,
    list_: Annotated[
        bool, Opt("--list", help="Every study: its question, what it costs here, what is recorded.")
    ] = False,
    seeds: Annotated[str | None, Opt(help="How many, or which, in the place of the study's own.")] = None,
    budget: Annotated[str | None, Opt(help="UNIT=LIMIT, in the place of the study's own.")] = None,
    name: Name = None,
    out: Out = None,
    profile: ProfileName = None,
    eval_file: EvalFile = None,
    set_: Set = None,
    updates: Updates = None,
    placebo: Placebo = None,
    workers: Workers = 1,
    retry: Retry = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """A study file: its trials, its runs, its report; resumable."""
    if list_:
        from harness.cli.study_catalog import list_studies

        say("\n".join(list_studies(out or "results", workers)))
        return
    if study is None:
        raise ValueError("study: which one?  `harness ablate --list` names them")
    from harness.studies.ad_hoc import override_study
    from harness.studies.fairness.equal_updates import with_equal_updates
    from harness.studies.fairness.placebo import with_placebo
    from harness.studies.study import load

    settings = [*(set_ or []), *([f"budget={budget}"] if budget else [])]
    asked = override_study(load(study), seeds, settings, name, profile, named(eval_file, "--eval-file"))
    asked = with_placebo(asked, placebo) if placebo is not None else asked
    asked = with_equal_updates(asked, out or "results", updates) if updates is not None else asked
    _launch(asked, out, workers, retry, dry_run, quiet, study)


def _launch(
    study: Study, out: str | None, workers: int, retry: bool, dry_run: bool, quiet: bool, typed: str | None
) -> None:
    """Start the runs that are left, and report those that have finished.  Raises RunFailed where one did not finish.
    `typed`: the study's name or file."""
    out = out or "results"
    if dry_run:
        from harness.reports.analysis.power import prospects
        from harness.reports.render.power import power_sentence
        from harness.studies import launcher

        lines = launcher.dry_run(study, out, workers)
        if len(study.arms) > 1:
            lines.append(f"# {power_sentence(study, prospects(study, Path(out)), typed)}")
        say("\n".join(lines))
        return
    from harness.api.studies import launch_study
    from harness.cli.console.study import StudyView
    from harness.studies.fairness.tuning import planned_runs

    try:
        with StudyView(planned_runs(study, out), out, workers, quiet=quiet) as view:
            launch_study(study, out, workers, retry, (lambda _: None) if quiet else view.say)
    except KeyboardInterrupt:
        if not quiet:
            say("to go on: the same command again; runs go on from their checkpoints")
        raise


def power(
    study: Annotated[str, typer.Argument(help="A study by name, or a FILE.toml.")],
    sd: Annotated[float | None, Opt(help="SD of a difference over seeds in points, where no run tells one.")] = None,
    seeds: Annotated[str | None, Opt(help="How many, or which, in the place of the study's own.")] = None,
    set_: Set = None,
    out: Out = None,
) -> None:
    """Before a study runs: what it can decide with its seeds, and how many it needs."""
    from harness.reports.analysis.power import prospects
    from harness.reports.render.power import power_sentence, power_table
    from harness.studies.ad_hoc import override_study
    from harness.studies.study import load

    if sd is not None and not sd > 0:
        raise ValueError(f"--sd: must be positive, in points, not {sd:g}")
    typed, asked = study, override_study(load(study), seeds, set_ or [], None)
    rows = prospects(asked, Path(out or "results"), None if sd is None else sd / 100)
    table = power_table(asked, rows)
    say("\n\n".join([table.markdown(), table.note, power_sentence(asked, rows, typed)]))


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(help="A study's folder, a pipeline's, one run's, or one of several studies; or several runs'."),
    ],
    out: Annotated[Path, Opt(help="Where the report of several runs goes.  [report]")] = Path("report"),
    into: Annotated[Path | None, Opt(help="A document whose parts marked `<!-- report DIR PART -->` to renew.")] = None,
    keep_folders: Annotated[
        bool, Opt("--keep-folders", help="Leave runs that have ended in folders of their own.")
    ] = False,
    arms: Annotated[str | None, Opt(help="For a paper, in DIR/paper: these arms alone, comma-separated.")] = None,
    labels: Annotated[str | None, Opt(help="For a paper: what its figures and tables call the arms.")] = None,
    pdf: Annotated[bool, Opt("--pdf", help="For a paper: figures as PDF too.")] = False,
    width: Annotated[str | None, Opt(help="For a paper: its figures' width, as 3.3in. [a column and a page]")] = None,
) -> None:
    """Tables and figures from the records in a folder, written into it; runs that have ended are folded.  Several runs
    are grouped by configuration, and left as they are.  --arms, --labels, --pdf, --width: DIR/paper/ alone."""
    from harness.pipelines.storage import is_pipeline
    from harness.records.runs import has_record
    from harness.reports.collection import is_collection, study_folders
    from harness.reports.includes import read_document, update_includes
    from harness.studies.storage import fold_study

    folder = folders[0]
    if pdf or any(option is not None for option in (arms, labels, width)):
        if into is not None or len(folders) > 1 or is_pipeline(folder) or is_collection(folder):
            raise ValueError("--arms, --labels, --pdf, --width: for the folder of one study, and without --into")
        from harness.reports.paper.write import paper

        say(paper(folder, arms, labels, pdf, width))
        return
    if into is not None:
        read_document(into)  # before anything is written
    if len(folders) > 1:
        from harness.api.studies import report_lines
        from harness.reports.runs import load_runs

        results = load_runs(folders, out.name)
        out.mkdir(parents=True, exist_ok=True)
        lines = [*report_lines(out, results), str(out / "report.html")]
    elif is_pipeline(folder):
        from harness.pipelines.report import write_report

        lines = write_report(folder)
    elif is_collection(folder):
        from harness.reports.collection_page import write_overview

        lines = [str(write_overview(folder))]
    else:
        from harness.api.studies import report_lines

        lines = [*report_lines(folder), str(folder / "report.html")]
    if len(folders) == 1 and not keep_folders and not has_record(folder):
        for study in study_folders(folder):
            fold_study(study)
    if into is not None:
        into.write_text(update_includes(read_document(into), into.parent), encoding="utf-8")
    say("\n".join(lines))


def fold(folders: Annotated[list[Path], typer.Argument(help="Folders of studies.")]) -> None:
    """Runs that have ended: from folders of their own into records.jsonl, metrics.parquet and outcomes.parquet."""
    from harness.records.archive import folding

    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder}: no such folder")
        say(f"{folder}: {len(folding.fold(folder))} runs folded")


def rescore(
    paths: Annotated[list[Path], typer.Argument(help="Folders of runs or studies.")],
    show: Annotated[int, Opt(min=0, help="Verdicts that moved to print. [0]")] = 0,
) -> None:
    """Judge the texts of old runs anew, and count the verdicts that are others now.  Changes no file."""
    from harness.reports import rescore as rescored

    say(rescored.table(rescored.rescore(paths), show))


def calibrate(
    folder: Annotated[Path, typer.Argument(help="Where the control runs lie and the page goes.")] = Path(
        "results/calibration"
    ),
    trials: Annotated[int, Opt(help="Simulated studies per setting.")] = 10_000,
) -> None:
    """Are the intervals as wide as they say?  Simulation, A/A, positive and negative controls, as one page."""
    from harness.reports.calibration.calibrate import calibrate as calibrated

    calibrated(folder, trials, say)
