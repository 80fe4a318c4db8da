"""The numbers in README.md are those of the committed records.

python -m tests.test_results      prints the tables that README must hold
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import ROOT, close

STUDY = ROOT / "results" / "algorithms_nano"
TUNED = ("grpo", "ppo", "online_rft", "rft", "grpo_kl", "ppo_kl", "online_rft_token", "rft_sequence")
ARMS = (*TUNED, "rft_all", "rft_cap4")  # the last two at the rate of rft
TASKS = ("arithmetic", "arithmetic_t1", "arithmetic_longer", "arithmetic_larger", "arithmetic_worded", "sorting")
RECORDS = sorted(ROOT.glob("results/**/record.json"))

needs_study = pytest.mark.skipif(not STUDY.is_dir(), reason="the study is not in this checkout")


def strict(record: dict[str, Any], task: str, fraction: float) -> float:
    """In percent; a run that failed before the point has none."""
    rows = [
        r
        for r in record["evals"]
        if (r["task"], r["fraction"], r["filter"], r["metric"]) == (task, fraction, "strict", "exact_match")
    ]
    return 100 * float(rows[0]["value"]) if rows else float("nan")


def read(folder: Path) -> list[dict[str, Any]]:
    """The records of an arm, by seed."""
    return sorted((json.loads(p.read_text()) for p in folder.glob("seed*/record.json")), key=lambda r: r["seed"])


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def by_seed() -> list[str]:
    """Every seed of every arm: in-domain strict accuracy at the end, greedy / at temperature 1, in percent."""
    runs = {arm: {r["seed"]: r for r in read(STUDY / arm)} for arm in ARMS}
    lines = [row("seed", *(f"`{arm}`" for arm in ARMS)), "|---" * (len(ARMS) + 1) + "|"]
    for seed in runs[ARMS[0]]:
        cells = [[strict(runs[arm][seed], task, 1.0) for task in TASKS[:2]] for arm in ARMS]
        lines.append(row(seed, *(f"{greedy:.1f} / {sampled:.1f}" for greedy, sampled in cells)))
    means = [[mean([strict(r, task, 1.0) for r in runs[arm].values()]) for task in TASKS[:2]] for arm in ARMS]
    return [*lines, row("mean", *(f"{greedy:.1f} / {sampled:.1f}" for greedy, sampled in means))]


def by_arm() -> list[str]:
    """Means over seeds: accuracy at half the budget and at the end, on every set; what it cost; collapsed runs."""
    names = ("half", *TASKS, "updates", "k trained tokens", "TFLOP", "collapsed")
    lines = [row("arm", "lr", *names), "|---" * (len(names) + 2) + "|"]
    first = read(STUDY / ARMS[0])
    lines.append(row("start", "", "", *(f"{mean([strict(r, t, 0.0) for r in first]):.1f}" for t in TASKS), *[""] * 4))
    for arm in ARMS:
        runs = read(STUDY / arm)
        ends = [f"{mean([strict(r, task, 1.0) for r in runs]):.1f}" for task in TASKS]
        spend = {unit: mean([r["spend"][unit] for r in runs]) for unit in ("updates", "trained_tokens", "flops")}
        costs = f"{spend['updates']:.0f}", f"{spend['trained_tokens'] / 1e3:.0f}", f"{spend['flops'] / 1e12:.2f}"
        lost = f"{sum(map(collapsed, runs))} of {len(runs)}"
        half = f"{mean([strict(r, TASKS[0], 0.5) for r in runs]):.1f}"
        lines.append(row(f"`{arm}`", f"{runs[0]['config']['lr']:g}", half, *ends, *costs, lost))
    return lines


def collapsed(record: dict[str, Any]) -> bool:
    """Failed, or at the end more than 10 points below the start at temperature 1."""
    return record["status"] != "finished" or not (strict(record, TASKS[1], 1.0) >= strict(record, TASKS[1], 0.0) - 10)


def tuning() -> dict[str, dict[float, list[float]]]:
    """arm -> learning rate -> greedy accuracy on the selection split at the end, of each tuning seed."""
    return {
        arm: {
            float(folder.name.removeprefix("lr")): [strict(r, "arithmetic_selection", 1.0) for r in read(folder)]
            for folder in (STUDY / "tune" / arm).iterdir()
        }
        for arm in TUNED
    }


def best(trials: dict[float, list[float]]) -> float:
    """The rate with the highest mean; of equal ones the lowest."""
    return max(sorted(trials), key=lambda lr: mean(trials[lr]))


def by_rate() -> list[str]:
    """Every trial of the tuning; the chosen rate in bold."""
    found = tuning()
    rates = sorted(found[ARMS[0]])
    lines = [row("arm", *(f"{lr:g}" for lr in rates)), "|---" * (len(rates) + 1) + "|"]
    for arm, trials in found.items():
        cells = [" ".join(f"{x:.1f}" for x in trials[lr]) for lr in rates]
        chosen = best(trials)
        marked = [f"**{c}**" if lr == chosen else c for lr, c in zip(rates, cells, strict=True)]
        lines.append(row(f"`{arm}`", *marked))
    return lines


@needs_study
@pytest.mark.parametrize("table", [by_seed, by_arm, by_rate])
def test_readme_holds_the_records_tables(table: Any) -> None:
    readme = (ROOT / "README.md").read_text().splitlines()
    assert [line for line in table() if line not in readme] == []


@needs_study
def test_every_arm_had_ten_seeds_and_the_same_tuning() -> None:
    for arm in ARMS:
        runs = read(STUDY / arm)
        assert [r["seed"] for r in runs] == list(range(10))
        assert {r["spend"]["completions"] for r in runs} == {10240}
        tuned = tuning()[arm if arm in TUNED else "rft"]
        assert {r["config"]["lr"] for r in runs} == {best(tuned)}
    counts = {arm: {lr: len(values) for lr, values in trials.items()} for arm, trials in tuning().items()}
    assert all(c == counts["grpo"] for c in counts.values()) and set(counts["grpo"].values()) == {2}
    seeds = {r["seed"] for f in (STUDY / "tune").glob("*/*") for r in read(f)}
    assert not seeds & set(range(10))


@needs_study
def test_arms_differ_in_what_their_names_say() -> None:
    """Pairs of one seed share everything but the algorithm's own fields and the tuned rate."""
    for seed in range(10):
        configs = [{**read(STUDY / arm)[seed]["config"], "name": ""} for arm in ARMS]
        own = ("algo", "algo_name", "schedule", "lr", "sources", "out")
        assert all({k: v for k, v in c.items() if k not in own} == {k: v for k, v in configs[0].items() if k not in own}
                   for c in configs)  # fmt: skip
    kl = {arm: read(STUDY / arm)[0]["config"]["algo"].get("kl_coef", 0.0) for arm in ARMS}
    assert {arm for arm, coef in kl.items() if coef} == {"grpo_kl", "ppo_kl"} and kl["grpo_kl"] == kl["ppo_kl"] == 0.04
    for arm in ARMS:
        assert ("critic" in read(STUDY / arm)[0]["memory"]["parts"]) == arm.startswith("ppo")


def test_grpo_lifts_nano_by_twenty_points_in_nine_seeds_of_ten() -> None:
    records = read(ROOT / "results" / "grpo_nano" / "grpo")
    assert [r["seed"] for r in records] == list(range(10))
    for task in ("arithmetic", "arithmetic_t1"):
        lifted = [strict(r, task, 1.0) - strict(r, task, 0.0) >= 20 for r in records]
        assert sum(lifted) >= 9


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


if __name__ == "__main__":
    print("\n\n".join("\n".join(table()) for table in (by_seed, by_arm, by_rate)))
