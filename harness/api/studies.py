"""Several runs: a comparison, and a study's folder as tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.flags import Settings, as_settings, given
from harness.config.errors import RunFailed

if TYPE_CHECKING:
    import pandas as pd

    from harness.reports.loading import Results
    from harness.studies.study import Study

Say = Callable[[str], None]


@dataclass(frozen=True)
class StudyResult:
    """A study's folder, read and checked: its runs may be compared."""

    folder: Path
    results: Results = field(repr=False)

    @property
    def study(self) -> Study:
        """The study as it was asked: arms, seeds, base, hypotheses."""
        return self.results.study

    @cached_property
    def runs(self) -> pd.DataFrame:
        """A row per run.  `harness/api/frames.py` says what each column is."""
        from harness.api.frames import frame, run_rows

        return frame(run_rows(self.results))

    @cached_property
    def curves(self) -> pd.DataFrame:
        """A row per number of every learning curve.  `harness/api/frames.py` says what each column is."""
        from harness.api.frames import curve_rows, frame

        return frame([{"arm": r.arm, "seed": r.seed, **row} for r in self.results for row in curve_rows(r.record)])

    def verdicts(self) -> list[str]:
        """What the report says first: a sentence per block of arms."""
        from harness.reports.analysis.summary import summarize
        from harness.reports.render.text import headline

        findings = summarize(self.results)
        return [headline(findings, block) for block in findings.blocks]


def compare(
    algos: Sequence[str | Path],
    *,
    seeds: int | Sequence[int] = 3,
    task: str | Path | None = None,
    model: str | Path | None = None,
    group_size: int | None = None,
    reward: str | None = None,
    budget: str | None = None,
    temperature: float | None = None,
    max_new_tokens: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    name: str | None = None,
    out: str | Path = "results",
    config: str | Path | None = None,
    settings: Settings | None = None,
    tune: bool | Mapping[str, Sequence[object]] = False,
    updates: int | None = None,
    placebo: str | None = None,
    workers: int = 1,
    retry: bool = False,
    say: Say | None = None,
) -> StudyResult:
    """Several algorithms at one budget, over seeds, each run in a process of its own: `harness compare`.

        >>> import harness
        >>> study = harness.compare(["grpo", "ppo", "dapo"], seeds=5, workers=2)           # doctest: +SKIP
        >>> study.verdicts(), study.runs.groupby("arm").end.mean()                         # doctest: +SKIP

    `settings` are fields of all arms, or `ARM.field` of one.  `tune` gives every arm as many trials first, of rates
    around the default or of the values named: `{"lr": [1e-4, 2e-4], "ppo.value_lr": [1e-3, 4e-3]}`.  `updates` brings
    every arm to about so many optimiser steps; `placebo` names the arm whose placebos run beside it.  `say` takes the
    lines that the command would print (default: none).  Finished runs are not run again, so the same call goes on
    where it was interrupted.  The report is written as the command writes it.

    Raises ValueError where the input is wrong, and RunFailed where a run did not finish: `load_study` reads the others.
    """
    from harness.studies.ad_hoc import study_from_flags, tuned_study
    from harness.studies.fairness.equal_updates import with_equal_updates
    from harness.studies.fairness.placebo import with_placebo

    flags = given(
        task_name=task, model=model, group_size=group_size, reward=reward, budget=budget, temperature=temperature,
        max_new_tokens=max_new_tokens, device=device, dtype=dtype,
    )  # fmt: skip
    words = ",".join(map(str, algos)) if not isinstance(algos, str) else algos
    counted = str(seeds) if isinstance(seeds, int) else f"{','.join(map(str, seeds))},"
    study = study_from_flags(words, counted, flags, as_settings(settings), str(config) if config else None, name)
    if tune:
        named = {} if isinstance(tune, bool) else tune
        grids = [f"{name}={','.join(map(str, values))}" for name, values in named.items()]
        study = tuned_study(study, grids)
    study = with_placebo(study, placebo) if placebo is not None else study
    study = with_equal_updates(study, str(out), updates) if updates is not None else study
    launch_study(study, str(out), workers, retry, say or (lambda _: None))
    return load_study(Path(out, study.name))


def load_study(folder: str | Path) -> StudyResult:
    """The folder of a study, or of one run, as tables.

        >>> study = harness.load_study("results/compare_nano")                             # doctest: +SKIP
        >>> study.runs.groupby("arm").end.agg(["mean", "std"])                             # doctest: +SKIP
        >>> study.curves.query("task == 'arithmetic' and filter == 'strict'")              # doctest: +SKIP

    Raises ValueError, naming the file, where there are no records, none has finished, or they cannot be compared.
    """
    from harness.reports.loading import load_results

    return StudyResult(Path(folder), load_results(Path(folder)))


# ---------------------------------------------------------------- what the commands go through too


def launch_study(study: Study, out: str, workers: int, retry: bool, say: Say) -> None:
    """Start the runs that are left, and report those that have finished; a study that is finished is folded.  Raises
    RunFailed where a run did not finish."""
    from harness.studies.launcher import launch
    from harness.studies.storage import fold_study

    failures = launch(study, out, workers, retry, say)
    report_finished(Path(out, study.name), say)
    if not failures:
        fold_study(Path(out, study.name))
    if failures:
        count = "1 run" if len(failures) == 1 else f"{len(failures)} runs"
        raise RunFailed(f"{count} did not finish: {'; '.join(failures)}")


def report_finished(folder: Path, say: Say) -> None:
    """Write the study's report, where any of its runs has finished."""
    from harness.records.runs import run_folders, status_of

    if any(status_of(run) == "finished" for run in run_folders(folder, "*/seed*")):
        for line in report_lines(folder):
            say(line)
        say(f"report: {folder / 'report.html'}")


def report_lines(folder: Path, results: Results | None = None) -> list[str]:
    """Write the report, of the folder's records or of `results`.  Returns each block's table of verdicts, and its
    headline."""
    from harness.api.verdicts import verdict_table
    from harness.reports.render.text import headline
    from harness.reports.report import write_report

    findings = write_report(folder, results)
    several = len(findings.arms) > 1
    tables = [line for block in findings.blocks if several for line in verdict_table(findings, block)]
    return [*tables, *(headline(findings, block) for block in findings.blocks)]
