"""`from harness import run, compare, load_record, load_study`: the same code path as the commands, and tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.cli import main
from tests.harness.tiny_models import SETTINGS
from tests.helpers import ROOT

SMALL = {"eval_fractions": (0, 1), "checkpoint_every": 1} | dict(s.split("=") for s in SETTINGS)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of the processes that `compare` starts
    return tmp_path


def test_the_public_names_are_there_and_documented() -> None:
    assert set(harness.__all__) <= set(dir(harness))
    for name in harness.__all__:
        assert getattr(harness, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        harness.runn  # noqa: B018


def test_a_run_is_the_commands_run(here: Path, taught: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {**SMALL, "algo.kl_coef": 0.01, "eval_limit": None}
    result = harness.run("dr_grpo", model=taught, group_size=4, budget="completions=32", seed=3, settings=settings)
    words = ["harness", "run", "--algo", "dr_grpo", "--model", str(taught), "--group-size", "4", "--seed", "3"]
    words += ["--budget", "completions=32", "--name", "same", "--quiet", "--set", "algo.kl_coef=0.01"]
    words += [word for s in (*SETTINGS, "eval_fractions=0,1", "checkpoint_every=1") for word in ("--set", s)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        main.main()
    assert not stop.value.code
    ours, theirs = result.folder, here / "results/same"
    assert result.folder == Path("results/dr_grpo-arithmetic-s3")
    final = "checkpoints/final/model.safetensors"
    assert (ours / final).read_bytes() == (theirs / final).read_bytes()
    assert result.record["config_sha256"] == harness.load_record(theirs).get("config_sha256")
    assert result.record["algo"] == "dr_grpo" and result.record["config"]["algo"]["normalize"] == "none"
    assert list(result.metrics["round"]) == [1, 2]
    strict = result.evals.query("task == 'arithmetic' and filter == 'strict' and metric == 'exact_match'")
    assert list(strict["fraction"]) == [0, 1] and list(strict["completions"]) == [0, 32]


class Heard(harness.RunListener):
    """Notes what it hears."""

    def __init__(self) -> None:
        self.rounds: list[int] = []
        self.points: list[float] = []

    def round(self, metrics: dict[str, float], warnings: Sequence[str]) -> None:
        self.rounds.append(len(self.rounds) + 1)
        assert "accuracy/strict" in metrics

    def evaluation(self, fraction: float, rows: Any) -> None:
        self.points.append(fraction)


def test_a_listener_hears_of_rounds_and_nothing_is_printed(
    here: Path, taught: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    heard = Heard()
    harness.run(model=taught, budget="completions=32", name="r", settings=SMALL, listener=heard)
    assert (heard.rounds, heard.points) == ([1, 2], [0.0, 1.0])
    assert capfd.readouterr().out == ""


def test_a_finished_run_is_returned_as_it_is(here: Path, taught: Path) -> None:
    first = harness.run(model=taught, budget="completions=16", name="r", settings=SMALL)
    before = (first.folder / "record.json").read_bytes()
    again = harness.run(model=taught, budget="completions=16", name="r", settings=SMALL, resume=True)
    assert again.record == first.record and (again.folder / "record.json").read_bytes() == before


def test_a_run_that_fails_is_no_bad_input(here: Path, taught: Path) -> None:
    (here / "reward.py").write_text("def bad(problem, completion, verdict):\n    return [][0]\n")
    with pytest.raises(harness.RunFailed, match=r"IndexError: list index out of range \(see .*traceback.txt\)"):
        harness.run(model=taught, budget="completions=16", name="r", reward="reward.py:bad", settings=SMALL)
    assert harness.load_record("results/r")["status"] == "failed"


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "algorithm": (lambda: harness.run("groo"), "algo: unknown algorithm 'groo'; valid: .*dapo.*grpo"),
    "field": (lambda: harness.run(settings={"algo.kl": 1}), "algo.kl: unknown field; valid: .*algo.kl_coef"),
    "type": (lambda: harness.run(group_size="many"), "group_size: 'many' is not an int"),  # type: ignore[arg-type]
    "unit": (lambda: harness.run(budget="tokens=3"), "budget: 'tokens=3'"),
    "task file": (lambda: harness.run(task=Path("none.py")), "task: no file none.py"),
    "config": (lambda: harness.run(config="none.toml"), "config: cannot read none.toml"),
    "record": (lambda: harness.load_record("nowhere"), "nowhere/record.json: no such record"),
    "study": (lambda: harness.load_study("nowhere"), "nowhere: no such folder"),
    "arms": (lambda: harness.compare(["grpo", "grpo"]), "algos: 'grpo,grpo' names an algorithm twice"),
    "seeds": (lambda: harness.compare(["grpo"], seeds=0), "seeds: must be a count"),
    "twice a seed": (lambda: harness.compare(["grpo"], seeds=[1, 1]), "seeds: .* has a seed twice"),
    "workers": (lambda: harness.compare(["grpo"], workers=0), "workers: at least 1"),
}


@pytest.mark.parametrize("what", WRONG)
def test_bad_input_is_a_value_error_of_one_line_and_leaves_nothing(here: Path, what: str) -> None:
    call, message = WRONG[what]
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
    assert list(here.iterdir()) == []


# ---------------------------------------------------------------- a notebook

CELLS = [
    "import harness",
    """result = harness.run("rloo", model=MODEL, budget="completions=32", name="r", settings=SETTINGS)
