"""Where a gain comes from, and averages over samples: by hand, and by what an unchanged policy must give."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest

from evals.scoring.scorer import with_average
from harness.reports.analysis.contrasts import Contrast, Decisions
from harness.reports.analysis.coverage import Coverage, split_gain
from harness.reports.analysis.summary import summarize
from harness.reports.loading import load_results
from harness.reports.render.coverage import average_table, coverage_table
from tests.harness.record_factory import change, write_study
from tests.helpers import close

START = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [1, 1, 1, 1]])
END = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]])


def test_by_hand() -> None:
    """Solved by the first two samples: the second and the fourth problem.  Starts of the others' halves: 0, 1/2."""
    split = split_gain(START, END)
    close(split["reliability"], (1.0 - 0.0 + 0.0) / 4)
    close(split["coverage"], (0.5 + (0 - 0.5)) / 4)
    assert (split["never"], split["now"], split["lost"]) == (0.25, 0.25, 0.25)
    close(split["gain"], split["reliability"] + split["coverage"])


def test_an_unchanged_policy_gains_nothing_on_either_side() -> None:
    rng = np.random.default_rng(0)
    p_I1 = rng.beta(0.3, 1.0, size=(200_000, 1))
    split = split_gain(*(rng.random((200_000, 8)) < p_I1 for _ in range(2)))
    assert max(abs(split["reliability"]), abs(split["coverage"])) < 2e-3
    assert split["now"] > 0.02, "what a finite number of samples had missed"


def test_what_only_the_easy_ones_gain_is_reliability() -> None:
    rng = np.random.default_rng(1)
    p_I1 = np.array([[0.0], [0.5]]).repeat(20_000, 0)
    start, end = rng.random((40_000, 16)) < p_I1, rng.random((40_000, 16)) < np.where(p_I1 > 0, 0.9, 0.0)
    split = split_gain(start, end)
    assert abs(split["reliability"] - 0.2) < 5e-3 and abs(split["coverage"]) < 5e-3
    end = rng.random((40_000, 16)) < np.where(p_I1 > 0, 0.5, 0.4)
    split = split_gain(start, end)
    assert abs(split["reliability"]) < 5e-3 and abs(split["coverage"] - 0.2) < 5e-3


# ---------------------------------------------------------------- in records


def hits(row: np.ndarray) -> list[str]:
    return ["correct" if x else "wrong" for x in row.ravel()]


def keep(run: Path, task: str, at: float, hit_IK: np.ndarray, metrics: list[str]) -> None:
    """Outcomes of a set whose problems were sampled K times, and rows of these metrics."""
    file = f"outcomes/{task}-{at:g}.jsonl.gz"
    (run / "outcomes").mkdir(exist_ok=True)
    lines = [json.dumps({"id": i, "prompt": "", "gold": "", "text": "", "strict": w, "lenient": w, "answer": None,
                         "ended": True}) + "\n" for i, w in enumerate(hits(hit_IK))]  # fmt: skip
    (run / file).write_bytes(gzip.compress("".join(lines).encode(), mtime=0))

    def add(record: dict) -> None:  # type: ignore[type-arg]
        like = next(r for r in record["evals"] if r["fraction"] == at and r["metric"] == "exact_match")
        row = {**like, "task": task, "decoding": "sampled", "temperature": 1.0, "outcomes": file}
        record["evals"].append({**row, "value": hit_IK.mean(), "n": hit_IK.size})
        value = {"pass@1": hit_IK.mean(), "avg@4": hit_IK.mean(), "stderr_problems": 0.2, "stderr_sampling": 0.1}
        size = {m: len(hit_IK) if "@" in m else hit_IK.size for m in metrics}
        record["evals"] += [{**row, "metric": m, "value": value[m], "n": size[m]} for m in metrics]

    change(run, add)


def study_with(tmp_path: Path, task: str, metrics: list[str]) -> Path:
    folder = write_study(tmp_path / "s", {arm: {s: [0.3, 0.5, 0.9] for s in range(3)} for arm in "ab"})
    for arm in "ab":
        for seed in range(3):
            run = folder / arm / f"seed{seed}"
            keep(run, task, 0.0, START, metrics)
            keep(run, task, 0.5, START, metrics)
            keep(run, task, 1.0, END if arm == "a" else START, metrics)
    return folder


