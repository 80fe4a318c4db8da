"""Writes a run's folder: its configuration, what it spent, what it measured.

    record.json     harness/records/schema.py, rewritten whole and atomically whenever something changed
    metrics.jsonl   one line per round
    samples.jsonl   a few completions per round
    outcomes/       one line per problem, for each evaluation, in the order of the set (`environment.data` has its hash)
    tensorboard/    the same scalars, under the names that TRL's users know
    trackers.json   where `--track` has put the same: harness/records/sharing/trackers.py

`metrics.jsonl` and `record.json` are the truth; the rest is convenience.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.records.fingerprint import NEUTRAL
from harness.records.io import write_json
from harness.records.schema import EvaluationRow, Record
from harness.records.sharing.trackers import Trackers

SHOWN = 8  # problems of a set whose completions are kept as text
VERDICT = ("strict", "lenient", "answer", "ended")


class Recorder:
    """Writes one run's folder.  `record` is record.json as a dictionary; change it, then `save()`."""

    def __init__(self, folder: Path, record: Record) -> None:
        self.folder, self.record = folder, record
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "outcomes").mkdir(exist_ok=True)
        self._board: Any = None
        self.trackers: Trackers | None = None  # once the run has begun
        self._round = 0

    def save(self) -> None:
        write_json(self.folder / "record.json", self.record)

    def round(self, number: int, metrics: dict[str, float], samples: Sequence[dict[str, Any]]) -> None:
        self._round = number
        with (self.folder / "metrics.jsonl").open("a") as lines:
            lines.write(json.dumps({"round": number, **metrics}) + "\n")
        with (self.folder / "samples.jsonl").open("a") as lines:
            for sample in samples:
                lines.write(json.dumps({"round": number, **sample}) + "\n")
        self._scalars(number, metrics)
        if self.trackers:
            self.trackers.round(number, metrics, samples)

    def evaluation(self, round_number: int, rows: list[EvaluationRow]) -> None:
        self.record["evals"] += rows
        scalars = {f"eval/{r['task']}/{r['filter']}": r["value"] for r in rows if r["metric"] == "exact_match"}
        self._scalars(round_number, scalars)
        if self.trackers and rows:
            self.trackers.evaluation(round_number, rows[0]["fraction"], scalars)
        self.save()

    def outcomes(self, name: str, rows: Iterable[Mapping[str, Any]]) -> str:
        """Per-problem outcomes, compressed (with no time stamp, so that equal outcomes are equal files).

        The first SHOWN problems keep their text, to be read side by side; the others their verdict alone, for ids and
        prompts are the set's and would be nine tenths of the file.
        """
        file = f"outcomes/{name}.jsonl.gz"
        kept = [{k: v for k, v in row.items() if i < SHOWN or k in VERDICT} for i, row in enumerate(rows)]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        (self.folder / file).write_bytes(gzip.compress(text.encode(), mtime=0))
        return file

    def _scalars(self, step: int, scalars: dict[str, float]) -> None:
        if self._board is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:  # tensorboard is a convenience: some GPU machines lack it
                self._board = False
            else:
                self._board = SummaryWriter(str(self.folder / "tensorboard"))
        if self._board:
            for name, value in scalars.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        if self.trackers:
            self.trackers.finish(self.record, self._round)
        if self._board:
            if ends := {f"end/{r['task']}": r["value"] for r in self.record["evals"] if _headline(r)}:
                self._board.add_hparams(hyperparameters(self.record), ends, run_name=".")
            self._board.close()


class Unwritten(Recorder):
    """The record of a process that writes nothing: rank 0 writes."""

    def __init__(self, record: Record) -> None:
        self.record, self._board, self.trackers = record, False, None

    def save(self) -> None: ...
    def round(self, number: int, metrics: dict[str, float], samples: Iterable[dict[str, Any]]) -> None: ...

    def outcomes(self, name: str, rows: Iterable[Mapping[str, Any]]) -> str:
        return ""


def _headline(row: Mapping[str, Any]) -> bool:
    return bool(row["fraction"] == 1 and row["filter"] == "strict" and row["metric"] == "exact_match")


def hyperparameters(record: Record) -> dict[str, Any]:
    """The configuration as TensorBoard's hparams page takes it: plain values, the algorithm's and the task's dotted."""
    flat: dict[str, Any] = {}
    for name, value in record["config"].items():
        inner = {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
        flat |= {k: v for k, v in inner.items() if isinstance(v, bool | int | float | str)}
    return {k: v for k, v in flat.items() if k not in NEUTRAL and not k.startswith(("sources.", "schedule."))}
