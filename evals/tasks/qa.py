"""`qa`: questions with a final answer, from files or the hub; the columns, the prompt and the answer format are fields.

    train file -> problems -> less those of every test and eval file -> selection (5 % by hash) and train

Every set is taken in file order; `limit` keeps the first problems of each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, get_args

from evals.tasks.base import Domain, EvalSet, Problem, Task
from evals.tasks.data.loading import (
    DataError,
    Loaded,
    Row,
    has_columns,
    problems_from,
    read_hub,
    read_rows,
    template_of,
)
from evals.tasks.user_file import class_path
from evals.verification import verifier
from evals.verification.extraction import marked
from evals.verification.verifier import Format, Verdict

INSTRUCTIONS: dict[Format, str] = {
    "hash": "Question: {question}\nReason step by step, then end with '#### <number>'.\nAnswer:",
    "boxed": "Question: {question}\nReason step by step, then end with the final answer in \\boxed{}.\nAnswer:",
    "answer_is": "Question: {question}\nReason step by step, then end with 'The answer is <answer>.'\nAnswer:",
}
# Tried in turn for an eval file without the task's own columns: one run can be evaluated on several data sets.
KNOWN_COLUMNS = (
    ("question", "answer"),  # GSM8K
    ("{Body} {Question}", "Answer"),  # SVAMP
    ("problem", "answer"),  # MATH-500, AIME
    ("problem", "solution"),  # MATH
    ("extra_info.question", "reward_model.ground_truth"),  # what verl prepares
)
LONGEST_NAME = 200  # bytes: files of a run are called by it and by the point of an evaluation
# Fields that verification does not need.
DATA_FIELDS = {"question", "answer", "train_file", "test_file", "eval_files", "eval_columns", "selection_percent"}
DATA_FIELDS |= {"hub", "hub_config", "hub_revision"}


@dataclass(frozen=True)
class Split:
    """A training source, split: selection and train are disjoint, and neither has a problem of a test or eval set."""

    train: list[Problem]
    selection: list[Problem]
    overlap: int  # problems left out because a test or eval set has them


@dataclass(frozen=True, eq=False, kw_only=True)
class QuestionAnswer(Task):
    """Sources are read when first used, and only once."""

    name = "qa"  # of the in-domain evaluation; `<name>_t1` is the sampled one
    version: ClassVar[str] = verifier.VERSION  # raised too when the prompt or `canonical` changes

    question: str = "question"  # column, or template such as "{Body} {Question}"
    answer: str = "answer"  # column or template; the gold is after '####', else in \boxed{}, else all of it
    format: Format = "hash"  # how a completion marks its final answer: hash, boxed or answer_is
    worked_out: bool | None = None  # is 48/2 wrong where 24 is right?  None: yes, except in format boxed
    instruction: str = ""  # the prompt, with {question} in it; "" is INSTRUCTIONS[format]
    stop: tuple[str, ...] = ("Question:",)  # strings that end a completion, besides the end token
    train_file: str = ""  # JSONL or parquet file, or a folder with a train split
    test_file: str = ""  # the same for the test split; "" takes the test split of a train_file that is a folder
    eval_files: dict[str, str] = field(default_factory=dict)  # {name: file or folder}, out-of-domain
    eval_columns: dict[str, tuple[str, str]] = field(default_factory=dict)  # {name: (question, answer)} of an eval file
    hub: str = ""  # data set on the hub, used when neither train_file nor test_file is given
    hub_config: str = ""  # its configuration, e.g. "main"
    hub_revision: str = ""  # commit or tag; "" is the newest
    selection_percent: int = 5  # percentage of the training source that is held back for tuning, 0 to 50

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop))
        if self.format not in get_args(Format):
            raise DataError(f"task.format {self.format!r}: valid are {', '.join(get_args(Format))}")
        if "{question}" not in self.prompt_template:
            raise DataError(f"task.instruction {self.instruction!r}: it must hold {{question}}")
        for text in (self.question, self.answer):
            template_of(text)  # raises where the braces are wrong
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

    # ------------------------------------------------------------ problems

    def train(self, seed: int = 0) -> list[Problem]:
        """The training split, in file order: the same for every seed."""
        return self._split.train

    def selection(self) -> list[Problem]:
        """Problems for tuning; may be empty for a small training source."""
        return self._split.selection

    @property
    def overlap(self) -> int:
        """How many training problems were left out because a test or eval set has them."""
        return self._split.overlap

    def eval_sets(self, limit: int | None = None) -> list[EvalSet]:
        """The test set greedy, the same at temperature 1, then each eval file greedy; `limit` is at least 1."""
        if limit is not None and limit < 1:
            raise DataError(f"limit {limit}: at least 1 problem is needed")

        def eval_set(name: str, domain: Domain, loaded: Loaded, temperature: float = 0.0) -> EvalSet:
            return EvalSet(name, domain, loaded.problems[:limit], temperature, self.version)

        sets = []
        if self._test is not None:
            sets = [eval_set(self.name, "in", self._test), eval_set(f"{self.name}_t1", "in", self._test, 1.0)]
        sets += [eval_set(name, "out", loaded) for name, loaded in self._evals.items()]
        if not sets:
            raise DataError(f"task {self.name}: nothing to evaluate on; give --test-file or --eval-file")
        return sets

    def reports(self) -> dict[str, Loaded]:
        """The sources that have been read so far: "train", "test" and the names of the eval files."""
        seen = vars(self)
        sources = {"train": seen.get("_train"), "test": seen.get("_test"), **seen.get("_evals", {})}
        return {name: loaded for name, loaded in sources.items() if loaded is not None}

    def notices(self) -> list[str]:
        """One line for each source that was not usable as a whole, and for training problems that were held out."""
        lines = []
        for loaded in self.reports().values():
            if loaded.skipped:
                row, reason = loaded.skipped[0]
                lines.append(
                    f"{loaded.source}: {len(loaded.skipped)} of {loaded.rows} rows skipped; row {row}: {reason}"
                )
            if loaded.duplicates:
                lines.append(f"{loaded.source}: {loaded.duplicates} of {loaded.rows} rows repeat an earlier problem")
        if "_split" in vars(self) and self.overlap:
            lines.append(f"{self._train.source}: {self.overlap} problems left out: they are test or eval problems too")
        return lines

    def solutions(self) -> list[tuple[str, str]]:
        """The written answers of the training problems, without calculator notes."""
        return [(p.prompt, _written(p)) for p in self.train()]

    def solution(self, problem: Problem) -> str | None:
        """The same of one problem; None where its row has only a final answer: a written solution marks it."""
        text = _written(problem)
        return text if marked(text, "hash") or marked(text, "boxed") else None

    @property
    def prompt_template(self) -> str:
        return self.instruction or INSTRUCTIONS[self.format]

    @cached_property
    def _train(self) -> Loaded:
        if self.train_file:
            return self._problems(read_rows(self.train_file, "train", self.hub_config), self.train_file)
        if self.hub and not self.test_file:
            return self._from_hub("train")
        raise DataError(f"task {self.name}: no training problems; give --train-file")

    @cached_property
    def _test(self) -> Loaded | None:
        whole = Path(self.train_file).expanduser().is_dir() and self.train_file  # a folder has both splits
        if path := self.test_file or whole:
            return self._problems(read_rows(path, "test", self.hub_config), path)
        return self._from_hub("test") if self.hub and not self.train_file else None

    @cached_property
    def _evals(self) -> dict[str, Loaded]:
        loaded = {}
        for name, path in self.eval_files.items():
            rows = read_rows(path, "test")
            columns = tuple(self.eval_columns.get(name) or self._columns(rows))
            loaded[name] = self._problems(rows, path, columns)
        return loaded

    @cached_property
    def _split(self) -> Split:
        held_out = {p.id for loaded in (self._test, *self._evals.values()) if loaded for p in loaded.problems}
        rest = [p for p in self._train.problems if p.id not in held_out]
        selection = [p for p in rest if int(p.id, 16) % 100 < self.selection_percent]
        train = [p for p in rest if int(p.id, 16) % 100 >= self.selection_percent]
        overlap = len(self._train.problems) - len(rest)
        if not train:
            raise DataError(
                f"{self._train.source}: no training problem is left of {len(self._train.problems)}: "
                f"{overlap} are test or eval problems too, {len(selection)} fall to the selection split"
            )
        return Split(train, selection, overlap)

    def _from_hub(self, split: str) -> Loaded:
        rows = read_hub(self.hub, self.hub_config, split, self.hub_revision)
        return self._problems(rows, ", ".join(part for part in (self.hub, self.hub_config, split) if part))

    def _problems(self, rows: list[Row], source: str, columns: tuple[str, ...] = ()) -> Loaded:
        question, answer = columns or (self.question, self.answer)
        return problems_from(rows, question, answer, source, self.prompt_template)

    def _columns(self, rows: list[Row]) -> tuple[str, str]:
        """The task's own columns where the first row has them, else the first known pair that it has."""
        own = (self.question, self.answer)
        return next((pair for pair in (own, *KNOWN_COLUMNS) if has_columns(rows[0][1], *pair)), own)

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


