"""`qa`: questions with a final answer, from files or the hub; the columns, the prompt and the answer format are fields.

    train source -> problems -> less those of every test and eval set, and examples -> selection (5 % by hash) and train

Every set is taken in file order; `limit` keeps the first problems of each.  Where there is no test set, a part of the
training source is held out as one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, get_args

from evals.tasks.base import Problem
from evals.tasks.data.equations import equations
from evals.tasks.data.files import DataError
from evals.tasks.data.loading import template_of
from evals.tasks.data.prompts import INSTRUCTIONS
from evals.tasks.data.splits import SplitTask
from evals.tasks.user_file import class_path
from evals.verification import verifier
from evals.verification.verifier import Format, Verdict

LONGEST_NAME = 200  # bytes: files of a run are called by it and by the point of an evaluation
# Fields that verification does not need.
DATA_FIELDS = {"question", "answer", "train_file", "test_file", "eval_files", "eval_columns", "selection_percent"}
DATA_FIELDS |= {"hub", "hub_config", "hub_revision", "test_question", "test_answer", "test_percent", "test_seed"}
DATA_FIELDS |= {"examples", "examples_file", "answer_pattern"}


@dataclass(frozen=True, eq=False, kw_only=True)
class QuestionAnswer(SplitTask):
    """Sources are read when first used, and only once."""

    name = "qa"  # of the in-domain evaluation; `<name>_t1` is the sampled one
    version: ClassVar[str] = verifier.VERSION  # raised too when the prompt or `canonical` changes

    question: str = "question"  # column, or template such as "{Body} {Question}"
    answer: str = "answer"  # column or template; the gold is after '####', else in \boxed{}, else all of it
    answer_pattern: str = ""  # regular expression: its first match in the answer's cell, or its group, is the answer
    format: Format = "hash"  # how a completion marks its final answer: hash, boxed or answer_is
    worked_out: bool | None = None  # is 48/2 wrong where 24 is right?  None: yes, except in format boxed
    # "": the format's own (HOW), or behind a chat template the bare question with that in a system turn
    instruction: str = ""  # the prompt, with {question} in it; "" is the format's own
    examples: int = 0  # solved problems before every prompt (few-shot)
    examples_file: str = ""  # where they are from; "" is the training source, which loses them
    stop: tuple[str, ...] = ("Question:",)  # strings that end a completion, besides the end token
    train_file: str = ""  # JSON(L), CSV or parquet file, folder with a train split, or hub id
    test_file: str = ""  # the same for the test split; "" is that of train_file, else a part that is held out
    test_question: str = ""  # of test_file, where its columns are others than train_file's
    test_answer: str = ""  # the same of the answer
    test_percent: int = 10  # percentage of the training source that is held out where there is no test set, 0 to 50
    test_seed: int = 0  # which part that is, and which problems are examples
    eval_files: dict[str, str] = field(default_factory=dict)  # {name: file, folder or hub id}, out-of-domain
    eval_columns: dict[str, tuple[str, str]] = field(default_factory=dict)  # {name: (question, answer)} of an eval file
    hub: str = ""  # data set on the hub, used when neither train_file nor test_file is given
    hub_config: str = ""  # its configuration, e.g. "main"
    hub_revision: str = ""  # commit or tag; "" is the newest
    selection_percent: int = 5  # percentage of the training source that is held back for tuning, 0 to 50

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop))
        if self.format not in get_args(Format):
            raise DataError(f"task.format {self.format!r}: valid are {', '.join(get_args(Format))}")
        if self.instruction and "{question}" not in self.instruction:
            raise DataError(f"task.instruction {self.instruction!r}: it must hold {{question}}")
        if self.examples < 0:
            raise DataError(f"task.examples {self.examples}: at least 0")
        if not 0 <= self.test_percent <= 50:
            raise DataError(f"task.test_percent {self.test_percent}: valid are 1 to 50")
        for text in (self.question, self.answer, self.test_question, self.test_answer):
            template_of(text)  # raises where the braces are wrong
        try:
            re.compile(self.answer_pattern)
        except re.error as error:
            raise DataError(f"task.answer_pattern {self.answer_pattern!r}: {error}") from None
        if not 0 <= self.selection_percent <= 50:
            raise DataError(f"task.selection_percent {self.selection_percent}: valid are 0 to 50")
        if wrong := [name for name in self.eval_files if not re.fullmatch(r"\w[\w.-]*", name)]:
            raise DataError(f"eval file {wrong[0]!r}: a name is made of letters, digits, '_', '-' and '.'")
        if wrong := [name for name in self.eval_files if len(name.encode()) > LONGEST_NAME]:
            raise DataError(f"eval file '{wrong[0][:20]}...': its name is longer than {LONGEST_NAME} bytes")
        if clash := {self.name, f"{self.name}_t1"} & set(self.eval_files):
            raise DataError(f"eval file {clash.pop()!r}: the task's own evaluation has that name; choose another")
        if unknown := set(self.eval_columns) - set(self.eval_files):
            names = ", ".join(self.eval_files) or "none"
            raise DataError(f"task.eval_columns {unknown.pop()!r}: no eval file has that name; there are {names}")

    @property
    def prompt_template(self) -> str:
        return self.instruction or INSTRUCTIONS[self.format]

    # ------------------------------------------------------------ verification

    def verify(self, problem: Problem, completion: str, ended: bool) -> Verdict:
        return verifier.verify(completion, problem.gold, self.format, ended, self.worked_out)

    def key(self, problem: Problem, completion: str) -> str:
        """The equations in order (2308.01825's criterion), else the text, ignoring spaces."""
        return ",".join(equations(completion)) or super().key(problem, completion)

    def step_ends(self, problem: Problem, completion: str) -> list[int] | None:
        """A step is a line with something on it, as in GSM8K's solutions; the last line is the answer.

        >>> QuestionAnswer.step_ends(None, None, "2+2=4\\n\\n4-1=3\\n#### 3")
        [5, 12]
        """
        ends = [m.end() for m in re.finditer(r"[^\n]+", completion) if m[0].strip()]
        return ends[:-1]

    def spec(self) -> dict[str, Any]:
        """{"class": "evals.tasks.qa:QuestionAnswer", "fields": {...}}: rebuilds `verify` and `key`, without data."""
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in DATA_FIELDS}
        kept["stop"] = list(self.stop)
        return {"class": class_path(type(self)), "fields": kept}
