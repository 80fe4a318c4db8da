"""Problems of rows.

    rows -> a question and an answer by column name or template -> gold -> Problem

What the user got wrong is a `DataError` of one plain line.  A problem with a single row is counted and described in
`Loaded`, and reading goes on.
"""

from __future__ import annotations

import hashlib
import json
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from evals.tasks.base import Problem, Turn
from evals.tasks.data.files import DataError, Row, short
from evals.tasks.data.identity import problem_id
from evals.tasks.data.prompts import answered, asked, identity_text, is_conversation
from evals.verification.verifier import parse_gold

Present = Callable[[str, tuple[Turn, ...]], tuple[str, tuple[Turn, ...]]]  # question, turns -> prompt, turns


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
    commit: str = ""  # of the hub's repository that it was read from

    @property
    def sha256(self) -> str:
        """Of the ids, prompts and golds in order: equal for the same problems, whatever file they came from."""
        return hashlib.sha256(json.dumps([(p.id, p.prompt, p.gold) for p in self.problems]).encode()).hexdigest()


# ---------------------------------------------------------------- problems of rows


def bare(question: str, turns: tuple[Turn, ...]) -> tuple[str, tuple[Turn, ...]]:
    """The question alone."""
    return question, turns


def problems_from(
    rows: Sequence[Row], question: str, answer: str, source_name: str, present: Present = bare, pattern: str = ""
) -> Loaded:
    """The distinct problems of `rows`, in order; `source` of each is {"question": text, "answer": text},
    `row` all its columns.

    `question` and `answer` are a column's name, or a template where they hold braces: "{Body} {Question}".  A dotted
    name reaches into a column: "extra_info.question".  A column may hold a conversation, a list of turns: the question
    is the user's last, the answer the assistant's last.  `present` makes what the model sees.
    Of the answer's text `pattern`, a regular expression, picks its first match, or that of its group.
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
            turns = _turns(question_parts, row, where)
            text = turns[-1]["content"].strip() if turns else _fill(question_parts, row, where)
            solution = _fill(answer_parts, row, where)
            identity = problem_id(identity_text(turns) if turns else text)
            gold = parse_gold(_picked(solution, pattern) if pattern else solution)
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
        prompt, shown = present(text, turns)
        problems.append(Problem(identity, prompt, gold, source, row, shown))
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


def _picked(text: str, pattern: str) -> str:
    if not (match := re.search(pattern, text)):
        raise ValueError(f"the answer {short(text)} does not match {pattern!r}")
    return (match[1] if match.re.groups else match[0]).strip()


def _turns(parts: list[tuple[str, str | None]], row: dict[str, Any], where: str) -> tuple[Turn, ...]:
    """The conversation of a question's column; none where it is text."""
    if len(parts) == 1 and not parts[0][0] and parts[0][1] is not None:
        value = _cell(row, parts[0][1], where)
        return asked(value) if is_conversation(value) else ()
    return ()


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
    if is_conversation(value):
        return answered(value)
    if isinstance(value, list) and value and all(isinstance(part, str | int | float) for part in value):
        return ", ".join(map(str, value))  # OlympiadBench's answers
    if isinstance(value, list | dict | bytes):
        raise ValueError(f"column {name!r} holds a {type(value).__name__}, not text: {short(value)}")
    return str(value)
