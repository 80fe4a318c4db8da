"""The tables of a report, and their formats."""

from __future__ import annotations

import csv
from pathlib import Path

from harness.accounting.budget import UNITS
from harness.reports import csv_files
from harness.reports.analysis.summary import Findings, summarize
from harness.reports.loading import load_results
from harness.reports.render import arms, tables
from harness.reports.render.provenance import versions
from tests.harness.record_factory import (
    a_record,
    write,
    write_study,
)


def test_the_main_table(findings: Findings) -> None:
    table = tables.accuracy(findings, findings.blocks[0])
    assert table.title == "all of them" and table.columns == [
        "arm", "lr", "clip_low", "seeds", "arithmetic", "95 %", "IQM", "at 50 %", "arithmetic_t1", "arithmetic_longer",
        "sorting", "updates", "completions to 70 %", "zero-variance groups", "collapsed", "95 %, exact",
    ]  # fmt: skip
    assert table.rows == [
        ["start", "", "", "", "30.0", "", "", "", "30.0", "30.0", "30.0", "", "", "", "", ""],
        ["up_1", "0.2", "0.2", "3", "85.0", "[72.6, 97.4]", "85.0", "50.0", "85.0", "85.0", "85.0", "10", "126",
         "25 %", "1 of 4", "[0.6, 80.6]"],
        ["up_2", "0.2", "0.2", "3", "60.3", "[35.5, 85.2]", "60.3", "40.0", "60.3", "60.3", "60.3", "10", "never",
         "25 %", "0 of 3", "[0.0, 70.8]"],
        ["flat", "0.2", "0.2", "3", "31.0", "[28.5, 33.5]", "31.0", "30.0", "31.0", "31.0", "31.0", "10", "never",
         "25 %", "0 of 3", "[0.0, 70.8]"],
    ]  # fmt: skip
    assert [row[0] for row in tables.accuracy(findings, findings.blocks[1]).rows] == ["start", "up_2", "flat"]
    assert "`arithmetic_t1` (temperature 1)" in table.note and "100 problems" in table.note


def test_the_table_of_pairs(findings: Findings) -> None:
    table = tables.pairs(findings, findings.blocks[0])
    by_name = dict(zip(table.columns, table.rows[1], strict=True))
    assert {k: v for k, v in by_name.items() if "95" not in k} == {
        "A": "up_1", "B": "flat", "A - B": "+54.0", "p": "< 0.0001", "result": "up_1 better",
        "detectable": "16.7", "r": "-0.50", "P(A > B)": "1.00", "problems' share": "67 %", "crossover": "none",
    }  # fmt: skip
    # over seeds by hand: 0.54 -+ 4.303 sqrt(0.0031 / 3)
    assert by_name["95 %, seeds alone"] == "[40.2, 67.8]"
    assert "a family of 3 contrasts" in table.note and "100 problems" in table.note


def test_a_pair_that_has_no_interval(tmp_path: Path) -> None:
    values = {"a": {0: [0.3, 0.5, 0.9], 1: [0.3, 0.5, 0.8]}, "b": {0: [0.3, 0.4, 0.6], 1: [0.3, 0.4, 0.6]}}
    findings = summarize(load_results(write_study(tmp_path / "s", values)))
    (row,) = tables.pairs(findings, findings.blocks[0]).rows
    assert row[3:8] == [findings.blocks[0].pairs[0].comparison.pair.why, "-", "no interval", "-", "-"]
    start, *arms = (row[3] for row in tables.accuracy(findings, findings.blocks[0]).rows)
    assert start == "" and all("3 seeds" in cell for cell in arms)


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
    assert "100, 101" in tuning.note and "6 trial runs" in tuning.note
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


ENDED = ("lenient", "unparseable", "truncated", "verifier_error")  # how completions ended


def test_table_csv_has_full_precision(folder: Path, findings: Findings) -> None:
    with (folder / "table.csv").open(newline="") as file:
        rows = {row["arm"]: row for row in csv.DictReader(file)}
    assert list(rows) == list(findings.arms)
    for name, arm in findings.arms.items():
        row = rows[name]
        assert None not in row and None not in row.values(), "a row longer or shorter than the header"
        assert (int(row["seeds"]), int(row["collapsed"])) == (arm.finished, arm.collapsed)
        expected = {"sd": arm.sd, "iqm": arm.iqm}
        expected |= {"budget_to_level": arm.budget_to_level, "zero_variance": arm.zero_variance}
        expected |= {unit: arm.spend_F[unit][-1] for unit in UNITS} | {"peak_bytes": arm.peak_bytes}
        for task, curve in arm.curves.items():
            low, high = curve.interval_F[-1] or (None, None)
            expected |= {task: curve.mean_F[-1], f"{task}_low": low, f"{task}_high": high}
        assert {k: float(row[k]) for k in expected} == expected
        ended = [arms.outcome(findings, name, *arms.OUTCOMES[word]) for word in ENDED]
        assert [row[word] for word in ENDED] == ["" if x is None else str(x) for x in ended]
        assert float(row["lenient"]) > float(row["arithmetic"]), "a problem more, in these records"
        assert set(row) == {"arm", "seeds", "collapsed", *ENDED, *expected}


def test_curves_csv_has_every_point_of_every_seed(folder: Path, findings: Findings) -> None:
    with (folder / "curves.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["arm"], row["set"]) == ("up_1", "arithmetic")]
    curve = findings.arms["up_1"].curves["arithmetic"]
    assert [float(row["fraction"]) for row in rows] == findings.results.fractions
    assert [float(row["completions"]) for row in rows] == findings.arms["up_1"].spend_F["completions"]
    assert [float(row["mean"]) for row in rows] == curve.mean_F
    assert [(float(row["low"]), float(row["high"])) for row in rows] == curve.interval_F
    seeds = [[float(row[f"seed{seed}"]) for row in rows] for seed in (0, 1, 2)]
    assert seeds == [[0.3, 0.5, 0.9], [0.3, 0.5, 0.8], [0.3, 0.5, 0.85]]


def test_missing_values_are_empty_in_table_csv(tmp_path: Path) -> None:
    one = write(tmp_path / "one", a_record("a", 0, [0.3, 0.5, 0.9]), rounds=[])
    (row,) = csv.DictReader(csv_files.table(summarize(load_results(one))).splitlines())
    names = ("arithmetic", "arithmetic_low", "sd", "zero_variance", "budget_to_level")
    assert [row[name] for name in names] == ["0.9", "", "", "", "160.0"]
