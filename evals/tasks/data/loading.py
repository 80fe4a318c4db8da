"""Rows of a file, a folder or the hub, and the problems in them.

    rows -> a question and an answer by column name or template -> gold -> Problem

What the user got wrong is a `DataError` of one plain line: where (file:line, or file:row for what has no lines),
what, and what would be valid.  A problem with a single row is counted and described in `Loaded`, and reading goes on.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from evals.tasks.base import Problem
from evals.tasks.data.identity import problem_id
from evals.verification.verifier import parse_gold

Row = tuple[int, dict[str, Any]]  # where it stands (line of a JSONL file, else row, both from 1), and its columns

KINDS = (".jsonl", ".json", ".parquet")  # JSON is one object per line, or one list of objects
SPLIT_NAMES = ("train", "test", "validation", "valid", "val", "dev", "eval")


class DataError(ValueError):
    """The data, or a setting about it, is wrong: one line for the user."""


@dataclass(frozen=True)
class Loaded:
    """The problems of one source, and its other rows: rows = problems + skipped + duplicates.

    Loaded(source="t.jsonl", rows=3, problems=[...], skipped=[(2, "the answer 'a few' is not a number")], duplicates=1)
    """

    source: str  # a path, or "name/of/dataset, config, split"
    rows: int
    problems: list[Problem]
    skipped: list[tuple[int, str]]  # (line or row, why)
    duplicates: int  # rows that repeat an earlier problem with the same gold; the first is kept

    @property
    def sha256(self) -> str:
        """Of the ids, prompts and golds in order: equal for the same problems, whatever file they came from."""
        return hashlib.sha256(json.dumps([(p.id, p.prompt, p.gold) for p in self.problems]).encode()).hexdigest()


# ---------------------------------------------------------------- problems of rows


def problems_from(
    rows: Sequence[Row], question: str, answer: str, source_name: str, prompt: str = "{question}"
) -> Loaded:
    """The distinct problems of `rows`, in order; `source` of each is {"question": text, "answer": text}.

    `question` and `answer` are a column's name, or a template where they hold braces: "{Body} {Question}".  A dotted
    name reaches into a column: "extra_info.question".  `prompt` is what the model sees: "{question}" is replaced in it.
    A row is skipped where its question is empty, where no gold can be read from its answer, and where it
    repeats an earlier row's problem with another gold.
    DataError where a row lacks a column, or no row is usable.
    """
    problems: list[Problem] = []
    seen: dict[str, tuple[str, int]] = {}  # id -> gold, line
    skipped: list[tuple[int, str]] = []
    duplicates = 0
    question_parts, answer_parts = template_of(question), template_of(answer)
    for line, row in rows:
        where = f"{source_name}:{line}"
        try:
            text, solution = _fill(question_parts, row, where), _fill(answer_parts, row, where)
            identity = problem_id(text)
            gold = parse_gold(solution)
            first_gold, first_line = seen.setdefault(identity, (gold, line))
            if first_gold != gold:
                raise ValueError(f"the problem of {first_line} again, with gold {gold} instead of {first_gold}")
        except DataError:
            raise
        except ValueError as error:
            skipped.append((line, str(error)))
            continue
        if first_line != line:
            duplicates += 1
            continue
        source = {"question": text, "answer": solution}
        problems.append(Problem(identity, prompt.replace("{question}", text), gold, source))
    if not problems:
        why = f"; the first: {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise DataError(f"{source_name}: no usable row of {len(rows)} (question={question!r}, answer={answer!r}){why}")
    return Loaded(source_name, len(rows), problems, skipped, duplicates)


# ---------------------------------------------------------------- templates


def template_of(text: str) -> list[tuple[str, str | None]]:
    """Pairs of literal text and the column that follows it: "{Body} x" is [("", "Body"), (" x", None)]."""
    if "{" not in text and "}" not in text:
        return [("", text)]
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise DataError(f"template {text!r}: {error}; write it like '{{Body}} {{Question}}'") from None
    if any(column == "" or spec or conversion for _, column, spec, conversion in parts):
        raise DataError(f"template {text!r}: braces hold a column's name alone, like '{{Body}} {{Question}}'")
    return [(literal, column) for literal, column, _, _ in parts]


def has_columns(row: dict[str, Any], *templates: str) -> bool:
    try:
        return all(name is None or [_cell(row, name, "")] for text in templates for _, name in template_of(text))
    except DataError:
        return False


def _fill(parts: list[tuple[str, str | None]], row: dict[str, Any], where: str) -> str:
    return "".join(text + (_text(name, _cell(row, name, where)) if name else "") for text, name in parts).strip()


def _cell(row: dict[str, Any], name: str, where: str) -> Any:
    value: Any = row
    for part in [name] if name in row else name.split("."):
        if not isinstance(value, dict) or part not in value:
            raise DataError(f"{where}: no column {name!r}; the columns are {', '.join(map(str, row)) or '(none)'}")
        value = value[part]
    return value


def _text(name: str, value: Any) -> str:
    """A cell as text."""
    if value is None or value != value:  # null, NaN
        raise ValueError(f"column {name!r} is empty")
    if isinstance(value, list | dict | bytes):
        raise ValueError(f"column {name!r} holds a {type(value).__name__}, not text: {_short(value)}")
    return str(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# ---------------------------------------------------------------- rows of files


def read_rows(path: str | Path, split: str = "train", config: str = "") -> list[Row]:
    """The rows of a JSONL or parquet file, or of one split of a folder that holds such files.

    A folder may be what `save_to_disk` wrote, or a snapshot of a hub dataset (`config` is then a subfolder).
    The rows of a split's shards are numbered consecutively.  DataError where nothing can be read.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.is_file():
        return _read_file(path)
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        return list(enumerate(_read_saved(path, split), 1))
    return list(enumerate((row for f in _split_files(path, split, config) for _, row in _read_file(f)), 1))


