"""Scores of a model on evaluation sets, without lm-eval: the same files, the same verifier, the same numbers.

`generate` is the caller's: this module sees only text.  It is called once per set, with all prompts in file order, so
that the random numbers of a sampled set are the same for both scorers.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict, cast

from evals.scoring import task_files
from evals.scoring.task_files import TaskFile
from evals.statistics.estimates import mean_stderr
from evals.statistics.pass_at_k import maj_at_k, pass_at_k
from evals.tasks import Task
from evals.verification.transcript import with_turns
from evals.verification.verifier import Outcome, Verdict

Scorer = Literal["lm_eval", "direct"]


@dataclass(frozen=True)
class Decoding:
    """How one set is decoded.

    Decoding(temperature=0.0, max_new_tokens=64, stop=("\\n",), stream="eval/arithmetic")
    """

    temperature: float  # 0 is greedy
    max_new_tokens: int  # the end token counts as one
    stop: tuple[str, ...]  # strings that end a completion, besides the end token
    stream: str  # names the random stream: different for every set, and never a training stream


@dataclass(frozen=True)
class Completion:
    """The text of a completion, without its prompt, end token and stop string; a `Transcript` where tools were called.

    Completion("5-3=2 #### 2", True)
    """

    text: str
    ended: bool | None  # by an end token or a stop string; False: cut at the token limit; None: not known


Generate = Callable[[list[str], Decoding], list[Completion]]  # as many completions as prompts, in their order


class EvalRow(TypedDict):
    """One number of the record's `evals`; the caller adds `fraction` and `spend`."""

    task: str
    version: str
    domain: str  # "in", "out", "retention"
    decoding: Literal["greedy", "sampled"]
    temperature: float
    filter: str  # "strict", "lenient"; a stock lm-eval task has names of its own
    metric: str  # "exact_match"; the rates "unparseable", "truncated", "verifier_error" of the strict outcomes
    value: float
    stderr: float | None  # of the mean over problems; None where n = 1 or the scorer gives none
    n: int
    scorer: Scorer
    outcomes: str  # the file with the problems' outcomes, "" where there is none


class ProblemOutcome(TypedDict):
    """The outcome of one problem.  `ended` is None where it is not known."""

    id: str
    prompt: str
    gold: str
    text: str
    strict: Outcome
    lenient: Outcome
    answer: str | None
    ended: bool | None


@dataclass(frozen=True)
class Scores:
    """The rows of all sets, and per set the outcomes of its problems, in file order."""

    rows: list[EvalRow]
    outcomes: dict[str, list[ProblemOutcome]]


def available() -> bool:
    """Can `evals.scoring.lm_eval_bridge` be imported?  Checked without importing anything."""
    return all(importlib.util.find_spec(name) is not None for name in ("lm_eval", "datasets"))


def cut(text: str, stop: Iterable[str]) -> str:
    """The text before its stop strings, taken in their order as lm-eval's `hf` model does.

    >>> cut("14 Question: 2", ["Question:"])
    '14 '
    """
    for s in stop:
        if s:
            text = text.split(s)[0]
    return text


def decoding_of(file: TaskFile) -> Decoding:
    return Decoding(file.temperature, file.max_new_tokens, file.stop, f"eval/{file.name}")


def complete(generate: Generate, prompts: list[str], decoding: Decoding) -> list[Completion]:
    """One call of `generate`: as many completions as prompts, each cut at its stop string (and then ended)."""
    completions = generate(prompts, decoding)
    if len(completions) != len(prompts):
        raise ValueError(f"generate gave {len(completions)} completions for {len(prompts)} prompts ({decoding.stream})")
    texts = [cut(c.text, decoding.stop) for c in completions]
    return [Completion(with_turns(t, c.text), c.ended or t != c.text) for t, c in zip(texts, completions, strict=True)]


def score_direct(
    folder: str | Path, names: Sequence[str], generate: Generate, outcomes: str = "outcomes/{task}.jsonl"
) -> Scores:
    """The sets `names` of a folder of task files, in that order.

    `outcomes` names the file that the caller will write a set's outcomes to; `{task}` stands for the set.
    """
    rows: list[EvalRow] = []
    by_set: dict[str, list[ProblemOutcome]] = {}
    for file in [task_files.read(folder, name) for name in names]:
        task = task_files.build(file.spec)
        completions = complete(generate, file.prompts, decoding_of(file))
        verdicts = [
            task.verify(p, c.text, c.ended is not False) for p, c in zip(file.problems, completions, strict=True)
        ]
        by_set[file.name] = outcomes_of(file, completions, verdicts)
        rows += rows_of(file, by_set[file.name], "direct", outcomes.format(task=file.name))
        rows += measured(rows[-1], task, file, completions, verdicts)
    return Scores(rows, by_set)


def outcomes_of(file: TaskFile, completions: Sequence[Completion], verdicts: Sequence[Verdict]) -> list[ProblemOutcome]:
    """Completions and their verdicts, in file order, as records."""
    return [
        {
            "id": p.id,
            "prompt": p.prompt,
            "gold": p.gold,
            "text": c.text,
            "strict": v.strict,
            "lenient": v.lenient,
            "answer": v.answer,
            "ended": c.ended,
        }
        for p, c, v in zip(file.problems, completions, verdicts, strict=True)
    ]


