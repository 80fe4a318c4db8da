"""`harness compare` from the words to the report, with a model that is really trained; and again, with a part lost."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.cli import main
from harness.records.runs import raw_record, run_folders
from harness.reports.loading import load_results
from harness.reports.render import figures
from harness.studies import launcher
from tests.harness.tiny_models import SETTINGS

ARMS, SEEDS = ("grpo", "rft"), (0, 1)
CELLS = [f"{arm}/seed{seed}" for seed in SEEDS for arm in ARMS]


def harness(words: Sequence[str], patch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """In this process: (exit code, stdout, stderr)."""
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error), patch.context() as context:
        context.setattr(sys, "argv", ["harness", *words])
        with pytest.raises(SystemExit) as stop:
            main.main()
    return int(stop.value.code or 0), out.getvalue(), error.getvalue()


def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are made in this process, for one of its own spends seconds on imports; and no figures are drawn."""

    def run(words: list[str], *, env: Any, stderr: int, text: bool) -> subprocess.CompletedProcess[str]:
        code, _, error = harness(words[3:], monkeypatch)
        return subprocess.CompletedProcess(words, code, stderr=error)

    monkeypatch.setattr(launcher, "subprocess", SimpleNamespace(run=run, PIPE=subprocess.PIPE))
    monkeypatch.setattr(figures, "draw", lambda findings, folder: {})


def state(folder: Path) -> dict[str, dict[str, Any]]:
    """The record of each run."""
    return {str(run.relative_to(folder)): raw_record(run) or {} for run in run_folders(folder)}


def values(record: dict[str, Any]) -> dict[tuple[Any, ...], float]:
    return {(r["task"], r["fraction"], r["filter"], r["metric"]): r["value"] for r in record["evals"]}


@pytest.mark.parametrize("where", ["here", pytest.param("processes of their own", marks=pytest.mark.slow)])
def test_a_comparison_and_what_is_lost_of_it(
    where: str, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "here":
        here(monkeypatch)
    words = ["compare", "--algos", ",".join(ARMS), "--seeds", "2", "--budget", "completions=48", "--eval-limit", "4"]
    words += ["--name", "x", "--out", str(tmp_path), "--model", str(taught), "--set", "eval_fractions=1"]
    words += [word for setting in SETTINGS for word in ("--set", setting)]
    folder = tmp_path / "x"

    code, said, error = harness(words, monkeypatch)
    assert (code, error) == (0, "")
    lines = said.splitlines()
    assert lines[0] == "4 runs: 4 to do" and [line.split(":")[0] for line in lines[1:5]] == [
        f"[{i}/4] x/{run}" for i, run in enumerate(CELLS, 1)
    ]
    assert lines[5].split()[:3] == ["arm", "seeds", "arithmetic"]  # the table of verdicts, then the headline
    headline = "At 48 completions, grpo and rft cannot be compared yet (2 seeds; "
    assert sum(line.startswith(headline) for line in lines[6:]) == 1
    assert lines[-1] == f"report: {folder / 'report.html'}"
    records = state(folder)
    assert all(r["status"] == "finished" and r["spend"]["completions"] == 48 for r in records.values())
    assert {arm: list(runs) for arm, runs in load_results(folder).runs.items()} == {arm: list(SEEDS) for arm in ARMS}
    assert len({tuple(values(r).values()) for r in records.values()}) > 1, "runs that all say the same"
    assert not list(folder.rglob("record.json")) and (folder / CELLS[0] / "samples.jsonl").is_file(), "not folded"

    lines = (folder / "records.jsonl").read_text().splitlines()  # one lost, and one cut off, as by a lamp that went out
    kept = [line for line in lines if json.loads(line)["run"] != CELLS[1]]
    (folder / "records.jsonl").write_text("".join(f"{line}\n" for line in kept))
    shutil.rmtree(folder / CELLS[1])
    cut = folder / CELLS[2] / "record.json"
    cut.write_text(json.dumps({**records[CELLS[2]], "status": "running"}))
    (folder / "report.html").unlink()
    code, said, error = harness(words, monkeypatch)
    assert (code, error) == (0, "") and said.splitlines()[0] == "4 runs: 2 finished, 2 to do"
    after = state(folder)
    assert [run for run in CELLS if after[run] != records[run]] == CELLS[1:3]
    assert (folder / "report.html").stat().st_size > 1000
    for run in CELLS[1:3]:
        again = after[run]
        assert again["status"] == "finished" and values(again) == values(records[run]), "another run than before"
    assert not list(folder.rglob("record.json"))

    code, said, _ = harness(words, monkeypatch)
    assert code == 0 and said.splitlines()[0] == "4 runs: 4 finished, 0 to do"
    assert state(folder) == after
    one = ["run", "--algo", "grpo", "--model", str(taught), "--name", "seed0", "--out", str(folder / "grpo")]
    code, _, error = harness([*one, "--quiet"], monkeypatch)
    assert code == 2 and "seed0 already holds another run" in error
