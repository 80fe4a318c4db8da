"""Each benchmark's TOML against a small local copy of its data set's schema: rows as the hub has them.

The hub is out of reach of the tests: `datasets.load_dataset` is a stand-in that knows these data sets, their
configurations, splits and revisions, and nothing else.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from evals import tasks
from evals.tasks.benchmarks import catalog
from evals.tasks.countdown import reaches
from evals.tasks.data.files import DataError
from evals.tasks.qa import QuestionAnswer
from harness.config.experiment import resolve_experiment
from harness.config.run_config import resolve

AIME = {"problem": "Find $x$ with $x=33$.", "answer": "033"}
BOTH = ("train", "test")
# hub -> configuration, split -> rows, as their cards and their users' code show them
SCHEMAS: dict[str, tuple[str | None, dict[str, list[dict[str, Any]]]]] = {
    "openai/gsm8k": ("main", {s: [{"question": f"{s}: 3 + 4?", "answer": "3+4=<<3+4=7>>7\n#### 7"}] for s in BOTH}),
    "DigitalLearningGmbH/MATH-lighteval": (
        None,
        {s: [{"problem": f"A half, {s}?", "level": "Level 1", "type": "Algebra", "solution": "$\\boxed{\\frac12}$."}]
         for s in BOTH},
    ),
    "HuggingFaceH4/MATH-500": (
        None,
        {"test": [{"problem": "Half of one?", "solution": "So $\\boxed{\\frac{1}{2}}$.", "answer": "\\frac{1}{2}",
                   "subject": "Algebra", "level": 1, "unique_id": "test/algebra/1.json"}]},
    ),
    "HuggingFaceH4/aime_2024": (None, {"train": [{"id": 60, **AIME, "solution": "33", "url": "u", "year": "2024"}]}),
    "math-ai/aime25": (None, {"test": [{**AIME, "id": "0"}]}),
    "MathArena/aime_2026": (None, {"train": [{"problem_idx": 1, **AIME, "answer": 33}]}),
    "math-ai/amc23": (None, {"test": [{"id": 0, "question": "Find $x$ with $x=33$.", "answer": "33.0", "url": "u"}]}),
    "math-ai/minervamath": (None, {"test": [{"question": "Find $x$ with $x=33$.", "answer": "33"}]}),
    "Hothan/OlympiadBench": (
        "OE_TO_maths_en_COMP",
        {"train": [{"id": 1, "question": "Find $x$ with $x=33$.", "solution": ["..."], "final_answer": ["$33$"],
                    "context": None, "image_1": None, "is_multiple_answer": False, "answer_type": "Numerical"}]},
    ),
    "open-r1/DAPO-Math-17k-Processed": (
        "en",
        {"train": [{"prompt": f"Find $x$ with $x={n}$.", "solution": str(n), "data_source": "math_dapo",
                    "source_prompt": [{"role": "user", "content": "..."}], "ability": "MATH",
                    "reward_model": {"ground_truth": str(n), "style": "rule"}, "extra_info": {"index": "a"}}
                   for n in range(20)]},
    ),
    "SynthLabsAI/Big-Math-RL-Verified": (
        None,
        {"train": [{"problem": f"Find $x$ with $x={n}$.", "answer": str(n), "source": "orca_math", "domain": ["A"],
                    "llama8b_solve_rate": 0.5} for n in range(20)]},
    ),
    "ChilleD/SVAMP": (
        None,
        {s: [{"ID": "chal-1", "Body": f"There are 87 oranges, {s}.", "Question": "How many?", "Equation": "( 87.0 )",
              "Answer": "87", "Type": "Subtraction", "question_concat": "..."}] for s in BOTH},
    ),
    "EleutherAI/asdiv": (
        None,
        {"validation": [{"body": "Seven red apples and two green apples are in the basket.",
                         "question": "How many apples are in the basket?", "solution_type": "Addition",
                         "answer": "9 (apples)", "formula": "7+2=9"}]},
    ),
    "Jiayi-Pan/Countdown-Tasks-3to4": (None, {"train": [{"target": 35 + n, "nums": [3, 5, 10 + n]} for n in range(8)]}),
}  # fmt: skip
RIGHT = {  # a completion that is right, in the benchmark's own format
    "gsm8k": "3+4=7\n#### 7",
    "math": "So it is $\\boxed{1/2}$.",
    "math500": "So it is $\\boxed{0.5}$.",
    "svamp": "#### 87",
    "asdiv": "#### 9",
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The stand-in; it fails as the hub does."""
    import datasets

    asked: list[tuple[Any, ...]] = []

    def load_dataset(name: str, config: str | None, split: str, revision: str | None) -> Any:
        asked.append((name, config, split, revision))
        known, splits = SCHEMAS[name]
        if config != known:
            raise ValueError(f"BuilderConfig {config!r} not found. Available: [{known!r}]")
        if split not in splits:
            raise ValueError(f'Unknown split "{split}". Should be one of {list(splits)}.')
        return datasets.Dataset.from_list(splits[split])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr("evals.tasks.data.sources._resolves", lambda endpoint: True)
    return asked


