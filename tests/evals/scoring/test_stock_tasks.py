"""What `--eval-tasks` names: a name, a YAML file, a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from evals.scoring import lm_eval_bridge as bridge
from evals.scoring.scorer import Completion, Decoding
from evals.scoring.stock_tasks import StockTasks, stock_tasks

TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/rows.jsonl}}}}
test_split: test
output_type: generate_until
doc_to_text: "Q: {{{{q}}}}"
doc_to_target: "{{{{a}}}}"
process_results: !function helper.results
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
generation_kwargs: {{until: ["Q:"], max_gen_toks: 8}}
metadata: {{version: 1.0}}
"""
HELPER = "def results(doc, results):\n    return {'exact_match': float(results[0].strip() == doc['a'])}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "mine"
    (place / "more").mkdir(parents=True)
    (place / "rows.jsonl").write_text('{"q": "1", "a": "1"}\n{"q": "2", "a": "2"}\n')
    for name, where in (("first", place), ("second", place / "more")):
        (where / f"{name}.yaml").write_text(TASK.format(name=f"my_{name}", folder=place))
        (where / "helper.py").write_text(HELPER)
    (place / "_shared.yaml").write_text("output_type: generate_until\n")  # defines no task
    return place


def test_words_become_names_and_include_paths(folder: Path) -> None:
    file = f"{folder}/first.yaml"
    assert stock_tasks(["hellaswag", "lm_eval:gsm8k"]) == StockTasks(("hellaswag", "gsm8k"))
    assert stock_tasks([file]) == StockTasks(("my_first",), (str(folder),), False)
    assert stock_tasks([str(folder), "arc_easy"]) == StockTasks(
        ("my_first", "my_second", "arc_easy"), (str(folder),), True
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("gone.yaml", None, "no file .*gone.yaml"),
        ("bad.yaml", "task: [", "bad.yaml cannot be read"),
        ("none.yaml", "output_type: generate_until\n", "none.yaml: it defines no task"),
        ("list.yaml", "- a\n", "list.yaml: it defines no task"),
    ],
)
def test_a_yaml_without_a_task_is_one_line(name: str, text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        stock_tasks([str(tmp_path / name)])
    (tmp_path / name).unlink(missing_ok=True)
    with pytest.raises(ValueError, match="no YAML file in it defines a task"):
        stock_tasks([str(tmp_path)])


def test_a_users_own_tasks_run(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()

    def generate(prompts: list[str], decoding: Decoding) -> list[Completion]:
        assert prompts == ["Q: 1", "Q: 2"] and decoding.max_new_tokens == 8
        return [Completion("1", True), Completion("3", True)]

    stock = stock_tasks([str(folder)])
    scores = bridge.score_lm_eval(tmp_path / "ours", list(stock.names), generate, stock=stock)
    assert {r["task"]: r["value"] for r in scores.rows if r["metric"] == "exact_match"} == {
        "my_first": 0.5,
        "my_second": 0.5,
    }
    with pytest.raises(ValueError, match="an evaluation of the task is called 'my_first' too"):
        bridge.check_stock(stock, ["my_first"])
