"""What is committed under results/ holds: records are whole, reports are those of the records, README's numbers too."""

from __future__ import annotations

import gzip
import itertools
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harness.built import built, filled
from harness.calibration.calibrate import BARRED, HIGH, LOW, TRIALS, calibrate
from harness.cells import choose
from harness.record import config_differences
from harness.report import report
from harness.reports.blocks import MARK, refresh
from harness.reports.findings import Findings, find
from harness.reports.results import read
from harness.study import load, parse
from tests.helpers import ROOT, close

RECORDS = sorted(ROOT.glob("results/**/record.json"))
SHELVES = ("results", "results/deepseekmath")
STUDIES = sorted(file.parent for shelf in SHELVES for file in ROOT.glob(f"{shelf}/*/study.json"))
UNDER_WAY: dict[str, int] = {}  # studies whose runs are not all made yet: the seeds below this one are
REPORT = ("report.md", "report.html", "table.csv", "table.tex", "curves.svg", "cost.svg", "seeds.svg")


@cache
def found(study: str) -> Findings:
    return find(read(ROOT / "results" / study))


# --- records ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", RECORDS, ids=lambda p: str(p.parent.relative_to(ROOT)))
def test_a_committed_record_is_whole_and_its_outcomes_give_its_numbers(file: Path) -> None:
    record = json.loads(file.read_text())
    assert record["status"] in ("finished", "interrupted", "failed")
    assert record["environment"]["commit"] and not record["environment"]["dirty"]
    for r in record["evals"]:
        if r["metric"] == "exact_match" and r["outcomes"]:
            lines = gzip.decompress((file.parent / r["outcomes"]).read_bytes()).decode().splitlines()
            right = [json.loads(line)[r["filter"]] == "correct" for line in lines]
            assert len(right) == r["n"]
            close(r["value"], sum(right) / len(right))


def test_grpo_lifts_nano_by_twenty_points_in_nine_seeds_of_ten() -> None:
    arm = found("grpo_nano").arms["grpo"]
    assert [s.seed for s in arm.seeds] == list(range(10))
    values = [run.values() for run in found("grpo_nano").results]
    for task in ("arithmetic", "arithmetic_t1"):
        key = (task, "strict", "exact_match")
        assert sum(v[1.0, key] - v[0.0, key] >= 0.2 for v in values) >= 9


# --- studies ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", STUDIES, ids=lambda p: p.name)
def test_a_committed_study_is_what_its_file_says(folder: Path) -> None:
    """Every cell is there, and was run under the configuration that the study file gives it today."""
    study = load(folder.name)
    out = folder.parent
    chosen = choose(study, str(out))
    for cell in (*study.trials(), *study.runs(chosen)):
        if cell.seed >= UNDER_WAY.get(folder.name, cell.seed + 1):
            assert not (out / cell.path).exists(), "more seeds are in than UNDER_WAY says"
            continue
        record = json.loads((out / cell.path / "record.json").read_text())
        config = cell.config("results")
        had = filled(record["config"], config.algo_name, config.task_name)
        assert config_differences(had, built(config).as_dict()) == [], cell.path


@pytest.mark.parametrize("folder", [f for f in STUDIES if f.name not in UNDER_WAY], ids=lambda p: p.name)
def test_a_committed_study_was_written_down_as_its_file_stands(folder: Path) -> None:
    """What is judged, and how: `harness ablate` writes study.json anew when it is asked to go on."""
    assert parse(folder.name, json.loads((folder / "study.json").read_text())) == load(folder.name)


@pytest.mark.parametrize("folder", STUDIES, ids=lambda p: p.name)
def test_a_committed_report_is_that_of_its_records(folder: Path, tmp_path: Path) -> None:
    """Byte for byte; only the figures may differ where matplotlib is not the pinned one."""
    copy = tmp_path / "results" / folder.name
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(*REPORT, "*.png"))
    study = load(folder.name)
    if study.tune and study.tune.store:
        shared = Path(study.tune.store, "tune")
        shutil.copytree(folder.parent / shared, tmp_path / "results" / shared)
    report(copy)
    for name in REPORT:
        if name.endswith(".svg") and not pinned("matplotlib"):
            continue
        assert (copy / name).read_bytes() == (folder / name).read_bytes(), name


