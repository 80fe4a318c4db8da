"""The tasks over files: which problems end up where, and how a completion is verified and compared."""

import dataclasses
import importlib
import json

import pytest

from evals import tasks
from evals.scoring import task_files
from evals.tasks import Problem
from evals.tasks.data.loading import DataError
from evals.tasks.harness_gsm8k import HarnessGSM8K
from evals.tasks.qa import QuestionAnswer, equations


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
    bad = jsonl(tmp_path / "bad.jsonl", [gsm(1), {"question": "why?", "answer": "because"}, gsm(1)])
    task = QuestionAnswer(train_file=bad, eval_files=files["eval_files"], selection_percent=0)
    assert task.reports() == {}
    task.eval_sets()
    assert set(task.reports()) == {"svamp"}
    assert len(task.train(0)) == 1 and task.selection() == []
    report = task.reports()["train"]
    assert (report.rows, len(report.problems), report.duplicates, report.skipped[0][0]) == (3, 1, 1, 2)


def test_nothing_left_to_train_on_says_why(files):
    with pytest.raises(DataError, match="no training problem is left of 22: 22 are test or eval problems"):
        QuestionAnswer(train_file=files["test_file"], test_file=files["test_file"]).train(0)


def test_missing_files_are_named_when_they_are_asked_for(tmp_path):
    task = QuestionAnswer(train_file=str(tmp_path / "gone.jsonl"))  # making it reads nothing
    with pytest.raises(DataError, match="gone.jsonl: no such file"):
        task.train(0)
    with pytest.raises(DataError, match="--test-file or --eval-file"):
        task.eval_sets()
    with pytest.raises(DataError, match="--train-file"):
        QuestionAnswer().train(0)


def test_the_hub_is_asked_only_where_no_file_is_given(monkeypatch, files):
    asked = []

    def read_hub(*place):
        asked.append(place)
        return [(n, gsm(n)) for n in (range(1, 60) if place[2] == "train" else range(50, 70))]

    monkeypatch.setattr("evals.tasks.qa.read_hub", read_hub)
    task = HarnessGSM8K(eval_files=files["eval_files"])
    assert asked == []
    assert len(task.train(0)) + len(task.selection()) == 49 and task.overlap == 10
    assert sorted(asked) == [("openai/gsm8k", "main", "test", ""), ("openai/gsm8k", "main", "train", "")]
    assert task.reports()["test"].source == "openai/gsm8k, main, test"
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
    assert json.loads(json.dumps(dataclasses.asdict(problem))) == dataclasses.asdict(problem)


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
