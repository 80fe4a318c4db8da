"""Reading the tables of a markdown page."""

from __future__ import annotations

import re
from collections.abc import Iterator


def tables_of(text: str) -> Iterator[list[list[str]]]:
    """The tables of a markdown page, cell by cell: a pipe behind a backslash is none."""
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        yield [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in block.splitlines()]


def check_tables(text: str) -> int:
    tables = list(tables_of(text))
    for head, rule, *body in tables:
        assert set(rule) == {"---"} and [len(row) for row in body] == [len(head)] * len(body)
        assert len(rule) == len(head)
    return len(tables)
