"""Running a pipeline: of every seed the stages in their order, then the controls.  Resumable: what has finished is not
run again, and a stage that was cut off goes on from its checkpoint, to the same bits.

All runs of a seed share one process, which loads the libraries once.  Several seeds at once have a process each.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.config.errors import RunFailed
from harness.config.run_config import RunConfig
from harness.pipelines import storage
from harness.pipelines.schema import Pipeline, Stage
from harness.pipelines.stage_run import StageRun, check_made, check_stages, stage_run
from harness.records.lock import busy
from harness.records.runs import read_record, run_folders, status_of
from harness.studies.status import endpoint_of

Say = Callable[[str], None]
RunStage = Callable[[RunConfig], None]  # a run in this process; raises what a run raises


@dataclass
class Left:
    """What is to be done of a seed, in its order."""

    seed: int
    stages: list[Stage]
    failed: list[str] = field(default_factory=list)  # kept, and not tried again


def left_of(pipeline: Pipeline, seed: int, out: str, retry: bool) -> Left:
    """What has neither finished nor, without `retry`, failed.  After a stage that failed its chain stands still."""
    left = Left(seed, [])
    for stage in pipeline.all:
        run = f"{pipeline.name}/seed{seed}/{stage.name}"
        status = status_of(Path(out, run))
        if status == "failed" and not retry:
            left.failed.append(f"{run}: failed before; --retry tries it again")
        elif status != "finished" and not (left.failed and stage in pipeline.stages):
            left.stages.append(stage)
    return left


def launch(pipeline: Pipeline, out: str, workers: int, retry: bool, say: Say, run_stage: RunStage) -> list[str]:
    """What is left, and which runs did not finish.

    Raises ValueError where something is wrong before a run begins, KeyboardInterrupt where the user has stopped it.
    """
    if workers < 1:
        raise ValueError(f"workers: at least 1, not {workers}")
    check_stages(pipeline)
    folder = Path(out, pipeline.name)
    for stage in pipeline.all:
        stage_run(pipeline, stage, pipeline.seeds[0], out)  # its budget is stated
    new = not folder.exists()
    storage.store(folder, pipeline)
    try:
        left = [left_of(pipeline, seed, out, retry) for seed in pipeline.seeds]
        todo = [one for one in left if one.stages]
        say(f"{pipeline.name}: {len(left) - len(todo)} of {len(left)} seeds finished, {len(todo)} to do")
        if workers > 1 and len(todo) > 1:
            failures = _in_processes(pipeline, todo, out, workers, retry, say)
        else:
            failures = [line for one in todo for line in run_seed(pipeline, one, out, say, run_stage)]
        return [*failures, *(line for one in left for line in one.failed)]
    except ValueError:
        if new and not run_folders(folder):
            storage.withdraw(folder)
        raise


def run_seed(pipeline: Pipeline, left: Left, out: str, say: Say, run_stage: RunStage) -> list[str]:
    """The stages of a seed in this process; one that fails ends the chain, and the controls are run all the same."""
    failures: list[str] = []
    for stage in left.stages:
        if failures and stage in pipeline.stages:
            continue
        run = stage_run(pipeline, stage, left.seed, out)
        folder, began = Path(out, run.path), time.monotonic()
        try:
            while status_of(folder) != "finished":
                _run(pipeline, stage, run, out, run_stage)
        except RunFailed as error:
            failures.append(f"{run.path}: {error}")
            say(f"{run.path}: did not finish: {error}")
            continue
        say(f"{run.path}: {_told(folder)}{time.monotonic() - began:.0f} s")
    return failures


def _run(pipeline: Pipeline, stage: Stage, run: StageRun, out: str, run_stage: RunStage) -> None:
    """One try.  Of a command that was killed a process may go on with it: then this one waits."""
    folder = Path(out, run.path)
    if busy(folder):
        time.sleep(1)
        return
    check_made(pipeline, stage, run.seed, out)
    try:
        run_stage(dataclasses.replace(run.config(out), resume=True))
    except ValueError:
        if not busy(folder):
            raise
        return
    if (status := status_of(folder)) != "finished":  # nothing is tried for ever
        raise RunFailed(f"its record says {status or 'nothing'}")


def _told(folder: Path) -> str:
    record = read_record(folder)
    if record is None:
        return ""
    if (endpoint := endpoint_of(record)) is not None:
        return f"{100 * endpoint:.1f} % in domain, greedy;  "
    if "split" in record:
        return f"{record['split']['kept_completions']:,} of {record['spend']['completions']:,} accepted;  "
    return ""


def _in_processes(pipeline: Pipeline, todo: Sequence[Left], out: str, workers: int, retry: bool, say: Say) -> list[str]:
    """A process for each seed, `workers` at once, which share the cores evenly."""
    file = Path(out, pipeline.name, storage.FILE)
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // workers))}
    failures: list[str] = []

    def run(left: Left) -> int:
        words = [sys.executable, "-m", "harness.cli", "pipeline", str(file), "--seeds", f"{left.seed},", "--out", out]
        words += ["--part", *(["--retry"] if retry else [])]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        with subprocess.Popen(words, env=environment, **pipes) as process:
            message = ""
            for line in process.stdout or ():
                if line.startswith("error: "):
                    message = line.removeprefix("error: ").strip()
                else:
                    say(line.rstrip("\n"))
        code = process.returncode
        if code == 2:
            raise ValueError(message)
        if code not in (0, 130):
            failures.append(f"{pipeline.name}/seed{left.seed}: {message or f'exit status {code}'}")
        return code

    with ThreadPoolExecutor(workers) as pool:
        codes = list(pool.map(run, todo))
    if 130 in codes:
        raise KeyboardInterrupt
    return failures
