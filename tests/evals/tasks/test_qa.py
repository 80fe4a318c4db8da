"""The tasks over files: which problems end up where, and how a completion is verified and compared."""

import csv
import dataclasses
import importlib
import json
from pathlib import Path

import pytest

from evals import tasks
from evals.scoring import task_files
from evals.tasks import Problem
from evals.tasks.data.equations import equations
from evals.tasks.data.files import DataError
from evals.tasks.data.sources import Read
from evals.tasks.harness_gsm8k import HarnessGSM8K
from evals.tasks.qa import QuestionAnswer


def gsm(n):
    return {"question": f"Dora has {n} cats and gets {n} more. How many?", "answer": f"{n}+{n}={2 * n}\n#### {2 * n}"}


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def files(tmp_path):
    """300 training problems, of which 10 are test problems too, 5 in other writing, and 2 are in the eval file."""
    other = [{**gsm(n), "question": gsm(n)["question"].upper().replace(".", " ;")} for n in range(300, 305)]
    svamp = [{"Body": f"Ed has {n} hats.", "Question": "How many?", "Answer": float(n)} for n in range(7)]
    shared = [{"question": f"Ed has {n} hats. How many?", "answer": f"#### {n}"} for n in range(2)]
    return {
        "train_file": jsonl(tmp_path / "train.jsonl", [*map(gsm, range(5, 303)), *shared]),
        "test_file": jsonl(tmp_path / "test.jsonl", [*other, *map(gsm, range(100, 107)), *map(gsm, range(400, 410))]),
        "eval_files": {"svamp": jsonl(tmp_path / "svamp.jsonl", svamp)},
    }


def ids(problems):
    return {p.id for p in problems}


# ---------------------------------------------------------------- sets


def test_splits_never_meet_and_overlap_is_counted(files):
    task = HarnessGSM8K(**files)
    train, selection = task.train(0), task.selection()
    assert task.overlap == 3 + 7 + 2
    assert len(train) + len(selection) == 300 - 12
    assert 0 < len(selection) < 40
    held = [ids(s.problems) for s in task.eval_sets()]
    for other in (ids(selection), *held):
        assert not ids(train) & other
    assert not any(ids(selection) & other for other in held)
    assert train == task.train(1) and train is task.train(0)  # in file order whatever the seed, read once


def test_an_eval_set_that_is_cut_still_guards_the_training_split(files):
    task = HarnessGSM8K(**files)
    assert [len(s.problems) for s in task.eval_sets(limit=1)] == [1, 1, 1]
    assert task.overlap == 12
    assert [len(s.problems) for s in task.eval_sets()] == [22, 22, 7]


def test_eval_sets_names_domains_temperatures_and_order(files):
    sets = HarnessGSM8K(**files).eval_sets(limit=4)
    assert [(s.name, s.domain, s.temperature) for s in sets] == [
        ("harness_gsm8k", "in", 0.0),
        ("harness_gsm8k_t1", "in", 1.0),
        ("svamp", "out", 0.0),
    ]
    assert sets[0].problems == sets[1].problems
    assert [p.gold for p in sets[0].problems] == ["600", "602", "604", "606"]  # the first, in file order
    assert {s.version for s in sets} == {HarnessGSM8K.version}
    with pytest.raises(DataError, match="limit 0"):
        HarnessGSM8K(**files).eval_sets(limit=0)


def test_eval_files_have_columns_of_their_own(files, tmp_path):
    odd = jsonl(tmp_path / "odd.jsonl", [{"q": "1+1?", "a": 2}])
    evals = {**files["eval_files"], "odd": odd}
    with pytest.raises(DataError, match="odd.jsonl:1: no column 'question'; the columns are q, a"):
        HarnessGSM8K(**files | {"eval_files": evals}).eval_sets()
    task = HarnessGSM8K(**files | {"eval_files": evals}, eval_columns={"odd": ["{q}", "a"]})
    assert [(s.name, s.problems[0].gold) for s in task.eval_sets()[2:]] == [("svamp", "0"), ("odd", "2")]
    with pytest.raises(DataError, match="task.eval_columns 'od': .* svamp, odd"):
        HarnessGSM8K(**files | {"eval_files": evals}, eval_columns={"od": ["q", "a"]})


