"""What a benchmark's TOML says."""

from __future__ import annotations

import functools
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from evals.verification.verifier import Format

FOLDER = Path(__file__).parent
OTHER_TASKS = ("countdown",)  # their answers need a verifier of their own: a module of evals/tasks


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Benchmark(name="aime24", hub="HuggingFaceH4/aime_2024", splits={"test": "train"}, ...)."""

    name: str
    about: str
    hub: str
    config: str = ""
    revision: str = ""  # commit; "": whatever the hub has, which a run's record then names
    splits: dict[str, str] = field(default_factory=dict)  # ours -> the data set's
    question: str  # column or template
    answer: str  # the same
    answer_pattern: str = ""  # regular expression: which part of the answer's cell is the answer
    format: Format
    worked_out: bool | None = None
    test_percent: int = 10  # where it has no test split
    licence: str
    paper: str  # arXiv number, or address

    def source(self, split: str) -> str:
        """What `read_source` reads: the name of the hub, configuration, revision and split."""
        parts = ((":", self.config), ("@", self.revision), ("#", self.splits.get(split, split)))
        return self.hub + "".join(mark + part for mark, part in parts if part)


@functools.cache
def names() -> tuple[str, ...]:
    """All of them, sorted.

    >>> len(names()) >= 14 and "math500" in names()
    True
    """
    return tuple(sorted(file.stem for file in FOLDER.glob("*.toml")))


@functools.cache
def load(name: str) -> Benchmark:
    """Raises ValueError, naming the file, where a field is missing or unknown."""
    file = FOLDER / f"{name}.toml"
    try:
        benchmark = Benchmark(name=name, **tomllib.loads(file.read_text(encoding="utf-8")))
        re.compile(benchmark.answer_pattern)
    except (TypeError, re.error, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{file}: {error}") from None
    return benchmark