def test_the_report_splits_the_gain_of_every_arm(tmp_path: Path) -> None:
    findings = summarize(load_results(study_with(tmp_path, "arithmetic_x4", ["pass@1"])))
    rows: dict[str, Coverage] = {c.arm: c for c in findings.coverage}
    assert set(rows) == {"a", "b"} and {c.samples for c in findings.coverage} == {4}
    assert rows["a"].mean == split_gain(START, END) and rows["b"].mean == split_gain(START, START)
    table = coverage_table(findings)
    assert table.rows[0][2:5] == ["+25.0 [25.0, 25.0]", "+25.0 [25.0, 25.0]", "+0.0 [0.0, 0.0]"]
    assert table.rows[0][5:] == ["25.0", "25.0", "25.0"] and not findings.averages


@pytest.mark.usefixtures("sampled_problems")
def test_a_difference_of_averages_is_over_problems_not_over_samples(tmp_path: Path) -> None:
    folder = study_with(tmp_path, "arithmetic_avg4", ["avg@4", "stderr_problems", "stderr_sampling"])
    results = load_results(folder)
    assert results.repeats("arithmetic_avg4") == 4 and results.repeats("arithmetic") == 1
    close(results.hit_SI("a", "arithmetic_avg4", 1.0, [0]), [[0.5, 1, 0, 1]])
    pair = Decisions(results, 0.02).measure(Contrast("a", "b", ("arithmetic_avg4", "exact_match", 1.0)))
    assert (pair.problems, pair.n) == (4, 3)
    close(pair.mean, (END.mean() - START.mean()))
    findings = summarize(results)
    assert [(x.arm, x.k, x.mean) for x in findings.averages] == [("a", 4, END.mean()), ("b", 4, START.mean())]
    assert average_table(findings).rows[0][-2:] == ["20.00", "10.00"]


# ---------------------------------------------------------------- the two variances


def scored(hit_IK: np.ndarray, name: str = "s_avg4") -> dict[str, tuple[float, float | None]]:
    outcomes = [{"strict": w, "lenient": w} for w in hits(hit_IK)]
    rows = [{"task": name, "filter": f, "metric": "exact_match", "value": 0.0, "stderr": 9.0, "n": hit_IK.size}
            for f in ("strict", "lenient")]  # fmt: skip
    got = with_average(rows, name, outcomes, hit_IK.shape[1])  # type: ignore[arg-type]
    return {f"{r['filter']} {r['metric']}": (r["value"], r["stderr"]) for r in got}


def test_both_variances_by_hand() -> None:
    got = scored(END)  # shares 1/2, 1, 0, 1
    share = [0.5, 1.0, 0.0, 1.0]
    total = np.var(share, ddof=1) / 4
    sampling = (0.25 / 3) / 16
    close(got["strict avg@4"], [0.625, math.sqrt(total)])
    close(got["strict stderr_sampling"][0], math.sqrt(sampling))
    close(got["strict stderr_problems"][0], math.sqrt(total - sampling))
    close([got[f"{f} exact_match"][1] for f in ("strict", "lenient")], [math.sqrt(total)] * 2)


def test_the_parts_are_what_other_samples_and_other_problems_move_it_by() -> None:
    rng = np.random.default_rng(2)
    p_I = rng.beta(1, 1, size=300)
    fixed = [(rng.random((300, 8)) < p_I[:, None]) for _ in range(400)]
    said = np.mean([scored(h)["strict stderr_sampling"][0] for h in fixed[:50]])
    assert abs(said / np.std([h.mean() for h in fixed]) - 1) < 0.1
    drawn = [(rng.random((300, 8)) < rng.beta(1, 1, size=(300, 1))) for _ in range(400)]
    said = np.mean([scored(h)["strict avg@8"][1] for h in drawn[:50]])
    assert abs(said / np.std([h.mean() for h in drawn]) - 1) < 0.1


def test_one_problem_has_no_variance_over_problems() -> None:
    got = scored(END[:1])
    assert "strict stderr_problems" not in got and got["strict avg@4"] == (0.5, None)