def test_template_columns_of_the_task_itself(files):
    task = QuestionAnswer(test_file=files["eval_files"]["svamp"], question="{Body} {Question}", answer="Answer")
    first, sampled = task.eval_sets()
    assert (first.name, sampled.name) == ("qa", "qa_t1")
    assert "Question: Ed has 0 hats. How many?\n" in first.problems[0].prompt
    with pytest.raises(DataError, match="--train-file"):
        task.train(0)


def test_the_names_of_the_tasks():
    assert tasks.load("gsm8k") is tasks.load("harness_gsm8k") is HarnessGSM8K
    assert tasks.load("qa") is QuestionAnswer


def test_a_folder_gives_both_splits(files, tmp_path):
    task = QuestionAnswer(train_file=str(tmp_path))
    assert len(task.eval_sets()[0].problems) == 22 and task.overlap == 10


def test_reports_name_what_was_skipped_and_only_what_was_read(files, tmp_path):
    bad = jsonl(tmp_path / "bad.jsonl", [gsm(1), {"question": "why?", "answer": "because"}, gsm(1), gsm(2)])
    task = QuestionAnswer(train_file=bad, eval_files=files["eval_files"], selection_percent=0)
    assert task.reports() == {}
    task.eval_sets()
    assert set(task.reports()) == {"svamp", "train"}  # of which the test set is held out
    assert len(task.train(0)) == 1 and task.selection() == []
    report = task.reports()["train"]
    assert (report.rows, len(report.problems), report.duplicates, report.skipped[0][0]) == (4, 2, 1, 2)


def test_nothing_left_to_train_on_says_why(files):
    with pytest.raises(DataError, match="no training problem is left of 22: 22 are test or eval problems"):
        QuestionAnswer(train_file=files["test_file"], test_file=files["test_file"]).train(0)


def test_missing_files_are_named_when_they_are_asked_for(tmp_path):
    task = QuestionAnswer(train_file=str(tmp_path / "gone.jsonl"))  # making it reads nothing
    with pytest.raises(DataError, match="gone.jsonl: no such file"):
        task.train(0)
    with pytest.raises(DataError, match="gone.jsonl: no such file"):
        task.eval_sets()
    with pytest.raises(DataError, match="--test-file or --eval-file"):
        QuestionAnswer().eval_sets()
    with pytest.raises(DataError, match="--train-file"):
        QuestionAnswer().train(0)


def test_the_hub_is_asked_only_where_no_file_is_given(monkeypatch, files):
    asked = []

    def read_hub(name, config, split, revision):
        asked.append((name, config, split, revision))
        rows = [(n, gsm(n)) for n in (range(1, 60) if split == "train" else range(50, 70))]
        return Read(f"{name}, {config}, {split}", rows, "c" * 40)

    monkeypatch.setattr("evals.tasks.data.sources.read_hub", read_hub)
    task = HarnessGSM8K(eval_files=files["eval_files"])
    assert asked == []
    assert len(task.train(0)) + len(task.selection()) == 49 and task.overlap == 10
    assert sorted(asked) == [("openai/gsm8k", "main", "test", ""), ("openai/gsm8k", "main", "train", "")]
    assert task.reports()["test"].source == "openai/gsm8k, main, test"
    assert f"openai/gsm8k, main, test: commit {'c' * 40}" in task.notices()
    HarnessGSM8K(**files).train(0)
    assert len(asked) == 2


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"format": "xml"}, "task.format 'xml': valid are hash, boxed, answer_is"),
        ({"instruction": "Solve it."}, "must hold {question}"),
        ({"selection_percent": 60}, "valid are 0 to 50"),
        ({"question": "{Body"}, "template '{Body'"),
        ({"eval_files": {"qa": "f"}}, "eval file 'qa'"),
        ({"eval_files": {"a/b": "f"}}, "eval file 'a/b'"),
    ],
)
def test_fields_that_are_wrong(fields, message):
    with pytest.raises(DataError) as caught:
        QuestionAnswer(**fields)
    assert message in str(caught.value)


# ---------------------------------------------------------------- verification

COMPLETIONS = {
    "hash": "6*3={}\n#### {}",
    "boxed": "6*3={}, so \\boxed{{{}}}.",
    "answer_is": "6*3={}. The answer is {}.",
}


