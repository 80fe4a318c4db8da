"""A run in experiment trackers, through accelerate's own: `--track wandb,mlflow`.

Each gets the configuration, every number of metrics.jsonl and of the evaluations, completions as samples, and at the
end the table of evaluations.  `trackers.json` in the run's folder holds the ids, so that a run that is resumed goes on
in the same tracked run, and what had been logged, so that no point is there twice.

A tracker is a convenience: whatever it raises is one message, and the run goes on without it.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from harness.records.io import write_json

FILE = "trackers.json"
TENSORBOARD = "tensorboard"  # which a run's folder holds anyway
PACKAGES = {"wandb": "wandb", "trackio": "trackio", "mlflow": "mlflow", "swanlab": "swanlab", TENSORBOARD: TENSORBOARD}
SAMPLE_COLUMNS = ("round", "prompt", "completion", "reward", "verdict")
FINAL_COLUMNS = ("task", "fraction", "filter", "metric", "value", "stderr", "n")
Say = Callable[[str], None]


def check_trackers(names: Iterable[str]) -> None:
    """Raises ValueError, one line, where a tracker is unknown or its package not installed."""
    for name in names:
        if name not in PACKAGES:
            raise ValueError(f"track: unknown tracker '{name}'; valid: {', '.join(PACKAGES)}")
        if not installed(name):
            raise ValueError(f"track: {name} is not installed; pip install {name}, or this package's extra '{name}'")


def installed(name: str) -> bool:
    return importlib.util.find_spec(PACKAGES[name]) is not None


class Trackers:
    """The trackers of one run.  `say` takes what the user should know."""

    def __init__(self, names: Sequence[str], project: str, folder: Path, say: Say) -> None:
        self.names = [name for name in dict.fromkeys(names) if name != TENSORBOARD]
        self.project, self.folder, self.say = project, folder, say
        self.running: dict[str, Any] = {}
        self.samples: list[dict[str, Any]] = []
        self.state = self._read()

    def _read(self) -> dict[str, Any]:
        try:
            state = json.loads((self.folder / FILE).read_text())
        except (OSError, ValueError):
            state = {}
        fresh = {"ids": {}, "round": 0, "fractions": []}
        return {**fresh, **state} if isinstance(state, dict) else fresh

    def start(self, config: Mapping[str, Any], resumed: bool) -> None:
        """Open each, as a new run or as the one that is being resumed, and store the configuration."""
        if not resumed:
            self.state = {"ids": {}, "round": 0, "fractions": []}
        for name in self.names:
            with _Guard(self, name):
                self.running[name] = tracker = self._opened(name)
                if name not in self.state["ids"] or name != "mlflow":  # mlflow refuses a parameter that changes
                    tracker.store_init_configuration(dict(config))
                self.state["ids"][name] = _id_of(name, tracker)
                self._tell(name, tracker)
        self._save()

    def _opened(self, name: str) -> Any:
        from accelerate import tracking

        cls: Any = {"wandb": tracking.WandBTracker, "trackio": tracking.TrackioTracker,
                    "mlflow": tracking.MLflowTracker, "swanlab": tracking.SwanLabTracker}[name]  # fmt: skip
        former, title = self.state["ids"].get(name), self.folder.name
        if name == "mlflow":
            tracker = cls(self.project, run_id=former, run_name=title)
        elif name == "trackio":  # its runs go by their names
            resume = {"resume": "allow"} if former else {}
            tracker = cls(self.project, name=former or f"{title}-{secrets.token_hex(3)}", **resume)
        elif name == "wandb":
            os.environ.setdefault("WANDB_SILENT", "true")
            where = {"name": title, "dir": str(self.folder)}
            tracker = cls(self.project, id=former or secrets.token_hex(4), resume="allow", **where)
        else:
            resume = {"id": former, "resume": "allow"} if former else {"id": secrets.token_hex(11)[:21]}
            tracker = cls(self.project, experiment_name=title, logdir=str(self.folder / "swanlog"), **resume)
        if hasattr(tracker, "start"):
            with redirect_stdout(io.StringIO()):  # some greet at length
                tracker.start()
        return tracker

    def _tell(self, name: str, tracker: Any) -> None:
        url = None
        with suppress(Exception):  # a property, which may raise where the tracker is offline
            url = tracker.tracker.url
        self.say(f"tracked by {name}{f': {url}' if isinstance(url, str) else ''}")

    # ------------------------------------------------------------ what is logged

    def round(self, number: int, metrics: Mapping[str, float], samples: Iterable[Mapping[str, Any]]) -> None:
        """A line of metrics.jsonl; one that had been logged before the run was resumed is left out."""
        if not self.running:
            return
        self.samples = [{"round": number, **sample} for sample in samples] or self.samples
        if number <= self.state["round"]:
            return
        for name, tracker in list(self.running.items()):
            with _Guard(self, name):
                tracker.log({k: float(v) for k, v in metrics.items()}, step=number)
        self.state["round"] = number
        self._save()

    def evaluation(self, number: int, fraction: float, scalars: Mapping[str, float]) -> None:
        """A point of the learning curves, and the latest samples."""
        if not self.running or fraction in self.state["fractions"]:
            return
        for name, tracker in list(self.running.items()):
            with _Guard(self, name):
                tracker.log(dict(scalars), step=number)
                if self.samples:
                    self._table(name, tracker, "samples", SAMPLE_COLUMNS, _cells(self.samples, SAMPLE_COLUMNS), number)
        self.state["fractions"].append(fraction)
        self._save()

    def finish(self, record: Mapping[str, Any], number: int) -> None:
        """The table of the last evaluation, how the run ended, and goodbye."""
        last = max((row["fraction"] for row in record["evals"]), default=None)
        rows = [row for row in record["evals"] if row["fraction"] == last]
        number = max(number, self.state["round"])
        for name, tracker in list(self.running.items()):
            with _Guard(self, name):
                if rows and record["status"] == "finished":
                    self._table(name, tracker, "final", FINAL_COLUMNS, _cells(rows, FINAL_COLUMNS), number)
                if name == "mlflow" and (self.folder / "record.json").is_file():
                    tracker.log_artifact(str(self.folder / "record.json"))
            with _Guard(self, name), redirect_stdout(io.StringIO()):
                tracker.finish()
        self.running.clear()

    def _table(
        self, name: str, tracker: Any, title: str, columns: Sequence[str], rows: list[list[Any]], step: int
    ) -> None:
        if name == "wandb":
            tracker.log_table(title, columns=list(columns), data=rows, step=step)
        elif name == "mlflow":
            import mlflow  # type: ignore[import-not-found]

            lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
            mlflow.log_text("\n".join(lines) + "\n", f"{title}-{step}.jsonl")
        elif name == "trackio":
            import pandas as pd
            import trackio  # type: ignore[import-not-found]

            tracker.log({title: trackio.Table(dataframe=pd.DataFrame(rows, columns=list(columns)))}, step=step)
        else:
            import swanlab  # type: ignore[import-not-found]

            text = "\n".join(" | ".join(map(str, row)) for row in [list(columns), *rows])
            tracker.log({title: swanlab.Text(text)}, step=step)

    def _save(self) -> None:
        if self.names:
            write_json(self.folder / FILE, self.state)


def _id_of(name: str, tracker: Any) -> str:
    """What the tracked run is found by again."""
    run = tracker.tracker
    if name == "mlflow":
        return str(run.info.run_id)
    if name == "trackio":
        return str(run.name)
    return str(tracker.init_kwargs["id"])


def _cells(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[list[Any]]:
    return [[row.get(column) for column in columns] for row in rows]


class _Guard:
    """Whatever a tracker raises becomes one message, and the tracker is left out from then on."""

    def __init__(self, trackers: Trackers, name: str) -> None:
        self.trackers, self.name = trackers, name

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if error is None or not isinstance(error, Exception | SystemExit):
            return False
        self.trackers.running.pop(self.name, None)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        self.trackers.say(f"warning: {self.name} has failed, and the run goes on without it: {reason[:300]}")
        return True
