from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from evals.scoring import scorer, task_files
from evals.scoring.scorer import Completion, Decoding
from evals.tasks import EvalSet, Problem, Task
from evals.verification.verifier import Outcome, Verdict
from tests.helpers import close


class Tiny(Task):
    """The answer follows '####'; leniently it is the last word.  'boom' breaks the verifier."""

    name = "tiny"
    stop = ("\n",)

    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers

    def spec(self) -> task_files.Spec:
        return {"class": f"{__name__}:Tiny", "fields": {"numbers": self.numbers}}

    def train(self, seed: int) -> Sequence[Problem]:
        return []

    def eval_sets(self, limit: int | None = None) -> list[EvalSet]:
        problems = [Problem(f"id{n}", f"{n}+1=", str(n + 1), source=["is", n]) for n in self.numbers[:limit]]
        return [EvalSet("tiny", "in", problems), EvalSet("tiny_t1", "out", problems, temperature=1.0, version="2.1")]

    def verify(self, problem: Problem, completion: str, ended: bool) -> Verdict:
        assert problem.source == ["is", int(problem.gold) - 1] and problem.prompt == f"{int(problem.gold) - 1}+1="
        if "boom" in completion:
            return Verdict("verifier_error", "verifier_error", None)
        _, mark, strict = completion.partition("#### ")
        lost: Outcome = "unparseable" if ended else "truncated"
        last = completion.split()[-1] if completion.split() else ""
        hit: Outcome = "correct" if strict == problem.gold else "wrong"
        return Verdict(hit if mark else lost, "correct" if last == problem.gold else lost, strict or None)


KINDS = ["#### {}", "#### 0", "so {}", "so", "cut {}", "cut", "boom", "#### {}\nnext"]
STRICT = ["correct", "wrong", "unparseable", "unparseable", "truncated", "truncated", "verifier_error", "correct"]


def scripted(prompts: list[str], decoding: Decoding) -> list[Completion]:
    """One completion of each kind, over and over."""
    golds = [int(p.strip("[]").split("+")[0]) + 1 for p in prompts]
    kinds = [KINDS[i % len(KINDS)] for i in range(len(prompts))]
    return [Completion(k.format(g), "cut" not in k) for k, g in zip(kinds, golds, strict=True)]


def write(folder: Path, n: int = 16, **more: object) -> list[str]:
    task = Tiny(list(range(n)))
    return task_files.write(task.spec(), task.eval_sets(), folder, max_new_tokens=9, **more)  # type: ignore[arg-type]


def test_rows_and_outcomes(tmp_path: Path) -> None:
    asked: list[Decoding] = []

    def generate(prompts: list[str], decoding: Decoding) -> list[Completion]:
        asked.append(decoding)
        return scripted(prompts, decoding)

    found = scorer.score_direct(tmp_path, write(tmp_path), generate, outcomes="at/{task}.jsonl")
    assert asked == [Decoding(0.0, 9, ("\n",), "eval/tiny"), Decoding(1.0, 9, ("\n",), "eval/tiny_t1")]
    assert [o["strict"] for o in found.outcomes["tiny"]] == STRICT * 2
    assert found.outcomes["tiny"][7] == {
        "id": "id7",
        "prompt": "7+1=",
        "gold": "8",
        "text": "#### 8",
        "strict": "correct",
        "lenient": "correct",
        "answer": "8",
        "ended": True,
    }
    rates = {(r["filter"], r["metric"]): r["value"] for r in found.rows if r["task"] == "tiny"}
    assert rates == {
        ("strict", "exact_match"): 0.25,
        ("lenient", "exact_match"): 0.5,
        ("strict", "unparseable"): 0.25,
        ("strict", "truncated"): 0.25,
        ("strict", "verifier_error"): 0.125,
    }
    row = dict(found.rows[5])
    close(row.pop("stderr"), (0.25 * 0.75 / 15) ** 0.5)
    assert row == {
        "task": "tiny_t1",
        "version": "2.1",
        "domain": "out",
        "decoding": "sampled",
        "temperature": 1.0,
        "filter": "strict",
        "metric": "exact_match",
        "value": 0.25,
        "n": 16,
        "scorer": "direct",
        "outcomes": "at/tiny_t1.jsonl",
    }


