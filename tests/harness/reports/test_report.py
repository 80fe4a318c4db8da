"""A report: what is written, that the same records give the same bytes, and the commands that lead there."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.accounting.budget import UNITS
from harness.cli import main
from harness.config.experiment import built
from harness.config.run_config import RunConfig
from harness.records.fingerprint import config_differences
from harness.reports.analysis.summary import Findings, find
from harness.reports.loading import Run, read
from harness.reports.render import figures, tables
from harness.reports.render.provenance import command, commands, samples, versions
from harness.reports.render.tables import Table
from harness.reports.report import report
from harness.studies import launcher
from harness.studies.study import parse
from tests.harness.cli.test_main import Call, one_line
from tests.harness.record_factory import (
    Type,
    a_record,
    change,
    rows,
    typist,
    unfinished,
    write,
    write_study,
    write_trial,
)
from tests.harness.tiny_models import files_of
from tests.helpers import ROOT

FILES = {"report.md", "report.html", "table.csv", "table.tex"}
FILES |= {f"{figure}.{kind}" for figure in ("curves", "cost", "at_k", "seeds") for kind in ("svg", "png")}
HOSTILE = "a | b || c \\| d \\\\| `code` ``` \n\n| row | row |\r\n|---|\x0b # <b>&amp; $x_1$ % \u2028 ~ \t **bold** \\"
VALUES = {
    "up_1": {0: [0.3, 0.5, 0.9], 1: [0.3, 0.5, 0.8], 2: [0.3, 0.5, 0.85], 3: [0.3]},
    "up_2": {0: [0.3, 0.4, 0.61], 1: [0.3, 0.4, 0.7], 2: [0.3, 0.4, 0.5]},
    "flat": {0: [0.3, 0.3, 0.3], 1: [0.3, 0.3, 0.31], 2: [0.3, 0.3, 0.32]},
    "lost": {},
}


def a_study(folder: Path) -> Path:
    """Three arms, one of them with a failed seed, one that has none; two blocks, trials, and texts that mean harm."""
    table = {
        "question": "Which one?",
        "source": "nowhere",
        "prediction": "up",
        "seeds": [0, 1, 2, 4],
        "tune": {"grid": {"lr": [0.1, 0.2], "algo.clip_low": [0.2]}, "seeds": [100, 101]},
        "report": {"blocks": {"all of them": ["up_1", "up_2", "flat"], "two": ["up_2", "flat", "lost"]}, "level": 0.7},
    }
    full = {arm: {s: y for s, y in of.items() if len(y) > 1} for arm, of in VALUES.items()}
    write_study(folder, full, **table)
    for arm, of in full.items():
        for seed, curve in of.items():
            config = a_record(arm, seed, curve)["config"] | {"lr": 0.2, "algo": {"clip_low": 0.2}}
            record = a_record(arm, seed, curve, config=config)
            record["evals"] += at_k(seed)
            write(folder / arm / f"seed{seed}", record, text=lambda where, i: f"{where} {i} {HOSTILE}")
            write_trial(folder, arm, "lr0.2-clip_low0.2", 100 + seed % 2, 0.3 + seed / 10)
    write(folder / "up_1" / "seed3", unfinished("up_1", 3, "failed", "RuntimeError: a | b"))
    return folder


def at_k(seed: int) -> list[dict[str, Any]]:
    """pass@1, pass@4 and maj@4 at the end."""
    (row, *_) = rows("arithmetic_x4", 1.0, 0.5, kept=False)
    measured = {"maj@4": 0.6, "pass@4": 0.8 + seed / 100, "pass@1": 0.4}
    return [{**row, "metric": metric, "value": x} for metric, x in measured.items()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nobody writes to it but `report`."""
    return a_study(tmp_path_factory.mktemp("report") / "my_study")


@pytest.fixture(scope="module")
def findings(folder: Path) -> Findings:
    return report(folder)


@pytest.fixture
def page(folder: Path, findings: Findings) -> str:
    return (folder / "report.md").read_text()


