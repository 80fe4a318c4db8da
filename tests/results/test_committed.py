"""What is committed under results/ holds: records are whole; reports and the documents' numbers are theirs."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harness.config.experiment import resolve_experiment, with_defaults
from harness.pipelines import storage as pipeline_storage
from harness.pipelines.loading import load as load_pipeline
from harness.pipelines.report import write_report as write_pipeline_report
from harness.records import runs
from harness.records.fingerprint import config_differences
from harness.records.upgrade import upgrade_own
from harness.reports.analysis.summary import Findings, summarize
from harness.reports.calibration.calibrate import HIGH, LOW, MIN_TESTED, TRIALS, calibrate
from harness.reports.collection import over_collection, read_collection
from harness.reports.includes import MARK, update_includes
from harness.reports.loading import load_results
from harness.reports.report import write_report
from harness.studies.fairness.tuning import planned_trials, select_trials
from harness.studies.registration import held_to, later, question_of, read_lock
from harness.studies.schema import START, Hypothesis
from harness.studies.storage import stored_study
from harness.studies.study import load
from tests.helpers import ROOT, close

pytestmark = pytest.mark.results

RUNS = runs.run_folders(ROOT / "results")
SHELVES = ("results", "results/deepseekmath")
STUDIES = sorted(file.parent for shelf in SHELVES for file in ROOT.glob(f"{shelf}/*/study.json"))
UNDER_WAY: dict[str, int] = {}  # studies whose runs are not all made yet: the seeds below this one are
REPORT = ("report.md", "report.html", "table.csv", "curves.csv", "table.tex", "curves.svg", "cost.svg", "seeds.svg")


@cache
def found(study: str) -> Findings:
    return summarize(load_results(ROOT / "results" / study))


# --- records ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", RUNS, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_committed_record_is_whole_and_its_outcomes_give_its_numbers(folder: Path) -> None:
    record = runs.raw_record(folder)
    assert record is not None
    assert record["status"] in ("finished", "interrupted", "failed")
    assert record["environment"]["commit"] and not record["environment"]["dirty"]
    for r in record["evals"]:
        if r["metric"] == "exact_match" and r["outcomes"]:
            right = [word == "correct" for word in runs.outcome_words(folder, r["outcomes"], r["filter"], r["task"])]
            assert len(right) == r["n"]
            close(r["value"], sum(right) / len(right))


AS_IT_IS_LEFT = "results/readme/grpo-arithmetic-s0/record.json"  # a run's folder, to look at


def test_what_is_committed_is_three_files_a_study_and_small() -> None:
    shown = git("ls-files", "-z", "results")
    if shown is None:
        pytest.skip("no git history here")
    names = [name for name in shown.split("\0") if name]
    assert len(RUNS) > 1000 and 100 < len(names) < 400
    assert sum((ROOT / name).stat().st_size for name in names) < 40e6
    assert [name for name in names if name.endswith("/record.json")] == [AS_IT_IS_LEFT]


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
    chosen = select_trials(study, str(out))
    for cell in (*planned_trials(study, str(out)), *study.runs(chosen)):
        if cell.seed >= UNDER_WAY.get(folder.name, cell.seed + 1):
            assert not runs.has_record(out / cell.path), "more seeds are in than UNDER_WAY says"
            continue
        record = runs.read_record(out / cell.path)
        assert record is not None
        config = cell.config("results")
        today = resolve_experiment(config).as_dict()
        began = {**record["config"], "algo": upgrade_own(record["config"]["algo"], today["algo"])}
        had = with_defaults(began, config.algo_name, config.task_name)
        assert config_differences(had, today) == [], cell.path


@pytest.mark.parametrize("folder", [f for f in STUDIES if f.name not in UNDER_WAY], ids=lambda p: p.name)
def test_a_committed_study_was_written_down_as_its_file_stands(folder: Path) -> None:
    """What is judged, and how: `harness ablate` writes study.json anew when it is asked to go on."""
    assert stored_study(folder) == load(folder.name)


@pytest.mark.parametrize("folder", STUDIES, ids=lambda p: p.name)
def test_a_committed_report_is_that_of_its_records(folder: Path, tmp_path: Path) -> None:
    """Byte for byte; only the figures (which report.html contains) may differ with another matplotlib."""
    copy = tmp_path / "results" / folder.name
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(*REPORT, "*.png"))
    study = load(folder.name)
    if study.tune and study.tune.store:
        shared = shutil.ignore_patterns(*REPORT, "*.png", "study.*")
        shutil.copytree(folder.parent / study.tune.store, tmp_path / "results" / study.tune.store, ignore=shared)
    write_report(copy)
    for name in REPORT:
        if name.endswith((".svg", ".html")) and not pinned("matplotlib"):
            continue
        assert (copy / name).read_bytes() == (folder / name).read_bytes(), name


def pinned(package: str) -> bool:
    from importlib.metadata import version

    return f"{package}=={version(package)}" in (ROOT / "constraints.txt").read_text()


@pytest.mark.parametrize("folder", STUDIES, ids=lambda p: p.name)
def test_a_committed_study_is_held_to_its_lock(folder: Path) -> None:
    lock, study = read_lock(folder), load(folder.name)
    assert lock is not None, "no study.lock"
    assert held_to(lock, study, folder) == study, "another claim is post hoc than the study's file says"
    assert later(lock, study) == ([], [])
    with pytest.raises(ValueError, match="question was locked"):
        held_to(lock, dataclasses.replace(study, question="Another?"), folder)
    one_arm = dataclasses.replace(study.report, blocks={"one": list(study.arms)[:1]})
    with pytest.raises(ValueError, match="blocks were locked"):
        held_to(lock, dataclasses.replace(study, report=one_arm), folder)


@pytest.mark.parametrize("folder", [f for f in STUDIES if load(f.name).hypotheses], ids=lambda p: p.name)
def test_what_was_not_asked_before_the_runs_is_marked_post_hoc_and_nothing_else(folder: Path) -> None:
    """A claim is not post hoc if the study's file had it at the commit of every run that it compares."""
    commits: dict[str, set[str]] = {}
    for run in runs.run_folders(folder, "*/seed*"):
        commits.setdefault(run.parent.name, set()).add((runs.raw_record(run) or {})["environment"]["commit"])
    before = {commit: claims_at(commit, folder.name) for commit in set().union(*commits.values())}
    stored = stored_study(folder)
    assert stored is not None
    for study in (load(folder.name), stored):
        for h in study.hypotheses:
            asked = all(question_of(h) in before[c] for arm in h.arms if arm != START for c in commits[arm])
            assert h.post_hoc is not asked, h.says


