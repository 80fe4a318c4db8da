"""A pipeline from Python: what `harness pipeline` goes through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.config.errors import RunFailed
from harness.config.run_config import RunConfig
from harness.pipelines import launcher, storage
from harness.pipelines.schema import Pipeline

Say = Callable[[str], None]


def run_pipeline(pipeline: Pipeline, out: str, workers: int = 1, retry: bool = False, say: Say | None = None) -> Path:
    """Run what is left of every seed, write the report, fold what has ended.  Returns the folder.

    Raises ValueError where something is wrong before a run begins, and RunFailed where a run did not finish.
    """
    from harness.pipelines.report import write_report
    from harness.records.archive.folding import fold

    tell, folder = say or (lambda _: None), Path(out, pipeline.name)
    failures = launcher.launch(pipeline, out, workers, retry, tell, run_stage)
    try:
        for line in write_report(folder):
            tell(line)
    except ValueError as error:  # where no seed has come to its end the failures say more
        if not failures:
            raise
        tell(str(error))
    if failures:
        raise RunFailed(f"{len(failures)} of its runs did not finish: {'; '.join(failures)}")
    fold(folder)
    return folder


def run_part(pipeline: Pipeline, out: str, retry: bool, say: Say) -> None:
    """The seeds of a pipeline that another process has begun, which writes the report.  Raises as `run_pipeline`."""
    storage.hold(Path(out, pipeline.name), pipeline)
    left = [launcher.left_of(pipeline, seed, out, retry) for seed in pipeline.seeds]
    if failures := [line for one in left for line in launcher.run_seed(pipeline, one, out, say, run_stage)]:
        raise RunFailed("; ".join(failures))


def run_stage(config: RunConfig) -> None:
    """One run in this process, as `harness.run` has it."""
    from harness.api.runs import Silence, execute_guarded, owned
    from harness.processes.launch import joined
    from harness.training.setup import prepare

    with joined():
        prepared = prepare(config)
        with owned(prepared) as finished:
            if not finished:
                execute_guarded(prepared, Silence())
