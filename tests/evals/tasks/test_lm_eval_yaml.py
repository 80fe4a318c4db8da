"""An lm-eval YAML as a training task: prompts, golds, formats, and what it cannot do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from evals import tasks
from evals.scoring import task_files
from evals.tasks.lm_eval_yaml import LMEvalTask
from evals.verification.verifier import Verdict

TABLE: dict[str, Any] = {
    "task": "sums",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"train": "train.jsonl", "test": "test.jsonl"}},
    "training_split": "train",
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_text": "Question: {{a}} + {{b}}\nAnswer: ",
    "doc_to_target": "{{a + b}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8},
    "metric_list": [{"metric": "exact_match"}],
    "metadata": {"version": 1.0},
}
TRAIN = [{"a": n, "b": 2, "city": "Paris" if n % 2 else "New York"} for n in range(40)]
TEST = [{"a": n, "b": 3, "city": "Rome"} for n in range(4)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, rows in (("train", TRAIN), ("test", TEST)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def made(folder: Path, **changes: Any) -> LMEvalTask:
    """The task of the YAML with these keys changed; None takes one out."""
    table = {name: value for name, value in {**TABLE, **changes}.items() if value is not None}
    (folder / "sums.yaml").write_text(yaml.safe_dump(table, sort_keys=False))
    task = tasks.load(str(folder / "sums.yaml"))()
    assert isinstance(task, LMEvalTask)
    return task


def test_problems_are_the_rendered_rows(folder: Path) -> None:
    task = made(folder)
    problems = [*task.train(), *task.selection()]
    assert len(problems) == 40 and {p.gold for p in problems} == {str(n + 2) for n in range(40)}
    first = next(p for p in problems if p.gold == "2")
    assert first.prompt == "Question: 0 + 2\nAnswer: ", "spaces and all"
    assert task.solution(first) == " 2" and first.row == TRAIN[0]
    greedy, sampled = task.eval_sets()
    assert (greedy.name, sampled.name, sampled.temperature) == ("harness_sums", "harness_sums_t1", 1.0)
    assert [p.gold for p in greedy.problems] == ["3", "4", "5", "6"]
    assert task.stop == ("\n",)


def test_training_problems_are_none_of_the_tests(folder: Path) -> None:
    task = made(folder, dataset_kwargs={"data_files": {"train": "train.jsonl", "test": "train.jsonl"}})
    with pytest.raises(ValueError, match="no training problem is left of 40"):
        task.train()


FORMATS = {  # doc_to_target -> a completion that is strictly right, one that is not, and the gold
    "plain number": ("{{a + b}}", "3.0", "3 apples", "3"),
    "plain words": ("{{city}}", "new york", "York", r"\text{New York}"),
    "a column": ("city", " New York\n", "New York City", r"\text{New York}"),
    "hash": ("{{a}}+{{b}}\n#### {{a + b}}", "well\n#### 3", "3", "3"),
    "boxed": (r"so $\boxed{{'{'}}{{a + b}}{{'}'}}$", r"$\boxed{3}$", "3", "3"),
    "answer is": ("I see. The answer is {{a + b}}.", "The answer is 3.", "#### 3", "3"),
    "regex_replace": ("{{city | regex_replace('New ', '')}}", "York", "New York", r"\text{York}"),
}


@pytest.mark.parametrize("what", FORMATS)
def test_the_verifier_reads_the_format_of_the_targets(folder: Path, what: str) -> None:
    target, right, wrong, gold = FORMATS[what]
    rows = [{**row, "a": row["a"] + 1} for row in TRAIN]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = made(folder, doc_to_target=target)
    problem = next(p for p in [*task.train(), *task.selection()] if "1 + 2" in p.prompt[:16])
    assert problem.gold == gold
    rebuilt = task_files.build(json.loads(json.dumps(task.spec())))
    for one in (task, rebuilt):
        assert one.verify(problem, right, True).strict == "correct"
        assert one.verify(problem, wrong, True).strict != "correct"
        assert one.verify(problem, "", True).strict == "unparseable"
        assert one.formatted(right)


def test_a_rebuilt_task_needs_no_yaml_and_no_data(folder: Path) -> None:
    task = made(folder)
    problem, spec = task.train()[0], task.spec()
    for file in folder.iterdir():
        file.unlink()
    assert task_files.build(spec).verify(problem, problem.gold, True) == Verdict("correct", "correct", problem.gold)


VARIANTS: dict[str, dict[str, Any]] = {
    "validation in the place of a test": {
        "test_split": None,
        "validation_split": "test",
    },
    "no output type": {"output_type": None},
    "description": {"description": "Add.\n"},
    "paths from the working directory": {
        "dataset_kwargs": {"data_files": {"train": "d/t.jsonl", "test": "test.jsonl"}}
    },
    "zero few-shot": {"num_fewshot": 0, "fewshot_split": "train", "repeats": 1, "tag": ["math"]},
    "metrics by a function": {"process_results": "utils.f", "filter_list": [{"name": "x"}]},
}


@pytest.mark.parametrize("what", VARIANTS)
def test_what_is_supported(folder: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    (folder / "cwd/d").mkdir(parents=True)
    (folder / "cwd/d/t.jsonl").write_text((folder / "train.jsonl").read_text())
    monkeypatch.chdir(folder / "cwd")
    task = made(folder, **VARIANTS[what])
    assert len(task.train()) > 30 and len(task.eval_sets()[0].problems) == 4
    assert task.train()[0].prompt.startswith("Add.\nQuestion" if what == "description" else "Question")


def test_an_include_is_laid_under(folder: Path) -> None:
    (folder / "base.yaml").write_text(yaml.safe_dump({**TABLE, "doc_to_text": "no", "num_fewshot": 5}))
    table = {"include": "base.yaml", "task": "own", "doc_to_text": "{{a}}+{{b}}=", "num_fewshot": 0}
    (folder / "own.yaml").write_text(yaml.safe_dump(table))
    task = tasks.load(str(folder / "own.yaml"))()
    assert task.name == "harness_own" and task.train(0)[0].prompt == "0+2="


def test_a_folder_of_files_is_a_data_set(folder: Path) -> None:
    task = made(folder, dataset_path=str(folder), dataset_kwargs=None)
    assert len(task.eval_sets()[0].problems) == 4


WRONG: dict[str, tuple[dict[str, Any] | str, str]] = {  # keys that are changed, or the file's text; the line
    "no train split": ({"training_split": None}, "training_split: missing; a training task needs one"),
    "no test split": ({"test_split": None}, "test_split: missing; there is nothing to evaluate on"),
    "choices": ({"doc_to_choice": ["a", "b"]}, "doc_to_choice: not supported"),
    "likelihoods": ({"output_type": "multiple_choice"}, "output_type: multiple_choice is not supported"),
    "few-shot": ({"num_fewshot": 5}, "num_fewshot: 5 is not supported; valid: 0"),
    "a function over the data": ({"process_docs": "utils.f"}, "process_docs: not supported"),
    "a key that nobody knows": ({"doc_to_txt": "x"}, "doc_to_txt: not supported"),
    "no prompt": ({"doc_to_text": None}, "doc_to_text: missing"),
    "a target that is a number": ({"doc_to_target": 0}, "doc_to_target: must be text, not 0"),
    "no data": ({"dataset_path": None}, "dataset_path: missing"),
    "a split without a file": ({"training_split": "dev"}, "data_files has no 'dev'; it has train, test"),
    "shards": ({"dataset_kwargs": {"data_files": {"train": ["a", "b"]}}}, "data_files: must be a file, or a table"),
    "other arguments": ({"dataset_kwargs": {"field": "x"}}, "dataset_kwargs.field: not supported"),
    "a file that is not there": (
        {"dataset_kwargs": {"data_files": {"train": "none.jsonl", "test": "test.jsonl"}}},
        "none.jsonl: no such file",
    ),
    "a column that is not there": (
        {"doc_to_text": "{{c}}"},
        r"jsonl:1: doc_to_text: .*'c' is undefined; the col",
    ),
    "a template that reaches too far": ({"doc_to_text": "{{a.__class__.__mro__}}"}, "doc_to_text: SecurityError"),
    "a broken template": ({"doc_to_target": "{{a"}, "jsonl:1: doc_to_target: TemplateSyntaxError"),
    "a name that is no file's": ({"task": "a b"}, "name must be letters"),
    "a group of tasks": ({"task": ["a", "b"]}, "task: must be text"),
    "kwargs that are none": ({"generation_kwargs": ["\n"]}, "generation_kwargs: must be a table"),
    "an include of itself": ({"include": "sums.yaml"}, "include: must be another file"),
    "an include that is not there": ({"include": "none.yaml"}, "no file .*none.yaml"),
    "not YAML": ("a: [", "sums.yaml cannot be read: while parsing"),
    "no table": ("- a\n", "sums.yaml: not the table of one task"),
    "a prompt by a function": (
        yaml.safe_dump({k: v for k, v in TABLE.items() if k != "doc_to_text"}) + "doc_to_text: !function utils.f\n",
        "doc_to_text: a !function is not supported; valid: a column or a template",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_is_one_line_that_names_it(folder: Path, what: str) -> None:
    changes, message = WRONG[what]
    with pytest.raises(ValueError, match=message) as error:
        if isinstance(changes, str):
            (folder / "sums.yaml").write_text(changes)
            tasks.load(str(folder / "sums.yaml"))
        else:
            made(folder, **changes).train()
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value) or "jsonl" in str(error.value)


@pytest.mark.parametrize("field", ["question", "instruction", "train_file", "test_file", "hub"])
def test_what_the_yaml_says_is_not_set_again(folder: Path, field: str) -> None:
    made(folder)
    value = "{question}" if field == "instruction" else "x"
    with pytest.raises(ValueError, match=f"task.{field}: it is what .*sums.yaml says"):
        tasks.load(str(folder / "sums.yaml"))(**{field: value})