QA = [name for name in catalog.names() if name not in catalog.OTHER_TASKS]


@pytest.mark.parametrize("name", QA)
def test_a_benchmark_is_a_task(name: str, hub: list[tuple[Any, ...]]) -> None:
    """Its test set has its name, and a right answer in its format is right, by the task and by the spec's copy."""
    task: Any = tasks.load(name)(selection_percent=0)  # type: ignore[call-arg]
    assert isinstance(task, QuestionAnswer)
    benchmark = catalog.load(name)
    greedy, sampled = task.eval_sets()
    assert greedy.name == task.name and greedy.domain == "in" and sampled.temperature == 1.0
    problem = greedy.problems[0]
    right = RIGHT.get(name, f"It is \\boxed{{{problem.gold}}}.")
    spec = task.spec()
    from evals.scoring.task_files import build

    for judge in (task, build(json.loads(json.dumps(spec)))):
        assert judge.verify(problem, right, True).strict == "correct"
        assert (
            judge.verify(problem, right.replace("####", "#### 1234").replace("boxed{", "boxed{1234"), True).strict
            != "correct"
        )
    assert {place[3] for place in hub} == {(benchmark.revision or None) if name != "gsm8k" else None}
    if "train" in benchmark.splits:
        assert task.train()[0].id not in {p.id for p in greedy.problems}
    else:
        with pytest.raises(DataError, match=f"task {name}: {benchmark.hub} has no training split; give --train-file"):
            task.train()


def test_answers_are_read_as_they_are_meant(hub: list[tuple[Any, ...]]) -> None:
    golds = {name: tasks.load(name)().eval_sets()[0].problems[0].gold for name in QA}
    assert golds["asdiv"] == "9" and golds["olympiadbench"].strip("$") == "33" and golds["svamp"] == "87"
    for name in ("aime24", "aime25", "aime26", "amc23", "minerva", "olympiadbench"):
        task = tasks.load(name)()
        assert task.verify(task.eval_sets()[0].problems[0], "\\boxed{33}", True).strict == "correct", name


def test_a_training_file_of_ones_own_beside_a_benchmarks_test_set(hub: list[tuple[Any, ...]], tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"problem": f"{n}+1?", "answer": str(n + 1)}) + "\n" for n in range(30)))
    task = tasks.load("math500")(train_file=str(file))  # type: ignore[call-arg]
    assert len(task.train(0)) + len(task.selection()) == 30 and len(task.eval_sets()[0].problems) == 1
    assert hub == [("HuggingFaceH4/MATH-500", None, "test", catalog.load("math500").revision)]


def test_benchmarks_are_evaluated_beside_a_task(hub: list[tuple[Any, ...]]) -> None:
    """By the run's own prompt and format, out of its domain."""
    config = resolve({"task_name": "gsm8k", "eval_tasks": "aime24,asdiv"}, [], None)
    experiment = resolve_experiment(config)
    sets = {s.name: s for s in experiment.task.eval_sets()}
    assert {"aime24", "asdiv"} <= set(sets) and sets["aime24"].domain == "out"
    assert "#### <number>" in sets["aime24"].problems[0].prompt and sets["asdiv"].problems[0].gold == "9"
    assert experiment.as_dict()["task"] == {}  # eval_tasks says it already