@pytest.mark.parametrize("format", COMPLETIONS)
def test_verify_in_each_format(format, files):
    task = QuestionAnswer(test_file=files["test_file"], format=format)
    problem = task.eval_sets()[0].problems[0]
    assert problem.gold == "600" and task.prompt_template.count("{question}") == 1
    for value, outcome in (("600", "correct"), ("600.0", "correct"), ("601", "wrong")):
        verdict = task.verify(problem, COMPLETIONS[format].format(value, value), ended=True)
        assert (verdict.strict, verdict.lenient) == (outcome, outcome)
    other = COMPLETIONS["boxed" if format != "boxed" else "hash"].format(600, 600)
    assert task.verify(problem, other, ended=True).strict == "unparseable"
    assert task.verify(problem, other, ended=True).lenient == "correct"
    assert task.verify(problem, "and then", ended=False).strict == "truncated"


def test_the_spec_rebuilds_the_same_verifier_without_the_data(files):
    task = HarnessGSM8K(**files, format="boxed", stop=["Q:"], instruction="{question} =")
    spec = json.loads(json.dumps(task.spec()))
    module, _, name = spec["class"].partition(":")
    again = getattr(importlib.import_module(module), name)(**spec["fields"])
    assert not set(spec["fields"]) & {"train_file", "eval_files", "hub", "question"}
    assert (again.format, again.stop, again.prompt_template) == ("boxed", ("Q:",), "{question} =")
    problem = task.eval_sets()[0].problems[0]
    assert again.verify(problem, "\\boxed{600}", True) == task.verify(problem, "\\boxed{600}", True)
    plain = {k: v for k, v in dataclasses.asdict(problem).items() if k != "turns"}
    assert json.loads(json.dumps(plain)) == plain


def test_keys_tell_solutions_apart_by_their_equations():
    task, problem = QuestionAnswer(), None
    key = lambda text: task.key(problem, text)  # noqa: E731
    one = key("She pays 2 x $1.50 = $<<2*1.5=3>>3.00.\nThen 10 - 3 = 7.\n#### 7")
    assert one == key("So 2*1.50=3 and\n\n10-3 = 7\n#### 7") == "2*1.5=3,10-3=7"
    assert one != key("10-3=7, 2*1.5=3 #### 7")  # another order is another solution
    assert one != key("10-1.5-1.5=7 #### 7")
    assert key("It is  seven") == key("It is seven") != key("Seven it is")
    assert task.steps(problem, "1+1=2") is None


@pytest.mark.parametrize(
    "text, found",
    [
        ("48/2 = <<48/2=24>>24", ["48/2=24"]),
        ("so <<3+4=7>>7 pies, 7 + 1 = 8", ["3+4=7", "7+1=8"]),
        ("100 - 50 - 30 = $<<100-50-30=20>>20", ["100-50-30=20"]),
        ("34*(1/2) = 17", ["34*(1/2)=17"]),
        ("(3 + 4 = 7)", ["3+4=7"]),
        ("1,000 \u00d7 .5 = 500.00", ["1000*0.5=500"]),
        ("3+4=7+2=9", ["3+4=7", "7+2=9"]),
        ("- 3 + 4 = 7\n- 10 - 3 = 7", ["3+4=7", "10-3=7"]),
        ("x = 7, 8 - 2 = <<6=6>>6 #### 1+1=2", ["8-2=6"]),
        ("", []),
    ],
)
def test_equations(text, found):
    assert equations(text) == found


@pytest.mark.parametrize("text", ["1+" * 20_000, "(" * 40_000, "1" * 40_000, "1 + " * 20_000, "<<1+" * 10_000])
def test_runaway_completions_do_not_take_long(text):
    assert equations(text) == []


def test_rows_with_yes_and_with_no_are_both_kept(tmp_path):
    rows = [{"question": f"Is it {x}?", "answer": x} for x in ("yes", "no", "Yes.", "#### No", "True", "false")]
    task = QuestionAnswer(train_file=jsonl(tmp_path / "yes.jsonl", rows), selection_percent=0)
    assert {p.gold for p in task.train()} == {rf"\text{{{x}}}" for x in ("yes", "no", "true", "false")}
    assert task.reports()["train"].skipped == [] and task.reports()["train"].duplicates == 1  # "Yes."
    others = {"yes": "no", "no": "yes", "true": "false", "false": "true"}
    for problem in task.train():
        right = problem.gold.removeprefix(r"\text{").removesuffix("}")
        assert task.verify(problem, f"#### {right.title()}", True).strict == "correct"
        assert task.verify(problem, f"#### {others[right]}", True).strict == "wrong"