def written(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take seconds: where they are not what is tested, they are not drawn."""
    monkeypatch.setattr(figures, "draw", lambda findings, folder: [])


# ---------------------------------------------------------------- files


def test_all_files_are_there(folder: Path, findings: Findings) -> None:
    found = written(folder)
    assert set(found) == FILES and {p.name for p in folder.iterdir() if p.is_file()} == FILES | {"study.json"}
    assert min(map(len, found.values())) > 300
    assert all(found[name].startswith(b"\x89PNG") for name in FILES if name.endswith("png"))
    assert all(b"<svg" in found[name] for name in FILES if name.endswith("svg"))


def test_the_same_records_give_the_same_bytes(
    folder: Path, findings: Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whichever order the file system lists them."""
    before, glob = written(folder), Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(sorted(glob(self, pattern), reverse=True)))
    report(folder)
    assert written(folder) == before


def test_another_process_writes_the_same_and_needs_no_torch(folder: Path, findings: Findings, tmp_path: Path) -> None:
    """Nor a model stack, nor the network; sets have another order there."""
    other = shutil.copytree(folder, tmp_path / folder.name)
    for name in FILES:
        (other / name).unlink()
    code = (
        "import sys\nfrom harness.cli import main\n"
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
    assert written(other) == written(folder)


def test_the_report_of_one_run_and_of_a_bare_folder(tmp_path: Path, undrawn: None) -> None:
    alone = write(tmp_path / "one", a_record("a", 4, [0.3, 0.5, 0.9]))
    assert list(report(alone).arms) == ["grpo"] and "grpo ends at 90.0 %" in (alone / "report.md").read_text()
    bare = write_study(tmp_path / "bare", {arm: VALUES[arm] for arm in ("up_2", "flat")})
    (bare / "study.json").unlink()
    assert list(report(bare).arms) == ["flat", "up_2"]
    check_tables((bare / "report.md").read_text())


def test_nothing_is_written_where_nothing_can_be_said(tmp_path: Path) -> None:
    bad = write_study(tmp_path / "s", {"a": {0: [0.3, 0.5, 0.9]}})
    change(bad / "a" / "seed0", lambda r: r.update(schema=99))
    with pytest.raises(ValueError, match="schema 99"):
        report(bad)
    assert written(bad) == {}


# ---------------------------------------------------------------- markdown


def tables_of(text: str) -> Iterator[list[list[str]]]:
    """The tables of a markdown page, cell by cell: a pipe behind a backslash is none."""
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        yield [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in block.splitlines()]


def check_tables(text: str) -> int:
    found = list(tables_of(text))
    for head, rule, *body in found:
        assert set(rule) == {"---"} and [len(row) for row in body] == [len(head)] * len(body)
        assert len(rule) == len(head)
    return len(found)


def test_every_row_has_as_many_cells_as_its_head(page: str) -> None:
    titles = re.findall(r"^## (.*)", page, re.MULTILINE)
    assert titles == [
        "all of them", "Pairs, all of them", "two", "Pairs, two", "Spend", "pass@k and maj@k", "Every seed", "Tuning",
        "Memory by part", "Seconds by phase", "Completions at the end", "Commands", "Versions",
    ]  # fmt: skip
    assert check_tables(page) == len(titles) - 1  # the commands are a list


def test_verdicts_come_first(page: str, findings: Findings) -> None:
    lines = [line for line in page.splitlines() if line]
    assert lines[:4] == ["# my_study", "- Question: Which one?", "- Source: nowhere", "- Prediction: up"]
    assert lines[4].startswith("**At 160 completions (all of them) up_1 beats flat by 54.0 points [")
    assert lines[5].startswith("**At 160 completions (two) up_2 beats flat by 29.3 points [") and lines[5].endswith(
        "].**"
    )
    assert lines[6].startswith("Largest mismatch between spend and budget: 0.00 % or 0.0 groups (up_1 seed 0)")
    assert lines[7].startswith("- up_1: without seed 3 (failed: RuntimeError: a | b) and seed 4 (not run)")
    assert "- lost has no finished run (no run yet) and is in no table." in lines


def test_texts_of_models_break_no_table(page: str, findings: Findings) -> None:
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


def test_half_a_character_is_shown_somehow(tmp_path: Path, undrawn: None) -> None:
    bad = write(tmp_path / "s", a_record("a", 0, [0.3, 0.5, 0.9]), text=lambda where, i: "x\ud800y")
    report(bad)
    assert "x" in (bad / "report.md").read_text()


KEEPING = [(arms, points) for arms in (("up_2",), ("up_2", "flat")) for points in ((0.0,), (0.0, 1.0))]


@pytest.mark.parametrize(("arms", "points"), KEEPING)
def test_records_that_keep_no_outcomes(
    points: tuple[float, ...], arms: tuple[str, ...], tmp_path: Path, undrawn: None
) -> None:
    """Of some arms, or at some points: there is nothing to show side by side, and no harm done."""
    bare = write_study(tmp_path / "s", {arm: VALUES[arm] for arm in ("up_2", "flat")})
    for run in (bare / arm / f"seed{seed}" for arm in arms for seed in range(3)):
        change(run, lambda r: [row.update(outcomes="") for row in r["evals"] if row["fraction"] in points])
    report(bare)
    check_tables((bare / "report.md").read_text())


# ---------------------------------------------------------------- tables


def test_the_main_table(findings: Findings) -> None:
    table = tables.accuracy(findings, findings.blocks[0])
    assert table.title == "all of them" and table.columns == [
        "arm", "lr", "clip_low", "seeds", "arithmetic", "95 %", "IQM", "at 50 %", "arithmetic_t1", "arithmetic_longer",
        "sorting", "completions to 70 %", "silent groups", "collapsed", "95 %, exact",
    ]  # fmt: skip
    assert table.rows == [
        ["start", "", "", "", "30.0", "", "", "", "30.0", "30.0", "30.0", "", "", "", ""],
        ["up_1", "0.2", "0.2", "3", "85.0", "[72.6, 97.4]", "85.0", "50.0", "85.0", "85.0", "85.0", "126", "25 %",
         "1 of 4", "[0.6, 80.6]"],
        ["up_2", "0.2", "0.2", "3", "60.3", "[35.5, 85.2]", "60.3", "40.0", "60.3", "60.3", "60.3", "never", "25 %",
         "0 of 3", "[0.0, 70.8]"],
        ["flat", "0.2", "0.2", "3", "31.0", "[28.5, 33.5]", "31.0", "30.0", "31.0", "31.0", "31.0", "never", "25 %",
         "0 of 3", "[0.0, 70.8]"],
    ]  # fmt: skip
    assert [row[0] for row in tables.accuracy(findings, findings.blocks[1]).rows] == ["start", "up_2", "flat"]
    assert "`arithmetic_t1` (temperature 1)" in table.note and "100 problems" in table.note


def test_the_table_of_pairs(findings: Findings) -> None:
    table = tables.pairs(findings, findings.blocks[0])
    by_name = dict(zip(table.columns, table.rows[1], strict=True))
    assert {k: v for k, v in by_name.items() if "95" not in k} == {
        "A": "up_1", "B": "flat", "A - B": "+54.0", "p (Holm)": "0.0106", "verdict": "up_1 better",
        "could show": "31.6", "r": "-0.50", "P(A > B)": "1.00", "crossover": "none",
    }  # fmt: skip
    assert by_name["95 %, simultaneous"] == "[29.4, 78.6]"
    assert "Holm over 3 pairs" in table.note and "Holm over 1 pair" in tables.pairs(findings, findings.blocks[1]).note


def test_a_pair_that_has_no_interval(tmp_path: Path) -> None:
    values = {"a": {0: [0.3, 0.5, 0.9], 1: [0.3, 0.5, 0.8]}, "b": {0: [0.3, 0.4, 0.6], 1: [0.3, 0.4, 0.6]}}
    found = find(read(write_study(tmp_path / "s", values)))
    (row,) = tables.pairs(found, found.blocks[0]).rows
    assert row[3:8] == ["2 seeds; 3 at least", "-", "no interval", "-", "-"]
    assert [row[3] for row in tables.accuracy(found, found.blocks[0]).rows] == [
        "",
        "3 seeds at least",
        "3 seeds at least",
    ]


def test_the_other_tables(findings: Findings) -> None:
    assert tables.spend(findings).rows[0] == [
        "up_1", "40", "160", "1,600", "3,200", "10", "2.0 TFLOP", "20.0", "2.0 MiB",
    ]  # fmt: skip
    assert tables.seeds(findings).columns == ["seed", "up_1", "up_2", "flat"]
    assert tables.seeds(findings).rows == [
        ["0", "90.0", "61.0", "30.0"],
        ["1", "80.0", "70.0", "31.0"],
        ["2", "85.0", "50.0", "32.0"],
        ["3", "failed", "", ""],
        ["4", "not run", "not run", "not run"],
    ]
    tuning = tables.tuning(findings)
    assert tuning.columns == ["arm", "lr0.2-clip_low0.2"] and tuning.rows[0] == ["up_1", "50.0 40.0 *"]
    assert "seeds 100, 101" in tuning.note and "6 trial runs in all" in tuning.note
    assert tables.at_k(findings).columns == ["metric", "up_1", "up_2", "flat"]
    assert [row[:2] for row in tables.at_k(findings).rows] == [
        ["pass@1", "40.0"],
        ["pass@4", "81.0"],
        ["maj@4", "60.0"],
    ]
    assert tables.memory(findings).rows[0] == ["up_1", "512 KiB"]
    assert tables.phases(findings).columns == ["arm", "rollout", "update", "eval"]
    assert tables.phases(findings).rows[0] == ["up_1", "12.0", "8.0", "4.0"]
    (row,) = versions(findings.results).rows
    assert row == ["10", "0123456789", "cpu (a processor), 1 thread", "Python 3.12.0, torch 2.7.0, numpy 2.1.0"]


def test_the_table_for_machines_has_the_numbers_as_they_are(folder: Path, findings: Findings) -> None:
    with (folder / "table.csv").open(newline="") as file:
        found = {row["arm"]: row for row in csv.DictReader(file)}
    assert list(found) == list(findings.arms)
    for name, arm in findings.arms.items():
        row = found[name]
        assert None not in row and None not in row.values(), "a row is longer or shorter than the head"
        assert (int(row["seeds"]), int(row["collapsed"])) == (arm.finished, arm.collapsed)
        expected = {"sd": arm.sd, "iqm": arm.iqm, "reached": arm.reached, "silent": arm.silent}
        expected |= {unit: arm.spend_F[unit][-1] for unit in UNITS} | {"peak_bytes": arm.peak_bytes}
        for task, curve in arm.curves.items():
            low, high = curve.interval_F[-1] or (None, None)
            expected |= {task: curve.mean_F[-1], f"{task}_low": low, f"{task}_high": high}
        assert {k: float(row[k]) for k in expected} == expected
        assert set(row) == {"arm", "seeds", "collapsed", *expected}


def test_what_is_not_there_is_empty_for_machines(tmp_path: Path) -> None:
    one = write(tmp_path / "one", a_record("a", 0, [0.3, 0.5, 0.9]), rounds=[])
    (row,) = csv.DictReader(tables.raw(find(read(one))).splitlines())
    assert [row[k] for k in ("arithmetic", "arithmetic_low", "sd", "silent", "reached")] == ["0.9", "", "", "", "160.0"]


def check_latex(text: str) -> list[tuple[int, int]]:
    """(columns, rows) of each tabular; everything that LaTeX takes for itself is escaped."""
    found = []
    for spec, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL):
        lines = [line for line in body.splitlines() if not line.startswith(("\\toprule", "\\midrule", "\\bottomrule"))]
        assert all(line.endswith(r" \\") for line in lines) and body.count("rule\n") == 3
        cells = [re.split(r"(?<!\\)&", line.removesuffix(r" \\")) for line in lines]
        assert [len(row) for row in cells] == [len(spec)] * len(lines)
        found.append((len(spec), len(lines)))
        plain = re.sub(r"\\textbackslash\{\}|\\textascii\w+\{\}|\$[<>]\$|\\[_%&#${}]", "", "".join(map("".join, cells)))
        assert not set(plain) & set("_%#$^~{}\\<>")
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    return found