def rows_of(file: TaskFile, problem_outcomes: Sequence[ProblemOutcome], scorer: Scorer, outcomes: str) -> list[EvalRow]:
    """The rows of one set: exact_match strict and lenient, then the rates of the strict outcomes.

    Every problem counts in n; one with a verifier error is not correct.  Where it is not known whether
    completions ended, the two rates that depend on it are left out.
    """

    def row(filter: str, metric: str, hits: list[bool]) -> EvalRow:
        value, stderr = mean_stderr([float(h) for h in hits])
        return {
            "task": file.name,
            "version": file.version,
            "domain": file.domain,
            "decoding": "sampled" if file.temperature > 0 else "greedy",
            "temperature": file.temperature,
            "filter": filter,
            "metric": metric,
            "value": value,
            "stderr": None if math.isnan(stderr) else stderr,
            "n": len(hits),
            "scorer": scorer,
            "outcomes": outcomes,
        }

    rates = ["unparseable", "truncated", "verifier_error"]
    if any(o["ended"] is None for o in problem_outcomes):
        rates = ["verifier_error"]
    return [
        row("strict", "exact_match", [o["strict"] == "correct" for o in problem_outcomes]),
        row("lenient", "exact_match", [o["lenient"] == "correct" for o in problem_outcomes]),
        *(row("strict", rate, [o["strict"] == rate for o in problem_outcomes]) for rate in rates),
    ]


def measured(
    like: EvalRow, task: Task, file: TaskFile, completions: Sequence[Completion], verdicts: Sequence[Verdict]
) -> list[EvalRow]:
    """A row for each of the task's own measures (`Task.measures`), over the problems that have it; else as `like`."""
    found: dict[str, list[float]] = {}
    for problem, completion, verdict in zip(file.problems, completions, verdicts, strict=True):
        for name, value in task.measures(problem, completion.text, verdict).items():
            found.setdefault(name, []).append(float(value))
    rows: list[EvalRow] = []
    for name, values in found.items():
        value, stderr = mean_stderr(values)
        error = None if math.isnan(stderr) else stderr
        told = {"metric": name, "value": value, "stderr": error, "n": len(values), "outcomes": ""}
        rows.append(cast(EvalRow, {**like, "filter": "strict", **told}))  # outcomes do not hold what was measured
    return rows


def with_average(
    rows: Sequence[EvalRow], name: str, problem_outcomes: Sequence[ProblemOutcome], samples: int
) -> list[EvalRow]:
    """The rows of all sets, with avg@K of the set `name`, which holds each problem K = `samples` times in a row.

        avg@K = mean over problems of p_i,  p_i the share of its K samples that are right, strict
        stderr^2 = Var(p_i) / I = stderr_problems^2 + stderr_sampling^2
        stderr_sampling^2 = mean(p_i (1 - p_i) / (K - 1)) / I

    over problems and samples both (what other problems and other samples would move it by), of which sampling is what
    other samples of these problems would.  The standard errors of `exact_match` are over problems too.
    """
    groups = [problem_outcomes[i : i + samples] for i in range(0, len(problem_outcomes), samples)]
    share = [sum(o["strict"] == "correct" for o in g) / samples for g in groups]
    value, stderr = mean_stderr(share)
    sampling = sum(p * (1 - p) / (samples - 1) for p in share) / len(groups) ** 2
    like = next(row for row in rows if row["task"] == name and row["filter"] == "strict")
    error = None if math.isnan(stderr) else stderr
    parts = {f"avg@{samples}": value, "stderr_sampling": math.sqrt(sampling)}
    if error is not None:
        parts["stderr_problems"] = math.sqrt(max(error**2 - sampling, 0.0))
    out: list[EvalRow] = []
    for row in rows:
        if row["task"] == name and row["metric"] == "exact_match":
            reading: Literal["strict", "lenient"] = "strict" if row["filter"] == "strict" else "lenient"
            spread = mean_stderr([sum(o[reading] == "correct" for o in g) / samples for g in groups])[1]
            row = {**row, "stderr": None if math.isnan(spread) else spread}
        out.append(row)
    added = [{**like, "metric": m, "value": x, "stderr": error if "@" in m else None} for m, x in parts.items()]
    added[0]["n"] = len(groups)
    return [*out, *cast(list[EvalRow], added)]


def _vote(o: ProblemOutcome) -> tuple[str, str | None] | str | None:
    """All correct answers are one vote, however they are written; no answer is no vote."""
    return "correct" if o["strict"] == "correct" else o["answer"] and ("wrong", o["answer"])


def with_repeats(
    rows: Sequence[EvalRow], name: str, problem_outcomes: Sequence[ProblemOutcome], samples: int
) -> list[EvalRow]:
    """The rows, corrected and extended for the set `name`, which holds each problem `samples` times in a row.

    Standard errors are over problems, not completions; pass@k and maj@k are added for k = 1, 2, 4 ... samples / 2.
    """
    groups = [problem_outcomes[i : i + samples] for i in range(0, len(problem_outcomes), samples)]
    out: list[EvalRow] = []
    for row in rows:
        if row["task"] == name and row["metric"] == "exact_match":
            hits = [[o["strict" if row["filter"] == "strict" else "lenient"] == "correct" for o in g] for g in groups]
            stderr = mean_stderr([sum(h) / len(h) for h in hits])[1]
            row = {**row, "stderr": None if math.isnan(stderr) else stderr}
        out.append(row)
    like = next(row for row in rows if row["task"] == name and row["filter"] == "strict")
    votes = [[_vote(o) for o in g] for g in groups]
    k = 1
    while 2 * k <= samples:
        passed = [pass_at_k(samples, v.count("correct"), k) for v in votes]
        voted = [maj_at_k(v, "correct", k) for v in votes]
        for metric, values in ((f"pass@{k}", passed), (f"maj@{k}", voted)):
            value, stderr = mean_stderr(values)
            error = None if math.isnan(stderr) else stderr
            out.append({**like, "metric": metric, "value": value, "stderr": error, "n": len(groups)})
        k *= 2
    return out