def test_rendered_prompts_reach_the_model_and_plain_ones_the_verifier(tmp_path: Path) -> None:
    write(tmp_path, render=lambda problem: f"[{problem.prompt}]")
    file = task_files.read(tmp_path, "tiny")
    assert file.prompts[0] == "[0+1=]" and file.problems[0] == Problem("id0", "0+1=", "1", ["is", 0])
    assert scorer.score_direct(tmp_path, ["tiny"], scripted).rows[0]["value"] == 0.25


def test_a_stop_string_ends_a_completion(tmp_path: Path) -> None:
    write(tmp_path, 1)
    found = scorer.score_direct(tmp_path, ["tiny"], lambda prompts, decoding: [Completion("#### 1\n#### 2", False)])
    assert found.outcomes["tiny"][0]["ended"] is True and found.rows[0]["value"] == 1.0
    assert found.rows[0]["stderr"] is None, "one problem has no standard error"
    assert json.loads(json.dumps(found.rows)) == found.rows
    assert scorer.cut("xab", ["b", "ab"]) == "xa", "in the order of the stops, as lm-eval cuts"


def test_what_cannot_be_written(tmp_path: Path) -> None:
    spec = Tiny([1]).spec()

    def attempt(s: EvalSet) -> None:
        task_files.write(spec, [s], tmp_path, 4)

    with pytest.raises(ValueError, match="no problems"):
        attempt(EvalSet("tiny", "in", []))
    with pytest.raises(ValueError, match="a set's name"):
        attempt(EvalSet("../tiny", "in", [Problem("a", "b", "c")]))
    with pytest.raises(ValueError, match="not plain JSON"):
        attempt(EvalSet("tiny", "in", [Problem("a", "b", "c", source=(1, 2))]))


def test_errors_are_plain(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(ValueError, match="no task 'gsm'.*tiny, tiny_t1"):
        scorer.score_direct(tmp_path, ["gsm"], scripted)
    with pytest.raises(ValueError, match="1 completions for 16 prompts"):
        scorer.score_direct(tmp_path, ["tiny"], lambda prompts, decoding: [Completion("", True)])


def test_odd_characters_survive(tmp_path: Path) -> None:
    problem = Problem("é", "a\u2028b\n\t😀 'x': #", "∞", source={"k": ["\\", None]})
    task_files.write(Tiny([]).spec(), [EvalSet("é-1.5", "retention", [problem])], tmp_path, 4)
    assert task_files.names(tmp_path) == ["é-1.5"]
    assert task_files.read(tmp_path, "é-1.5").problems == [problem]
    assert task_files.read(tmp_path, "é-1.5").domain == "retention"


def test_nothing_heavy_is_imported() -> None:
    heavy = "{'torch', 'lm_eval', 'datasets', 'transformers', 'pandas'}"
    code = f"import sys, evals.scoring.scorer as s; s.available(); sys.exit(repr({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path.cwd())
    assert done.stderr.strip() == "set()", done.stderr


def test_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "lm_eval" else object())
    assert scorer.available() is False
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert scorer.available() is True


def test_a_tasks_own_measures_are_rows_of_their_own(tmp_path: Path) -> None:
    """Of the problems that have them; their calls reach the task, and outcomes say nothing of them."""
    from evals.tasks.lookup import Lookup
    from evals.verification.transcript import Transcript, Turn

    task = Lookup(test_size=6, other_size=2)
    task_files.write(task.spec(), task.eval_sets(6)[:1], tmp_path, 48)
    kinds = [p.source["kind"] for p in task.eval_sets(6)[0].problems]

    def generate(prompts: list[str], decoding: Decoding) -> list[Completion]:
        return [Completion(Transcript("#### 1", [Turn("search", "q", "r")] * (i % 2)), True) for i in range(6)]

    rows = {r["metric"]: r for r in scorer.score_direct(tmp_path, ["lookup"], generate).rows if r["filter"] == "strict"}
    assert (rows["calls"]["value"], rows["calls"]["n"], rows["calls"]["outcomes"]) == (0.5, 6, "")
    assert rows["needless"]["n"] == kinds.count("none") and rows["missing"]["n"] == 6 - kinds.count("none")
    assert rows["exact_match"]["outcomes"] and rows["exact_match"]["n"] == 6