def _read_file(path: Path) -> list[Row]:
    if path.suffix.lower() not in KINDS:
        raise DataError(f"{path}: cannot read {path.suffix or 'a file without a suffix'}; valid are {', '.join(KINDS)}")
    try:
        rows = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_json(path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or _first_line(error)})") from None
    if not rows:
        raise DataError(f"{path}: the file is empty; expected {'rows' if path.suffix == '.parquet' else 'JSON lines'}")
    return rows


def _read_json(path: Path) -> list[Row]:
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):  # one list, over however many lines
        rows = list(enumerate(_parse(text, path, 1), 1))
    else:
        rows = [(n, _parse(line, path, n)) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    for number, item in rows:
        if not isinstance(item, dict):
            raise DataError(f"{path}:{number}: {_short(item)} is not an object; expected {{'column': value, ...}}")
    return rows


def _parse(text: str, path: Path, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        at = line + error.lineno - 1
        raise DataError(f"{path}:{at}: not valid JSON ({error.msg} at column {error.colno})") from None
    except (ValueError, RecursionError) as error:  # an endless number, endless nesting
        raise DataError(f"{path}:{line}: not valid JSON ({_first_line(error)})") from None


def _read_parquet(path: Path) -> list[Row]:
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        return list(enumerate(pyarrow.parquet.ParquetFile(path).read().to_pylist(), 1))
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: not a parquet file ({_first_line(error)})") from None


def _read_saved(path: Path, split: str) -> list[dict[str, Any]]:
    """What `datasets`' save_to_disk wrote: one split of several, or the only one."""
    import datasets  # type: ignore[import-untyped]

    try:
        saved = datasets.load_from_disk(str(path))
    except Exception as error:  # whatever a damaged folder sets off in there
        raise DataError(f"{path}: cannot be read ({_first_line(error)})") from None
    if isinstance(saved, datasets.DatasetDict):
        if split not in saved:
            raise DataError(f"{path}: no split {split!r}; there are {', '.join(map(str, saved))}")
        saved = saved[split]
    return [dict(row) for row in saved]


def _split_files(folder: Path, split: str, config: str) -> list[Path]:
    """The file of a split, or its shards: named `train.jsonl`, else `train-...`, else the only file there is."""
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in KINDS and f.is_file())
    within = [f for f in files if config and config in f.relative_to(folder).parts[:-1]] or files
    named = [f for f in within if re.split(r"[^a-z0-9]", f.stem.lower())[0] == split]
    exact = [f for f in named if f.stem.lower() == split]
    other = [f for f in within if re.split(r"[^a-z0-9]", f.stem.lower())[0] in SPLIT_NAMES]
    chosen = exact or named or (within if len(within) == 1 and not other else [])
    listed = ", ".join(str(f.relative_to(folder)) for f in (chosen or files)[:8])
    if not chosen:
        raise DataError(f"{folder}: no file is named {split}*; there is {listed or 'none of ' + ', '.join(KINDS)}")
    shards = all(re.search(r"\d-of-\d+(-[0-9a-f]+)?$", f.stem) for f in chosen)
    if len(chosen) > 1 and not (shards and len({(f.parent, f.suffix) for f in chosen}) == 1):
        raise DataError(f"{folder}: which file is {split}? {listed}; name the file itself")
    return chosen


# ---------------------------------------------------------------- rows of the hub


def read_hub(name: str, config: str, split: str, revision: str = "") -> list[Row]:
    """One split of a hub dataset, or of the copy in the local cache where the hub cannot be reached."""
    import datasets

    offline = datasets.config.HF_HUB_OFFLINE
    try:
        datasets.config.HF_HUB_OFFLINE = offline or not _resolves(datasets.config.HF_ENDPOINT)
        rows = datasets.load_dataset(name, config or None, split=split, revision=revision or None)
    except (datasets.exceptions.DatasetNotFoundError, ValueError) as error:
        raise DataError(f"{name}, {config or 'default'}, {split}: {_first_line(error)}") from None
    except Exception as error:  # what a failed connection raises depends on the http library underneath
        why = f"the hub could not be reached for {name} ({_first_line(error)})"
        raise DataError(f"{why}; --train-file/--test-file take local files or folders") from None
    finally:
        datasets.config.HF_HUB_OFFLINE = offline
    return [(number, dict(row)) for number, row in enumerate(rows, 1)]


def _resolves(endpoint: str) -> bool:
    """False where the hub's name has no address and there is no proxy to ask: spares half a minute of retries."""
    try:
        return bool(getproxies() or socket.getaddrinfo(urlsplit(endpoint).hostname, 443))
    except OSError:
        return False


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