def test_the_table_for_papers(folder: Path, findings: Findings) -> None:
    text = (folder / "table.tex").read_text()
    assert check_latex(text) == [(15, 5), (15, 4)]  # head and start among the rows
    assert r"up\_1 & 0.2 & 0.2 & 3 & 85.0 & [72.6, 97.4] &" in text and r"completions to 70 \%" in text


SPECIAL = ["a_b", "9 %", "a & b", "#1", "x < y", "x > y", "a~b", "x^2", "\\", "\\_", "{x", "x}", "$x"]


@pytest.mark.parametrize("cell", SPECIAL)
def test_any_cell_is_plain_text_for_latex(cell: str) -> None:
    assert check_latex(Table("t", ["arm", "x"], [[cell, "1"], ["b", cell]]).latex()) == [(2, 3)]


@pytest.mark.parametrize("cell", ["a|b", "|", "||", "a\\|b", "a \\"])
def test_any_cell_is_one_cell_of_markdown(cell: str) -> None:
    assert check_tables(Table("t", ["a", "b"], [[cell, cell]]).markdown() + "\n") == 1


# ---------------------------------------------------------------- where it comes from


def test_commands_one_an_arm(findings: Findings) -> None:
    assert commands(findings.results) == [
        f"harness run --seed 0 --name seed0 --out results/my_study/{arm} --model some/model --budget completions=160"
        for arm in ("up_1", "up_2", "flat")
    ]


