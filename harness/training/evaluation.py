"""Points of the curve: the live model on every evaluation set, through lm-eval where it is installed.

An evaluation changes nothing in the run: its noise has streams of its own, it reads the model, and lm-eval's
reseeding is undone by the bridge.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from evals import tasks
from evals.scoring import task_files
from evals.scoring.scorer import Completion, Decoding, Scores, available, score_direct, with_repeats
from evals.statistics.estimates import wilson
from evals.tasks import EvalSet, Task
from harness.accounting.budget import Spend
from harness.accounting.profiler import PhaseProfiler
from harness.config.experiment import task_of
from harness.config.lora import is_adapter
from harness.config.run_config import RunConfig
from harness.models.loading import accelerator, context_of, load_model, pick_device, save_model
from harness.records import variables
from harness.records.recorder import Recorder
from harness.records.schema import EvaluationRow
from harness.rollout.sampler import Sampler, Sampling
from harness.rollout.tokenization import PromptTokenizer

ENDS = ("0", "1")  # points: before training, and after it


class Evaluator:
    """Scores the sets `names` of a folder of task files (and lm-eval stock tasks, by name).

    `repeated` are those that hold each problem several times (name -> how often), for pass@k and maj@k: they are scored
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
    ) -> None:
        self.sampler, self.tokenizer, self.folder, self.names, self.seed = sampler, tokenizer, folder, list(names), seed
        self.repeated, self.keep = dict(repeated or {}), keep
        self.tokens = 0  # generated so far; the meter's, never the budget's

    def generate(self, prompts: list[str], decoding: Decoding) -> list[Completion]:
        """One completion of each rendered prompt.  A stock task's prompt that is too long loses its head, as in
        lm-eval's `hf` model; prompts of our own were checked before the run."""
        room = self.tokenizer.context - decoding.max_new_tokens
        ids = [self.tokenizer.encode(p)[-room:] for p in prompts]
        sampling = Sampling(decoding.temperature, decoding.max_new_tokens, self.seed, decoding.stream, decoding.stop)
        done = self.sampler(ids, 1, sampling)
        self.tokens += int(done.length_N.sum())
        texts = self.sampler.texts(done, decoding.stop)
        return [Completion(t, e) for t, e in zip(texts, done.finished_N.tolist(), strict=True)]

    def scores(self, point: str) -> Scores:
        """Rows and outcomes; `point` names the outcome files, e.g. "0.5"."""
        outcomes = f"outcomes/{{task}}-{point}.jsonl.gz"
        names = [name for name in self.names if name not in self.repeated or point in ENDS]
        if available():
            from evals.scoring.lm_eval_bridge import score_lm_eval

            scores = score_lm_eval(self.folder, names, self.generate, outcomes)
        else:
            scores = score_direct(self.folder, names, self.generate, outcomes)
        for name in (name for name in names if name in self.repeated):
            scores.rows[:] = with_repeats(scores.rows, name, scores.outcomes[name], self.repeated[name])
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


def sets_of(task: Task, config: RunConfig) -> list[EvalSet]:
    """The test sets; while tuning, the selection split and nothing else.  The repeated set, if asked for, is last."""
    if config.eval_split == "test":
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
    return sets


Z = 1.959964  # the normal's 97.5 % point


def evaluate_checkpoint(config: RunConfig, scorer: str) -> str:
    """The scores of the model `config.model` on the task's sets, as a table.

    `scorer` is `ours` (our engine, through lm-eval where installed) or `hf` (lm-eval's own model).  Raises ValueError,
    one line, on an unknown scorer, task or set, and on a prompt that leaves no room for a completion.
    """
    if scorer not in ("ours", "hf"):
        raise ValueError(f"scorer: unknown '{scorer}'; valid: ours, hf")
    variables.check(os.environ)
    task = task_of(config)
    eval_sets = sets_of(task, config)
    device = pick_device(config.device)
    model, hf_tokenizer, _ = load_model(config.model, config.dtype)
    tokenizer = PromptTokenizer(hf_tokenizer, context_of(model), config.max_new_tokens, config.chat_date)
    for s in eval_sets:
        for p in s.problems:
            tokenizer.ids(tokenizer.render(p.prompt), s.name)
    names = [s.name for s in eval_sets] + list(config.eval_tasks)
    repeated = {s.name: s.samples for s in eval_sets if s.samples > 1}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as whole:
        render = tokenizer.render if tokenizer.chat else None
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
        else:
            placed = accelerator(device, config.dtype)
            sampler = Sampler(placed.prepare(model), hf_tokenizer, config.rollout_batch_size, placed.autocast)
            rows = Evaluator(sampler, tokenizer, Path(folder), names, config.seed, repeated).scores(ENDS[-1]).rows
    return table(rows, repeated)


def table(rows: list[Any], repeated: Mapping[str, int]) -> str:
    """One line per number, with its 95 % interval: Wilson's, or over problems where each was sampled several times."""
    lines = [f"{'task':<24}{'filter':<20}{'metric':<16}{'value':>8}   {'95 %':<16}{'n':>6}  scorer"]
    for r in rows:
        interval = ""
        if "@" in r["metric"] or r["metric"] == "exact_match":
            interval = "{:.3f}..{:.3f}".format(*bounds(r, r["task"] in repeated))
        name = f"{r['task']:<24}{r['filter']:<20}{r['metric']:<16}"
        lines.append(f"{name}{r['value']:>8.3f}   {interval:<16}{r['n']:>6}  {r['scorer']}")
    return "\n".join(lines)


def bounds(row: Any, repeated: bool) -> tuple[float, float]:
    """The 95 % interval of a rate.

    `repeated`: n completions of fewer problems are not n independent draws, so it goes by the standard error over
    problems; nan where only one problem was sampled.
    """
    if not repeated:
        return wilson(round(row["value"] * row["n"]), row["n"])
    reach = Z * (math.nan if row["stderr"] is None else row["stderr"])
    return max(row["value"] - reach, 0.0), min(row["value"] + reach, 1.0)
