"""The files of a report: what is written, and that the same records give the same bytes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.reports.analysis.summary import Findings
from harness.reports.render import caveats
from harness.reports.render import text as wording
from harness.reports.render.provenance import samples
from harness.reports.report import write_report
from tests.harness.record_factory import (
    a_record,
    change,
    write,
    write_study,
)
from tests.harness.reports.conftest import HOSTILE, VALUES
from tests.harness.reports.markdown import check_tables, tables_of
from tests.helpers import ROOT

pytestmark = pytest.mark.usefixtures("sampled_problems")

FILES = {"report.md", "report.html", "table.csv", "curves.csv", "table.tex"}
FIGURES = ["curves", "cost", "at_k", "seeds", "curves-2", "cost-2", "seeds-2"]  # of two blocks
FILES |= {f"{figure}.{kind}" for figure in FIGURES for kind in ("svg", "png")}
OF_ONE_RUN = sorted(name for name in FILES if not name.startswith("at_k") and "-2." not in name)


@pytest.fixture
def page(folder: Path, findings: Findings) -> str:
    return (folder / "report.md").read_text()


def report_bytes(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}


# ---------------------------------------------------------------- files


def test_all_files_are_written(folder: Path, findings: Findings) -> None:
    found = report_bytes(folder)
    assert set(found) == FILES and {p.name for p in folder.iterdir() if p.is_file()} == FILES | {"study.json"}
    assert min(map(len, found.values())) > 300
    assert all(found[name].startswith(b"\x89PNG") for name in FILES if name.endswith("png"))
    assert all(b"<svg" in found[name] for name in FILES if name.endswith("svg"))


def test_the_same_records_give_the_same_bytes(
    folder: Path, findings: Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whichever order the file system lists them."""
    before, glob = report_bytes(folder), Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(sorted(glob(self, pattern), reverse=True)))
    write_report(folder)
    assert report_bytes(folder) == before


