"""`harness eval`: a checkpoint's scores on a task's evaluation sets, as a plain table."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from evals import taskfiles, tasks
from evals.stats import wilson
from harness.config import RunConfig, build
from harness.evaluate import Evaluator
from harness.load import accelerator, context_of, load_model, pick_device
from harness.prompts import Encoder
from harness.rollout import Sampler


def rescore(config: RunConfig, scorer: str) -> str:
    """`scorer` is `ours` (our engine, through lm-eval where installed) or `hf` (lm-eval's own model)."""
    if scorer not in ("ours", "hf"):
        raise ValueError(f"scorer: unknown '{scorer}'; valid: ours, hf")
    task = build(tasks.load(config.task_name), config.task, "task.")
    eval_sets = task.eval_sets(config.eval_limit)
    device = pick_device(config.device)
    model, tokenizer, _ = load_model(config.model, config.dtype)
    encoder = Encoder(tokenizer, context_of(model), config.max_new_tokens)
    for s in eval_sets:
        for p in s.problems:
            encoder.ids(encoder.render(p.prompt), s.name)
    names = [s.name for s in eval_sets] + list(config.eval_tasks)
    with tempfile.TemporaryDirectory() as folder:
        render = encoder.render if encoder.chat else None
        taskfiles.write(task.spec(), eval_sets, folder, config.max_new_tokens, render)
        if scorer == "hf":
            from evals.lm_eval_bridge import score_hf

            rows = score_hf(config.model, folder, names, device=device, max_length=encoder.context).rows
        else:
            run_by = accelerator(device, config.dtype)
            sampler = Sampler(run_by.prepare(model), tokenizer, config.rollout_rows, run_by.autocast)
            rows = Evaluator(sampler, encoder, Path(folder), names, config.seed).scores("eval").rows
    return table(rows)


def table(rows: list[Any]) -> str:
    """One line a number, exact-match ones with their 95 % Wilson interval."""
    lines = [f"{'task':<24}{'filter':<20}{'metric':<16}{'value':>8}   {'95 %':<16}{'n':>6}  scorer"]
    for r in rows:
        interval = ""
        if r["metric"] == "exact_match":
            low, high = wilson(round(r["value"] * r["n"]), r["n"])
            interval = f"{low:.3f}..{high:.3f}"
        name = f"{r['task']:<24}{r['filter']:<20}{r['metric']:<16}"
        lines.append(f"{name}{r['value']:>8.3f}   {interval:<16}{r['n']:>6}  {r['scorer']}")
    return "\n".join(lines)
