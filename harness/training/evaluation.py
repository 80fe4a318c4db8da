"""Points of the curve: the live model on every evaluation set, through lm-eval where it is installed.

An evaluation changes nothing in the run: its noise has streams of its own, it reads the model, and lm-eval's
reseeding is undone by the bridge.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from evals import tasks
from evals.scoring import task_files
from evals.scoring.scorer import Completion, Decoding, Scores, available, score_direct, with_average, with_repeats
from evals.scoring.stock_tasks import StockTasks, stock_tasks
from evals.statistics.estimates import Z, wilson
from evals.tasks import EvalSet, Task
from harness.accounting.budget import Spend
from harness.accounting.profiler import PhaseProfiler
from harness.config.experiment import task_of
from harness.config.lora import is_adapter
from harness.config.run_config import RunConfig
from harness.config.tools import tools_of
from harness.models.loading import accelerator, context_of, load_model, pick_device, save_model
from harness.processes.group import current
from harness.records import variables
from harness.records.recorder import Recorder
from harness.records.schema import EvaluationRow
from harness.rollout.sampler import Sampler, Sampling
from harness.rollout.tokenization import PromptTokenizer
from harness.rollout.tools.registry import sampler_of

ENDS = ("0", "1")  # points: before training, and after it


class Evaluator:
    """Scores the sets `names` of a folder of task files (and lm-eval stock tasks, by name).

    `repeated` are those that hold each problem several times (name -> how often) for pass@k and maj@k: they are scored
    at the start and the end alone.  `keep` says of which points the outcomes are kept, problem by problem.
    """

    def __init__(
        self,
        sampler: Sampler,
        tokenizer: PromptTokenizer,
        folder: Path,
        names: Sequence[str],
        seed: int,
        repeated: Mapping[str, int] | None = None,
        keep: str = "all",
        stock: StockTasks | None = None,
    ) -> None:
        self.sampler, self.tokenizer, self.folder, self.names, self.seed = sampler, tokenizer, folder, list(names), seed
        self.repeated, self.keep, self.stock = dict(repeated or {}), keep, stock
        self.averaged: Mapping[str, int] = {}  # sets for avg@k, scored at every point
        self.rows = sampler.rows  # completions decoded at once
        self.tokens = 0  # generated so far; the meter's, never the budget's

    def generate(self, prompts: list[str], decoding: Decoding) -> list[Completion]:
        """One completion of each rendered prompt.  A stock task's prompt that is too long loses its head, as in
        lm-eval's `hf` model; prompts of our own were checked before the run."""
        room = self.tokenizer.context - decoding.max_new_tokens
        ids = [self.tokenizer.encode(p)[-room:] for p in prompts]
        sampling = Sampling(decoding.temperature, decoding.max_new_tokens, self.seed, decoding.stream, decoding.stop)
        done = self.sampler(ids, 1, sampling, rows=self.rows)
        self.tokens += int((done.length_N if done.sampled_NT is None else done.sampled_NT).sum())
        texts = self.sampler.texts(done, decoding.stop)
        return [Completion(t, e) for t, e in zip(texts, done.finished_N.tolist(), strict=True)]

    def scores(self, point: str) -> Scores:
        """Rows and outcomes; `point` names the outcome files, e.g. "0.5"."""
        outcomes = f"outcomes/{{task}}-{point}.jsonl.gz"
        names = [name for name in self.names if name not in self.repeated or point in ENDS]
        if available():
            from evals.scoring.lm_eval_bridge import score_lm_eval

            scores = score_lm_eval(self.folder, names, self.generate, outcomes, stock=self.stock)
        else:
            scores = score_direct(self.folder, names, self.generate, outcomes)
        for name in (name for name in names if name in self.repeated):
            scores.rows[:] = with_repeats(scores.rows, name, scores.outcomes[name], self.repeated[name])
        for name, k in self.averaged.items():
            scores.rows[:] = with_average(scores.rows, name, scores.outcomes[name], k)
        return scores

    def record(
        self, fraction: float, spend: Spend, profiler: PhaseProfiler, recorder: Recorder, number: int
    ) -> list[EvaluationRow]:
        """Score, and write rows and outcomes into the record."""
        point = f"{fraction:g}"
        with profiler("eval") as phase:
            before = self.tokens
            scores = self.scores(point)
            phase.tokens += self.tokens - before
        kept = self.keep == "all" or point in ENDS
        for name, outcomes in scores.outcomes.items() if kept else ():
            recorder.outcomes(f"{name}-{point}", outcomes)
        point_fields = {"fraction": fraction, "spend": spend.as_dict()}
        unkept = {} if kept else {"outcomes": ""}
        rows = [cast(EvaluationRow, {**point_fields, **row, **unkept}) for row in scores.rows]
        recorder.evaluation(number, rows)
        return rows


def eval_names(config: RunConfig, eval_sets: Sequence[EvalSet]) -> tuple[list[str], StockTasks]:
    """The names of the task's sets, then of what lm-eval evaluates; benchmarks are among the task's own sets.

    Raises ValueError where lm-eval is absent or has no such task.
    """
    ours = [s.name for s in eval_sets]
    words = [word for word in config.eval_tasks if word not in tasks.benchmark_names()]
    if not words:
        return ours, StockTasks()
    if not available():
        raise ValueError("eval_tasks: lm-eval and datasets are not installed here; leave the stock tasks out")
    from evals.scoring.lm_eval_bridge import check_stock

    stock = stock_tasks(words)
    check_stock(stock, ours)
    return [*ours, *stock.names], stock


