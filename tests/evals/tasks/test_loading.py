"""Rows of files and folders, the problems in them, and what is said about what is wrong."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from evals.tasks.data.files import DataError, read_rows
from evals.tasks.data.identity import canonical, problem_id
from evals.tasks.data.loading import problems_from
from evals.tasks.data.prompts import present
from evals.tasks.data.sources import read_hub

APPLES = {"question": "Ann has 3 apples and buys 4. How many?", "answer": "3+4=<<3+4=7>>7 apples.\n#### 7"}
PENS = {"question": "Bo has 12 pens and loses 5. How many?", "answer": "12-5=<<12-5=7>>7\n#### 7"}
COINS = {"question": "Cy has 2 bags of 500 coins. How many?", "answer": "2*500=<<2*500=1000>>1,000\n#### 1,000"}


def jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def parquet(path, rows):
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def load(path, question="question", answer="answer"):
    return problems_from(read_rows(path), question, answer, str(path))


def refused(action, *parts):
    """The action fails with one line that holds every part."""
    with pytest.raises(DataError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


# ---------------------------------------------------------------- what can be read


def test_jsonl_keeps_order_line_numbers_and_texts(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        "\ufeff" + json.dumps(APPLES) + "\r\n\n" + json.dumps(PENS)
    )  # a BOM, an empty line, no last newline
    assert [line for line, _ in read_rows(path)] == [1, 3]
    loaded = load(path)
    assert [p.gold for p in loaded.problems] == ["7", "7"]
    assert loaded.problems[0].prompt == APPLES["question"]
    assert loaded.problems[0].source == APPLES
    assert loaded.problems[0].id == problem_id(APPLES["question"]) and len(loaded.problems[0].id) == 16
    assert (loaded.rows, loaded.skipped, loaded.duplicates) == (2, [], 0)


def test_line_separators_inside_a_string_do_not_end_the_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"question": "one\u2028two\x85?", "answer": "1"}, ensure_ascii=False), encoding="utf-8")
    assert len(read_rows(path)) == 1


def test_a_json_list_is_read_like_lines(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([APPLES, PENS], indent=1))
    assert [row for _, row in read_rows(path)] == [APPLES, PENS]
    path.write_text("[\n{},\n{oops}]")
    refused(lambda: read_rows(path), "a.json:3", "not valid JSON")


def test_parquet_and_jsonl_give_the_same_problems(tmp_path):
    rows = [APPLES, PENS, COINS]
    lines, table = load(jsonl(tmp_path / "a.jsonl", rows)), load(parquet(tmp_path / "b.parquet", rows))
    assert lines.problems == table.problems and lines.sha256 == table.sha256
    assert lines.sha256 != load(jsonl(tmp_path / "c.jsonl", rows[:2])).sha256


def test_nested_columns_are_reached_with_a_dot(tmp_path):
    row = {"prompt": [{"role": "user"}], "reward_model": {"ground_truth": "7"}, "extra_info": {"question": "3+4?"}}
    path = parquet(tmp_path / "a.parquet", [row])
    assert load(path, "extra_info.question", "reward_model.ground_truth").problems[0].gold == "7"
    refused(lambda: load(path, "extra_info.answer"), "no column 'extra_info.answer'", "prompt, reward_model")
    refused(lambda: load(path, "prompt", "reward_model.ground_truth"), "'prompt' holds a list, not text")


def test_template_columns(tmp_path):
    rows = [{"Body": "Ed has 290 bananas in 2 groups.", "Question": "How big is a group?", "Answer": 145.0}]
    problem = load(jsonl(tmp_path / "a.jsonl", rows), "{Body} {Question}", "Answer").problems[0]
    assert problem.prompt == "Ed has 290 bananas in 2 groups. How big is a group?"
    assert problem.gold == "145"
    problem = load(tmp_path / "a.jsonl", "{{Q}} {Question}", "#### {Answer}").problems[0]
    assert problem.prompt == "{Q} How big is a group?"


@pytest.mark.parametrize("template", ["{Body", "Body}", "{}", "{Body!r}", "{Body:>9}"])
def test_templates_that_are_wrong(tmp_path, template):
    path = jsonl(tmp_path / "a.jsonl", [{"Body": "b", "answer": "1"}])
    refused(lambda: load(path, template), "template", repr(template), "{Body} {Question}")


def test_the_prompt_is_filled_in_and_nothing_else_is():
    rows = [(1, {"question": "What is {x}?", "answer": "1"})]
    prompt = "Q: {question}\nUse \\boxed{}.\nA:"
    loaded = problems_from(rows, "question", "answer", "f", lambda text, turns: present(text, turns, prompt, "hash"))
    assert loaded.problems[0].prompt == "Q: What is {x}?\nUse \\boxed{}.\nA:"


# ---------------------------------------------------------------- folders


def test_a_folder_gives_the_file_of_the_split(tmp_path):
    jsonl(tmp_path / "train.jsonl", [APPLES])
    jsonl(tmp_path / "train_socratic.jsonl", [PENS, PENS])
    jsonl(tmp_path / "test.jsonl", [COINS])
    (tmp_path / "README.md").write_text("not data")
    assert [row for _, row in read_rows(tmp_path, "train")] == [APPLES]
    assert [row for _, row in read_rows(tmp_path, "test")] == [COINS]
    refused(lambda: read_rows(tmp_path, "validation"), "no file is named validation*", "test.jsonl", "train.jsonl")


def test_a_hub_snapshot_with_shards_and_two_configurations(tmp_path):
    parquet(tmp_path / "main/train-00000-of-00002.parquet", [APPLES])
    parquet(tmp_path / "main/train-00001-of-00002.parquet", [PENS])
    parquet(tmp_path / "socratic/train-00000-of-00001.parquet", [COINS])
    assert read_rows(tmp_path, "train", "main") == [(1, APPLES), (2, PENS)]
    assert read_rows(tmp_path / "socratic", "train", "main") == [(1, COINS)]
    refused(lambda: read_rows(tmp_path), "which file is train?", "main/train-00000", "socratic/train-00000")


def test_a_folder_with_one_file_needs_no_split_name_unless_it_names_another(tmp_path):
    jsonl(tmp_path / "one/problems.jsonl", [APPLES])
    assert len(read_rows(tmp_path / "one", "test")) == 1
    jsonl(tmp_path / "two/train.jsonl", [APPLES])
    refused(lambda: read_rows(tmp_path / "two", "test"), "no file is named test*", "train.jsonl")
    (tmp_path / "none").mkdir()
    refused(lambda: read_rows(tmp_path / "none"), "none of .jsonl, .json, .csv, .tsv, .parquet")


def test_what_save_to_disk_wrote(tmp_path):
    import datasets

    train, test = datasets.Dataset.from_list([APPLES, PENS]), datasets.Dataset.from_list([COINS])
    datasets.DatasetDict({"train": train, "test": test}).save_to_disk(str(tmp_path / "both"))
    train.save_to_disk(str(tmp_path / "single"))
    assert [row for _, row in read_rows(tmp_path / "both", "test")] == [COINS]
    assert [row for _, row in read_rows(tmp_path / "single", "train")] == [APPLES, PENS]
    refused(lambda: read_rows(tmp_path / "both", "dev"), "no split 'dev'", "train, test")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/dataset_dict.json").write_text("{}")
    refused(lambda: read_rows(tmp_path / "broken"), "broken")


# ---------------------------------------------------------------- what is wrong with a file


def test_files_that_cannot_be_read(tmp_path):
    refused(lambda: read_rows(tmp_path / "gone.jsonl"), "gone.jsonl: no such file or folder")
    (tmp_path / "empty.jsonl").write_text("\n \n")
    refused(lambda: read_rows(tmp_path / "empty.jsonl"), "empty.jsonl: the file is empty")
    (tmp_path / "a.xml").write_text("<a/>")
    refused(lambda: read_rows(tmp_path / "a.xml"), "cannot read .xml", ".jsonl, .json, .csv, .tsv, .parquet")
    (tmp_path / "a.csv").write_text("question,answer\n")
    refused(lambda: read_rows(tmp_path / "a.csv"), "a.csv: the file is empty; expected rows")
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe{\x00")
    refused(lambda: read_rows(tmp_path / "bytes.jsonl"), "bytes.jsonl: not UTF-8 text")
    (tmp_path / "a.parquet").write_text("no")
    refused(lambda: read_rows(tmp_path / "a.parquet"), "a.parquet: not a parquet file")


@pytest.mark.parametrize("line", ['{"question": "x"', "{'question': 1}", "nonsense", "1" * 5000, "[" * 100_000])
def test_malformed_json_names_its_line(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(APPLES) + "\n\n" + line + "\n")
    refused(lambda: read_rows(path), "a.jsonl:3: not valid JSON")


def test_a_row_must_be_an_object(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(APPLES) + '\n"text"\n')
    refused(lambda: read_rows(path), "a.jsonl:2: 'text' is not an object")


def test_a_missing_column_names_the_line_and_the_columns_there_are(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [APPLES, {"question": "2+2?", "Answer": "4"}])
    refused(lambda: load(path), "a.jsonl:2: no column 'answer'", "the columns are question, Answer")
    refused(lambda: load(path, "{Body} {question}"), "a.jsonl:1: no column 'Body'")


# ---------------------------------------------------------------- what is wrong with a row


@pytest.mark.parametrize(
    "answer, gold",
    [
        ("6*3=18\n#### 18", "18"),
        ("#### 17\nno:\n#### 18", "18"),
        (r"so \boxed{17}, rather \boxed{18}", "18"),
        ("18", "18"),
        ("1,000", "1000"),
        ("$18", "18"),
        (18, "18"),
        (145.0, "145"),
        ("#### -3", "-3"),
        ("#### 2.50", "5/2"),
    ],
)
def test_gold_forms(answer, gold):
    assert problems_from([(1, {"question": "q", "answer": answer})], "question", "answer", "f").problems[0].gold == gold


def test_rows_of_no_use_are_counted_and_named_and_the_rest_is_kept():
    answers = ["7", "I do not know", "", None, "####", [{"a": "7"}], float("nan")]
    rows = [(n, {"question": f"question {n}", "answer": a}) for n, a in enumerate(answers, 1)]
    rows.append((8, {"question": " ?! ", "answer": "7"}))
    loaded = problems_from(rows, "question", "answer", "a.jsonl")
    assert len(loaded.problems) == 1 and loaded.rows == 8
    assert [line for line, _ in loaded.skipped] == [2, 3, 4, 5, 6, 7, 8]
    why = dict(loaded.skipped)
    assert "I do not know" in why[2]
    assert why[4] == why[7] == "column 'answer' is empty"
    assert why[8] == "the question is empty"
    refused(lambda: problems_from(rows[1:], "question", "answer", "a.jsonl"), "a.jsonl: no usable row of 7", "2: ")


def test_an_answer_may_be_a_list():
    """OlympiadBench has them, of one or of several."""
    rows = [(1, {"question": "x?", "answer": ["7"]}), (2, {"question": "y?", "answer": ["1", "2"]})]
    assert [p.gold for p in problems_from(rows, "question", "answer", "f").problems] == ["7", "1, 2"]


def test_repeated_problems_are_dropped_and_contradictions_are_named():
    again = {**APPLES, "question": "  ann has 3 apples, and buys 4: how many"}
    wrong = {**APPLES, "answer": "#### 8"}
    loaded = problems_from([(1, APPLES), (2, again), (3, wrong), (4, PENS)], "question", "answer", "f")
    assert [p.gold for p in loaded.problems] == ["7", "7"] and loaded.duplicates == 1
    assert loaded.skipped == [(3, "the problem of 1 again, with gold 8 instead of 7")]


def test_canonical_sees_through_writing_but_not_through_arithmetic():
    assert canonical("Ann's ice-cream -- cost: $1,000?!") == canonical("anns  ICE cream cost 1000")
    assert canonical("5\u22123 = ?") == canonical("5 - 3 =")
    apart = ["5+3", "5-3", "53", "5.3", "5/3", "5*3", "(5)3", "x-y", "x+y", "xy", "3!", "3", "5 3", "f(2)", "f'(2)"]
    assert len({problem_id(text) for text in apart}) == len(apart)


# ---------------------------------------------------------------- the hub, and what is imported


def test_an_unreachable_hub_is_one_line_that_says_what_helps(monkeypatch, tmp_path):
    import datasets

    def no_network(*args, **kwargs):
        raise socket.gaierror("no network")

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    refused(
        lambda: read_hub("nobody/no-such-data", "main", "train"),
        "the hub could not be reached for nobody/no-such-data",
        "--train-file/--test-file take local files",
    )
    assert datasets.config.HF_HUB_OFFLINE is False


def test_the_hub_is_asked_for_the_split_and_refusals_are_one_line(monkeypatch):
    import datasets

    asked = []

    def load_dataset(*args, **kwargs):
        asked.append((args, kwargs))
        if kwargs["split"] == "dev":
            raise ValueError('Unknown split "dev".\nShould be one of ["train"].')
        return datasets.Dataset.from_list([APPLES])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a: [1])
    assert read_hub("a/b", "main", "train", "abc").rows == [(1, APPLES)]
    assert asked == [(("a/b", "main"), {"split": "train", "revision": "abc"})]
    refused(lambda: read_hub("a/b", "", "dev"), "a/b, default, dev: Unknown split", '["train"]')


def test_importing_stays_light():
    code = "import sys, evals.tasks.data.loading, evals.tasks.qa, evals.tasks.harness_gsm8k; print(*sys.modules)"
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert not {"torch", "transformers", "datasets", "pyarrow", "pandas", "lm_eval"} & set(done.stdout.split())


# ---------------------------------------------------------------- CSV

CSVS = {
    "commas": ("a.csv", "question,answer\n1+1?,2\n2+2?,4\n", [2, 3]),
    "quotes, commas and line ends in a cell": ("a.csv", 'question,answer\n"1+1,\n""so""?",2\n2+2?,4\n', [2, 4]),
    "semicolons": ("a.csv", "question;answer\r\n1+1,5?;2\r\n2+2?;4\r\n", [2, 3]),
    "tabs": ("a.tsv", "question\tanswer\n1+1,5?\t2\n2+2?\t4", [2, 3]),
    "a byte order mark, and an empty line": ("a.csv", "\ufeffquestion, answer\n1+1?,2\n\n2+2?,4\n", [2, 4]),
}


@pytest.mark.parametrize("case", CSVS)
def test_csv_as_programs_write_it(case, tmp_path):
    name, text, lines = CSVS[case]
    (tmp_path / name).write_bytes(text.encode())
    rows = read_rows(tmp_path / name)
    assert [n for n, _ in rows] == lines and [r["answer"] for _, r in rows] == ["2", "4"]
    assert rows[1][1]["question"] == "2+2?"


BAD_CSVS = {
    "a cell too many": ("question,answer\n1+1?,2\n1,2,3\n", "a.csv:3: 3 cells, and the header has 2: question, answer"),
    "a cell too few": ("question,answer\n1+1?\n", "a.csv:2: 1 cells"),
    "a quote that never ends": ('question,answer\n"1+1?,2\n', "a.csv:2: not valid CSV"),
    "two columns of a name": ("a,a\n1,2\n", "a.csv:1: two columns are called 'a'"),
    "no rows": ("", "a.csv: the file is empty; expected rows"),
}


@pytest.mark.parametrize("case", BAD_CSVS)
def test_csv_that_is_none_is_named_with_its_line(case, tmp_path):
    text, message = BAD_CSVS[case]
    (tmp_path / "a.csv").write_text(text)
    refused(lambda: read_rows(tmp_path / "a.csv"), message)


def test_a_cell_of_a_csv_may_be_long(tmp_path):
    (tmp_path / "a.csv").write_text(f"question,answer\n{'x' * 200_000},2\n")
    assert len(read_rows(tmp_path / "a.csv")[0][1]["question"]) == 200_000
