"""`countdown`: reach a number from three or four others with + - * / and brackets, each number used once.

    using 3, 5, 10, reach 35      ->      ... #### (10-3)*5

The answer is an expression, not a number, so the task has its own verifier: exact arithmetic over fractions.
"""

from __future__ import annotations

import ast
import hashlib
import operator
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, get_args

from evals.tasks.base import EvalSet, Problem, Task, Turn
from evals.tasks.benchmarks import catalog
from evals.tasks.data.files import DataError, Row
from evals.tasks.data.sources import read_source
from evals.verification.extraction import marked
from evals.verification.verifier import Format, Outcome, Verdict

BENCHMARK = catalog.load("countdown")
QUESTION = "Using the numbers {numbers}, write an expression that equals {target}."
HOW = (
    "You may use +, -, *, / and brackets, and must use each number exactly once.  "
    "Reason step by step, then end with '#### <expression>'."
)
OPERATORS: dict[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip
LONGEST = 200  # characters of an expression that is read
SIGNS = str.maketrans("\u00d7\u00f7\u2212", "*/-")


@dataclass(frozen=True, eq=False, kw_only=True)
class Countdown(Task):
    """Columns `nums` (a list) and `target`, as Jiayi-Pan/Countdown-Tasks-3to4 has them."""

    name = "countdown"
    stop = ()

    train_file: str = ""  # JSON(L) or parquet file, folder or hub id; "" is the benchmark's own on the hub
    test_file: str = ""  # the same; "": test_size problems are held out of train_file
    test_size: int = 500  # problems of the test set where it is held out
    test_seed: int = 0  # which these are
    limit: int = 0  # training problems that are read, from the beginning; 0: all

    def __post_init__(self) -> None:
        for name in ("test_size", "limit"):
            if getattr(self, name) < (least := 1 if name == "test_size" else 0):
                raise ValueError(f"task.{name}: must be at least {least}, not {getattr(self, name)}")

    def spec(self) -> dict[str, Any]:
        return {"class": f"{__name__}:Countdown", "fields": {}}

    def train(self, seed: int = 0) -> list[Problem]:
        tested = {p.id for p in self._tested}
        problems = [p for p in self._source if p.id not in tested]
        if not problems:
            raise DataError(f"task countdown: no training problem is left of {len(self._source)}")
        return problems

    def eval_sets(self, limit: int | None = None) -> list[EvalSet]:
        test = self._tested[:limit]
        return [EvalSet("countdown", "in", test), EvalSet("countdown_t1", "in", test, temperature=1.0)]

    def notices(self) -> list[str]:
        if self.test_file or "_source" not in vars(self):
            return []
        return [
            f"countdown: {len(self._tested)} of {len(self._source)} problems are held out as the test set "
            f"(task.test_size, task.test_seed={self.test_seed})"
        ]

    @cached_property
    def _source(self) -> list[Problem]:
        read = read_source(self.train_file or BENCHMARK.source("train"), "train")
        return _distinct(read.source, read.rows[: self.limit or None])

    @cached_property
    def _tested(self) -> list[Problem]:
        if self.test_file:
            read = read_source(self.test_file, "test")
            return _distinct(read.source, read.rows)
        order = sorted(self._source, key=lambda p: hashlib.sha256(f"{self.test_seed} {p.id}".encode()).digest())
        return order[: min(self.test_size, max(1, len(order) // 2))]

    def verify(self, problem: Problem, completion: str, ended: bool) -> Verdict:
        numbers, target = problem.source["nums"], problem.source["target"]
        strict = _last(completion, "hash")
        found = [text for format in get_args(Format) if (text := _last(completion, format)) is not None]
        lenient = found[0] if found else None

        def outcome(expression: str | None) -> Outcome:
            if expression is None:
                return "unparseable" if ended else "truncated"
            return "correct" if reaches(expression, numbers, target) else "wrong"

        return Verdict(outcome(strict), outcome(lenient), strict if strict is not None else lenient)

    def key(self, problem: Problem, completion: str) -> str:
        """The final expression without spaces."""
        return "".join((_last(completion, "hash") or completion).split())


def _last(text: str, format: Format) -> str | None:
    marks = marked(text, format)
    return str(marks[-1][1]).strip() if marks else None


def reaches(expression: str, numbers: list[int], target: int) -> bool:
    """Does the expression use each number once, and equal the target?

    >>> reaches("(10-3)*5", [3, 5, 10], 35), reaches("35", [3, 5, 10], 35), reaches("10/(5-5)", [5, 5, 10], 2)
    (True, False, False)
    """
    text = expression.strip().strip("$").translate(SIGNS).partition("=")[0]
    if len(text) > LONGEST:
        return False
    try:
        used: list[int] = []
        value = _value(ast.parse(text.strip(), mode="eval").body, used)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return False
    return value == target and sorted(used) == sorted(numbers)


def _value(node: ast.AST, used: list[int]) -> Fraction:
    """ValueError for anything but whole numbers, the four operators and brackets."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        used.append(node.value)
        return Fraction(node.value)
    if isinstance(node, ast.BinOp) and (apply := OPERATORS.get(type(node.op))):
        return apply(_value(node.left, used), _value(node.right, used))
    raise ValueError("not such an expression")


def _distinct(source: str, rows: list[Row]) -> list[Problem]:
    problems: dict[str, Problem] = {}
    for line, row in rows:
        numbers, target = row.get("nums"), row.get("target")
        if not (isinstance(numbers, list) and all(type(n) is int for n in (*numbers, target))):
            raise DataError(f"{source}:{line}: nums must be a list of whole numbers and target one; {row!r}"[:200])
        canonical = f"countdown,{','.join(map(str, sorted(numbers)))},{target}"
        identity = hashlib.sha256(canonical.encode()).hexdigest()[:16]
        question = QUESTION.format(numbers=", ".join(map(str, numbers)), target=target)
        turns: tuple[Turn, ...] = ({"role": "system", "content": HOW}, {"role": "user", "content": question})
        problems.setdefault(
            identity,
            Problem(
                identity,
                f"Question: {question}\n{HOW}\nAnswer:",
                str(target),
                {"nums": numbers, "target": target},
                row,
                turns,
            ),
        )
    return list(problems.values())
