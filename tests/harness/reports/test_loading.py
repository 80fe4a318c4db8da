"""Reading a study's records: what is refused, naming the file, and what is kept and shown as it is."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.records.schema import SCHEMA
from harness.reports.loading import EvalTask, Results, RunRecord, load_results
from tests.harness.record_factory import N, a_record, change, rows, unfinished, write, write_study, write_trial

VALUES = {
    "b": {0: [0.3, 0.4, 0.6], 1: [0.3, 0.5, 0.7]},
    "a": {0: [0.3, 0.6, 0.9], 1: [0.3, 0.5, 0.8], 4: [0.3, 0.4, 0.8]},
}
STRICT = ("arithmetic", "strict", "exact_match")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_study(tmp_path / "s", VALUES)


def refused(folder: Path, then: Callable[[Results], object] = lambda _: None) -> str:
    with pytest.raises(ValueError) as error:
        then(load_results(folder))
    assert "\n" not in str(error.value)
    return str(error.value)


# ---------------------------------------------------------------- what is read


def test_a_study_in_the_order_of_its_arms(folder: Path) -> None:
    results = load_results(folder)
    assert {arm: list(by_seed) for arm, by_seed in results.runs.items()} == {"b": [0, 1], "a": [0, 1, 4]}
    assert (results.study.name, results.study.seeds, results.trials) == ("s", [0, 1, 4], {})
    run = results.runs["a"][4]
    assert (run.arm, run.seed, run.folder, run.finished) == ("a", 4, folder / "a" / "seed4", True)
    assert [(r.arm, r.seed) for r in results] == [("b", 0), ("b", 1), ("a", 0), ("a", 1), ("a", 4)]


def test_seeds_are_numbers(folder: Path) -> None:
    """10 comes after 4, as it does not among names."""
    write(folder / "a" / "seed10", a_record("a", 10, [0.3, 0.4, 0.8]))
    assert list(load_results(folder).runs["a"]) == [0, 1, 4, 10]


def test_a_folder_that_says_nothing_of_itself(folder: Path) -> None:
    (folder / "study.json").unlink()
    (folder / "notes").mkdir()
    results = load_results(folder)
    assert {arm: list(by_seed) for arm, by_seed in results.runs.items()} == {"a": [0, 1, 4], "b": [0, 1]}
    assert results.study.arms == {"a": {"seeds": [0, 1, 4]}, "b": {"seeds": [0, 1]}} and results.study.seeds == [
        0,
        1,
        4,
    ]


def test_the_folder_of_one_run(folder: Path) -> None:
    results = load_results(folder / "a" / "seed4")
    assert {arm: list(by_seed) for arm, by_seed in results.runs.items()} == {"grpo": [4]}
    assert results.example.folder == folder / "a" / "seed4" and results.study.seeds == [4]


def test_a_folder_may_be_renamed(folder: Path, tmp_path: Path) -> None:
    change_study(folder, name="another")
    assert load_results(folder).study.name == "s"
    assert load_results(folder.rename(tmp_path / "t")).study.name == "t"


def change_study(folder: Path, **fields: Any) -> None:
    file = folder / "study.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def test_runs_that_did_not_finish_are_kept(folder: Path) -> None:
    write(folder / "a" / "seed0", unfinished("a", 0, "failed", "RuntimeError: out of cheese"))
    write(folder / "a" / "seed1", unfinished("a", 1, "running"))
    change_study(folder, seeds=[0, 1, 4, 9], arms={"b": {}, "a": {}, "c": {}})
    results = load_results(folder)
    assert {arm: list(by_seed) for arm, by_seed in results.runs.items()} == {"b": [0, 1], "a": [0, 1, 4], "c": []}
    statuses = [run.status for run in results.runs["a"].values()]
    assert statuses == ["failed: RuntimeError: out of cheese", "running", "finished"]
    assert results.seeds("a") == [4] and results.seeds("a", "b") == [] and results.seeds("c") == []
    assert results.example == results.runs["b"][0]


def test_seeds_that_all_have_finished(folder: Path) -> None:
    results = load_results(folder)
    assert (results.seeds("a"), results.seeds("b", "a"), results.seeds()) == ([0, 1, 4], [0, 1], [])


def test_the_points_that_all_runs_have(folder: Path) -> None:
    assert load_results(folder).fractions == [0, 0.5, 1]
    write(folder / "b" / "seed1", a_record("b", 1, [0.3, 0.4, 0.5, 0.7], [0, 0.25, 0.75, 1]))
    write(folder / "a" / "seed1", unfinished("a", 1, "failed"))
    assert load_results(folder).fractions == [0, 1], "a run that failed has a say"


def test_sets_in_domain_first(folder: Path) -> None:
    tasks = load_results(folder).tasks
    assert tasks[0] == EvalTask("arithmetic", "in", "greedy", 0.0, N)
    assert tasks[1] == EvalTask("arithmetic_t1", "in", "sampled", 1.0, N)
    assert [(t.name, t.domain) for t in tasks[2:]] == [("arithmetic_longer", "out"), ("sorting", "retention")]


@pytest.mark.parametrize(
    ("endpoint_name", "endpoint"), [("in", "arithmetic"), ("sorting", "sorting"), ("arithmetic_t1", "arithmetic_t1")]
)
def test_the_endpoint(endpoint_name: str, endpoint: str, folder: Path) -> None:
    change_study(folder, report={"endpoint": endpoint_name})
    assert load_results(folder).endpoint == endpoint


def test_values_by_seed_and_fraction(folder: Path) -> None:
    results = load_results(folder)
    assert results.value_SF("a", STRICT, [1.0, 0.5], [4, 0]).tolist() == [[0.8, 0.4], [0.9, 0.6]]
    assert results.value_SF("b", ("sorting", "lenient", "exact_match"), [0.0], [1]).tolist() == [[0.31]]
    assert results.value_SF("a", STRICT, [0.0, 1.0], []).shape == (0, 2)


def test_rights_and_wrongs_by_seed_and_problem(folder: Path) -> None:
    hit_SI = load_results(folder).hit_SI("a", "arithmetic", 1.0, [0, 4])
    assert hit_SI.shape == (2, N)
    assert hit_SI[0].tolist() == [1.0] * 90 + [0.0] * 10 and hit_SI[1].sum() == 80
    change(folder / "a" / "seed0", lambda r: [row.update(outcomes="") for row in r["evals"]])
    assert load_results(folder).hit_SI("a", "arithmetic", 1.0, [0]).shape == (1, 0)


def test_rounds_and_spend_of_a_run(folder: Path) -> None:
    run = load_results(folder).runs["a"][0]
    assert run.metrics() == [{"round": 0, "frac_reward_zero_std": 0.25}]
    assert run.spend(0.5)["completions"] == 80 and run.spend(1.0)["prompts"] == 40
    (run.folder / "metrics.jsonl").unlink()
    assert run.metrics() == []


TUNE = {"grid": {"lr": [1e-4, 2e-4]}, "seeds": [100, 101]}


@pytest.mark.parametrize("store", [None, "other"])
def test_trials_lie_beside_or_in_another_study(store: str | None, folder: Path) -> None:
    change_study(folder, tune={**TUNE, "store": store})
    root = folder.parent / store if store else folder
    for seed, value in ((100, 0.4), (101, 0.5)):
        write_trial(root, "a", "lr0.0002", seed, value)
    write_trial(root, "a", "lr0.0002", 7, 0.9)  # no tuning seed
    write_trial(root, "a", "lr0.5", 100, 0.9)  # no point of the grid
    results = load_results(folder).trials
    assert {arm: {t: list(by_seed) for t, by_seed in trials.items()} for arm, trials in results.items()} == {
        "a": {"lr0.0002": [100, 101]}
    }


# ---------------------------------------------------------------- what is refused


def drop(folder: Path, **of: Any) -> None:
    """Rows of a record that are as `of` says."""
    change(folder, lambda r: r.update(evals=[x for x in r["evals"] if any(x[k] != v for k, v in of.items())]))


def configured(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda r: r["config"].update({name: value})


def surrounded(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda r: r["environment"].update({name: value})


def budgeted(record: dict[str, Any], unit: str, limit: float) -> None:
    """The record as one of another budget."""
    record["budget"].update(unit=unit, limit=limit)
    record["config"]["budget"] = f"{unit}={limit!r}"


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], list[str]]] = {
    # what is wrong with a/seed1 -> (how it came to be, what the line must say beside the file)
    "another schema": (lambda r: r.update(schema=SCHEMA + 1), [f"schema {SCHEMA + 1}"]),
    "no schema": (lambda r: r.pop("schema"), ["schema None"]),
    "another task": (configured("task_name", "gsm8k"), ["task_name is gsm8k", "b/seed0", "arithmetic"]),
    "another size of the task": (configured("task", {"test_size": 9}), ["task is {'test_size': 9}", "b/seed0"]),
    "another model": (configured("model", "other/model"), ["model is other/model", "some/model"]),
    "another split": (configured("eval_split", "selection"), ["eval_split is selection", "test"]),
    "another token limit": (configured("max_new_tokens", 9), ["max_new_tokens is 9", "512"]),
    "another temperature": (configured("temperature", 0.5), ["temperature is 0.5", "1.0"]),
    "another day": (configured("chat_date", "2026-11-30"), ["chat_date is 2026-11-30", "2024-07-26"]),
    "another limit": (lambda r: budgeted(r, "completions", 90.0), ["budget is ", "90", "160"]),
    "another unit": (lambda r: budgeted(r, "flops", 2e12), ["budget is ", "flops", "completions"]),
    "another start model": (surrounded("model", {"sha256": "dead"}), ["the start model is ", "dead", "feed"]),
    "other data": (
        lambda r: r["environment"]["data"][0].update(sha256="dead"),
        ["the evaluation data", "sorting"],
    ),
    "another version": (lambda r: [x.update(version="2") for x in r["evals"]], ["the tasks' versions", "arithmetic"]),
    "no endpoint at the end": (
        lambda r: r.update(evals=[x for x in r["evals"] if x["fraction"] < 1]),
        ["finished, but 'arithmetic' was not evaluated at the end"],
    ),
    "another set": (lambda r: r["evals"].extend(rows("algebra", 1.0, 0.5)), ["algebra"]),
    "nothing but a status": (lambda r: [r.pop(k) for k in list(r) if k != "status"], []),
    "no configuration": (lambda r: r.pop("config"), []),
}


@pytest.mark.parametrize("what", CHANGES)
def test_runs_that_cannot_be_compared(what: str, folder: Path) -> None:
    how, fragments = CHANGES[what]
    change(folder / "a" / "seed1", how)
    message = refused(folder)
    assert message.startswith(f"{folder}/a/seed1/record.json: ") and [f for f in fragments if f not in message] == []
    assert len(message) < 500, "nobody reads that"


@pytest.mark.parametrize(
    ("run", "name", "agrees"),
    [
        ("b/seed0", "training problems", False),
        ("b/seed1", "training problems", True),  # another seed than that of the run that all are compared with
        ("b/seed1", "evaluation set sorting", False),
        ("b/seed1", "prompts of sorting, as the model reads them", False),
        ("a/seed1", "configuration and tokenizer of the model", False),
        ("a/seed1", "reward mine.py", False),
        ("a/seed1", "reward other.py", True),
    ],
)
def test_runs_that_were_given_other_files_under_the_same_names(run: str, name: str, agrees: bool, folder: Path) -> None:
    names = ["training problems", "evaluation set sorting", "prompts of sorting, as the model reads them"]
    names += ["configuration and tokenizer of the model", "reward mine.py"]
    for file in folder.glob("*/seed*"):
        change(file, lambda r: r["environment"].update(inputs=dict.fromkeys(names, "feed")))
    change(folder / run, lambda r: r["environment"]["inputs"].update({name: "dead"}))
    if agrees:
        load_results(folder)
    else:
        message = refused(folder)
        assert f"the hash of '{name}' is " in message and "dead" in message and "feed" in message


def test_what_may_differ(folder: Path) -> None:
    """Arms differ in what they are compared for, machines in what changes no number."""
    for seed in (0, 1, 4):
        change(
            folder / "a" / f"seed{seed}", lambda r: (r["config"].update(lr=0.5, algo_name="ppo"), r.update(algo="ppo"))
        )
    change(folder / "b" / "seed1", lambda r: r["environment"].update(commit="f" * 40, threads=4, device="cuda:0"))
    assert load_results(folder).seeds("a", "b") == [0, 1]


@pytest.mark.parametrize("runs", [["b/seed0", "b/seed1"], ["b/seed1"]])
def test_a_field_that_came_later_is_no_difference(runs: list[str], folder: Path) -> None:
    """Records of before it, of a whole arm or of a seed, were made as its default says."""
    for run in runs:
        change(folder / run, lambda r: r["config"].pop("eval_split"))
    assert load_results(folder).seeds("a", "b") == [0, 1]


def test_a_run_that_failed_may_have_been_another(folder: Path) -> None:
    record = unfinished("a", 1, "failed")
    budgeted(record, "flops", 2e12)
    write(folder / "a" / "seed1", record)
    assert load_results(folder).seeds("a") == [0, 4]


FILES = [
    (where, text)
    for where in ("study.json", "a/seed0/record.json", "record.json")
    for text in ("{", "[]", "3", "{}", "")
]


@pytest.mark.parametrize(("where", "text"), FILES)
def test_a_file_that_is_not_one(where: str, text: str, folder: Path) -> None:
    (folder / where).write_text(text)
    assert refused(folder).startswith(f"{folder / where}: ")


def test_a_study_that_is_wrong_is_named(folder: Path) -> None:
    change_study(folder, speed=1)
    assert refused(folder).startswith(
        f"{folder}/study.json: speed: unknown field (did you mean seeds?); valid: name, arms, "
    )


def test_nothing_there(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert (
        refused(tmp_path / "empty") == f"{tmp_path}/empty: no records; a study's folder holds ARM/seed<k>/record.json"
    )
    assert refused(tmp_path / "none") == f"{tmp_path}/none: no such folder"
    assert refused(folder / "study.json") == f"{folder}/study.json: no such folder"
    change_study(folder, arms={"c": {}})
    assert refused(folder).startswith(f"{folder}: no records")


def test_no_run_has_finished(tmp_path: Path) -> None:
    for seed, (status, reason) in enumerate([("failed", "RuntimeError: cheese"), ("interrupted", "by the user")]):
        write(tmp_path / "s" / "a" / f"seed{seed}", unfinished("a", seed, status, reason))
    fragments = f"{tmp_path}/s: no run has finished; {tmp_path}/s/a/seed0 is failed: RuntimeError: cheese"
    assert refused(tmp_path / "s") == fragments
    assert "by the user" in refused(tmp_path / "s" / "a" / "seed1")


def test_an_endpoint_that_nobody_measured(folder: Path) -> None:
    change_study(folder, report={"endpoint": "algebra"})
    message = refused(folder)
    assert message == "report.endpoint: no set 'algebra'; valid: arithmetic, arithmetic_t1, arithmetic_longer, sorting"


def test_two_folders_of_one_seed(folder: Path) -> None:
    """A copy of a run must not take its place, whichever the file system lists last."""
    write(folder / "a" / "seed0-old", a_record("a", 0, [0.1, 0.1, 0.1]))
    message = refused(folder)
    assert "seed0" in message and "seed0-old" in message


def test_seeds_of_an_arm_that_differ_in_more(folder: Path) -> None:
    """Their mean would be of no arm that there is."""
    (folder / "study.json").unlink()
    change(folder / "a" / "seed4", configured("lr", 0.5))
    message = refused(folder)
    assert message.startswith(f"{folder}/a/seed4/record.json: ") and "lr" in message


# ---------------------------------------------------------------- files beside the record

END = "outcomes/arithmetic-1.jsonl.gz"


def spoiled(data: bytes) -> bytes:
    """A byte flipped in the middle of the compressed stream."""
    return data[:40] + bytes([data[40] ^ 0xFF]) + data[41:]


OUTCOMES: dict[str, tuple[Callable[[bytes], bytes | None], str]] = {
    "missing": (lambda data: None, "cannot read the outcomes of 'arithmetic'"),
    "cut off": (lambda data: data[: len(data) // 2], "cannot read the outcomes of 'arithmetic'"),
    "spoiled": (spoiled, "cannot read the outcomes of 'arithmetic'"),
    "not compressed": (lambda data: gzip.decompress(data), "cannot read the outcomes of 'arithmetic'"),
    "not text": (lambda data: gzip.compress(b"\xff\xfe\n" * N), "cannot read the outcomes of 'arithmetic'"),
    "not JSON": (lambda data: gzip.compress(b"right\n" * N), "cannot read the outcomes of 'arithmetic'"),
    "not tables": (lambda data: gzip.compress(b"3\n" * N), "cannot read the outcomes of 'arithmetic'"),
    "no verdicts": (lambda data: gzip.compress(b"{}\n" * N), "cannot read the outcomes of 'arithmetic'"),
    "too few": (
        lambda data: gzip.compress(b"".join(gzip.decompress(data).splitlines(keepends=True)[:-1])),
        f"{N - 1} outcomes, but the record counts {N}",
    ),
    "too many": (
        lambda data: gzip.compress(gzip.decompress(data) * 2),
        f"{2 * N} outcomes, but the record counts {N}",
    ),
}


@pytest.mark.parametrize("what", OUTCOMES)
def test_outcomes_that_are_not_whole(what: str, folder: Path) -> None:
    file = folder / "a" / "seed0" / END
    how, fragments = OUTCOMES[what]
    data = how(file.read_bytes())
    file.unlink() if data is None else file.write_bytes(data)
    message = refused(folder, lambda results: results.hit_SI("a", "arithmetic", 1.0, [0]))
    assert message.startswith(f"{file}: {fragments}")


def test_outcomes_are_those_of_the_set_and_the_point(folder: Path) -> None:
    run = load_results(folder).runs["a"][0]
    assert [sum(o["strict"] == "correct" for o in run.outcomes("arithmetic", f)) for f in (0.0, 0.5, 1.0)] == [
        30,
        60,
        90,
    ]
    assert run.outcomes("algebra", 1.0) == [] and run.outcomes("arithmetic", 0.25) == []


@pytest.mark.parametrize("text", ['{"round": 1}\n{"round": \n', "nothing\n", "3\n"])
def test_rounds_that_cannot_be_read(text: str, folder: Path) -> None:
    file = folder / "a" / "seed0" / "metrics.jsonl"
    file.write_text(text)
    message = refused(folder, lambda results: results.runs["a"][0].metrics())
    assert message.startswith(f"{file}: not one JSON object per line")


def test_a_metric_that_is_not_there(folder: Path) -> None:
    drop(folder / "a" / "seed1", task="sorting", fraction=0.5, filter="strict", metric="exact_match")
    key = ("sorting", "strict", "exact_match")
    message = refused(folder, lambda results: results.value_SF("a", key, [0.0, 0.5, 1.0], [0, 1]))
    assert message.startswith(f"{folder}/a/seed1/record.json: no sorting strict exact_match at fraction 0.5; it has ")
    assert re.search(r"arithmetic strict exact_match.*sorting lenient exact_match", message)


def test_status_with_its_reason() -> None:
    fragments = {s: RunRecord("a", 0, Path(), unfinished("a", 0, s, "why")).status for s in ("failed", "interrupted")}
    assert fragments == {"failed": "failed: why", "interrupted": "interrupted: why"}
    assert RunRecord("a", 0, Path(), unfinished("a", 0, "running")).status == "running"