def sets_of(task: Task, config: RunConfig) -> list[EvalSet]:
    """The test sets; while tuning, the selection split and nothing else.  The repeated set, if asked for, is last."""
    in_test = config.eval_split == "test"
    if in_test:
        sets = tasks.evaluation_sets(task, config.eval_limit)
    else:
        with tasks.named_errors(type(task)):
            chosen = list(task.selection())[: config.eval_limit]
        if not chosen:
            raise ValueError(f"eval_split: task '{task.name}' has no selection split")
        sets = [EvalSet(f"{task.name}_selection", "in", chosen)]
    if n := config.eval_samples:
        first = next(s for s in sets if s.domain == "in")
        repeated = [p for p in first.problems for _ in range(n)]
        sets = [*sets, EvalSet(f"{first.name}_x{n}", "in", repeated, temperature=1.0, samples=n)]
    return [*sets, *(_averaged(sets, name, k) for name, k in config.eval_repeats.items())] if in_test else sets


def _averaged(sets: list[EvalSet], name: str, k: int) -> EvalSet:
    """The set that holds each problem of `name` k times; a greedy one is sampled at temperature 1.

    Raises ValueError naming the field where there is no such set of ours.
    """
    valid = {s.name: s for s in sets if s.samples == 1}
    if name not in valid:
        raise ValueError(f"eval_repeats.{name}: no such evaluation set; valid: {', '.join(valid)}")
    s = valid[name]
    repeated = [p for p in s.problems for _ in range(k)]
    return EvalSet(f"{name}_avg{k}", s.domain, repeated, s.temperature or 1.0, s.version, samples=k, average=True)


def repeats_of(sets: Sequence[EvalSet]) -> tuple[dict[str, int], dict[str, int]]:
    """(those for pass@k and maj@k, those for avg@k): name -> samples of each problem."""
    several = [s for s in sets if s.samples > 1]
    return {s.name: s.samples for s in several if not s.average}, {s.name: s.samples for s in several if s.average}


@dataclass(frozen=True)
class CheckpointScores:
    """What `harness eval` measured: rows as in a record, and which sets hold a problem several times."""

    model: str
    task: str
    rows: list[Any]
    repeated: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it; `low` and `high` are the 95 % interval of a rate."""
        rows = []
        for row in self.rows:
            rate = "@" in row["metric"] or row["metric"] == "exact_match"
            low, high = bounds(row, row["task"] in self.repeated) if rate else (None, None)
            rows.append({**row, "low": low, "high": high})
        return {"model": self.model, "task": self.task, "rows": rows}


def evaluate_checkpoint(config: RunConfig, scorer: str) -> CheckpointScores:
    """The scores of the model `config.model` on the task's sets.

    `scorer` is `ours` (our engine, through lm-eval where installed) or `hf` (lm-eval's own model).  Raises ValueError,
    one line, on an unknown scorer, task or set, and on a prompt that leaves no room for a completion.
    """
    if scorer not in ("ours", "hf"):
        raise ValueError(f"scorer: unknown '{scorer}'; valid: ours, hf")
    if scorer == "hf" and current().size > 1:
        raise ValueError("scorer: hf is lm-eval's own model, on one process; scorer=ours is shared by several")
    variables.check(os.environ)
    task = task_of(config)
    eval_sets = sets_of(task, config)
    device = pick_device(config.device)
    model, hf_tokenizer, _ = load_model(config.model, config.dtype)
    _, tools = tools_of(config, task)
    tokenizer = PromptTokenizer.of(hf_tokenizer, context_of(model), config, tools.room if tools else 0)
    for s in eval_sets:
        for p in s.problems:
            tokenizer.ids(tokenizer.render(p), s.name)
    (names, stock), (repeated, averaged) = eval_names(config, eval_sets), repeats_of(eval_sets)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as whole:
        render = tokenizer.render if tokenizer.changes_prompts else None
        task_files.write(task.spec(), eval_sets, folder, config.max_new_tokens, render)
        if scorer == "hf":
            from evals.scoring.lm_eval_bridge import score_hf

            checkpoint = config.model
            if is_adapter(checkpoint):  # merged by `load_model`: what lm-eval reads is a whole model
                save_model(model, hf_tokenizer, Path(whole))
                checkpoint = whole
            with variables.hidden():  # lm-eval's model makes an accelerator of its own
                scored = score_hf(checkpoint, folder, names, device=device, max_length=tokenizer.context)
            rows = scored.rows
            for name, samples in repeated.items():
                rows = with_repeats(rows, name, scored.outcomes[name], samples)
            for name, samples in averaged.items():
                rows = with_average(rows, name, scored.outcomes[name], samples)
        else:
            placed = accelerator(device, config.dtype)
            sampler = sampler_of(config, task, placed.prepare(model), hf_tokenizer, placed.autocast)
            evaluator = Evaluator(sampler, tokenizer, Path(folder), names, config.seed, repeated, stock=stock)
            evaluator.averaged, evaluator.rows = averaged, config.eval_batch_size or sampler.rows
            rows = evaluator.scores(ENDS[-1]).rows
    return CheckpointScores(config.model, task.name, rows, {**repeated, **averaged})


def bounds(row: Any, repeated: bool) -> tuple[float, float]:
    """The 95 % interval of a rate.

    `repeated`: n completions of fewer problems are not n independent draws, so it goes by the standard error over
    problems; nan where only one problem was sampled.
    """
    if not repeated:
        return wilson(round(row["value"] * row["n"]), row["n"])
    reach = Z * (math.nan if row["stderr"] is None else row["stderr"])
    return max(row["value"] - reach, 0.0), min(row["value"] + reach, 1.0)