def _written(problem: Problem) -> str:
    return " " + NOTE.sub("", problem.source["answer"])


# ---------------------------------------------------------------- equations of a solution

NUMBER = r"-?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)%?"
TERM = rf"\(*{NUMBER}\)*"
# The lookbehind keeps a match from starting inside a chain: a long 1+1+1+... is scanned once, in linear time.
EQUATION = re.compile(rf"(?<![\d.(+*/-])({TERM}(?:[-+*/]{TERM})+)[ \t]*=[ \t]*(?=({NUMBER}))")
NOTE = re.compile(r"<<([^<>=]+)=([^<>=]+)>>")  # GSM8K's for its calculator: 48/2 = <<48/2=24>>24
SIGNS = str.maketrans("\u00d7\u00f7\u2212$", "*/- ")


def equations(text: str) -> list[str]:
    """Each `a op b ... = c` before the final answer, plain or in a calculator's note; twice in a row counts once.

    >>> equations("She pays 2 x $1.50 = $<<2*1.5=3>>3.00. Then 10 - 3 = 7 #### 7")
    ['2*1.5=3', '10-3=7']
    """
    body = re.sub(r"(?<=[\d)\s])x(?=[\d(\s])", "*", text.split("####")[0].translate(SIGNS))
    body = re.sub(r"(?<=[\d)%])[ \t]*([-+*/])[ \t]*(?=[\d(.-])", r"\1", body)
    matches = [(m.start(), m[1], m[2]) for m in NOTE.finditer(body) if re.search("[-+*/]", m[1])]
    plain = NOTE.sub(lambda m: " " * len(m[0]), body)  # the positions stay
    matches += [(m.start(), m[1], m[2]) for m in EQUATION.finditer(plain)]
    kept: list[str] = []
    for _, left, right in sorted(matches):
        equation = f"{_squeezed(left)}={_squeezed(right)}"
        if equation not in kept[-1:]:
            kept.append(equation)
    return kept


def _squeezed(side: str) -> str:
    """Without spaces, commas of thousands and brackets never closed; 1.50 and .5 as 1.5 and 0.5."""

    def short(m: re.Match[str]) -> str:
        return f"{m[1] or '0'}.{m[2]}".rstrip("0").rstrip(".")

    side = re.sub(r"(?<!\d)(\d*)\.(\d+)", short, re.sub(r"[\s,]", "", side))
    return side.removeprefix("(" * (side.count("(") - side.count(")")))