def claims_at(commit: str, name: str) -> list[dict[str, Any]]:
    """What the study's file asked at a commit.  Skips where the history is not at hand."""
    for place in ("harness/studies/library", "harness/studies"):
        shown = git("show", f"{commit}:{place}/{name}.toml")
        if shown is not None:
            return [question_of(Hypothesis(**h)) for h in tomllib.loads(shown).get("hypotheses", [])]
    if git("cat-file", "-e", f"{commit}^{{commit}}") is None:
        pytest.skip("no git history here")
    return []


def git(*command: str) -> str | None:
    """What git prints; None where it fails or is not installed."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


PIPELINES = sorted(file.parent for file in ROOT.glob("results/*/pipeline.json"))


@pytest.mark.parametrize("folder", PIPELINES, ids=lambda p: p.name)
def test_a_committed_pipeline_is_what_its_file_says_and_its_report_that_of_its_records(
    folder: Path, tmp_path: Path
) -> None:
    assert pipeline_storage.stored(folder) == load_pipeline(folder.name), "its lock holds too"
    copy = tmp_path / "results" / folder.name
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("report.md", "stages.csv"))
    write_pipeline_report(copy)
    for name in ("report.md", "stages.csv"):
        assert (copy / name).read_bytes() == (folder / name).read_bytes(), name


def test_compare_nano_was_tuned_alike_and_spent_alike() -> None:
    f = found("compare_nano")
    counts = {arm: [len(t.values) for t in trials] for arm, trials in f.trials.items()}
    assert list(counts.values()) == [[2] * 6] * len(f.arms)
    assert f.audit.holds
    assert all(arm.finished == 10 for arm in f.arms.values())
    coefficients = {arm: next(iter(runs.values())).record["config"]["algo"].get("kl_coef", 0.0)
                    for arm, runs in f.results.runs.items()}  # fmt: skip
    assert all(bool(kl) == arm.endswith("_kl") for arm, kl in coefficients.items())


# --- documents --------------------------------------------------------------------------------------------------


DOCUMENTS = {"README.md": 2, "docs/results.md": 7, "results/deepseekmath/README.md": 2}  # parts made from records


@pytest.mark.parametrize("place", DOCUMENTS)
def test_a_documents_numbers_are_the_records(place: str) -> None:
    text = (ROOT / place).read_text()
    assert len(MARK.findall(text)) == DOCUMENTS[place]
    assert update_includes(text, (ROOT / place).parent) == text


DECIMAL = re.compile(r"(?<![\d.,])\d+\.\d+(?![\d.])")
CITED = re.compile(r"\b\d{4}\.\d{5}\b|\]\([^)]*\)|`[^`]*`")  # papers, links, code


def unknown(told: str, folder: Path) -> dict[str, list[str]]:
    """By paragraph, its first words: the decimals that stand in none of the pages that it links."""
    found = {}
    for part in re.split(r"\n(?=- |\n)", told):
        known = " ".join((folder / link).read_text() for link in re.findall(r"\]\(([^)]+\.md)\)", part))
        missing = set(DECIMAL.findall(CITED.sub(" ", part))) - set(DECIMAL.findall(known))
        if missing:
            found[" ".join(part.split())[:60]] = sorted(missing)
    return found


def test_what_is_told_of_deepseekmath_is_in_the_reports() -> None:
    page = ROOT / "results/deepseekmath/README.md"
    told = page.read_text().partition("## What was tried")[2].partition("## The studies")[0]
    assert len(DECIMAL.findall(told)) > 40 and unknown(told, page.parent) == {}
    first = DECIMAL.findall(CITED.sub(" ", told))[0]
    assert unknown(told.replace(first, "98.7654"), page.parent), "a changed number goes unseen"


def test_what_all_claims_as_one_family_leave_is_told() -> None:
    page = (ROOT / "results/deepseekmath/README.md").read_text()
    results = [j for s in read_collection(ROOT / "results/deepseekmath") for j in s.hypotheses]
    words = [verdict.partition(",")[0] for verdict in over_collection(results)]
    told = "With all {} as one family {} are still supported and {} contradicted"
    assert told.format(len(results), words.count("supported"), words.count("contradicted")) in page
    alone = [j.verdict.partition(",")[0] for j in results]
    assert all(one == "undecided" or one == all_ for one, all_ in zip(words, alone, strict=True)), "none is added"


def test_what_is_contradicted_or_undecided_says_what_would_settle_it() -> None:
    folders = sorted(file.parent for file in ROOT.glob("results/deepseekmath/*/study.json"))
    read = [j for folder in folders for j in found(f"deepseekmath/{folder.name}").hypotheses]
    words = [j.verdict.partition(",")[0] for j in read]
    assert len(read) > 60 and set(words) == {"supported", "contradicted", "undecided"}
    open_ = [j.hypothesis for j, word in zip(read, words, strict=True) if word != "supported"]
    assert [h.says for h in open_ if not h.settle] == []
    counts = [words.count(word) for word in ("supported", "contradicted", "undecided")]
    told = "Of {} claims {} are supported, {} contradicted and {} undecided".format(len(read), *counts)
    for place in DOCUMENTS:
        assert told in " ".join((ROOT / place).read_text().split()), place


@pytest.mark.parametrize("place", ["README.md", "docs/results.md"])
def test_a_changed_number_in_a_document_is_found(place: str) -> None:
    text = (ROOT / place).read_text()
    mean = f"{100 * found('compare_nano').arms['grpo'].mean:.1f}"
    assert mean in text
    other = text.replace(f"| {mean} |", "| 99.9 |")
    assert other != text and update_includes(other, (ROOT / place).parent) == text


# --- benchmarks -------------------------------------------------------------------------------------------------

BENCH = ROOT / "results" / "bench"


def test_the_benchmark_against_the_peer_is_the_one_that_the_docs_quote() -> None:
    record = json.loads((BENCH / "peers.json").read_text())
    assert record["environment"]["dirty"] is False and record["environment"]["commit"]
    assert all(r["gradient_difference"] <= record["equal"]["limits"][r["dtype"]] for r in record["equal"]["rows"])
    text = (ROOT / "docs/memory_and_speed.md").read_text()
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


def test_how_near_the_machine_the_docs_say_we_are() -> None:
    record = json.loads((BENCH / "limit-nano.json").read_text())
    share = {row["arm"]: row["probe"]["share"] for row in record["rows"]}
    assert {f"{s['update']:.0%}" for s in share.values()} == {"45%"}
    assert all(0.19 < s["rollout"] < 0.22 and 0.33 < s["round"] < 0.37 for s in share.values())
    assert "(update 45 %, rollout 20 %;" in (ROOT / "docs/memory_and_speed.md").read_text()


# --- calibration ------------------------------------------------------------------------------------------------

CALIBRATION = ROOT / "results" / "calibration"


def test_the_calibration_page_holds_its_bars() -> None:
    """(a) is re-checked in small in tests/evals/statistics/test_simulation.py, and all of it by the slow test below."""
    numbers: dict[str, Any] = json.loads((CALIBRATION / "calibration.json").read_text())
    assert numbers["settings"]["trials"] == TRIALS
    barred = [row["covered"] for row in numbers["simulated"] if row["seeds"] >= MIN_TESTED]
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