@pytest.mark.parametrize(
    ("task", "format", "outcome"),
    [
        (QuestionAnswer, "hash", "wrong"), (QuestionAnswer, "boxed", "correct"), (QuestionAnswer, "answer_is", "wrong"),
        (HarnessGSM8K, "hash", "wrong"), (HarnessGSM8K, "boxed", "wrong"),
    ],
)  # fmt: skip
def test_whether_a_calculation_is_an_answer(task, format, outcome):
    text = {"hash": "#### 48/2", "boxed": r"\boxed{48/2}", "answer_is": "The answer is 48/2."}[format]
    problem = Problem("", "What is 48/2?", "24")
    assert task(format=format).verify(problem, text, True).strict == outcome
    assert task(format=format, worked_out=False).verify(problem, text, True).strict == "correct"
    assert task(format=format, worked_out=True).verify(problem, text, True).strict == "wrong"
    rebuilt = task_files.build(task(format=format, worked_out=False).spec())
    assert rebuilt.verify(problem, text, True).strict == "correct"


# ---------------------------------------------------------------- data as people have it


def write_csv(path: Path, rows: list[dict[str, str]]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def test_a_training_file_alone_holds_out_a_test_set(tmp_path):
    file = write_csv(tmp_path / "all.csv", [gsm(n) for n in range(1, 101)])
    task = QuestionAnswer(train_file=file, selection_percent=0)
    greedy, sampled = task.eval_sets()
    assert [s.name for s in (greedy, sampled)] == ["qa", "qa_t1"] and greedy.problems == sampled.problems
    test, train = {p.id for p in greedy.problems}, {p.id for p in task.train()}
    assert (len(test), len(train), test & train, task.overlap) == (10, 90, set(), 0)
    (said,) = task.notices()
    assert said == (
        f"{file}: no test set is given: 10 of 100 problems are held out as one (task.test_percent=10, task.test_seed=0)"
    )
    other = QuestionAnswer(train_file=file, test_seed=1, test_percent=20)
    assert len(other.eval_sets()[0].problems) == 20 and {p.id for p in other.eval_sets()[0].problems} != test
    turned = QuestionAnswer(train_file=write_csv(tmp_path / "b.csv", [gsm(n) for n in range(100, 0, -1)]))
    assert {p.id for p in turned.eval_sets()[0].problems} == test  # whatever the order of the rows


def test_a_folder_without_a_test_split_holds_one_out_and_a_wrong_file_does_not(tmp_path):
    jsonl(tmp_path / "train.jsonl", [gsm(n) for n in range(1, 21)])
    assert len(QuestionAnswer(train_file=str(tmp_path)).eval_sets()[0].problems) == 2
    with pytest.raises(DataError, match="gone.csv: no such file"):
        QuestionAnswer(train_file=str(tmp_path), test_file="gone.csv").eval_sets()


def test_the_test_file_may_have_columns_of_its_own(tmp_path):
    train = jsonl(tmp_path / "a.jsonl", [{"q": f"{n}+1?", "a": str(n + 1)} for n in range(9)])
    test = jsonl(tmp_path / "b.jsonl", [{"frage": "9+1?", "antwort": "10"}])
    own = {"train_file": train, "test_file": test, "question": "q", "answer": "a"}
    with pytest.raises(DataError, match="no column 'q'; the columns are frage, antwort"):
        QuestionAnswer(**own).eval_sets()
    task = QuestionAnswer(**own, test_question="frage", test_answer="antwort")
    assert [p.gold for p in task.eval_sets()[0].problems] == ["10"] and len(task.train()) + len(task.selection()) == 9


def test_columns_that_nobody_named_are_found_and_said(tmp_path):
    file = jsonl(tmp_path / "math.jsonl", [{"problem": f"{n}+1?", "answer": str(n + 1), "level": n} for n in range(20)])
    task = QuestionAnswer(train_file=file)
    assert task.train()[0].row.keys() == {"problem", "answer", "level"}
    assert any("read columns 'problem' and 'answer'" in line for line in task.notices())
    with pytest.raises(DataError, match="no column 'frage'"):
        QuestionAnswer(train_file=file, question="frage").train()


TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]
TOLD = [*TURNS, {"role": "assistant", "content": "It is \\boxed{4}."}]


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"prompt": TURNS, "answer": "4"}, {}),
        ({"messages": TOLD}, {}),
        ({"talk": TOLD}, {"question": "talk", "answer": "talk"}),
        ({"prompt": TURNS, "reward_model": {"ground_truth": "4", "style": "rule"}}, {}),
    ],
)
def test_a_conversation_is_a_prompt(row, columns, tmp_path):
    task = QuestionAnswer(test_file=jsonl(tmp_path / "c.jsonl", [row]), format="boxed", **columns)
    (problem,) = task.eval_sets()[0].problems
    assert list(problem.turns) == TURNS and problem.gold == "4"
    assert problem.prompt == "Be brief.\n\n2+2?"  # what a model without a chat template reads
    again = QuestionAnswer(test_file=jsonl(tmp_path / "c.jsonl", [row]), instruction="Solve {question}", **columns)
    assert [t["content"] for t in again.eval_sets()[0].problems[0].turns] == ["Be brief.", "Solve 2+2?"]


