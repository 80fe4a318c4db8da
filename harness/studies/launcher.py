"""Running a study: each planned run is a `harness run` in a process of its own.  Resumable, and parallel on request."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from harness.records.lock import busy
from harness.records.runs import has_record, read_record, status_of
from harness.studies.cost_estimate import finished_runs, total_seconds
from harness.studies.fairness.equal_updates import updates_lines
from harness.studies.fairness.tuning import planned_points, planned_trials, select_trials, still_possible
from harness.studies.planned_run import PlannedRun
from harness.studies.registration import FILE as LOCK
from harness.studies.registration import held_to, read_lock
from harness.studies.status import State, check_different, describe, endpoint_of, state_of
from harness.studies.storage import store_study, withdraw_study
from harness.studies.study import Study

Say = Callable[[str], None]


@dataclass
class Runner:
    """Starts the processes, `workers` at once.  They share the CPU cores evenly; CUDA devices are assigned in turn."""

    out: str
    workers: int
    say: Say
    retry: bool = False  # failed runs too
    seconds: list[float] = field(default_factory=list)  # of each run that has ended
    failures: list[str] = field(default_factory=list)  # runs that ended without finishing, and why
    stopped: threading.Event = field(default_factory=threading.Event)
    interrupted: bool = False  # by a run's own exit code

    def run_all(self, runs: Sequence[PlannedRun]) -> None:
        """Raises ValueError where a run's process says that the input is wrong, and KeyboardInterrupt where the user
        has stopped it.  In both cases the other processes finish their round first."""
        self.seconds, total = [], len(runs)
        free_slots = list(range(self.workers))
        lock = threading.Lock()

        def run_in_slot(number: int, run: PlannedRun) -> None:
            if self.stopped.is_set():
                return
            with lock:
                slot = free_slots.pop(0)
            try:
                self._run(run, slot, f"[{number}/{total}]", total)
            except ValueError:
                self.stopped.set()
                raise
            finally:
                with lock:
                    free_slots.append(slot)

        with ThreadPoolExecutor(self.workers) as pool:
            futures = [pool.submit(run_in_slot, i, run) for i, run in enumerate(runs, 1)]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                self.stopped.set()
                raise
        if self.interrupted:
            raise KeyboardInterrupt

    def _run(self, run: PlannedRun, slot: int, number: str, total: int) -> None:
        began = time.monotonic()
        process = self._process(run, slot)
        self.seconds.append(time.monotonic() - began)
        code = process.returncode if process else 0
        message = (process.stderr.strip().splitlines() or [""])[-1].removeprefix("error: ") if process else ""
        if code == 2:
            raise ValueError(f"{run.path}: {message}")
        if code == 130:
            self.interrupted = True
            self.stopped.set()
        if self.stopped.is_set():
            return
        record = read_record(Path(self.out, run.path))
        if record is None or record["status"] != "finished" or code:  # "running": its process has ended without a word
            recorded = record.get("reason") if record else None
            reason = message or recorded or f"exit status {code}"
            self.failures.append(f"{run.path}: {reason}")
            self.say(f"{number} {run.path}: did not finish: {reason}")
            return
        endpoint = endpoint_of(record)
        mean = sum(self.seconds) / len(self.seconds)
        left = (total - len(self.seconds)) * mean / self.workers
        accuracy = "" if endpoint is None else f"{100 * endpoint:.1f} % in domain, greedy;  "
        self.say(f"{number} {run.path}: {accuracy}{self.seconds[-1]:.0f} s;  about {left / 60:.0f} min to go")

    def _process(self, run: PlannedRun, slot: int) -> subprocess.CompletedProcess[str] | None:
        """The run's process, after it has ended.  None where none was started: the user has stopped the study, or
        another process has finished the run (processes of a killed `ablate` go on without it)."""
        folder = Path(self.out, run.path)
        words = [sys.executable, "-m", "harness.cli", *run.command(self.out)[1:], "--resume", "--quiet"]
        while not self.stopped.is_set():
            if self._wait_for_other(folder):
                status = status_of(folder)
                if status == "finished" or (status == "failed" and not self.retry):
                    return None
                continue
            process = subprocess.run(words, env=self._environment(slot), stderr=subprocess.PIPE, text=True)
            # where another process took the folder first, before it had the lock, ours is refused: wait for the other
            if not (process.returncode == 2 and busy(folder)):
                return process
        return None

    def _wait_for_other(self, folder: Path) -> bool:
        """Wait while another process writes into the folder.  False where none did."""
        waited = busy(folder)
        if waited:
            self.say(f"{folder}: another process is running it; waiting")
        while busy(folder) and not self.stopped.is_set():
            time.sleep(1)
        return waited

    def _environment(self, slot: int) -> dict[str, str]:
        environment = dict(os.environ)
        if self.workers == 1:
            return environment
        import torch

        if torch.cuda.is_available():
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            devices = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
            environment["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
        else:
            environment["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // self.workers))
        return environment


def check_workers(study: Study, workers: int) -> None:
    """Raises ValueError where runs with a budget in device seconds would share a device and slow each other down."""
    if workers < 1:
        raise ValueError(f"workers: at least 1, not {workers}")
    units = {run.config("results").parsed_budget.unit for run in (*study.runs(), *study.trials())}
    if workers > 1 and "device_seconds" in units:
        import torch

        if torch.cuda.device_count() < workers:
            raise ValueError("workers: runs that share a device cannot have a budget in device_seconds; use 1")


def launch(study: Study, out: str, workers: int, retry: bool, say: Say) -> list[str]:
    """Trials, then runs at the fields that the trials selected.  Returns the runs that did not finish, and why.

    Raises ValueError and KeyboardInterrupt as Runner does; finished runs stay.  Where a new study's input is wrong
    before any of its runs could begin, its folder is as it was: nothing is locked.
    """
    check_workers(study, workers)
    check_different(study)
    folder = Path(out, study.name)
    new = not (folder / "study.json").exists() and not (folder / LOCK).exists()
    try:
        return _launch(study, out, Runner(out, workers, say, retry))
    except ValueError:
        if new and not any(has_record(Path(out, run.path)) for run in (*study.trials(), *study.runs())):
            withdraw_study(folder)
        raise


def _launch(study: Study, out: str, runner: Runner) -> list[str]:
    begun: set[str] = set()
    while study.tune is not None:  # what has ended may lead to further trials
        trials = planned_trials(study, out)
        state = state_of(trials, out, runner.retry)
        waiting = [run for run in state.waiting if run.path not in begun]
        if begun and not waiting:
            break
        runner.say(describe("trials", state))
        store_study(Path(out, study.name), study)
        runner.run_all(waiting)
        begun |= {run.path for run in trials}
    runs = study.runs(select_trials(study, out))
    state = state_of(runs, out, runner.retry)
    runner.say(describe("runs", state))
    store_study(Path(out, study.name), study)
    runner.run_all(state.waiting)
    return runner.failures


# --- what it will cost -----------------------------------------------------------------------------------------


def dry_run(study: Study, out: str, workers: int) -> list[str]:
    """The lines of `--dry-run`: every command that is left, and the predicted cost.

    Raises ValueError where `launch` would before its first run, e.g. where a locked question has changed.
    """
    check_workers(study, workers)
    check_different(study)
    held_to(read_lock(Path(out, study.name)), study, Path(out, study.name))
    lines: list[str] = []
    try:
        tuned, undecided = select_trials(study, out), False
    except ValueError:
        tuned, undecided = {}, True
    for stage, runs in (("trials", planned_trials(study, out)), ("runs", study.runs(tuned))):
        if not runs:
            continue
        state = State(waiting=runs) if stage == "runs" and undecided else state_of(runs, out)
        lines.append(f"# {describe(stage, state)}")
        if stage == "runs" and undecided and study.tune is not None:
            lines.append(f"# {', '.join(study.tune.fields)} as the trials will choose")
        lines += [shlex.join(run.command(out)) for run in state.waiting]
        if state.waiting:
            lines.append(f"# {_cost(state.waiting, out, workers)}")
        if stage == "trials":
            lines += _further(study, out)
    return [*lines, *(f"# {line}" for line in updates_lines(study, out))]


def _further(study: Study, out: str) -> list[str]:
    """What trials may come to these."""
    count = still_possible(study, planned_points(study, out))
    if study.tune is None or not count:
        return []
    runs = count * len(study.tune.seeds)
    return [f"# then up to {runs} runs of further trials, as many for every arm, until each best one lies inside"]


def _cost(runs: Sequence[PlannedRun], out: str, workers: int) -> str:
    limits: dict[str, float] = {}
    for run in runs:
        budget = run.config(out).parsed_budget
        limits[budget.unit] = limits.get(budget.unit, 0.0) + budget.limit
    spent = ", ".join(f"{limit:,.0f} {unit}" for unit, limit in limits.items()) or "nothing"
    seconds = total_seconds(runs, out, finished_runs(out))
    if seconds is None:
        return f"cost: {spent}; time unknown until a run of this model has finished under {out}"
    count = f"{workers} worker{'s' * (workers > 1)}"
    return f"cost: {spent}; about {seconds / workers / 60:.0f} min with {count}, by finished runs under {out}"
