"""Rows as JSON has them in typed columns, and back again without loss.

A column holds the values of one field.  Two more columns hold what a table of columns cannot say:

    fields   the fields of the row, in their order, as a JSON list: one that is not there is no null
    other    a JSON object with the values that a column does not give back exactly: of a field that has no column, of
             another kind than its column, a text with half a surrogate pair; null where there are none
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.records.archive.lines import Rows

if TYPE_CHECKING:
    import pyarrow as pa

FIELDS, OTHER = "fields", "other"
STRING, BOOL, INT, FLOAT = "string", "bool", "int64", "float64"
Kinds = Mapping[str, str]  # field -> kind of its column
PLACE = {"run": STRING, "arm": STRING, "trial": STRING, "seed": INT}  # the first columns of both tables
METRICS = dict(PLACE)
OUTCOMES = {**PLACE, "task": STRING, "fraction": FLOAT, "file": STRING, "row": INT}
OUTCOME = {"id": STRING, "prompt": STRING, "gold": STRING, "text": STRING, "strict": STRING, "lenient": STRING,
           "answer": STRING, "ended": BOOL}  # fmt: skip
LEVEL = 9  # of zstd


def kinds_of(rows: Iterable[Mapping[str, Any]], but: Iterable[str]) -> dict[str, str]:
    """A kind for every field whose values fit one column, in the order in which they are met; without `but`."""
    types: dict[str, set[type]] = {}
    for row in rows:
        for name, value in row.items():
            if value is not None:
                types.setdefault(name, set()).add(type(value))
    known = {str: STRING, bool: BOOL, int: INT, float: FLOAT}
    kinds = {name: known.get(next(iter(found))) if len(found) == 1 else _mixed(found) for name, found in types.items()}
    return {name: kind for name, kind in kinds.items() if kind and name not in {*but, FIELDS, OTHER}}


def _mixed(found: set[type]) -> str | None:
    return FLOAT if found == {int, float} else None


def to_columns(rows: Rows, kinds: Kinds) -> dict[str, list[Any]]:
    """A list per field of `kinds`, and `fields` and `other`."""
    rest: list[dict[str, Any]] = [{} for _ in rows]
    columns: dict[str, list[Any]] = {}
    for name, kind in kinds.items():
        columns[name] = values = [row.get(name) for row in rows]
        if _all_fit(values, kind):
            continue
        for i, value in enumerate(values):
            if value is not None and not _fits(value, kind):
                rest[i][name] = value
                near = kind == FLOAT and type(value) is int and abs(value) < 2**53
                values[i] = float(value) if near else None
    layouts = [tuple(row) for row in rows]
    for name in sorted(set().union(*set(layouts)) - kinds.keys()):
        for row, other in zip(rows, rest, strict=True):
            if name in row:
                other[name] = row[name]
    columns[FIELDS] = [_list(layout) for layout in layouts]
    columns[OTHER] = [json.dumps(other) if other else None for other in rest]
    return columns


TYPES: Mapping[str, type] = {STRING: str, BOOL: bool, FLOAT: float}


def _all_fit(values: list[Any], kind: str) -> bool:
    """At once, where there is nothing to look at one by one."""
    if kind == INT or not {*map(type, values)} <= {TYPES[kind], type(None)}:
        return False
    return kind != STRING or all(map(str.isascii, filter(None, values)))


def _fits(value: Any, kind: str) -> bool:
    if kind == STRING:
        return type(value) is str and (value.isascii() or _whole(value))
    if kind == INT:
        return type(value) is int and -(2**63) <= value < 2**63
    return type(value) is (bool if kind == BOOL else float)


def _whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@cache
def _list(names: tuple[str, ...]) -> str:
    return json.dumps(names)


@cache
def _names(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def to_rows(table: pa.Table, texts: Mapping[str, list[str | None]]) -> Rows:
    """What `to_columns` was given, of a table that was read with its texts once: see `texts_of`.

    Raises LookupError, TypeError or ValueError where `to_columns` did not make it.
    """
    fields, others = values(table, FIELDS, texts), values(table, OTHER, texts)
    names = set().union(*(_names(layout) for layout in set(fields))) & {*table.column_names}
    columns = {name: values(table, name, texts) for name in names}
    rows = []
    for i, (layout, other) in enumerate(zip(fields, others, strict=True)):
        if other is None:
            rows.append({name: columns[name][i] for name in _names(layout)})
        else:
            rest = json.loads(other)
            rows.append({name: rest[name] if name in rest else columns[name][i] for name in _names(layout)})
    return rows


def texts_of(table: pa.Table) -> dict[str, list[str | None]]:
    """The dictionaries of the columns of texts, as lists, with None behind each: a null has the number -1."""
    import pyarrow as pa

    names = [f.name for f in table.schema if pa.types.is_dictionary(f.type) and len(table)]
    return {name: [*table.column(name).chunk(0).dictionary.to_pylist(), None] for name in names}


def values(table: pa.Table, name: str, texts: Mapping[str, list[str | None]]) -> list[Any]:
    """The values of a column; many times as fast as pyarrow turns texts into Python's."""
    column = table.column(name)
    if name not in texts or not len(column):
        return list(column.to_pylist())
    known = texts[name]
    return [known[code] for code in column.chunk(0).indices.fill_null(-1).to_numpy().tolist()]


def table(columns: Mapping[str, list[Any]], kinds: Kinds) -> pa.Table:
    """An arrow table; the columns without a kind are text."""
    import pyarrow as pa

    types = {STRING: pa.string(), BOOL: pa.bool_(), INT: pa.int64(), FLOAT: pa.float64()}
    return pa.table({name: pa.array(x, types[kinds.get(name, STRING)]) for name, x in columns.items()})


def write(file: Path, rows: pa.Table) -> None:
    """Parquet, zstd, a checksum a page.  The same rows give the same bytes with one version of pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    floats = [field.name for field in rows.schema if pa.types.is_floating(field.type)]
    pq.write_table(
        rows.combine_chunks(),  # chunks decide where pages end
        file,
        compression="zstd",
        compression_level=LEVEL,
        use_dictionary=[name for name in rows.column_names if name not in floats],
        use_byte_stream_split=floats,
        write_page_checksum=True,
    )


def read(file: Path, texts_once: bool = False) -> pa.Table:
    """Raises ValueError naming the file.  `texts_once`: texts as numbers of a dictionary, which takes less memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = [f.name for f in pq.read_schema(file) if pa.types.is_string(f.type)] if texts_once else None
        return pq.read_table(file, read_dictionary=names, page_checksum_verification=True, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{file}: not readable as parquet: {reason[:200]}") from error
