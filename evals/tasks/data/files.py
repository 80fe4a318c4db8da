"""Rows of a file or a folder: JSON, JSON lines, CSV, parquet, or what `datasets` saved.

What the user got wrong is a `DataError` of one plain line: where (file:line, or file:row for what has no lines),
what, and what would be valid.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

Row = tuple[int, dict[str, Any]]  # where it stands (line of a text file, else row, both from 1), and its columns

KINDS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")  # JSON is one object per line, or one list of objects
SPLIT_NAMES = ("train", "test", "validation", "valid", "val", "dev", "eval")
LARGEST_CELL = 2**31 - 1  # characters; Python's csv refuses cells above 131,072 otherwise


class DataError(ValueError):
    """The data, or a setting about it, is wrong: one line for the user."""


class NoSplit(DataError):
    """There is data, but none of that split."""


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
        readers = {".parquet": _read_parquet, ".csv": _read_csv, ".tsv": _read_csv}
        rows = readers.get(path.suffix.lower(), _read_json)(path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or first_line(error)})") from None
    if not rows:
        expected = "JSON lines" if path.suffix.lower() in (".json", ".jsonl") else "rows"
        raise DataError(f"{path}: the file is empty; expected {expected}")
    return rows


def _read_json(path: Path) -> list[Row]:
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):  # one list, over however many lines
        rows = list(enumerate(_parse(text, path, 1), 1))
    else:
        rows = [(n, _parse(line, path, n)) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    for number, item in rows:
        if not isinstance(item, dict):
            raise DataError(f"{path}:{number}: {short(item)} is not an object; expected {{'column': value, ...}}")
    return rows


def _parse(text: str, path: Path, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        at = line + error.lineno - 1
        raise DataError(f"{path}:{at}: not valid JSON ({error.msg} at column {error.colno})") from None
    except (ValueError, RecursionError) as error:  # an endless number, endless nesting
        raise DataError(f"{path}:{line}: not valid JSON ({first_line(error)})") from None


def _read_csv(path: Path) -> list[Row]:
    """Of a header and rows; cells are text.  A row's number is the line in which it begins.

    Separated by tabs in .tsv; in .csv by commas, or by semicolons where the header has them and no comma.
    """
    csv.field_size_limit(LARGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ";" if ";" in header and "," not in header else ","
        file.seek(0)
        lines = csv.reader(file, delimiter=delimiter, strict=True)
        rows: list[Row] = []
        names: list[str] = []
        began = 1
        try:
            for cells in lines:
                if not names:
                    names = [name.strip() for name in cells]
                    if repeated := sorted({name for name in names if names.count(name) > 1}):
                        raise DataError(f"{path}:1: two columns are called {repeated[0]!r}")
                elif cells:
                    if len(cells) != len(names):
                        raise DataError(
                            f"{path}:{began}: {len(cells)} cells, and the header has {len(names)}: {', '.join(names)}"
                        )
                    rows.append((began, dict(zip(names, cells, strict=True))))
                began = lines.line_num + 1
        except csv.Error as error:
            raise DataError(f"{path}:{lines.line_num}: not valid CSV ({first_line(error)})") from None
    return rows


def _read_parquet(path: Path) -> list[Row]:
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        return list(enumerate(pyarrow.parquet.ParquetFile(path).read().to_pylist(), 1))
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: not a parquet file ({first_line(error)})") from None


def _read_saved(path: Path, split: str) -> list[dict[str, Any]]:
    """What `datasets`' save_to_disk wrote: one split of several, or the only one."""
    import datasets  # type: ignore[import-untyped]

    try:
        saved = datasets.load_from_disk(str(path))
    except Exception as error:  # whatever a damaged folder sets off in there
        raise DataError(f"{path}: cannot be read ({first_line(error)})") from None
    if isinstance(saved, datasets.DatasetDict):
        if split not in saved:
            raise NoSplit(f"{path}: no split {split!r}; there are {', '.join(map(str, saved))}")
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
        raise NoSplit(f"{folder}: no file is named {split}*; there is {listed or 'none of ' + ', '.join(KINDS)}")
    shards = all(re.search(r"\d-of-\d+(-[0-9a-f]+)?$", f.stem) for f in chosen)
    if len(chosen) > 1 and not (shards and len({(f.parent, f.suffix) for f in chosen}) == 1):
        raise DataError(f"{folder}: which file is {split}? {listed}; name the file itself")
    return chosen


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
