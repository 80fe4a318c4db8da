"""Folded runs: nothing is lost on the way into the three files, whenever the way is cut off."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.api.frames import curve_rows, metrics_of, run_rows
from harness.records import lock, runs
from harness.records.archive import folding, lines, tables
from harness.records.archive.folding import fold
from harness.reports.loading import Results, load_results
from harness.reports.render import figures
from harness.reports.report import write_report
from harness.reports.rescore import rescore
from harness.studies.fairness.tuning import select_trials
from harness.studies.storage import fold_study, stored_study
from tests.harness.record_factory import a_record, change, rows, unfinished, write, write_study, write_trial

FILES = {"records.jsonl", "metrics.parquet", "outcomes.parquet"}
ODD = [  # rounds whose values no column holds alone: other kinds, an absent field, NaN, one of ours by its name
    {"loss": 0.5, "kept": 3, "arm": 1.0},
    {"kept": 4, "loss": 1, "seed": 7},
    {"loss": float("nan"), "big": 2**70},
    {"loss": -0.0, "big": 1},
]


def study(folder: Path) -> Path:
    """Two arms, two seeds, trials, a failed run, rounds and outcomes that are not as tables like them."""
    tune = {"grid": {"lr": [0.1, 0.2]}, "seeds": [100, 101]}
    write_study(folder, {"a": {0: [0.3, 0.5, 0.7], 10: [0.3, 0.5, 0.6]}, "b": {0: [0.3, 0.4, 0.5]}}, tune=tune)
    write(folder / "a/seed2", a_record("a", 2, [0.3, 0.4, 0.8]), ODD, lambda where, i: f"\ud800 ü {i}\n#### {i}")
    write(folder / "b/seed2", unfinished("b", 2, "failed", "killed"), ())
    for arm in "ab":
        for seed in (100, 101):
            write_trial(folder, arm, "lr0.1", seed, 0.4)
            write_trial(folder, arm, "lr0.2", seed, 0.5)
    return folder


def everything(folder: Path) -> dict[str, Any]:
    """What readers see of each run."""
    return {
        str(run.relative_to(folder)): {
            "record": runs.raw_record(run),
            "rounds": runs.read_rounds(run),
            "outcomes": {name: runs.read_outcomes(run, name, "") for name in runs.outcome_names(run)},
            "words": [runs.outcome_words(run, name, "lenient", "") for name in runs.outcome_names(run)],
        }
        for run in runs.run_folders(folder)
    }


def loaded(results: Results) -> str:
    trials = {a: {t: {s: r.record for s, r in x.items()} for t, x in y.items()} for a, y in results.trials.items()}
    curves = [[r.arm, r.seed, r.status, curve_rows(r.record), r.metrics()] for r in results]
    return json.dumps([run_rows(results), curves, trials])


def report(folder: Path) -> dict[str, bytes]:
    write_report(folder)
    return {
        file.name: file.read_bytes()
        for file in folder.iterdir()
        if file.is_file() and file.name not in {*FILES, ".lock"}
    }


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_a_folded_study_is_read_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "draw", lambda findings, folder: {})  # of the same findings; they take seconds
    folder = study(tmp_path / "s")
    before = json.dumps(everything(folder)), loaded(load_results(folder)), report(folder), rescore([folder]).verdicts
    asked = stored_study(folder)
    assert asked is not None
    chosen = select_trials(asked, str(tmp_path))
    assert len(fold_study(folder)) == 13
    assert {f.name for f in folder.iterdir() if f.is_dir()} == set() and files(folder) > FILES
    after = json.dumps(everything(folder)), loaded(load_results(folder)), report(folder), rescore([folder]).verdicts
    assert after == before
    assert select_trials(asked, str(tmp_path)) == chosen
    assert metrics_of(folder / "a/seed0").to_dict("records") == runs.read_rounds(folder / "a/seed0")
    assert runs.status_of(folder / "b/seed2") == "failed" and fold(folder) == []


def test_samples_checkpoints_and_what_goes_on_stay_folders(tmp_path: Path) -> None:
    folder = study(tmp_path / "s")
    write(folder / "b/seed3", unfinished("b", 3, "running"))
    write(folder / "b/seed4", unfinished("b", 4, "interrupted"))
    for kept in ("a/seed0/samples.jsonl", "a/seed0/checkpoints/round-1", "b/seed4/checkpoints/round-1"):
        (folder / kept).parent.mkdir(exist_ok=True)
        (folder / kept).write_text("")
    with lock.held(folder / "b/seed0"):
        folded = {str(f.relative_to(folder)) for f in fold(folder)}
    assert folded & {"b/seed0", "b/seed3", "b/seed4"} == set() and "a/seed0" in folded
    assert {"a/seed0/samples.jsonl", "a/seed0/checkpoints/round-1", "b/seed3/record.json"} < files(folder)
    assert {"b/seed0/record.json", "b/seed0/metrics.jsonl", "b/seed4/record.json"} < files(folder)


def test_seeds_that_are_added_and_runs_that_are_tried_again_are_folded_in(tmp_path: Path) -> None:
    one, two = study(tmp_path / "one"), study(tmp_path / "two")
    for folder in (one, two):
        if folder == two:
            fold(folder)
        write(folder / "a/seed1", a_record("a", 1, [0.3, 0.4, 0.9]), [{"new": 1.5}])
        write(folder / "b/seed2", a_record("b", 2, [0.3, 0.4, 0.6]))  # the failed one, which counts from now on
        assert runs.status_of(folder / "b/seed2") == "finished"
        fold(folder)
    assert load_results(one).runs["b"][2].finished and 1 in load_results(two).runs["a"]
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in FILES)  # in whatever steps
    assert [json.loads(x)["run"] for x in (one / "records.jsonl").read_text().splitlines()][:4] == [
        "a/seed0", "a/seed1", "a/seed2", "a/seed10"
    ]  # fmt: skip


def test_a_folding_that_is_cut_off_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every call by which a file comes, moves or goes; the next folding puts all in order."""
    small: dict[str, Any] = {"fractions": [1.0], "evals": rows("arithmetic", 1.0, 0.5)}
    made = tmp_path / "made"
    write(made / "a/seed0", a_record("a", 0, [0.5], **small))
    write(made / "b/seed2", unfinished("b", 2, "failed", "killed"), ())
    fold(made)
    write(made / "a/seed1", a_record("a", 1, [0.9], **small))
    write(made / "b/seed2", a_record("b", 2, [0.6], **small))
    before = json.dumps(everything(made))
    left, step, ended = [0], 0, False

    def cut(call: Callable[..., Any]) -> Callable[..., Any]:
        def once(*args: Any, **kw: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return call(*args, **kw)

        return once

    while not ended:
        folder = shutil.copytree(made, tmp_path / str(step))
        left[0] = step
        with monkeypatch.context() as patch:
            patch.setattr(tables, "write", cut(tables.write))
            for of, names in ((shutil, ["rmtree"]), (os, ["replace"]), (Path, ["mkdir", "unlink", "rmdir"])):
                for name in names:
                    patch.setattr(of, name, cut(getattr(of, name)))
            with contextlib.suppress(KeyboardInterrupt):
                fold(folder)
            ended = left[0] >= 0
        assert json.dumps(everything(folder)) == before, step
        fold(folder)
        assert json.dumps(everything(folder)) == before, step
        assert not list(folder.rglob("record.json")) and not list(folder.rglob("*.gz")), step
        step += 1
    assert step > 15


def test_what_does_not_come_out_as_it_went_in_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = study(tmp_path / "s")
    before = files(folder)
    monkeypatch.setattr(folding, "to_line", lambda run, n, o, record: lines.to_line(run, n, o, {**record, "seed": 99}))
    with pytest.raises(ValueError, match=r"a/seed0: does not come out of records\.jsonl"):
        fold(folder)
    assert files(folder) - {".lock"} == before


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[40] ^= 255
    file.write_bytes(data)


def without_a_run(file: Path) -> None:
    table = tables.read(file)
    keep = [run != "a/seed0" for run in table.column("run").to_pylist()]
    tables.write(file, table.filter(keep))


def first_line(change: Callable[[str], str]) -> Callable[[Path], None]:
    def changed(file: Path) -> None:
        first, _, rest = file.read_text().partition("\n")
        file.write_text(f"{change(first)}\n{rest}")

    return changed


BROKEN: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "cut": ("outcomes.parquet", cut, r"outcomes\.parquet: not readable as parquet: "),
    "flipped": ("outcomes.parquet", flip, r"outcomes\.parquet: "),
    "no parquet": ("metrics.parquet", lambda f: f.write_text("x"), r"metrics\.parquet: not readable as parquet: "),
    "gone": ("outcomes.parquet", Path.unlink, r"outcomes\.parquet: is missing; records\.jsonl beside it counts"),
    "no outcomes of a run": (
        "outcomes.parquet", without_a_run,
        r"outcomes\.parquet: 0 outcomes of outcomes/\S+ of a/seed0, but records\.jsonl:1 counts 100",
    ),
    "no rounds of a run": (
        "metrics.parquet", without_a_run, r"metrics\.parquet: 0 rounds of a/seed0, but records\.jsonl:1 counts 1"
    ),
    "half a line": ("records.jsonl", cut, r"records\.jsonl:13: the last line has no end"),
    "not JSON": ("records.jsonl", first_line(lambda x: x[:50]), r"records\.jsonl:1: not the record of a run with"),
    "twice": ("records.jsonl", first_line(lambda x: f"{x}\n{x}"), r"records\.jsonl:2: run a/seed0 is on line 1"),
    "elsewhere": ("records.jsonl", first_line(lambda x: x.replace("a/", "../")), r"must be a path below the folder"),
    "a changed number": (
        "records.jsonl", first_line(lambda x: x.replace('"value": [0.3,', '"value": [0.4,')),
        r"records\.jsonl:1: strict exact_match of sorting at 0 is 0\.4, and its outcomes give 0\.3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_archive_is_one_line(tmp_path: Path, fault: str) -> None:
    name, how, message = BROKEN[fault]
    folder = study(tmp_path / "s")
    fold(folder)
    how(folder / name)
    with pytest.raises(ValueError, match=message) as told:
        [run.metrics() for run in load_results(folder)]
    assert "\n" not in str(told.value)


def test_a_broken_run_is_not_folded(tmp_path: Path) -> None:
    folder = study(tmp_path / "s")
    cut(folder / "a/seed0/outcomes/arithmetic-1.jsonl.gz")
    before = files(folder)
    with pytest.raises(ValueError, match=r"arithmetic-1\.jsonl\.gz: cannot read the outcomes"):
        fold(folder)
    assert files(folder) - {".lock"} == before
    change(folder / "a/seed2", lambda record: record.update(kept=1))
    shutil.rmtree(folder / "a/seed0")
    with pytest.raises(ValueError, match=r"a/seed2/record\.json: has a field 'kept'"):
        fold(folder)


def test_somebody_elses_records_are_none_of_ours(tmp_path: Path) -> None:
    write(tmp_path / "run", a_record("a", 0, [0.3, 0.4, 0.5]))
    (tmp_path / "records.jsonl").write_text('{"question": "?"}\n')
    assert runs.run_folders(tmp_path) == [tmp_path / "run"] and runs.read_record(tmp_path / "none") is None


def test_pandas_and_datasets_read_the_tables(tmp_path: Path) -> None:
    import datasets

    folder = study(tmp_path / "s")
    fold(folder)
    outcomes = pd.read_parquet(folder / "outcomes.parquet")
    outcomes["right"] = outcomes.strict == "correct"
    right = outcomes[outcomes.task == "arithmetic"].groupby(["arm", "seed", "fraction"]).right.mean()
    assert right["a", 0, 1.0] == 0.7 and right["b", 0, 0.5] == 0.4
    rounds = pd.read_parquet(folder / "metrics.parquet")
    assert {"run", "arm", "trial", "seed", "round", "frac_reward_zero_std"} <= {*rounds.columns}
    assert set(rounds.trial.dropna()) == {"lr0.1", "lr0.2"}
    records = pd.read_json(folder / "records.jsonl", lines=True)
    assert list(records.seed[:3]) == [0, 2, 10]
    for name, table in (("outcomes", outcomes), ("metrics", rounds)):
        read = datasets.load_dataset(
            "parquet", data_files=str(folder / f"{name}.parquet"), split="train", cache_dir=str(tmp_path / "cache")
        )
        assert len(read) == len(table) and {*read.column_names} == {*table.columns} - {"right"}


def test_the_rows_of_evaluations_come_out_as_they_went_in() -> None:
    same = [*rows("arithmetic", 0.0, 0.3), *rows("sorting", 0.0, 0.3), *rows("arithmetic", 1.0, 0.5)]
    assert isinstance(lines.pack(same), dict) and len(lines.pack(same)["spends"]) == 2
    for evals in (same, [], [{"task": 1}], [*same, {**same[0], "more": 1}], [{**same[0], "spend": 3}], None, "x"):
        assert json.dumps(lines.unpack(json.loads(json.dumps(lines.pack(evals))))) == json.dumps(evals)
