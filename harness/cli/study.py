"""The commands over several runs: compare, ablate, report, calibrate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

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
    EvalTasks,
    GroupSize,
    KeepCheckpoints,
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
    named,
)
from harness.config.errors import RunFailed


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
    workers: Workers = 1,
    retry: Retry = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Several algorithms at one budget, over seeds; resumable; ends with a report."""
    base: dict[str, Any] = {
        "task_name": task, "group_size": group_size, "model": model, "eval_tasks": eval_tasks, "eval_limit": eval_limit,
        "reward": reward, "budget": budget, "temperature": temperature, "max_new_tokens": max_new_tokens,
        "device": device, "dtype": dtype, "keep_checkpoints": keep_checkpoints,
    }  # fmt: skip
    files = {"train_file": train_file, "test_file": test_file, "eval_files": named(eval_file, "--eval-file")}
    base["task"] = {k: v for k, v in files.items() if v} or None
    from harness.studies.ad_hoc import compared

    study = compared(algos, seeds, base, set_ or [], config, name)
    _conduct(study, out, workers, retry, dry_run, quiet)


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
    set_: Set = None,
    workers: Workers = 1,
    retry: Retry = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """A study file: its trials, its runs, its report; resumable."""
    if list_:
        from harness.cli.study_catalog import listed

        typer.echo("\n".join(listed(out or "results", workers)))
        return
    if study is None:
        raise ValueError("study: which one?  `harness ablate --list` names them")
    from harness.studies.ad_hoc import varied
    from harness.studies.study import load

    settings = [*(set_ or []), *([f"budget={budget}"] if budget else [])]
    _conduct(varied(load(study), seeds, settings, name, profile), out, workers, retry, dry_run, quiet)


def _conduct(study: Any, out: str | None, workers: int, retry: bool, dry_run: bool, quiet: bool) -> None:
    """Run what is left of a study, and report what has finished."""
    from harness.studies import launcher

    say: Callable[[str], None] = (lambda _: None) if quiet else typer.echo
    if dry_run:
        typer.echo("\n".join(launcher.rehearse(study, out or "results", workers)))
        return
    broken = launcher.conduct(study, out or "results", workers, retry, say)
    _report(Path(out or "results", study.name), say)
    if broken:
        cells = "1 cell" if len(broken) == 1 else f"{len(broken)} cells"
        raise RunFailed(f"{cells} did not finish: {'; '.join(broken)}")


def _report(folder: Path, say: Callable[[str], None]) -> None:
    """The report of a study of which any run has finished."""
    from harness.records.io import read_record

    if any((read_record(file.parent) or {}).get("status") == "finished" for file in folder.glob("*/seed*/record.json")):
        from harness.reports.render.text import headline
        from harness.reports.report import report

        findings = report(folder)
        for block in findings.blocks:
            say(headline(findings, block))
        say(f"report: {folder / 'report.html'}")


def report(
    folder: Annotated[Path, typer.Argument(help="A study's folder, one run's, or one of several studies.")],
    into: Annotated[Path | None, Opt(help="A document whose parts marked `<!-- report DIR PART -->` to renew.")] = None,
) -> None:
    """Tables and figures from the records in a folder, written into it."""
    from harness.reports.collection import is_shelf
    from harness.reports.render.text import headline
    from harness.reports.report import report as written

    if into is not None:
        _document(into)  # before anything is written
    if is_shelf(folder):
        from harness.reports.collection_page import overview

        said = [str(overview(folder))]
    else:
        findings = written(folder)
        said = [*(headline(findings, block) for block in findings.blocks), str(folder / "report.html")]
    if into is not None:
        from harness.reports.includes import refresh

        into.write_text(refresh(_document(into), into.parent), encoding="utf-8")
    typer.echo("\n".join(said))


def _document(into: Path) -> str:
    if not into.is_file():
        raise ValueError(f"--into: no file {into}")
    try:
        return into.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"--into: cannot read {into}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"--into: {into} is not UTF-8 text (byte {error.start})") from error


def calibrate(
    folder: Annotated[Path, typer.Argument(help="Where the control runs lie and the page goes.")] = Path(
        "results/calibration"
    ),
    trials: Annotated[int, Opt(help="Simulated studies of each cell.")] = 10_000,
) -> None:
    """Are the intervals as wide as they say?  Simulation, A/A, positive and negative controls, as one page."""
    from harness.reports.calibration.calibrate import calibrate as calibrated

    calibrated(folder, trials, typer.echo)
