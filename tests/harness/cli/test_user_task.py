"""A task of one's own, `--task FILE.py`: a worked example in every command, and what is wrong with other files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from evals import tasks
from evals.scoring import task_files
from harness.cli import main
from harness.config.run_config import RunConfig
from harness.config.start_models import MODELS
from harness.studies.study import parse
from tests.helpers import ROOT

Call = Callable[..., tuple[int, str, str]]

LAST = '''"""Name the last digit of a number."""

from dataclasses import dataclass
from evals.tasks import EvalSet, Problem, Task
from evals.verification.verifier import Verdict


@dataclass(frozen=True, kw_only=True)
class LastDigit(Task):
    name = "last_digit"

    digits: int = 2  # of each number
    size: int = 16  # problems of each split

    def problems(self, first):
        numbers = [str(n) for n in range(10 ** (self.digits - 1) + first, 10**self.digits)][: self.size]
        return [Problem(id=n, prompt=f"{n}=", gold=n[-1]) for n in numbers]

    def train(self, seed):
        return self.problems(self.size)

    def selection(self):
        return self.problems(2 * self.size)

    def eval_sets(self, limit=None):
        return [EvalSet("last_digit", "in", self.problems(0)[:limit])]

    def verify(self, problem, completion, ended):
        answer = completion.strip()
        outcome = "correct" if answer.endswith(problem.gold) else "wrong"
        return Verdict(strict=outcome, lenient=outcome, answer=answer)
'''


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """`harness WORDS` in this process: (exit code, stdout, stderr)."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main.main()
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with last.py in it."""
    (tmp_path / "last.py").write_text(LAST)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of the processes that `compare` starts
    return tmp_path


ROUNDS = ["--budget", "completions=32", "--set", "eval_fractions=0,1", "--dtype", "float32"]
SMALL = ["--set", "prompts=4", "--group-size", "4"]  # as `taught` has by default


def test_two_rounds_of_a_users_task(call: Call, here: Path) -> None:
    words = ["run", "--task", "last.py", *ROUNDS, *SMALL, "--set", "task.digits=3", "--name", "r"]
    assert call(*words, "--quiet") == (0, "", "")
    run = here / "results/r"
    record = json.loads((run / "record.json").read_text())
    assert record["status"] == "finished" and record["config"]["task"] == {"digits": 3}
    assert record["config"]["task_name"] == "last.py"
    assert [(row["task"], row["filter"], row["n"]) for row in record["evals"][:2]] == [
        ("last_digit", "strict", 16),
        ("last_digit", "lenient", 16),
    ]
    rounds = (run / "metrics.jsonl").read_text().splitlines()
    assert len(rounds) == 2 and "accuracy/strict" in json.loads(rounds[0])
    began, ended = (load_file(p / "model.safetensors") for p in (MODELS / "nano", run / "checkpoints/final"))
    assert any(not torch.equal(began[name], ended[name]) for name in began), "something was learned from it"


def test_its_evaluation_sets_may_be_moved_and_are_read_without_the_file(call: Call, here: Path, taught: Path) -> None:
    words = ["run", "--task", "last.py", "--model", taught, *ROUNDS, "--set", "task.digits=3", "--name", "r"]
    assert call(*words, "--quiet")[0] == 0
    shutil.move(here / "results/r/tasks", here / "moved")
    (here / "last.py").unlink()
    file = task_files.read(here / "moved", "last_digit")
    task = task_files.build(file.spec)
    assert task.digits == 3  # type: ignore[attr-defined]
    assert task.verify(file.problems[0], "#### 0", True).strict == "correct"
    code = "import task_functions as t; print(t.strict([['#### 0'], ['3']], [{'set': 'last_digit', 'row': 0}] * 2))"
    environment = {**os.environ, "PYTHONPATH": f"{here / 'moved'}:{ROOT}"}
    done = subprocess.run([sys.executable, "-c", code], cwd="/", env=environment, capture_output=True, text=True)
    assert done.stdout == "['correct', 'wrong']\n", done.stderr


def test_an_interrupted_run_of_it_goes_on(call: Call, here: Path, taught: Path) -> None:
    words = ["run", "--task", "last.py", "--model", taught, *ROUNDS, "--name", "r", "--quiet"]
    assert call(*words)[0] == 0
    record = here / "results/r/record.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "status": "interrupted"}))
    code, _, said = call(*words, "--resume", "--set", "task.size=8")
    assert code == 2 and "another configuration: task.size" in said
    assert call(*words, "--resume")[0] == 0
    assert json.loads(record.read_text())["status"] == "finished"


def test_other_commands_take_it(call: Call, here: Path, taught: Path) -> None:
    code, said, _ = call("eval", taught, "--task", "last.py", "--set", "eval_split=selection")
    assert code == 0 and "last_digit_selection" in said
    assert call("run", "--task", "last.py", "--model", taught, *ROUNDS, "--name", "r", "--quiet")[0] == 0
    (here / "last.py").unlink()  # a report reads records alone
    assert call("report", "results/r")[0] == 0
    assert "last_digit" in (here / "results/r/report.md").read_text()


@pytest.mark.slow
def test_compare_takes_it(call: Call, here: Path, taught: Path) -> None:
    small = ["--model", str(taught), *ROUNDS, "--quiet"]
    code, _, said = call("compare", "--algos", "grpo,online_rft", "--seeds", "1", "--task", "last.py", *small)
    assert (code, said) == (0, "")
    assert "last_digit" in (here / "results/compare-grpo-online_rft/report.md").read_text()


def test_the_plan_reads_a_file_that_names_it(call: Call, here: Path) -> None:
    (here / "t.toml").write_text('task = "last.py"\n')
    assert call("plan", "--config", "t.toml", "--no-measure")[0] == 0


def test_in_a_study_its_path_is_relative_to_the_study(call: Call, here: Path, taught: Path) -> None:
    folder = here / "studies"
    folder.mkdir()
    shutil.move(here / "last.py", folder / "own.py")
    base = f'[base]\ntask = "own.py"\nmodel = "{taught}"\nbudget = "completions=32"\neval_fractions = [0, 1]\n'
    arms = '[arms.a]\nalgo.name = "grpo"\n[arms.b]\nalgo.name = "grpo"\nalgo.kl_coef = 0\n'
    (folder / "s.toml").write_text(f"seeds = 1\n{base}{arms}")
    code, said, _ = call("ablate", "studies/s.toml", "--dry-run")
    assert code == 0 and said.count("--task studies/own.py") == 2
    (folder / "own.py").write_text("1 / 0\n")
    code, _, said = call("ablate", "studies/s.toml", "--dry-run")
    assert code == 2 and "studies/own.py cannot be imported: ZeroDivisionError" in said


def test_a_stored_study_is_read_without_the_file(here: Path) -> None:
    study = parse("s", {"arms": {"a": {"algo": "grpo"}}, "seeds": 1, "base": {"task": "gone.py"}})
    assert study.runs()[0].config("results").task_name == "gone.py"


YAML = """task: sums
dataset_path: json
dataset_kwargs: {data_files: {train: train.jsonl, test: test.jsonl}}
training_split: train
test_split: test
doc_to_text: "{{a}}+{{b}}="
doc_to_target: "#### {{a + b}}"
"""


def test_two_rounds_of_an_lm_eval_yaml(call: Call, here: Path, taught: Path) -> None:
    folder = here / "yaml"
    folder.mkdir()
    (folder / "sums.yaml").write_text(YAML)
    for name, b in (("train", 2), ("test", 3)):
        rows = [json.dumps({"a": a, "b": b}) + "\n" for a in range(10, 30)]
        (folder / f"{name}.jsonl").write_text("".join(rows))
    words = ["run", "--task", "yaml/sums.yaml", "--model", taught, *ROUNDS, "--name", "r", "--quiet"]
    assert call(*words) == (0, "", "")
    record = json.loads((here / "results/r/record.json").read_text())
    assert record["status"] == "finished" and record["evals"][0]["task"] == "harness_sums"
    assert len((here / "results/r/metrics.jsonl").read_text().splitlines()) == 2
    base = f'[base]\ntask = "sums.yaml"\nmodel = "{taught}"\n'
    (folder / "s.toml").write_text(f'seeds = 1\n{base}[arms.a]\nalgo = "grpo"\n')
    code, said, _ = call("ablate", "yaml/s.toml", "--dry-run")
    assert code == 0 and "--task yaml/sums.yaml" in said
    (folder / "sums.yaml").write_text(YAML.replace("training_split", "fewshot_split"))
    code, _, said = call("run", "--task", "yaml/sums.yaml")
    assert code == 2 and said == "error: task: yaml/sums.yaml: training_split: missing; a training task needs one\n"


# ---------------------------------------------------------------- what is wrong


BODY = LAST.partition("@dataclass")[0]
TWO = LAST + "\n\nclass Again(LastDigit):\n    name = 'again'\n"
WRONG: dict[str, tuple[str | None, list[str]]] = {  # what is wrong -> (the file's text, what the line says)
    "no file": (None, ["no file own.py"]),
    "no task": (BODY, ["own.py must define exactly one Task, found 0"]),
    "two tasks": (TWO, ["own.py must define exactly one Task, found 2: Again, LastDigit"]),
    "a syntax error": ("def f(:\n", ["own.py cannot be imported: SyntaxError"]),
    "an error at import": ("1 / 0\n", ["own.py cannot be imported: ZeroDivisionError: division by zero"]),
    "an exit at import": ("raise SystemExit(3)\n", ["own.py cannot be imported: SystemExit: 3"]),
    "an import that is not there": ("import nowhere\n", ["own.py cannot be imported: ModuleNotFoundError", "nowhere"]),
    "no verification": (LAST.replace("def verify", "def judge"), ["LastDigit lacks what every Task has: verify"]),
    "no name": (LAST.replace('name = "last_digit"', ""), ["LastDigit.name must be letters", "None"]),
    "a name that is no file's": (LAST.replace('"last_digit"', '"a/b"', 1), ["LastDigit.name must be", "'a/b'"]),
    "an unknown field": (LAST.replace("digits", "figures"), ["task.digits: unknown field", "task.figures"]),
    "an error in train": (
        LAST.replace("return self.problems(self.size)", "return {}['x']"),
        ["own.py:20: KeyError: 'x'"],
    ),
    "a refusal of its own": (
        LAST.replace("return self.problems(self.size)", "raise ValueError('no numbers')"),
        ["own.py:20: no numbers"],
    ),
    "an exit in train": (
        LAST.replace("return self.problems(self.size)", "raise SystemExit('enough')"),
        ["own.py:20: SystemExit: enough"],
    ),
    "no problems": (LAST.replace("return self.problems(self.size)", "return []"), ["train: must give a list", "[]"]),
    "problems that are none": (
        LAST.replace("return self.problems(self.size)", "return ['1=']"),
        ["train: item 0 is not a Problem: '1='"],
    ),
    "a gold that is a number": (LAST.replace("gold=n[-1]", "gold=int(n)"), ["item 0: gold must be text, not 100"]),
    "no evaluation set": (LAST.replace('[EvalSet("last_digit", "in", self.problems(0)[:limit])]', "[]"), ["eval_sets"]),
    "an empty set": (LAST.replace("[:limit]", "[:0]"), ["eval_sets: last_digit: must give a list of problems", "[]"]),
    "no set in domain": (LAST.replace('"in", self', '"out", self'), ["eval_sets: one set must have domain"]),
    "a verdict that is a bool": (
        LAST.replace("return Verdict(strict=outcome, lenient=outcome, answer=answer)", "return True"),
        ["verify: must give a Verdict, not True"],
    ),
    "a verification that raises": (
        LAST.replace("answer = completion.strip()", "answer = completion[0]"),
        ["own.py:29: IndexError: string index out of range"],
    ),
    "an error when it is made": (
        LAST.replace("    def train", "    def __post_init__(self):\n        self.size = 3\n\n    def train"),
        ["own.py:", "FrozenInstanceError"],
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_line_with_the_file(call: Call, here: Path, taught: Path, what: str) -> None:
    text, parts = WRONG[what]
    if text is not None:
        (here / "own.py").write_text(text)
    code, out, said = call("run", "--task", "own.py", "--model", taught, "--set", "task.digits=3", *ROUNDS)
    assert (code, out) == (2, "") and said.count("\n") == 1 and said.startswith("error: task")
    assert [part for part in parts if part not in said] == [], said
    assert not (here / "results").exists()


def test_a_class_without_fields_needs_no_dataclass(here: Path) -> None:
    plain = LAST.replace("@dataclass(frozen=True, kw_only=True)\n", "").replace("digits: int", "digits")
    (here / "plain.py").write_text(plain.replace("size: int", "size"))
    task = tasks.load("plain.py")()
    assert task.spec() == {"class": f"{here / 'plain.py'}:LastDigit", "fields": {}}
    with pytest.raises(ValueError, match=r"task\.size: unknown field"):
        from harness.config.experiment import task_of

        task_of(RunConfig(task_name="plain.py", task={"size": 3}))


def test_errors_of_the_projects_own_tasks_are_not_hidden() -> None:
    with pytest.raises(KeyError), tasks.named_errors(tasks.load("arithmetic")):
        raise KeyError("a fault of ours")