def pinned(package: str) -> bool:
    from importlib.metadata import version

    return f"{package}=={version(package)}" in (ROOT / "constraints.txt").read_text()


def test_compare_nano_was_tuned_alike_and_spent_alike() -> None:
    f = found("compare_nano")
    counts = {arm: [len(t.values) for t in trials] for arm, trials in f.trials.items()}
    assert list(counts.values()) == [[2] * 5] * len(f.arms)
    assert f.audit.holds
    assert all(arm.finished == 10 for arm in f.arms.values())
    coefficients = {arm: next(iter(runs.values())).record["config"]["algo"].get("kl_coef", 0.0)
                    for arm, runs in f.results.runs.items()}  # fmt: skip
    assert all(bool(kl) == arm.endswith("_kl") for arm, kl in coefficients.items())


# --- documents --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "marks"), [(".", 5), ("results/deepseekmath", 2)])
def test_readmes_numbers_are_the_records(place: str, marks: int) -> None:
    text = (ROOT / place / "README.md").read_text()
    assert len(MARK.findall(text)) >= marks
    assert refresh(text, ROOT / place) == text


def test_what_is_told_of_figure_5_is_in_its_records() -> None:
    text = " ".join((ROOT / "results/deepseekmath/README.md").read_text().split())
    study = find(read(ROOT / "results/deepseekmath/dsm_fig5"))
    half = {arm: 100 * study.arms[arm].curves["arithmetic"].mean_F[2] for arm in ("ps", "os")}
    assert study.results.fractions[2] == 0.5
    assert f"process supervision stands at {half['ps']:.1f} % and outcome supervision at {half['os']:.1f} %" in text
    runs = [study.results.runs["os_model"][seed] for seed in range(10)]
    learned = [run.record["reward_model"][0] for run in runs]

    def mean(values: Any) -> float:
        found = list(values)
        return sum(found) / len(found)

    outcome, steps = (mean(t["held_out"][name]["auc"] for t in learned) for name in ("outcome", "steps"))
    assert f"an AUC of {outcome:.2f} and right steps from wrong ones with {steps:.2f}" in text
    assert f"{100 * mean(t['spend']['generated_tokens'] for t in learned) / 120_000:.1f} % of the budget" in text

    def of(arm: str, name: str) -> tuple[float, float]:
        """In the first round, and in the last that is no part of the shrinking end."""
        rounds = [study.results.runs[arm][seed].metrics() for seed in range(10)]
        whole = [[m for m, drawn in zip(r, _drawn(r), strict=True) if drawn >= 400] for r in rounds]
        return mean(r[0][name] for r in rounds), mean(r[-1][name] for r in whole)

    right, auc = "accuracy/strict", "reward_model/auc"
    (was, now), (_, by_step) = of("os_model", right), of("ps_model", right)
    assert "rises from {:.2f} to {:.2f}, the share".format(*of("os_model", "reward")) in text
    assert f"right from {100 * was:.1f} to {100 * now:.0f} % (process supervision: {100 * by_step:.0f} %)" in text
    first, last = of("os_model", auc)
    assert f"AUC on them falls from {first:.2f} to {last:.2f} ({of('ps_model', auc)[1]:.2f})" in text
    assert f"to {100 * of('online_rft_model', right)[1]:.1f} % in its last full round" in text
    sampled = {f"{100 * study.arms[arm].curves['arithmetic_t1'].mean_F[3]:.1f}" for arm in ("os_model", "ps_model")}
    begun = 100 * study.start["arithmetic_t1"]
    assert len(sampled) == 1 and f"both end at {sampled.pop()} %, where the start has {begun:.1f}" in text
    curves = [study.arms[arm].curves["arithmetic"].mean_F for arm in ("os_model", "ps_model")]
    (a, c), (b, d) = ((100 * y_F[2], 100 * y_F[3]) for y_F in curves)
    assert f"fall from {a:.1f} and {b:.1f} % half-way to {c:.1f} and {d:.1f}" in text
    assert f"RFT's {100 * study.arms['rft_model'].mean:.1f} % is an average" in text