@pytest.mark.parametrize(
    ("task", "asked", "message"),
    [
        ("arithmetic", "aime24", "eval_tasks: aime24 is evaluated by a task with eval files"),
        ("gsm8k", "countdown", "eval_tasks: countdown's answers need its own verifier; give --task countdown"),
        ("gsm9k", "", "unknown task 'gsm9k'; valid: .*math500"),
    ],
)
def test_what_cannot_be_evaluated_says_so(task: str, asked: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_experiment(resolve({"task_name": task, "eval_tasks": asked}, [], None))


@pytest.mark.parametrize("name", catalog.names())
def test_every_benchmark_says_what_it_is(name: str) -> None:
    b = catalog.load(name)
    assert b.about and b.licence and b.paper and b.splits and set(b.splits) <= {"train", "test"}
    assert b.revision == "" or re.fullmatch(r"[0-9a-f]{40}", b.revision)
    assert b.hub in SCHEMAS


def test_a_wrong_toml_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.toml").write_text('about = "a"\nhubb = "b/c"\n')
    monkeypatch.setattr(catalog, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"x\.toml: .*hubb"):
        catalog.load.__wrapped__("x")


# --- countdown -----------------------------------------------------------------------------------------------------

EXPRESSIONS = [
    ("(10-3)*5", [3, 5, 10], 35, True),
    ("5 \u00d7 (10 \u2212 3) = 35", [3, 5, 10], 35, True),
    ("8/(3-8/3)", [3, 3, 8, 8], 24, True),  # through a fraction
    ("35", [3, 5, 10], 35, False),
    ("5*10-3*5", [3, 5, 10], 35, False),  # 5 twice
    ("5*10", [3, 5, 10], 50, False),  # 3 is left
    ("3+5+10", [3, 5, 10], 35, False),
    ("10/(5-5)+3", [3, 5, 5, 10], 35, False),
    ("3**5+10", [3, 5, 10], 253, False),
    ("3//1", [3, 1], 3, False),
    ("-3+5", [3, 5], 2, False),
    ("__import__('os')", [3], 3, False),
    ("(" * 150 + "3" + ")" * 150, [3], 3, False),
    ("3.0+5", [3, 5], 8, False),
    ("True+5", [1, 5], 6, False),
    ("", [3], 3, False),
]


@pytest.mark.parametrize(("expression", "numbers", "target", "right"), EXPRESSIONS)
def test_an_expression_uses_each_number_once(expression: str, numbers: list[int], target: int, right: bool) -> None:
    assert reaches(expression, numbers, target) is right


def test_countdown_is_a_task(hub: list[tuple[Any, ...]]) -> None:
    from evals.scoring.task_files import build

    task: Any = tasks.load("countdown")(test_size=2)  # type: ignore[call-arg]
    greedy, _ = task.eval_sets()
    assert len(greedy.problems) == 2 and len(task.train()) == 6
    assert not {p.id for p in greedy.problems} & {p.id for p in task.train()}
    assert any("2 of 8 problems are held out" in line for line in task.notices())
    problem = greedy.problems[0]
    a, b, c = problem.source["nums"]
    wrong = f"#### {a}+{b}+{c}"
    for judge in (task, build(json.loads(json.dumps(task.spec())))):
        assert judge.verify(problem, wrong, True).strict == "wrong"
        assert judge.verify(problem, "I give up.", True).strict == "unparseable"
        assert judge.verify(problem, "I give", False).strict == "truncated"
        if problem.source["target"] == 35 + (c - 10) and c == 10:
            assert judge.verify(problem, "#### (10-3)*5", True).strict == "correct"
    boxed = task.verify(task.train()[0], "\\boxed{1+2}", True)
    assert boxed.strict == "unparseable" and boxed.lenient == "wrong"
