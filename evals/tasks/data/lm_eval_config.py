"""What a training task reads of an lm-eval task's YAML; what it cannot do is one line that names the key.

    task: capitals
    dataset_path: json                       # or parquet, a folder, a hub id
    dataset_kwargs: {data_files: {train: train.jsonl, test: test.jsonl}}
    training_split: train
    test_split: test
    doc_to_text: "Question: {{question}}\\nAnswer:"
    doc_to_target: answer                    # a column, or a template

Files are looked for beside the YAML, then from the working directory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import jinja2
import yaml
from jinja2.sandbox import SandboxedEnvironment

from evals.tasks.data.files import DataError, Row, read_rows
from evals.tasks.data.sources import read_hub

FILES = ("json", "parquet")  # dataset_path that means: the files of data_files
# Keys that change a score by lm-eval and no training task: verification is the project's own.
OTHERS = {
    "tag", "task_alias", "metadata", "metric_list", "filter_list", "process_results", "repeats", "unsafe_code",
    "should_decontaminate", "doc_to_decontamination_query", "target_delimiter",
    "fewshot_split", "fewshot_config", "fewshot_delimiter", "validation_split",
}  # fmt: skip
READ = {
    "task", "dataset_path", "dataset_name", "dataset_kwargs", "training_split", "test_split", "doc_to_text",
    "doc_to_target", "description", "generation_kwargs", "include", "num_fewshot", "output_type",
}  # fmt: skip


class Function(str):
    """The name behind a !function."""


class _Loader(yaml.SafeLoader):
    """YAML in which a !function is its name."""


_Loader.add_constructor("!function", lambda loader, node: Function(cast(yaml.ScalarNode, node).value))

JINJA = SandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)  # as lm-eval's
JINJA.filters["regex_replace"] = lambda text, pattern, new, count=0: re.sub(pattern, new, text, count=count)


@dataclass(frozen=True)
class LMEvalConfig:
    """One YAML, read and checked."""

    file: Path
    task: str
    text: str  # a column, or a template
    target: str  # the same
    description: str  # before every prompt
    stop: tuple[str, ...]
    dataset: str  # "json" and the like, a folder, or a hub id
    dataset_name: str
    data_files: Mapping[str, str]  # by split
    training_split: str
    test_split: str

    def rows(self, split: str) -> tuple[str, list[Row]]:
        """(where they are from, the rows of a split)."""
        if self.data_files or self.dataset in FILES:
            if split not in self.data_files:
                raise DataError(f"{self.file}: data_files has no '{split}'; it has {', '.join(self.data_files)}")
            path = self._found(self.data_files[split])
            return str(path), read_rows(path, split)
        if (folder := self._found(self.dataset)).is_dir():
            return str(folder), read_rows(folder, split, self.dataset_name)
        source = ", ".join(part for part in (self.dataset, self.dataset_name, split) if part)
        return source, read_hub(self.dataset, self.dataset_name, split).rows

    def rendered(self, row: Row, source: str) -> tuple[str, str]:
        """(prompt, target) of a row.  Raises DataError naming source, row and key."""
        number, columns = row
        texts = []
        for key, template in (("doc_to_text", self.text), ("doc_to_target", self.target)):
            try:
                text = str(columns[template]) if template in columns else JINJA.from_string(template).render(**columns)
            except Exception as error:  # a template may raise anything
                there = f"the columns are {', '.join(columns)}"
                raise DataError(f"{source}:{number}: {key}: {type(error).__name__}: {error}; {there}") from None
            texts.append(text)
        return self.description + texts[0], texts[1]

    def _found(self, name: str) -> Path:
        beside = self.file.parent / name
        return beside if beside.exists() else Path(name).expanduser()


def read_config(file: Path) -> LMEvalConfig:
    """Raises DataError, one line, where it cannot be read, lacks what training needs, or asks for what is not there."""
    table = _load(file)
    _check_supported(file, table)
    kwargs, generation = table.get("dataset_kwargs") or {}, table.get("generation_kwargs") or {}
    files = kwargs.get("data_files") or {}
    until = generation.get("until", "\n\n")  # lm-eval's own
    return LMEvalConfig(
        file=file,
        task=table["task"],
        text=table["doc_to_text"],
        target=table["doc_to_target"],
        description=table.get("description") or "",
        stop=(until,) if isinstance(until, str) else tuple(until),
        dataset=table["dataset_path"],
        dataset_name=table.get("dataset_name") or "",
        data_files={"train": files} if isinstance(files, str) else files,
        training_split=table["training_split"],
        test_split=table.get("test_split") or table.get("validation_split") or "",
    )


def _load(file: Path) -> dict[str, Any]:
    """The table, over those that it includes."""
    if not file.is_file():
        raise DataError(f"task: no file {file}")
    try:
        table = yaml.load(file.read_text(encoding="utf-8"), _Loader)  # noqa: S506
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"task: {file} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(table, dict):
        raise DataError(f"task: {file}: not the table of one task")
    if "include" not in table:
        return table
    if not isinstance(table["include"], str) or (file.parent / table["include"]).resolve() == file.resolve():
        raise DataError(f"task: {file}: include: must be another file, not {table['include']!r}")
    return {**_load(file.parent / table["include"]), **table}


def _check_supported(file: Path, table: dict[str, Any]) -> None:
    def refuse(reason: str) -> None:
        raise DataError(f"task: {file}: {reason}")

    if table.get("output_type", "generate_until") != "generate_until":
        refuse(f"output_type: {table['output_type']} is not supported; a policy is trained on what it generates")
    for key in sorted(key for key in table if key not in READ | OTHERS and table[key]):
        refuse(f"{key}: not supported by a training task")
    for key in ("task", "dataset_path", "doc_to_text", "doc_to_target"):
        if isinstance(table.get(key), Function):
            refuse(f"{key}: a !function is not supported; valid: a column or a template")
        if not isinstance(table.get(key), str) or not table[key]:
            refuse(f"{key}: {'missing' if key not in table else f'must be text, not {table[key]!r}'}")
    for key in ("dataset_kwargs", "generation_kwargs"):
        if not isinstance(table.get(key) or {}, dict):
            refuse(f"{key}: must be a table, not {table[key]!r}")
    if not table.get("training_split"):
        refuse("training_split: missing; a training task needs one")
    if not (table.get("test_split") or table.get("validation_split")):
        refuse("test_split: missing; there is nothing to evaluate on")
    if table.get("num_fewshot"):
        refuse(f"num_fewshot: {table['num_fewshot']} is not supported; valid: 0")
    kwargs = table.get("dataset_kwargs") or {}
    if unknown := sorted(set(kwargs) - {"data_files", "trust_remote_code"}):
        refuse(f"dataset_kwargs.{unknown[0]}: not supported by a training task; valid: data_files")
    files = kwargs.get("data_files") or {}
    if not isinstance(files, str) and not (
        isinstance(files, dict) and all(isinstance(name, str) for name in files.values())
    ):
        refuse("dataset_kwargs.data_files: must be a file, or a table of one file per split")
