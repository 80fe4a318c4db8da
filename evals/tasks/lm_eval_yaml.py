r"""`--task FILE.yaml`: an lm-eval task as a training task, where it has a train split.

Prompts are its `doc_to_text`, golds are read from its `doc_to_target`.  Verification is the project's own, in the
format that its targets are in: `#### 14`, `\boxed{14}`, `The answer is 14.`, else *plain*: it is the completion.
A score may differ from lm-eval's of the same YAML, whose filters and metrics are not read: the evaluation is called
`harness_NAME`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, get_args

from evals.tasks.base import Problem
from evals.tasks.data.files import DataError, Row, read_rows
from evals.tasks.data.lm_eval_config import LMEvalConfig, read_config
from evals.tasks.data.loading import Loaded, problems_from
from evals.tasks.qa import DATA_FIELDS, QuestionAnswer
from evals.verification import verifier
from evals.verification.extraction import marked
from evals.verification.verifier import Format, Verdict, parse_gold

FROM_THE_YAML = (
    "question", "answer", "answer_pattern", "instruction", "train_file", "test_file", "test_question", "test_answer",
    "hub", "hub_config", "hub_revision", "examples", "examples_file",
)  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class LMEvalTask(QuestionAnswer):
    """The task of one YAML is a subclass that holds its `config`; this class alone only verifies."""

    name = "lm_eval"
    config: ClassVar[LMEvalConfig | None] = None

    plain: bool = False  # the completion is the answer, without a mark

    def __post_init__(self) -> None:
        super().__post_init__()
        defaults = {f.name: f.default for f in fields(self)}
        for name in FROM_THE_YAML:
            if getattr(self, name) != defaults[name]:
                raise DataError(f"task.{name}: it is what {self.config.file if self.config else 'the YAML'} says")
        if self.config is not None:
            object.__setattr__(self, "stop", self.config.stop)

    def spec(self) -> dict[str, Any]:
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in DATA_FIELDS}
        kept |= {"instruction": "", "stop": list(self.stop), "format": self._format or "hash"}
        kept |= {"plain": self._format is None if self.config else self.plain}
        return {"class": f"{__name__}:LMEvalTask", "fields": kept}

    # ------------------------------------------------------------ problems

    @cached_property
    def _training_rows(self) -> tuple[str, list[Row]]:
        return self._yaml.rows(self._yaml.training_split)

    @cached_property
    def _train(self) -> Loaded:
        source, rows = self._training_rows
        return self._problems(rows, source)

    @cached_property
    def _test(self) -> Loaded | None:
        source, rows = self._yaml.rows(self._yaml.test_split)
        return self._problems(rows, source)

    @cached_property
    def _evals(self) -> dict[str, Loaded]:
        return {name: self._problems(read_rows(path, "test"), path) for name, path in self.eval_files.items()}

    @cached_property
    def _format(self) -> Format | None:
        """The format that every training target is in; None: plain."""
        if self.config is None:
            return None if self.plain else self.format
        source, rows = self._training_rows
        targets = [self.config.rendered(row, source)[1] for row in rows]
        return next((f for f in get_args(Format) if all(marked(text, f) for text in targets)), None)

    @property
    def _yaml(self) -> LMEvalConfig:
        assert self.config is not None
        return self.config

    def _problems(
        self, rows: Sequence[Row], source: str, columns: tuple[str, ...] = (), pattern: str | None = None
    ) -> Loaded:
        """Problems as `qa` has them, with the YAML's own prompt, spaces and all."""
        texts = {row[0]: self._yaml.rendered(row, source) for row in rows}
        plain = [(n, {"question": text, "answer": self._gold(target)}) for n, (text, target) in texts.items()]
        loaded = problems_from(plain, "question", "answer", source)
        by_line = dict(rows)
        first = {text.strip(): (n, text, target) for n, (text, target) in reversed(texts.items())}
        whole = []
        for p in loaded.problems:
            n, text, target = first[p.prompt]
            own = {"question": p.prompt, "answer": target}
            whole.append(replace(p, prompt=text, source=own, row=by_line[n]))
        return replace(loaded, problems=whole)

    def _gold(self, target: str) -> str:
        """What `parse_gold` reads: of a plain target that is no expression, its words."""
        if self._format is not None:
            return marked(target, self._format)[-1][1] if marked(target, self._format) else target
        try:
            return parse_gold(target)
        except ValueError:
            return target if set(target) & set("{}\\") else f"\\text{{{target.strip()}}}"

    # ------------------------------------------------------------ verification

    def verify(self, problem: Problem, completion: str, ended: bool) -> Verdict:
        if self._format is not None:
            return verifier.verify(completion, problem.gold, self._format, ended)
        answer = " ".join(completion.split())
        return verifier.verify(f"#### {answer}" if answer else "", problem.gold, "hash", ended)

    def formatted(self, completion: str) -> bool:
        return bool(completion.strip()) if self._format is None else verifier.concludes(completion, self._format)

    def solution(self, problem: Problem) -> str | None:
        """The target as it is written."""
        return " " + str(problem.source["answer"]).strip()

    def key(self, problem: Problem, completion: str) -> str:
        return " ".join(completion.split()) if self._format is None else super().key(problem, completion)


def task_of_yaml(file: Path) -> type[LMEvalTask]:
    """The class of a YAML's task.  Raises DataError, one line, where it cannot be trained on."""
    config = read_config(file)
    return type(f"LMEvalTask_{config.task}", (LMEvalTask,), {"name": f"harness_{config.task}", "config": config})