FIELDS: list[dict[str, Any]] = [
    {"algo": {"name": "grpo", "kl_coef": 0.1, "clip_high": 0.3}, "lr": 3e-4, "eval_fractions": [0, 1]},
    {"algo": "ppo", "group_size": 4, "budget": "flops=1e12", "max_new_tokens": 32},
    {"task": {"name": "gsm8k"}, "eval_limit": 5, "eval_tasks": ["piqa"]},
    {"task": {"numbers": [5, 6]}, "reward_weights": {"format": 0.2, "length": 0.0}, "reward_noise": 0.1},
    {"reward": "outcome-model", "reward_model": {"epochs": 2, "name": "some/where"}},
]


def leads_back(asked: RunConfig, typed: Type) -> None:
    run = Run("a", 3, Path(), {"config": built(asked).as_dict()})
    again = typed(shlex.split(command(run, "s")))
    assert config_differences(built(again).as_dict(), run.record["config"]) == [] and again.out == asked.out


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Type:
    return typist(monkeypatch)


@pytest.mark.parametrize("fields", FIELDS)
def test_a_command_leads_to_the_configuration_of_its_record(fields: dict[str, Any], typed: Type) -> None:
    (cell,) = parse("s", {"arms": {"a": fields}, "seeds": [3]}).runs()
    leads_back(typed(cell.command("results")), typed)