assert result.record["status"] == "finished"
assert result.evals.shape[0] > 0 and len(result.metrics) == 2""",
    """record = harness.load_record(result.folder)
assert record == result.record
study = harness.load_study(result.folder)
assert study.runs.arm.tolist() == ["rloo"] and study.curves.fraction.unique().tolist() == [0, 1]""",
    """try:
    harness.run("groo")
except ValueError as error:
    print(error)""",
]


def cells(taught: Path) -> list[str]:
    return [f"MODEL = {str(taught)!r}\nSETTINGS = {SMALL!r}", *CELLS]


def test_the_cells_of_a_notebook(here: Path, taught: Path, capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, Any] = {}
    for cell in cells(taught):
        exec(cell, namespace)
    assert capsys.readouterr().out.startswith("algo: unknown algorithm 'groo'")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_notebook(here: Path, taught: Path) -> None:
    """The same cells in a kernel."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells(taught)])
    nbclient.NotebookClient(book, timeout=120, resources={"metadata": {"path": str(here)}}).execute()
    printed = [output["text"] for cell in book.cells for output in cell.outputs if output["name"] == "stdout"]
    assert [text.partition(";")[0] for text in printed] == ["algo: unknown algorithm 'groo'"]


# ---------------------------------------------------------------- several runs


@pytest.mark.slow
def test_a_comparison_is_the_commands_comparison(here: Path, taught: Path) -> None:
    said: list[str] = []
    again: list[str] = []
    arguments: dict[str, Any] = {"seeds": [0, 5], "model": taught, "budget": "completions=32", "settings": SMALL}
    study = harness.compare(["dr_grpo", "rloo"], **arguments, say=said.append)
    assert study.folder == Path("results/compare-dr_grpo-rloo") and (study.folder / "report.html").is_file()
    assert sorted(zip(study.runs.arm, study.runs.seed, strict=True)) == [
        ("dr_grpo", 0),
        ("dr_grpo", 5),
        ("rloo", 0),
        ("rloo", 5),
    ]
    assert said[0] == "4 runs: 4 to do" and said[-1].startswith("report: ")
    assert study.verdicts() == said[-2:-1]
    harness.compare(["dr_grpo", "rloo"], **arguments, say=again.append)
    assert again[0] == "4 runs: 4 finished, 0 to do"


def test_json_of_a_record_and_what_is_loaded_agree(here: Path, taught: Path) -> None:
    result = harness.run(model=taught, budget="completions=16", name="r", settings=SMALL)
    assert json.loads((result.folder / "record.json").read_text()) == result.record
