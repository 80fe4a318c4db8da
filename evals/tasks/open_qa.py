"""`open_qa`: questions with short answers in words, answered with the help of a search: HotpotQA, NQ, or any file.

    harness run --task open_qa --train-file hotpot.jsonl --set tool.corpus=wiki.jsonl --model MODEL

A row has a question and one answer or several that are as good.  Their columns are known by name (QUESTIONS, ANSWERS);
`task.question` and `task.answer` name others.  The final answer stands in `<answer>...</answer>`.

    strict    exact match: some gold answer, both normalised (SQuAD's: small letters, no punctuation, no articles)
    lenient   some gold answer stands in it, word by word
    f1        the best F1 of words over the gold answers (a measure, and the reward term `f1`)

Normalisation and F1: Rajpurkar et al. 2016 (1606.05250); exact match is Search-R1's reward, F1 ReSearch's.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from evals.tasks.base import EvalSet, Problem, Task
from evals.tasks.data.files import DataError, Row, short
from evals.tasks.data.sources import read_source
from evals.verification.verifier import Outcome, Verdict

QUESTIONS = ("question", "query", "problem")
ANSWERS = ("golden_answers", "answers", "answer")  # FlashRAG's; NQ's lists; HotpotQA's
PROMPT = (
    "Answer the question.  You may look things up: <search>words</search> is answered by <result>...</result>.  "
    "End with <answer>a few words</answer>.\nQuestion: {question}\n"
)
ANSWER = re.compile(r"<answer>((?:(?!</?answer>).)*)</answer>", re.DOTALL)
NAMED = "task.question, task.answer"


@dataclass(frozen=True, eq=False, kw_only=True)
class OpenQA(Task):
    """Who wrote the book that ... ?  ->  <answer>Ada Lovelace</answer>"""

    name = "open_qa"
    stop = ()
    tools = ("search",)

    train_file: str = ""  # JSON(L), CSV or parquet, a folder, or a hub id
    test_file: str = ""  # the same; "": test_size problems are held out of train_file
    question: str = ""  # column of the question; "": known by name
    answer: str = ""  # column of the answer, or of the list of answers; "": known by name
    prompt: str = PROMPT  # what is asked; {question} stands for it
    test_size: int = 500  # problems of the test set where it is held out
    test_seed: int = 0  # which these are

    def __post_init__(self) -> None:
        if self.test_size < 1:
            raise ValueError(f"task.test_size: must be at least 1, not {self.test_size}")
        if "{question}" not in self.prompt:
            raise ValueError(f"task.prompt: must hold {{question}}, not {self.prompt[:60]!r}")

    def spec(self) -> dict[str, Any]:
        return {"class": f"{__name__}:OpenQA", "fields": {}}

    def train(self, seed: int = 0) -> list[Problem]:
        tested = {p.id for p in self._tested}
        problems = [p for p in self._source if p.id not in tested]
        if not problems:
            raise DataError(f"task open_qa: no training problem is left of {len(self._source)}")
        return problems

    def eval_sets(self, limit: int | None = None) -> list[EvalSet]:
        test = self._tested[:limit]
        return [EvalSet("open_qa", "in", test), EvalSet("open_qa_t1", "in", test, temperature=1.0)]

    def notices(self) -> list[str]:
        if self.test_file or "_source" not in vars(self):
            return []
        return [f"open_qa: {len(self._tested)} of {len(self._source)} problems are held out as the test set"]

    @cached_property
    def _source(self) -> list[Problem]:
        if not self.train_file:
            raise DataError("task open_qa: give its questions: --train-file FILE")
        read = read_source(self.train_file, "train")
        return self._problems(read.source, read.rows)

    @cached_property
    def _tested(self) -> list[Problem]:
        if self.test_file:
            read = read_source(self.test_file, "test")
            return self._problems(read.source, read.rows)
        order = sorted(self._source, key=lambda p: hashlib.sha256(f"{self.test_seed} {p.id}".encode()).digest())
        return order[: min(self.test_size, max(1, len(order) // 2))]

    def _problems(self, source: str, rows: list[Row]) -> list[Problem]:
        problems: dict[str, Problem] = {}
        for line, row in rows:
            place = f"{source}:{line}"
            question = row[_column(row, self.question, QUESTIONS, place)]
            column = _column(row, self.answer, ANSWERS, place)
            answers = [row[column]] if isinstance(row[column], str) else row[column]
            if not isinstance(question, str) or not question.strip():
                raise DataError(f"{place}: the question must be text, not {short(question)}")
            if not isinstance(answers, list) or not answers or not all(isinstance(a, str) for a in answers):
                raise DataError(f"{place}: {column} must be a text, or a list of texts, not {short(row[column])}")
            if not (golds := [a for a in answers if normalised(a)]):
                raise DataError(f"{place}: {column} has no answer with a word in it: {short(row[column])}")
            identity = hashlib.sha256(f"open_qa,{' '.join(question.split())}".encode()).hexdigest()[:16]
            asked = self.prompt.replace("{question}", question.strip())
            problems.setdefault(identity, Problem(identity, asked, golds[0], {"golds": golds}, row))
        return list(problems.values())

    def verify(self, problem: Problem, completion: str, ended: bool) -> Verdict:
        answer, golds = final(completion), problem.source["golds"]
        if answer is None:
            outcome: Outcome = "unparseable" if ended else "truncated"
            return Verdict(outcome, outcome, None)
        given = normalised(answer)
        strict = any(given == normalised(gold) for gold in golds)
        lenient = strict or any(f" {normalised(gold)} " in f" {given} " for gold in golds)
        return Verdict("correct" if strict else "wrong", "correct" if lenient else "wrong", given)

    def formatted(self, completion: str) -> bool:
        """It ends with its one final answer."""
        return final(completion) is not None and completion.rstrip().endswith("</answer>")

    def measures(self, problem: Problem, completion: str, verdict: Verdict) -> Mapping[str, float]:
        answer = final(completion)
        return {"f1": max(f1(answer, gold) for gold in problem.source["golds"]) if answer is not None else 0.0}

    def key(self, problem: Problem, completion: str) -> str:
        return normalised(final(completion) or completion)


def final(text: str) -> str | None:
    """The one final answer; None where there is none, or different ones.

    >>> final("so <answer>Bergen</answer>"), final("<answer>a</answer><answer>b</answer>"), final("Bergen")
    ('Bergen', None, None)
    """
    found = ANSWER.findall(text)
    return found[-1].strip() if found and len({normalised(x) for x in found}) == 1 else None


def normalised(text: str) -> str:
    """Small letters, without punctuation and articles, one space between words.

    >>> normalised("The  Beatles!"), normalised("a 3.5-inch disk")
    ('beatles', '35inch disk')
    """
    plain = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(word for word in plain.split() if word not in ("a", "an", "the"))


def f1(answer: str, gold: str) -> float:
    """2 p r / (p + r) of the words that both have, counted as often as both have them.

    >>> f1("the city of Bergen", "Bergen"), f1("Oslo", "Bergen")
    (0.5, 0.0)
    """
    ours, theirs = normalised(answer).split(), normalised(gold).split()
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0


def _column(row: Mapping[str, Any], named: str, known: tuple[str, ...], place: str) -> str:
    names = (named,) if named else known
    if (found := next((name for name in names if name in row), None)) is None:
        there = ", ".join(map(str, row)) or "none"
        raise DataError(f"{place}: no column {' or '.join(names)}; there are {there} ({NAMED})")
    return found
