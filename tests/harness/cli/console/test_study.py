"""The table of a study that fills in: what it reads from folders that others write, and what it shows."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.cli.console.study import Cell, StudyView, read_cell
from harness.studies.planned_run import PlannedRun

ROW = {"domain": "in", "decoding": "greedy", "filter": "strict", "metric": "exact_match", "value": 0.75}


def write(folder: Path, status: str, fraction: float | None = None, **more: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = {"status": status, "phases": {"rollout": {"seconds": 30.0}, "eval": {"seconds": 10.0}}, "evals": [ROW]}
    (folder / "record.json").write_text(json.dumps({**record, **more}))
    if fraction is not None:
        lines = [
            {"round": 1, "budget/fraction": 0.1},
            {"round": 2, "budget/fraction": fraction, "accuracy/strict": 0.5},
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"round": 3, "bu')


def runs(arms: str, seeds: int) -> list[PlannedRun]:
    return [PlannedRun(arm, seed, f"study/{arm}", {}) for arm in arms for seed in range(seeds)]


def shown(view: StudyView, width: int) -> str:
    console = Console(width=width, height=40, file=io.StringIO(), force_terminal=True, color_system=None)
    with console.capture() as text:
        view.console.width = width
        console.print(view.view())
    return text.get()


def test_a_cell_is_what_its_folder_tells(tmp_path: Path) -> None:
    write(tmp_path / "a", "running", 0.25)
    assert read_cell(tmp_path / "a") == Cell("running", 0.25, 0.5, 40 * 0.75 / 0.25, 40.0)
    write(tmp_path / "b", "finished", 1.0)
    assert read_cell(tmp_path / "b") == Cell("finished", 1.0, 0.75, None, 40.0)
    write(tmp_path / "c", "failed", 0.25)
    assert read_cell(tmp_path / "c").left is None
    write(tmp_path / "d", "running")
    assert read_cell(tmp_path / "d") == Cell("running", 0.0, None, None, 40.0)


def test_what_cannot_be_read_waits(tmp_path: Path) -> None:
    assert read_cell(tmp_path / "none") == Cell()
    for text in ("", "{", "[]", "3", '{"status": "running", "phases": 3}'):
        (tmp_path / "record.json").write_text(text)
        assert read_cell(tmp_path) == Cell()


def test_the_table_has_a_row_per_run_or_per_arm(tmp_path: Path) -> None:
    write(tmp_path / "study/a/seed0", "finished", 1.0)
    write(tmp_path / "study/b/seed0", "running", 0.25)
    for width in (80, 110):
        few = shown(StudyView(runs("ab", 2), str(tmp_path), 2), width)
        assert max(map(len, few.splitlines())) <= width
        lines = [line.split() for line in few.splitlines() if " seed " in line]
        assert [line[:4] for line in lines] == [
            ["a", "seed", "0", "finished"], ["b", "seed", "0", "running"],
            ["a", "seed", "1", "waiting"], ["b", "seed", "1", "waiting"],
        ] or sorted(line[:4] for line in lines) == sorted(
            [["a", "seed", "0", "finished"], ["a", "seed", "1", "waiting"],
             ["b", "seed", "0", "running"], ["b", "seed", "1", "waiting"]]
        )  # fmt: skip
        assert "1 of 4 runs" in few and "2:00" in few  # 40 s for a quarter
        many = shown(StudyView(runs("ab", 30), str(tmp_path), 2), width)
        assert "1 of 30" in many and "seed" not in many and max(map(len, many.splitlines())) <= width


def test_it_reads_a_folder_again_only_where_it_has_changed(tmp_path: Path) -> None:
    view, (run,) = StudyView(runs("a", 1), str(tmp_path), 1), runs("a", 1)
    assert view.cell(run).status == "waiting"
    (tmp_path / run.path).mkdir(parents=True)
    (tmp_path / run.path / ".lock").touch()
    assert view.cell(run).status == "starting"
    write(tmp_path / run.path, "running", 0.5)
    assert view.cell(run).fraction == 0.5


def test_elsewhere_than_on_a_terminal_it_is_plain_lines(tmp_path: Path) -> None:
    file = io.StringIO()
    with StudyView(runs("a", 1), str(tmp_path), 1, Console(file=file, width=80)) as view:
        view.say("[1/2] study/a/seed0: 75.0 % in domain, greedy; " + "x" * 80)
        assert view.live is None
    assert file.getvalue() == "[1/2] study/a/seed0: 75.0 % in domain, greedy; " + "x" * 80 + "\n"