def test_a_command_needs_no_file_of_settings(tmp_path: Path, typed: Type) -> None:
    (tmp_path / "c.toml").write_text("lr = 0.5\n[algo]\nname = 'ppo'\nkl_coef = 0.5\n[task]\nname = 'gsm8k'\n")
    words = ["harness", "run", "--config", str(tmp_path / "c.toml"), "--seed", "3", "--out", "results/s/a"]
    leads_back(typed(words), typed)


# ---------------------------------------------------------------- the commands


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


def test_report_says_the_verdicts_and_where(call: Call, tmp_path: Path, undrawn: None) -> None:
    path = a_study(tmp_path / "s")
    code, said, error = call("report", str(path))
    lines = said.splitlines()
    assert (code, error, len(lines)) == (0, "", 3)
    assert lines[0].startswith("At 160 completions (all of them) ") and lines[1].startswith("At 160 completions (two) ")
    assert lines[2] == str(path / "report.html")


def test_parts_of_a_report_inside_another_document(call: Call, tmp_path: Path, undrawn: None) -> None:
    a_study(tmp_path / "s")
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
    "a list for a unit": (lambda r: r["budget"].update(unit=["x"]), ["budget.unit: ", "text", "['x']"]),
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
    assert lines[2].endswith("--algo ppo --set algo.critic=shared") and "--seed 1" in lines[3] and len(lines) == 6
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
    assert seeds == {"0", "1"} and "completions=64" in runs[-2]


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
    count = "1 cell" if len(broken) == 1 else "2 cells"
    monkeypatch.setattr(launcher, "conduct", lambda *_: broken)
    code, out, error = call(*COMPARE[:-1])
    assert (code, out) == (1, "") and f"{count} did not finish: {'; '.join(broken)}" in one_line(error)


def test_quiet_says_nothing(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def loud(study: Any, out: str, workers: int, retry: bool, say: Any) -> list[str]:
        say(f"{study.name} {out} {workers} {retry}")
        return []

    monkeypatch.setattr(launcher, "conduct", loud)
    assert call(*COMPARE[:-1], "--quiet") == (0, "", "")
    assert call(*COMPARE[:-1], "--workers", "3", "--retry") == (0, "compare-grpo-ppo results 3 True\n", "")
