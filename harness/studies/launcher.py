"""Running a study: cell by cell, each a `harness run` in a process of its own, resumable, several at once if asked."""

from __future__ import annotations

import json
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

from harness.records.io import read_record, write_json
from harness.records.lock import busy
from harness.studies.cost_estimate import taken, total
from harness.studies.planned_run import Cell
from harness.studies.status import State, check_different, choose, describe, endpoint_of, state_of
from harness.studies.study import Study

Say = Callable[[str], None]


@dataclass
class Runner:
    """Runs cells, `workers` at once.  On CPU they share the cores evenly; CUDA devices are dealt in turn."""

    out: str
    workers: int
    say: Say
    retry: bool = False  # failed cells too
    times: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # cells that ended without finishing, and why
    stopped: threading.Event = field(default_factory=threading.Event)
    interrupted: bool = False  # by a cell's own account

    def __call__(self, cells: Sequence[Cell]) -> None:
        """Raises ValueError where a cell says that the input is wrong, KeyboardInterrupt where the user has stopped it;
        in both cases running cells come to a whole round first."""
        self.times, total = [], len(cells)
        places: list[int] = list(range(self.workers))
        lock = threading.Lock()

        def one(number: int, cell: Cell) -> None:
            if self.stopped.is_set():
                return
            with lock:
                place = places.pop(0)
            try:
                self._cell(cell, place, f"[{number}/{total}]", total)
            except ValueError:
                self.stopped.set()
                raise
            finally:
                with lock:
                    places.append(place)

        with ThreadPoolExecutor(self.workers) as pool:
            futures = [pool.submit(one, i, cell) for i, cell in enumerate(cells, 1)]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                self.stopped.set()
                raise
        if self.interrupted:
            raise KeyboardInterrupt

    def _cell(self, cell: Cell, place: int, number: str, total: int) -> None:
        began = time.monotonic()
        ended = self._run(cell, place)
        self.times.append(time.monotonic() - began)
        said = (ended.stderr.strip().splitlines() or [""])[-1].removeprefix("error: ") if ended else ""
        if ended and ended.returncode == 2:
            raise ValueError(f"{cell.path}: {said}")
        if ended and ended.returncode == 130:
            self.interrupted = True
            self.stopped.set()
        if self.stopped.is_set():
            return
        record = read_record(Path(self.out, cell.path))
        if record is None or record["status"] == "failed" or (ended and ended.returncode):
            why = said or (record or {}).get("reason") or f"exit status {ended.returncode if ended else 0}"
            self.broken.append(f"{cell.path}: {why}")
            self.say(f"{number} {cell.path}: did not finish: {why}")
            return
        value = endpoint_of(record)
        left = (total - len(self.times)) * sum(self.times) / len(self.times) / self.workers
        accuracy = "" if value is None else f"{100 * value:.1f} % in domain, greedy;  "
        self.say(f"{number} {cell.path}: {accuracy}{self.times[-1]:.0f} s;  about {left / 60:.0f} min to go")

    def _run(self, cell: Cell, place: int) -> subprocess.CompletedProcess[str] | None:
        """The cell's own process, as it ended; None where none was started: the user has stopped it all, or another
        process has brought the cell to its end (those of an `ablate` that was killed go on without it)."""
        folder = Path(self.out, cell.path)
        words = [sys.executable, "-m", "harness.cli", *cell.command(self.out)[1:], "--resume", "--quiet"]
        while not self.stopped.is_set():
            if self._waited(folder):
                status = (read_record(folder) or {}).get("status")
                if status == "finished" or (status == "failed" and not self.retry):
                    return None
                continue
            ended = subprocess.run(words, env=self._environment(place), stderr=subprocess.PIPE, text=True)
            if not (ended.returncode == 2 and busy(folder)):  # else it was there first, and had not come to its lock
                return ended
        return None

    def _waited(self, folder: Path) -> bool:
        """Wait while another process writes there.  Was there one?"""
        found = busy(folder)
        if found:
            self.say(f"{folder}: another process is running it; waiting")
        while busy(folder) and not self.stopped.is_set():
            time.sleep(1)
        return found

    def _environment(self, place: int) -> dict[str, str]:
        environment = dict(os.environ)
        if self.workers == 1:
            return environment
        import torch

        if torch.cuda.is_available():
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            devices = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
            environment["CUDA_VISIBLE_DEVICES"] = devices[place % len(devices)]
        else:
            environment["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // self.workers))
        return environment


def check_shared(study: Study, workers: int) -> None:
    """Raises ValueError where cells would race each other for the seconds that they are to be compared by."""
    if workers < 1:
        raise ValueError(f"workers: at least 1, not {workers}")
    budgets = {cell.config("results").budget.split("=")[0] for cell in (*study.runs(), *study.trials())}
    if workers > 1 and "device_seconds" in budgets:
        import torch

        if torch.cuda.device_count() < workers:
            raise ValueError("workers: cells that share a device cannot have a budget in device_seconds; use 1")


def conduct(study: Study, out: str, workers: int, retry: bool, say: Say) -> list[str]:
    """Trials, then runs at the fields that the trials chose.  Returns the cells that did not finish, and why.  Raises ValueError and KeyboardInterrupt as Runner does; what has been run until then stays."""
    check_shared(study, workers)
    check_different(study)
    runner, folder = Runner(out, workers, say, retry), Path(out, study.name)
    for stage in ("trials", "runs"):
        cells = study.trials() if stage == "trials" else study.runs(choose(study, out))
        if not cells:
            continue
        state = state_of(cells, out, retry)
        say(describe(stage, state))
        folder.mkdir(parents=True, exist_ok=True)
        _keep_arms(folder / "study.json", study)
        write_json(folder / "study.json", study.as_dict())
        runner(state.waiting)
    return runner.broken


def _keep_arms(file: Path, study: Study) -> None:
    """A study may gain arms and seeds, but not lose arms that have been run.  Raises ValueError."""
    had = json.loads(file.read_text())["arms"] if file.exists() else {}
    if lost := [arm for arm in had if arm not in study.arms]:
        raise ValueError(f"{file.parent} is a study with {', '.join(lost)} as well; choose another --name")


# --- what it will cost -----------------------------------------------------------------------------------------


def rehearse(study: Study, out: str, workers: int) -> list[str]:
    """What `--dry-run` prints: every command that is left, and the predicted cost."""
    check_shared(study, workers)
    check_different(study)
    lines: list[str] = []
    try:
        chosen, open_fields = choose(study, out), False
    except ValueError:
        chosen, open_fields = {}, True
    for stage, cells in (("trials", study.trials()), ("runs", study.runs(chosen))):
        if not cells:
            continue
        state = state_of(cells, out) if not (stage == "runs" and open_fields) else State(waiting=cells)
        lines.append(f"# {describe(stage, state)}")
        if stage == "runs" and open_fields and study.tune is not None:
            lines.append(f"# {', '.join(study.tune.grid)} as the trials will choose")
        lines += [shlex.join(cell.command(out)) for cell in state.waiting]
        if state.waiting:
            lines.append(f"# {_cost(state.waiting, out, workers)}")
    return lines


def _cost(cells: Sequence[Cell], out: str, workers: int) -> str:
    limits: dict[str, float] = {}
    for cell in cells:
        unit, limit = cell.config(out).budget.split("=")
        limits[unit] = limits.get(unit, 0.0) + float(limit)
    spent = ", ".join(f"{limit:,.0f} {unit}" for unit, limit in limits.items()) or "nothing"
    seconds = total(cells, out, taken(out))
    if seconds is None:
        return f"cost: {spent}; time unknown until a run of this model has finished under {out}"
    hands = f"{workers} worker{'s' * (workers > 1)}"
    return f"cost: {spent}; about {seconds / workers / 60:.0f} min with {hands}, by finished runs under {out}"
