"""The commands report, compare and ablate: what they print, and errors in one line."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.reports.render import figures
from harness.studies import launcher
from tests.harness.cli.test_main import Call, one_line
from tests.harness.record_factory import change, unfinished, write, write_study
from tests.harness.reports.conftest import full_study
from tests.harness.reports.markdown import check_tables
from tests.harness.tiny_models import files_of


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "draw", lambda findings, folder: {})


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


def test_report_says_the_verdicts_and_where(call: Call, tmp_path: Path, no_figures: None) -> None:
    path = full_study(tmp_path / "s")
    code, out, error = call("report", str(path))
    lines = out.splitlines()
    assert (code, error) == (0, "")
    assert "(all of them)" in lines[-3] and "(two)" in lines[-2] and lines[-1] == str(path / "report.html")
    assert sum(line.startswith("verdict ") for line in lines) == 2, "a table of verdicts for each block"


def test_report_for_a_paper_writes_its_folder_alone(call: Call, tmp_path: Path) -> None:
    path = full_study(tmp_path / "s")
    before = set(path.rglob("*"))
    code, out, error = call("report", str(path), "--arms", "up_1, flat", "--labels", "Up,Flat", "--width", "84mm")
    assert (code, error) == (0, "") and f"files in {path / 'paper'}: table.tex, curves.csv, figures" in out
    assert {file.parent for file in path.rglob("*")} - {file.parent for file in before} == {path / "paper"}
    code, out, error = call("report", str(path), str(path), "--pdf")
    assert (code, out) == (2, "") and "--pdf" in error and len(error.splitlines()) == 1


def test_parts_of_a_report_inside_another_document(call: Call, tmp_path: Path, no_figures: None) -> None:
    full_study(tmp_path / "s")
    parts = ["headline", "headline:2", "accuracy", "pairs:2", "verdicts", "notes", "spend", "seeds", "tuning", "memory"]
    marked = "\n".join(f"<!-- report s {part} -->\nSTALE\n<!-- /report -->\nbetween" for part in parts)
    document = tmp_path / "README.md"
    document.write_text(f"before\n{marked}\n")
    assert call("report", str(tmp_path / "s"), "--into", str(document))[0] == 0
    text = document.read_text()
    assert "STALE" not in text and text.startswith(
        "before\n<!-- report s headline -->\n\n**At 160 completions (all of them)"
    )
    assert text.count("\nbetween") == len(parts) and "**At 160 completions (two)" in text
    assert check_tables(text) == 6
    assert call("report", str(tmp_path / "s"), "--into", str(document))[0] == 0
    assert document.read_text() == text, "made anew it differs"
    document.write_text("<!-- report s speed -->\n<!-- /report -->\n")
    code, _, error = call("report", str(tmp_path / "s"), "--into", str(document))
    assert code == 2 and "speed" in error and "headline" in one_line(error)


def test_a_document_that_is_no_text_is_named_before_anything_is_written(call: Call, tmp_path: Path) -> None:
    write_study(tmp_path / "s", {"a": {0: [0.3, 0.5, 0.9]}})
    (tmp_path / "README.md").write_bytes(b"before \xff after")
    before = files_of(tmp_path)
    code, said, error = call("report", str(tmp_path / "s"), "--into", str(tmp_path / "README.md"))
    line = one_line(error)
    assert (code, said) == (2, "") and str(tmp_path / "README.md") in line and "UTF-8" in line
    assert files_of(tmp_path) == before and (tmp_path / "README.md").read_bytes() == b"before \xff after"


WRONG_RECORDS: dict[str, tuple[Callable[[dict[str, Any]], object], list[str]]] = {
    # what is wrong -> (what makes it so, what the line must say)
    "no memory": (lambda r: r.pop("memory"), ["memory: missing"]),
    "no peak": (lambda r: r.update(memory={"parts": {}}), ["memory.peak_bytes: missing"]),
    "a part without bytes": (
        lambda r: r.update(memory={"peak_bytes": 1, "parts": {"policy": {}}}),
        ["memory.parts.policy.bytes: missing"],
    ),
    "no phases": (lambda r: r.pop("phases"), ["phases: missing"]),
    "a phase of no length": (
        lambda r: r.update(phases={"eval": {"seconds": "4"}}),
        ["phases.eval.seconds: ", "number"],
    ),
    "evaluations that are a number": (lambda r: r.update(evals=3), ["evals: must be a list, not 3"]),
    "an evaluation that is none": (lambda r: r["evals"].insert(2, None), ["evals.2: must be a table, not None"]),
    "a value that is none": (lambda r: r["evals"][1].update(value=None), ["evals.1.value: must be a number, not None"]),
    "a value that is missing": (lambda r: r["evals"][0].pop("value"), ["evals.0.value: missing"]),
    "no evaluations": (lambda r: r.update(evals=[]), ["finished, but nothing was evaluated"]),
    "a seed of words": (lambda r: r.update(seed="one"), ["seed: must be a whole number, not 'one'"]),
    "a seed of truth": (lambda r: r.update(seed=True), ["seed: must be a whole number, not True"]),
    "an unknown unit": (lambda r: r["budget"].update(unit="tokens"), ["budget.unit: ", "completions", "'tokens'"]),
    "a list for a unit": (lambda r: r["budget"].update(unit=["x"]), ["budget.unit: ", "['x']"]),
    "no spend": (lambda r: r["spend"].pop("flops"), ["spend.flops: missing"]),
    "a configuration that is none": (lambda r: r.update(config=3), ["config: must be a table, not 3"]),
    "an environment without data": (lambda r: r["environment"].update(data=3), ["environment.data: ", "list", "3"]),
    "no commit": (lambda r: r["environment"].pop("commit"), ["environment.commit: missing"]),
}


@pytest.mark.parametrize("what", WRONG_RECORDS)
@pytest.mark.parametrize("alone", [False, True])
def test_a_record_without_what_a_report_reads_is_named(what: str, alone: bool, call: Call, tmp_path: Path) -> None:
    """Of a study, and of one run."""
    folder = write_study(tmp_path / "s", {"a": {s: [0.3, 0.5, 0.9] for s in range(2)}})
    change(folder / "a" / "seed1", WRONG_RECORDS[what][0])
    before = files_of(tmp_path)
    code, said, error = call("report", str(folder / "a" / "seed1" if alone else folder))
    line = one_line(error)
    missing = [f for f in ["a/seed1/record.json: ", *WRONG_RECORDS[what][1]] if f not in line]
    assert (code, said, missing) == (2, "", []) and files_of(tmp_path) == before


BAD_REPORTS: dict[str, list[str]] = {
    "nowhere": ["no such folder"],
    "empty": ["no records", "seed<k>/record.json"],
    "s/study.json": ["no such folder"],
    "schema": ["a/seed0/record.json", "schema 99"],
    "unfinished": ["no run has finished", "out of cheese"],
    "broken": ["a/seed0/record.json", "not a readable record"],
    "outcomes": ["outcomes/arithmetic-1.jsonl.gz", "cannot read"],
}


@pytest.mark.parametrize("what", BAD_REPORTS)
def test_a_report_that_cannot_be_made_is_one_plain_line(what: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("s", "schema", "unfinished", "broken", "outcomes"):
        write_study(tmp_path / name, {"a": {s: [0.3, 0.5, 0.9] for s in range(2)}})
    change(tmp_path / "schema" / "a" / "seed0", lambda r: r.update(schema=99))
    for seed in range(2):
        write(tmp_path / "unfinished" / "a" / f"seed{seed}", unfinished("a", seed, "failed", "out of cheese"))
    (tmp_path / "broken" / "a" / "seed0" / "record.json").write_text("{")
    (tmp_path / "outcomes" / "a" / "seed0" / "outcomes" / "arithmetic-1.jsonl.gz").unlink()
    before = files_of(tmp_path)
    code, said, error = call("report", str(tmp_path / what))
    line = one_line(error)
    assert (
        (code, said) == (2, "") and line.startswith("error: ") and [f for f in BAD_REPORTS[what] if f not in line] == []
    )
    assert files_of(tmp_path) == before


COMPARE = ["compare", "--algos", "grpo,ppo", "--seeds", "2", "--budget", "completions=64", "--dry-run"]


def test_a_comparison_is_rehearsed(call: Call, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    words = ["--name", "x", "--out", out, "--set", "ppo.critic=shared", "--eval-limit", "4", "--group-size", "8"]
    code, said, error = call(*COMPARE, *words)
    lines = said.splitlines()
    assert (code, error, lines[0]) == (0, "", "# 4 runs: 4 to do")
    assert lines[5].startswith("# cost: 256 completions; time unknown")
    assert lines[1] == (
        f"harness run --seed 0 --name seed0 --out {out}/x/grpo --set eval_fractions=0,0.25,0.5,0.75,1 --group-size 8 "
        "--set eval_limit=4 --budget completions=64 --algo grpo"
    )
    assert lines[2].endswith("--algo ppo --set algo.critic=shared") and "--seed 1" in lines[3] and len(lines) == 7
    assert lines[6].startswith("# power: unknown; no run like these is recorded")
    assert not Path(out).exists()


HALF = {"status": "finished", "algo": "grpo", "seed": 0, "config": {}, "budget": {}, "spend": 3, "evals": 3}


@pytest.mark.parametrize("text", ['{"status": ', "[]", "{}", json.dumps({**HALF, "environment": {}}), b"\xff\xfe"])
@pytest.mark.parametrize("words", [COMPARE, ["ablate", "dsm_fig7", "--dry-run"]])
def test_a_record_of_another_study_that_cannot_be_read_stops_no_plan(
    words: list[str], text: str | bytes, call: Call, tmp_path: Path
) -> None:
    """Its time is not known; that of the others is."""
    write_study(tmp_path / "s", {"a": {0: [0.3, 0.5, 0.9]}})
    change(tmp_path / "s" / "a" / "seed0", lambda r: r["config"].update(model="nano"))
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "record.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    code, said, error = call(*words, "--out", str(tmp_path))
    assert (code, error) == (0, "") and re.search(r"# cost: .*; about \d+ min", said)


def test_a_study_is_rehearsed(call: Call, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    words = ["ablate", "compare_nano", "--seeds", "2", "--budget", "completions=64", "--out", out, "--dry-run"]
    code, said, error = call(*words)
    assert (code, error) == (0, "") and not Path(out).exists()
    lines = said.splitlines()
    (first, trials, cost), runs = [x for x in lines if x.startswith("#")][:3], [x for x in lines if "/tune/" not in x]
    assert re.fullmatch(r"# \d+ trials: \d+ to do", first) and trials.startswith("# cost: ") and "runs: " in cost
    assert "# lr as the trials will choose" in runs
    seeds = {word.split()[0] for line in runs for word in line.split("--seed ")[1:]}
    assert seeds == {"0", "1"} and "completions=64" in runs[-3] and runs[-1].startswith("# power: ")


def test_a_study_is_asked_on_further_test_sets(call: Call, tmp_path: Path) -> None:
    words = ["ablate", "compare_smollm2", "--set", "model=nano", "--eval-file", "svamp=x.jsonl", "--dry-run"]
    code, said, error = call(*words, "--out", str(tmp_path))
    runs = [line for line in said.splitlines() if "harness run" in line]
    assert (code, error, len(runs)) == (0, "", 60) and all("--eval-file svamp=x.jsonl" in run for run in runs)
    trials = [run for run in runs if "/tune/" in run]
    assert len(trials) == 30 and all("generated_tokens=16000" in run for run in trials)


BAD_WORDS: dict[str, tuple[list[str], list[str]]] = {
    "no algorithm": (["compare", "--dry-run"], ["--algos"]),
    "an unknown algorithm": ([*COMPARE, "--algos", "grpo,groo"], ["arm 'groo'", "algo", "valid"]),
    "an unknown field": ([*COMPARE, "--set", "speed=1"], ["speed", "unknown field", "group_size"]),
    "an unknown field of the algorithm": (
        [*COMPARE, "--set", "ppo.speed=1"],
        ["arm 'ppo'", "algo.speed", "algo.clip_low"],
    ),
    "a setting without a value": ([*COMPARE, "--set", "lr"], ["--set", "field=value"]),
    "an unknown unit": ([*COMPARE, "--budget", "tokens=1"], ["budget", "tokens=1", "generated_tokens"]),
    "no seed": ([*COMPARE, "--seeds", "0"], ["seeds", "0"]),
    "words for seeds": ([*COMPARE, "--seeds", "few"], ["seeds", "few", "0,1,7"]),
    "a name that is no folder": ([*COMPARE, "--algos", "my.algo.py"], ["arms.my.algo", "letters"]),
    "an unknown task": ([*COMPARE, "--task", "algebra"], ["algebra", "arithmetic"]),
    "an eval file without a name": ([*COMPARE, "--eval-file", "x.jsonl"], ["--eval-file", "NAME=FILE"]),
    "a word for workers": ([*COMPARE, "--workers", "two"], ["--workers"]),
    "no worker": ([*COMPARE, "--workers", "0"], ["workers", "at least 1"]),
    "seconds that are shared": (
        [*COMPARE, "--workers", "2", "--budget", "device_seconds=9"],
        ["workers", "device_seconds"],
    ),
    "no evaluation at the end": (
        [*COMPARE, "--set", "eval_fractions=0,0.5"],
        ["arm 'grpo'", "eval_fractions", "must name 1", "0, 0.5"],
    ),
    "no evaluation": ([*COMPARE, "--set", "eval_fractions="], ["arm 'grpo'", "eval_fractions", "must name 1"]),
    "no such configuration": ([*COMPARE, "--config", "none.toml"], ["none.toml"]),
    "an unknown study": (["ablate", "speed", "--dry-run"], ["study", "'speed'", "compare_nano", "FILE.toml"]),
    "no such study": (["ablate", "none.toml", "--dry-run"], ["none.toml"]),
    "a study without a name": (["ablate", "--dry-run"], ["study"]),
    "a study's unknown field": (
        ["ablate", "compare_nano", "--set", "speed=1", "--dry-run"],
        ["speed", "unknown field"],
    ),
    "a tuning seed": (["ablate", "compare_nano", "--seeds", "99,100", "--dry-run"], ["tune.seeds", "100"]),
    "no folder": (["report"], ["folder"]),
}


@pytest.mark.parametrize("what", BAD_WORDS)
def test_bad_words_are_one_plain_line(what: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words, fragments = BAD_WORDS[what]
    code, said, error = call(*words)
    line = one_line(error)
    assert (code, said) == (2, "") and line.startswith("error: ") and [f for f in fragments if f not in line] == []
    assert files_of(tmp_path) == set()


BROKEN = [["x/a/seed0: cheese"], ["x/a/seed0: cheese", "y: wine"]]


@pytest.mark.parametrize("broken", BROKEN)
def test_cells_that_did_not_finish_are_a_failure(
    broken: list[str], call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = "1 run" if len(broken) == 1 else "2 runs"
    monkeypatch.setattr(launcher, "launch", lambda *_: broken)
    code, out, error = call(*COMPARE[:-1])
    assert (code, out) == (1, "") and f"{count} did not finish: {'; '.join(broken)}" in one_line(error)


def test_quiet_says_nothing(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def loud(study: Any, out: str, workers: int, retry: bool, say: Any) -> list[str]:
        say(f"{study.name} {out} {workers} {retry}")
        return []

    monkeypatch.setattr(launcher, "launch", loud)
    assert call(*COMPARE[:-1], "--quiet") == (0, "", "")
    assert call(*COMPARE[:-1], "--workers", "3", "--retry") == (0, "compare-grpo-ppo results 3 True\n", "")
