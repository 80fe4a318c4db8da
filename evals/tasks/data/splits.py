"""Training, selection, test and evaluation problems of a task whose data are rows: which problem belongs where."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from evals.tasks.base import Domain, EvalSet, Problem, Task, Turn
from evals.tasks.benchmarks import catalog
from evals.tasks.data.equations import NOTE
from evals.tasks.data.files import DataError, NoSplit, Row
from evals.tasks.data.loading import Loaded, has_columns, problems_from
from evals.tasks.data.prompts import example_solution, present, with_examples
from evals.tasks.data.sources import Read, read_source
from evals.verification.extraction import marked

# Tried in turn where a source lacks the task's own columns, and nobody has named them.
KNOWN_COLUMNS = (
    ("question", "answer"),  # GSM8K
    ("{Body} {Question}", "Answer"),  # SVAMP
    ("problem", "answer"),  # MATH-500, AIME
    ("problem", "solution"),  # MATH
    ("extra_info.question", "reward_model.ground_truth"),  # what verl prepares
    ("prompt", "reward_model.ground_truth"),  # the same, DAPO's
    ("prompt", "answer"),  # TRL: text, or a conversation
    ("prompt", "solution"),
    ("prompt", "ground_truth"),
    ("prompt", "completion"),
    ("messages", "messages"),  # a conversation with its answer
    ("instruction", "output"),  # Alpaca
)


@dataclass(frozen=True)
class Split:
    """A training source, split: selection and train are disjoint, and neither has a problem of a test or eval set."""

    train: list[Problem]
    selection: list[Problem]
    overlap: int  # problems left out because a test or eval set has them


class SplitTask(Task):
    """What `QuestionAnswer` does with its data.  Sources are read when first used, and only once."""

    version: ClassVar[str]
    question: str
    answer: str
    answer_pattern: str
    instruction: str
    examples: int
    examples_file: str
    train_file: str
    test_file: str
    test_question: str
    test_answer: str
    test_percent: int
    test_seed: int
    eval_files: dict[str, str]
    eval_columns: dict[str, tuple[str, str]]
    hub: str
    hub_config: str
    hub_revision: str
    selection_percent: int

    def train(self, seed: int = 0) -> list[Problem]:
        """The training split, in file order: the same for every seed."""
        return self._shown(self._split.train)

    def selection(self) -> list[Problem]:
        """Problems for tuning; may be empty for a small training source."""
        return self._shown(self._split.selection)

    @property
    def overlap(self) -> int:
        """How many training problems were left out because a test or eval set has them."""
        return self._split.overlap

    def eval_sets(self, limit: int | None = None) -> list[EvalSet]:
        """The test set greedy, the same at temperature 1, then each eval file greedy; `limit` is at least 1."""
        if limit is not None and limit < 1:
            raise DataError(f"limit {limit}: at least 1 problem is needed")

        def eval_set(name: str, domain: Domain, problems: list[Problem], temperature: float = 0.0) -> EvalSet:
            return EvalSet(name, domain, self._shown(problems[:limit]), temperature, self.version)

        sets = []
        if test := self._test_problems:
            sets = [eval_set(self.name, "in", test), eval_set(f"{self.name}_t1", "in", test, 1.0)]
        sets += [eval_set(name, "out", loaded.problems) for name, loaded in self._evals.items()]
        if not sets:
            raise DataError(f"task {self.name}: nothing to evaluate on; give --train-file, --test-file or --eval-file")
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
        seen = vars(self)
        if held_out := len(seen.get("_held_out", ())):
            lines.append(
                f"{self._train.source}: no test set is given: {held_out} of {len(self._train.problems)} problems are "
                f"held out as one (task.test_percent={self.test_percent}, task.test_seed={self.test_seed})"
            )
        lines += [f"{loaded.source}: commit {loaded.commit}" for loaded in self.reports().values() if loaded.commit]
        lines += seen.get("_other_columns", [])
        if "_split" in seen and self.overlap:
            lines.append(f"{self._train.source}: {self.overlap} problems left out: they are test or eval problems too")
        return lines

    def solutions(self) -> list[tuple[str, str]]:
        """The written answers of the training problems, without calculator notes."""
        return [(p.prompt, _written(p)) for p in self.train()]

    def solution(self, problem: Problem) -> str | None:
        """The same of one problem; None where its row has only a final answer: a written solution marks it."""
        text = _written(problem)
        return text if marked(text, "hash") or marked(text, "boxed") else None

    @cached_property
    def _other_columns(self) -> list[str]:
        """Messages: which columns were read where nobody had named them."""
        return []

    @cached_property
    def _train(self) -> Loaded:
        if self.train_file:
            return self._loaded(read_source(self.train_file, "train", self.hub_config))
        if self.hub and (not self.test_file or self._tests_on_hub) and (source := self._hub_split("train")):
            return self._loaded(read_source(source, "train"))
        raise DataError(f"task {self.name}: no training problems; give --train-file")

    @cached_property
    def _test(self) -> Loaded | None:
        """The test set that is given; None where there is none."""
        if self.test_file:
            return self._loaded(read_source(self.test_file, "test", self.hub_config), "test")
        on_hub = self.hub and (not self.train_file or self._tests_on_hub)
        source = self._hub_split("test") if on_hub else self.train_file
        if not source or Path(source).expanduser().is_file():
            return None
        try:
            return self._loaded(read_source(source, "test", self.hub_config), "test")
        except NoSplit:
            return None

    @cached_property
    def _held_out(self) -> list[Problem]:
        """Of the training source: the test set, where none is given."""
        if not self.test_percent or self._test is not None or not (self.train_file or self.hub):
            return []
        problems = self._train.problems
        chosen = {p.id for p in self._drawn(problems, max(1, round(len(problems) * self.test_percent / 100)))}
        return [p for p in problems if p.id in chosen]

    @property
    def _test_problems(self) -> list[Problem]:
        return self._held_out if self._test is None else self._test.problems

    @cached_property
    def _evals(self) -> dict[str, Loaded]:
        loaded = {}
        for name, source in self.eval_files.items():
            benchmark = catalog.load(source) if source in catalog.names() else None
            read = read_source(benchmark.source("test") if benchmark else source, "test")
            own = (benchmark.question, benchmark.answer) if benchmark else (self.question, self.answer)
            columns = tuple(self.eval_columns.get(name) or self._columns(read.rows, own))
            pattern = benchmark.answer_pattern if benchmark else ""
            loaded[name] = replace(self._problems(read.rows, read.source, columns, pattern), commit=read.commit)
        return loaded

    @cached_property
    def _examples(self) -> list[tuple[Problem, str]]:
        """Problems with their solutions, which stand before every prompt."""
        if not self.examples:
            return []
        if self.examples_file:
            pool = self._loaded(read_source(self.examples_file, "train", self.hub_config)).problems
        else:
            tested = self._tested
            pool = [p for p in self._train.problems if p.id not in tested]
        if len(pool) <= self.examples:
            raise DataError(f"task.examples {self.examples}: there are {len(pool)} problems to take them from")
        chosen = self._drawn(pool, self.examples)
        return [(p, example_solution(_written(p), p.gold, self.format)) for p in chosen]

    @property
    def _tested(self) -> set[str]:
        """The ids of every test and eval problem."""
        evals = [p for loaded in self._evals.values() for p in loaded.problems]
        return {p.id for p in (*self._test_problems, *evals)}

    @cached_property
    def _split(self) -> Split:
        tested, shown = self._tested, {p.id for p, _ in self._examples}
        rest = [p for p in self._train.problems if p.id not in tested]
        left = [p for p in rest if p.id not in shown]
        selection = [p for p in left if int(p.id, 16) % 100 < self.selection_percent]
        train = [p for p in left if int(p.id, 16) % 100 >= self.selection_percent]
        overlap = len(self._train.problems) - len(rest) - len(self._held_out)
        if not train:
            raise DataError(
                f"{self._train.source}: no training problem is left of {len(self._train.problems)}: "
                f"{overlap} are test or eval problems too, {len(self._held_out)} are held out as the test set, "
                f"{len(selection)} fall to the selection split"
            )
        return Split(train, selection, overlap)

    def _drawn(self, problems: list[Problem], count: int) -> list[Problem]:
        """`count` of them by test_seed, whatever their order in the file."""
        return sorted(problems, key=lambda p: hashlib.sha256(f"{self.test_seed} {p.id}".encode()).digest())[:count]

    def _shown(self, problems: list[Problem]) -> list[Problem]:
        return [with_examples(p, self._examples) for p in problems] if self._examples else problems

    def _hub_split(self, split: str) -> str | None:
        """Where the hub has a split; None where it has none of that name."""
        return self._hub_source

    @property
    def _tests_on_hub(self) -> bool:
        """Is the test set the hub's, though the training problems are a file?"""
        return False

    @property
    def _hub_source(self) -> str:
        parts = (("", self.hub), (":", self.hub_config), ("@", self.hub_revision))
        return "".join(mark + part for mark, part in parts if part)

    def _loaded(self, read: Read, split: str = "train") -> Loaded:
        own = (self.question, self.answer)
        if split == "test":
            own = (self.test_question or own[0], self.test_answer or own[1])
        columns = self._columns(read.rows, own) if own == self._default_columns() else own
        if columns != own:
            self._other_columns.append(f"{read.source}: read columns {columns[0]!r} and {columns[1]!r}")
        return replace(self._problems(read.rows, read.source, columns), commit=read.commit)

    def _problems(
        self, rows: list[Row], source: str, columns: tuple[str, ...] = (), pattern: str | None = None
    ) -> Loaded:
        question, answer = columns or (self.question, self.answer)
        pattern = self.answer_pattern if pattern is None else pattern
        return problems_from(rows, question, answer, source, self._present, pattern)

    def _present(self, question: str, turns: tuple[Turn, ...]) -> tuple[str, tuple[Turn, ...]]:
        return present(question, turns, self.instruction, self.format)

    def _columns(self, rows: list[Row], own: tuple[str, str]) -> tuple[str, str]:
        """The task's own columns where the first row has them, else the first known pair that it has."""
        return next((pair for pair in (own, *KNOWN_COLUMNS) if has_columns(rows[0][1], *pair)), own)

    @classmethod
    def _default_columns(cls) -> tuple[str, str]:
        defaults: dict[str, Any] = {f.name: f.default for f in fields(cls)}  # type: ignore[arg-type]
        return defaults["question"], defaults["answer"]


def _written(problem: Problem) -> str:
    return " " + NOTE.sub("", problem.source["answer"])
