"""The record of a run: a folder that says what was asked, what was spent and what came of it.

    record.json     the schema of DESIGN, rewritten whole and atomically whenever something changed
    metrics.jsonl   one line a round
    samples.jsonl   a few completions a round
    outcomes/       one line a problem, for each evaluation, in the order of the set (`environment.data` has its hash)
    tensorboard/    the same scalars, under the names that TRL's users know

`metrics.jsonl` and `record.json` are the truth; the rest is convenience.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.budget import UNITS

SCHEMA = 1
SHOWN = 8  # problems of a set whose completions are kept as text
VERDICT = ("strict", "lenient", "answer", "ended")
NEUTRAL = ("name", "out", "keep_checkpoints", "checkpoint_every", "resume", "sources")
PACKAGES = ("torch", "transformers", "accelerate", "lm_eval", "datasets", "tokenizers", "numpy", "math-verify")


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all: a crash leaves the old file."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    try:
        temporary.write_text(spread(value) + "\n")
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def spread(value: Any) -> str:
    """JSON that a person can read and git can compare: a field a line, and of a list of tables a table a line.

    >>> print(spread({"a": {"b": 1}, "c": [{"d": 2, "e": 3}, {"d": 4, "e": 5}]}))
    {
     "a": {
      "b": 1
     },
     "c": [
      {"d": 2, "e": 3},
      {"d": 4, "e": 5}
     ]
    }
    """
    if not isinstance(value, dict):
        return json.dumps(value, indent=1)
    fields = []
    for name, inner in value.items():
        if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            said = "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in inner) + "\n ]"
        else:
            said = json.dumps(inner, indent=1).replace("\n", "\n ")
        fields.append(f" {json.dumps(name)}: {said}")
    return "{\n" + ",\n".join(fields) + "\n}" if fields else "{}"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def config_sha256(config: dict[str, Any]) -> str:
    """Of the resolved configuration, less what changes no number (NEUTRAL)."""
    named = {k: v for k, v in config.items() if k not in NEUTRAL}
    return sha256(json.dumps(named, sort_keys=True).encode())


def config_differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """The fields in which two resolved configurations differ, as `field: old -> new`."""
    said = []
    for name in sorted(set(old) | set(new)):
        if not prefix and name in NEUTRAL:
            continue
        a, b = old.get(name), new.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            said += config_differences(a, b, f"{prefix}{name}.")
        elif a != b:
            said.append(f"{prefix}{name}: {a} -> {b}")
    return said


def environment(device: str, threads: int) -> dict[str, Any]:
    """Versions, machine and commit: what a number needs beside it.  A copy without its repository is told its commit
    (HARNESS_COMMIT), and whether it has changes is then not known."""
    packages, commit = {}, _git("rev-parse", "HEAD")
    for name in PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = "absent"
    return {
        "python": platform.python_version(),
        "packages": packages,
        "device": device,
        "threads": threads,
        "cpu": _cpu(),
        "commit": commit or os.environ.get("HARNESS_COMMIT") or None,
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")) if commit else None,  # None: no repository
    }


def _git(*words: str) -> str:
    here = Path(__file__).parent
    try:
        done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


# --- what a record looks like -----------------------------------------------------------------------------------

_SPEND = dict.fromkeys(UNITS, float)
_ROW = {"fraction": float, "task": str, "filter": str, "metric": str, "value": float, "n": int, "domain": str,
        "decoding": str, "temperature": float, "version": object, "outcomes": str, "spend": _SPEND}  # fmt: skip
BEGUN = {  # of a run that has begun: what going on with it looks at
    "status": str,
    "config": {"algo?": dict, "schedule?": dict},
    "environment": {"model": dict},
}
WHOLE = {  # of any run: what a report reads of it
    "status": str, "algo": str, "seed": int, "budget": {"unit": UNITS, "limit": float}, "spend": _SPEND,
    "config": {"model": str, "budget": str, "group_size": int, "sources": dict, "algo": dict, "task": dict,
               "schedule?": {"group_size?": int}},
    "evals": [_ROW],
    "reward_model?": [dict],
    "environment": {"model": dict, "data": [{"name": str, "sha256": str}], "packages": {"torch": str}, "commit": object,
                    "dirty": object, "device": str, "threads": int, "python": str},
}  # fmt: skip
FINISHED = {  # and of one that has come to its end
    "memory": {"peak_bytes": float, "parts": {"*": {"bytes": float}}},
    "phases": {"*": {"seconds": float}},
}
_KINDS = {str: "text", int: "a whole number", float: "a number", dict: "a table", list: "a list"}


def check_shape(value: Any, shape: Any, place: str = "") -> None:
    """Raises ValueError naming the first field, under `place`, that has not its shape: a type, a tuple of valid values,
    a list of a shape, or a table of shapes, in which "name?" may be missing and "*" is every field.

    >>> check_shape({"a": [{"b": 1}, {}]}, {"a": [{"b": float}]})
    Traceback (most recent call last):
    ValueError: a.1.b: missing
    """
    kind = type(shape) if isinstance(shape, dict | list | tuple) else shape
    types: Any = {float: (int, float), tuple: str}.get(kind, kind)
    if not isinstance(value, types) or (isinstance(value, bool) and kind is not object):
        said = f"must be {_KINDS.get(kind, 'text')}, not {_cut(value)}"
        raise ValueError(f"{place}: {said}" if place else said)
    if isinstance(shape, tuple) and value not in shape:
        raise ValueError(f"{place}: must be one of {', '.join(shape)}, not {_cut(value)}")
    if isinstance(shape, list):
        for i, inner in enumerate(value):
            check_shape(inner, shape[0], f"{place}.{i}")
    for name, inner in shape.items() if isinstance(shape, dict) else ():
        wanted = name.removesuffix("?")
        if name == wanted != "*" and wanted not in value:
            raise ValueError(f"{place}.{wanted}: missing".removeprefix("."))
        for field in value if name == "*" else [wanted] * (wanted in value):
            check_shape(value[field], inner, f"{place}.{field}".removeprefix("."))


def check_record(record: Mapping[str, Any], file: Path) -> None:
    """Raises ValueError naming the file, where the record is of another schema or has not what a report reads."""
    if record.get("schema") != SCHEMA:
        raise ValueError(f"{file}: schema {record.get('schema')}; this version reads {SCHEMA}")
    try:
        check_shape(record, {**WHOLE, **(FINISHED if record["status"] == "finished" else {})})
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _cut(value: Any) -> str:
    return said if len(said := repr(value)) <= 40 else f"{said[:40]}..."


class Recorder:
    """Writes one run's folder.  `record` is record.json as a dictionary; change it, then `save()`."""

    def __init__(self, folder: Path, record: dict[str, Any]) -> None:
        self.folder, self.record = folder, record
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "outcomes").mkdir(exist_ok=True)
        self._board: Any = None

    def save(self) -> None:
        write_json(self.folder / "record.json", self.record)

    def round(self, number: int, metrics: dict[str, float], samples: Iterable[dict[str, Any]]) -> None:
        with (self.folder / "metrics.jsonl").open("a") as lines:
            lines.write(json.dumps({"round": number, **metrics}) + "\n")
        with (self.folder / "samples.jsonl").open("a") as lines:
            for sample in samples:
                lines.write(json.dumps({"round": number, **sample}) + "\n")
        self._scalars(number, metrics)

    def evaluation(self, round_number: int, rows: list[dict[str, Any]]) -> None:
        self.record["evals"] += rows
        scalars = {f"eval/{r['task']}/{r['filter']}": r["value"] for r in rows if r["metric"] == "exact_match"}
        self._scalars(round_number, scalars)
        self.save()

    def outcomes(self, name: str, found: Iterable[Mapping[str, Any]]) -> str:
        """Per-problem outcomes, compressed (with no time stamp, so that equal outcomes are equal files).

        The first SHOWN problems keep their text, to be read side by side; the others their verdict alone, for ids and
        prompts are the set's and would be nine tenths of the file.
        """
        file = f"outcomes/{name}.jsonl.gz"
        kept = [{k: v for k, v in row.items() if i < SHOWN or k in VERDICT} for i, row in enumerate(found)]
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
        if self._board:
            if ends := {f"end/{r['task']}": r["value"] for r in self.record["evals"] if _headline(r)}:
                self._board.add_hparams(hyperparameters(self.record), ends, run_name=".")
            self._board.close()


def _headline(row: Mapping[str, Any]) -> bool:
    return bool(row["fraction"] == 1 and row["filter"] == "strict" and row["metric"] == "exact_match")


def hyperparameters(record: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as TensorBoard's hparams page takes it: plain values, the algorithm's and the task's dotted."""
    flat: dict[str, Any] = {}
    for name, value in record["config"].items():
        inner = {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
        flat |= {k: v for k, v in inner.items() if isinstance(v, bool | int | float | str)}
    return {k: v for k, v in flat.items() if k not in NEUTRAL and not k.startswith(("sources.", "schedule."))}