def _drawn(rounds: list[dict[str, Any]]) -> list[float]:
    """Completions of each round."""
    spent = [0.0, *(m["spend/completions"] for m in rounds)]
    return [after - before for before, after in itertools.pairwise(spent)]


def test_a_changed_number_in_readme_is_found() -> None:
    text = (ROOT / "README.md").read_text()
    mean = f"{100 * found('compare_nano').arms['grpo'].mean:.1f}"
    assert mean in text
    other = text.replace(f"| {mean} |", "| 99.9 |")
    assert other != text and refresh(other, ROOT) == text


# --- benchmarks -------------------------------------------------------------------------------------------------

BENCH = ROOT / "results" / "bench"


def test_the_benchmark_against_the_peer_is_the_one_that_readme_quotes() -> None:
    record = json.loads((BENCH / "peers.json").read_text())
    assert record["environment"]["dirty"] is False and record["environment"]["commit"]
    assert all(r["gradient_difference"] <= record["equal"]["limits"][r["dtype"]] for r in record["equal"]["rows"])
    text = (ROOT / "README.md").read_text()
    for case in record["cases"]:
        best = next(m for m in case["modes"] if m["mode"] == case["peer_mode"])
        phases = best["phases"]
        whole, (low, high) = phases["end_to_end"], phases["end_to_end"]["spread"]
        assert whole["ratio"] == min(m["phases"]["end_to_end"]["ratio"] for m in case["modes"] if not m["reason"])
        line = (
            f"| beta {case['beta']:g} | {best['mode']} | {whole['ours']:.2f} | {whole['peer']:.2f} | "
            f"{phases['rollout']['ratio']:.1f} x | {phases['update']['ratio']:.1f} x | "
            f"{whole['ratio']:.1f} x [{low:.1f}, {high:.1f}] | {best['memory_ratio']:.2f} x |"
        )
        assert line in text


def test_how_near_the_machine_readme_says_we_are() -> None:
    record = json.loads((BENCH / "limit-nano.json").read_text())
    share = {row["arm"]: row["probe"]["share"] for row in record["rows"]}
    assert {f"{s['update']:.0%}" for s in share.values()} == {"45%"}
    assert all(0.19 < s["rollout"] < 0.22 and 0.33 < s["round"] < 0.37 for s in share.values())
    assert "(update 45 %, rollout 20 %;" in (ROOT / "README.md").read_text()


# --- calibration ------------------------------------------------------------------------------------------------

CALIBRATION = ROOT / "results" / "calibration"


def test_the_calibration_page_holds_its_bars() -> None:
    """(a) is re-checked in small in tests/evals/test_simulate.py, and all of it by the slow test below."""
    numbers: dict[str, Any] = json.loads((CALIBRATION / "calibration.json").read_text())
    assert numbers["settings"]["trials"] == TRIALS
    barred = [row["covered"] for row in numbers["simulated"] if row["seeds"] >= BARRED]
    assert len(barred) == 48 and all(LOW <= covered <= HIGH for covered in barred)
    assert {row["seeds"]: row["runs"] for row in numbers["one_arm_twice"]} == {5: 40, 10: 40}
    assert all(row["deals"] == 2000 and row["separated"] <= 0.065 for row in numbers["one_arm_twice"])
    assert [row["unequal"] for row in numbers["inert_field"]] == [0, 0, 0]
    assert all(row["compared"] > 500 for row in numbers["inert_field"])
    assert {row["flipped"]: row["seeds"] for row in numbers["wrong_signs"]} == {0.2: 10, 0.35: 10, 0.5: 10}
    assert [row["decoding"] for row in numbers["fair_coin"]] == ["greedy", "sampled"]


@pytest.mark.slow
def test_the_calibration_page_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(CALIBRATION, tmp_path / "results" / "calibration")
    monkeypatch.chdir(tmp_path)
    calibrate(Path("results/calibration"), TRIALS, lambda _: None)
    for name in ("calibration.json", "calibration.md"):
        assert Path("results/calibration", name).read_bytes() == (CALIBRATION / name).read_bytes()
