"""A benchmark as a task: `qa` with the benchmark's hub name, columns and format for defaults."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from dataclasses import field as field_of
from typing import Any, ClassVar, get_type_hints

from evals.tasks.benchmarks.catalog import Benchmark, load
from evals.tasks.data.files import DataError
from evals.tasks.qa import QuestionAnswer


@dataclass(frozen=True, eq=False, kw_only=True)
class BenchmarkTask(QuestionAnswer):
    """A subclass for each benchmark holds it.  With `train_file` or `test_file` those are read instead."""

    benchmark: ClassVar[Benchmark | None] = None

    def _hub_split(self, split: str) -> str | None:
        """Where the hub has a split; None where the benchmark has none of that name."""
        assert self.benchmark is not None
        if split not in self.benchmark.splits:
            if split == "train":
                raise DataError(f"task {self.name}: {self.benchmark.hub} has no training split; give --train-file")
            return None
        return f"{self._hub_source}#{self.benchmark.splits[split]}"

    @property
    def _tests_on_hub(self) -> bool:
        """Is the test set the hub's, though the training problems are a file?"""
        return self.benchmark is not None and "train" not in self.benchmark.splits

    def spec(self) -> dict[str, Any]:
        return {**super().spec(), "class": f"{QuestionAnswer.__module__}:{QuestionAnswer.__qualname__}"}


def task_of(name: str) -> type[BenchmarkTask]:
    """The class of a benchmark's task."""
    b = load(name)
    defaults: dict[str, Any] = {
        "question": b.question,
        "answer": b.answer,
        "answer_pattern": b.answer_pattern,
        "format": b.format,
        "worked_out": b.worked_out,
        "hub": b.hub,
        "hub_config": b.config,
        "hub_revision": b.revision,
        "test_percent": b.test_percent,
    }
    hints = get_type_hints(QuestionAnswer)  # not as text: this module does not have all of its names
    return make_dataclass(
        f"Benchmark_{name}",
        [(field, hints[field], field_of(default=value)) for field, value in defaults.items()],
        bases=(BenchmarkTask,),
        namespace={"name": name, "benchmark": b, "__doc__": b.about, "__module__": __name__},
        frozen=True,
        eq=False,
        kw_only=True,
    )