def test_behind_a_chat_template_the_question_stands_bare(files):
    problem = QuestionAnswer(test_file=files["test_file"], format="boxed").eval_sets()[0].problems[0]
    system, user = problem.turns
    assert user == {"role": "user", "content": problem.source["question"]}
    assert system["role"] == "system" and "\\boxed{}" in system["content"] and system["content"] in problem.prompt
    own = QuestionAnswer(test_file=files["test_file"], instruction="So: {question}").eval_sets()[0].problems[0]
    assert [dict(t) for t in own.turns] == [{"role": "user", "content": own.prompt}]


def test_examples_stand_before_every_prompt_and_are_not_trained_on(tmp_path):
    train = jsonl(tmp_path / "train.jsonl", [gsm(n) for n in range(1, 41)])
    test = jsonl(tmp_path / "test.jsonl", [gsm(50)])
    task = QuestionAnswer(train_file=train, test_file=test, examples=2, selection_percent=0)
    (problem,) = task.eval_sets()[0].problems
    plain = QuestionAnswer(train_file=train, test_file=test).eval_sets()[0].problems[0]
    assert problem.prompt.endswith("\n\n" + plain.prompt) and problem.prompt.count("Question:") == 3
    assert [t["role"] for t in problem.turns] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert problem.turns[2]["content"].endswith(f"#### {problem.turns[2]['content'].rpartition(' ')[2]}")
    shown = {t["content"] for t in problem.turns if t["role"] == "user"}
    assert len(task.train()) == 38 and not shown & {p.source["question"] for p in task.train()}
    assert all(p.prompt.startswith(problem.prompt[: -len(plain.prompt)]) for p in task.train())
    elsewhere = QuestionAnswer(train_file=train, test_file=test, examples=1, examples_file=train, selection_percent=0)
    with pytest.raises(DataError, match="task.examples 40: there are 40 problems"):
        QuestionAnswer(train_file=train, test_file=test, examples=40).train()
    assert len(elsewhere.train()) == 39


def test_a_hub_id_may_stand_where_a_file_does(monkeypatch, tmp_path):
    """A data set as the hub lays it out, in a local folder: what `datasets` itself makes of names and splits."""
    import datasets

    asked = []
    train = datasets.Dataset.from_list([gsm(n) for n in range(1, 30)])

    def load_dataset(name, config, split, revision):
        asked.append((name, config, split, revision))
        if split != "train":
            raise ValueError(f"Unknown split \"{split}\". Should be one of ['train'].")
        return train

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr("evals.tasks.data.sources._resolves", lambda endpoint: True)
    task = QuestionAnswer(train_file="me/data:main@v1")
    assert len(task.eval_sets()[0].problems) == 3 and len(task.train()) + len(task.selection()) == 26
    assert ("me/data", "main", "test", "v1") in asked and ("me/data", "main", "train", "v1") in asked
    other = QuestionAnswer(test_file="me/data#train")
    assert len(other.eval_sets()[0].problems) == 29 and asked[-1] == ("me/data", None, "train", None)
