"""`harness eval`: a checkpoint's scores on a task's evaluation sets, as a plain table."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals import taskfiles, tasks
from evals.score import with_repeats
from evals.stats import wilson
from harness.config import RunConfig, build
from harness.evaluate import ENDS, Evaluator
from harness.load import accelerator, context_of, load_model, pick_device
from harness.prepare import sets_of
from harness.prompts import Encoder
from harness.rollout import Sampler

Z = 1.959964  # the normal's 97.5 % point


def rescore(config: RunConfig, scorer: str) -> str:
    """`scorer` is `ours` (our engine, through lm-eval where installed) or `hf` (lm-eval's own model)."""
    if scorer not in ("ours", "hf"):
        raise ValueError(f"scorer: unknown '{scorer}'; valid: ours, hf")
    task = build(tasks.load(config.task_name), config.task, "task.")
    eval_sets = sets_of(task, config)
    device = pick_device(config.device)
    model, tokenizer, _ = load_model(config.model, config.dtype)
    encoder = Encoder(tokenizer, context_of(model), config.max_new_tokens)
    for s in eval_sets:
        for p in s.problems:
            encoder.ids(encoder.render(p.prompt), s.name)
    names = [s.name for s in eval_sets] + list(config.eval_tasks)
    repeated = {s.name: s.samples for s in eval_sets if s.samples > 1}
    with tempfile.TemporaryDirectory() as folder:
        render = encoder.render if encoder.chat else None
        taskfiles.write(task.spec(), eval_sets, folder, config.max_new_tokens, render)
        if scorer == "hf":
            from evals.lm_eval_bridge import score_hf

            scored = score_hf(config.model, folder, names, device=device, max_length=encoder.context)
            rows = scored.rows
            for name, samples in repeated.items():
                rows = with_repeats(rows, name, scored.outcomes[name], samples)
        else:
            run_by = accelerator(device, config.dtype)
            sampler = Sampler(run_by.prepare(model), tokenizer, config.rollout_rows, run_by.autocast)
            rows = Evaluator(sampler, encoder, Path(folder), names, config.seed, repeated).scores(ENDS[-1]).rows
    return table(rows, repeated)


def table(rows: list[Any], repeated: Mapping[str, int]) -> str:
    """One line a number, with its 95 % interval: Wilson's, or over problems where each was sampled several times."""
    lines = [f"{'task':<24}{'filter':<20}{'metric':<16}{'value':>8}   {'95 %':<16}{'n':>6}  scorer"]
    for r in rows:
        interval = ""
        if "@" in r["metric"] or r["metric"] == "exact_match":
            interval = "{:.3f}..{:.3f}".format(*bounds(r, r["task"] in repeated))
        name = f"{r['task']:<24}{r['filter']:<20}{r['metric']:<16}"
        lines.append(f"{name}{r['value']:>8.3f}   {interval:<16}{r['n']:>6}  {r['scorer']}")
    return "\n".join(lines)


def bounds(row: Any, repeated: bool) -> tuple[float, float]:
    """A rate's; n completions of fewer problems are no n draws.  nan where one problem alone was sampled."""
    if not repeated:
        return wilson(round(row["value"] * row["n"]), row["n"])
    reach = Z * (math.nan if row["stderr"] is None else row["stderr"])
    return max(row["value"] - reach, 0.0), min(row["value"] + reach, 1.0)