def test_another_process_writes_the_same_and_needs_no_torch(folder: Path, findings: Findings, tmp_path: Path) -> None:
    """With another hash seed, hence another order of sets."""
    other = shutil.copytree(folder, tmp_path / folder.name)
    for name in FILES:
        (other / name).unlink()
    code = (
        "import sys\nfrom harness.cli.main import main\n"
        f"sys.argv = ['harness', 'report', {str(other)!r}]\n"
        "try:\n    main()\nfinally:\n"
        "    print('heavy:', sorted({'torch', 'transformers', 'lm_eval'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert done.returncode == 0 and "heavy: []" in done.stdout, done.stdout + done.stderr
    assert report_bytes(other) == report_bytes(folder)


def test_the_report_of_one_run_and_of_a_bare_folder(tmp_path: Path, no_figures: None) -> None:
    alone = write(tmp_path / "one", a_record("a", 4, [0.3, 0.5, 0.9]))
    assert list(write_report(alone).arms) == ["grpo"] and "90.0" in (alone / "report.md").read_text()
    bare = write_study(tmp_path / "bare", {arm: VALUES[arm] for arm in ("up_2", "flat")})
    (bare / "study.json").unlink()
    assert list(write_report(bare).arms) == ["flat", "up_2"]
    check_tables((bare / "report.md").read_text())


def test_nothing_is_written_on_an_error(tmp_path: Path) -> None:
    bad = write_study(tmp_path / "s", {"a": {0: [0.3, 0.5, 0.9]}})
    change(bad / "a" / "seed0", lambda r: r.update(schema=99))
    with pytest.raises(ValueError, match="schema 99"):
        write_report(bad)
    assert report_bytes(bad) == {}


# ---------------------------------------------------------------- markdown


def test_every_row_has_as_many_cells_as_its_head(page: str) -> None:
    titles = re.findall(r"^## (.*)", page, re.MULTILINE)
    assert titles == [
        "all of them", "Pairs, all of them", "two", "Pairs, two", "Arms", "Outcomes", "Spend", "pass@k and maj@k",
        "Every seed", "Tuning",
        "Memory by part", "Seconds by phase", "Completions at the end", "Commands", "Versions",
    ]  # fmt: skip
    assert check_tables(page) == len(titles) - 1  # the commands are a list


def test_results_come_first(page: str, findings: Findings) -> None:
    lines = [line for line in page.splitlines() if line]
    assert lines[:4] == ["# my_study", "- Question: Which one?", "- Source: nowhere", "- Prediction: up"]
    notes = caveats.notes(findings)
    warned = [f"- Caution: {line}" for line in caveats.cautions(findings)]
    expected = [*(f"**{wording.headline(findings, block)}**" for block in findings.blocks)]
    expected += [*warned, wording.audit_text(findings.audit, findings.delay), *(f"- {note}" for note in notes)]
    assert lines[4 : 4 + len(expected)] == expected and len(notes) >= 2


def test_completions_do_not_break_tables(page: str, findings: Findings) -> None:
    shown = page[page.index("## Completions") :].split("## Commands")[0]
    (table,) = tables_of(shown)
    assert table[0] == ["problem", "answer", "start", "up_1", "up_2", "flat"] and len(table) == 2 + 4
    cell = table[2][3]
    assert cell.startswith("`arithmetic 1 0 a \\| b \\|\\| c ") and cell.endswith("` correct")
    assert cell.count("`") == 2 and "**bold**" in cell
    found = samples(findings.results)
    assert {s.task for s in found} == {"arithmetic", "arithmetic_t1"} and len(found) == 16
    assert found[0].texts["flat"] == (f"arithmetic 1 0 {HOSTILE}", "correct")
    assert found[0].texts["start"] == (f"arithmetic 0 0 {HOSTILE}", "correct")


def test_a_lone_surrogate_is_replaced(tmp_path: Path, no_figures: None) -> None:
    bad = write(tmp_path / "s", a_record("a", 0, [0.3, 0.5, 0.9]), text=lambda where, i: "x\ud800y")
    write_report(bad)
    assert "x" in (bad / "report.md").read_text()


KEEPING = [(arms, points) for arms in (("up_2",), ("up_2", "flat")) for points in ((0.0,), (0.0, 1.0))]


@pytest.mark.parametrize(("arms", "points"), KEEPING)
def test_records_that_keep_no_outcomes(
    points: tuple[float, ...], arms: tuple[str, ...], tmp_path: Path, no_figures: None
) -> None:
    """Without the outcomes of some arms or points there are no completions to show."""
    bare = write_study(tmp_path / "s", {arm: VALUES[arm] for arm in ("up_2", "flat")})
    for run in (bare / arm / f"seed{seed}" for arm in arms for seed in range(3)):
        change(run, lambda r: [row.update(outcomes="") for row in r["evals"] if row["fraction"] in points])
    write_report(bare)
    check_tables((bare / "report.md").read_text())


@pytest.mark.parametrize("how", ["link", "dangling", "directory"])
@pytest.mark.parametrize("name", OF_ONE_RUN)
def test_nothing_is_written_through_a_link(name: str, how: str, tmp_path: Path, no_figures: None) -> None:
    """A folder may come from anywhere, and a link in it may lead to a file of the reader's."""
    folder, outside = tmp_path / "study", tmp_path / "outside"
    write(folder, a_record("grpo", 0, [0.3, 0.5, 0.9]))
    if how == "directory":
        (folder / name).mkdir()
    else:
        (folder / name).symlink_to(outside)
    if how == "link":
        outside.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=rf"^{folder / name}: is "):
        write_report(folder)
    assert sorted(tmp_path.rglob("*")) == before and (how != "link" or outside.read_text() == "mine")


def test_a_report_runs_no_code_that_records_and_studies_name(tmp_path: Path, no_figures: None) -> None:
    (evil := tmp_path / "evil.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n")
    arm = {"algo": {"name": str(evil)}, "reward": f"{evil}:f", "model": str(tmp_path)}
    folder = write_study(tmp_path / "study", {}, arms={"a": arm}, seeds=[0])
    record = a_record("a", 0, [0.3, 0.5, 0.9], algo=str(evil))
    record["config"] |= {"algo_name": str(evil), "reward": f"{evil}:f"}
    write(folder / "a" / "seed0", record)
    assert list(write_report(folder).arms) == ["a"] and not (tmp_path / "ran").exists()
