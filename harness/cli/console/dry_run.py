"""`harness run --dry-run`: what the run would be, how long and how large, in ten lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.accounting.format import clock, count, flops, size

if TYPE_CHECKING:
    from harness.training.setup import PreparedRun


def run_lines(run: PreparedRun) -> list[str]:
    """Ten lines at most.  The time is measured: a few rounds of this run, in memory alone, unless it is known."""
    from harness.bench.round_probe import expected
    from harness.planner.command import setting_of
    from harness.planner.memory import predict
    from harness.training.run import title

    setting = setting_of(run.config, run.longest)
    plan = predict(setting)
    what, how, _ = title(run)
    sets = ", ".join(f"{s.name} {len(s.problems):,}" for s in run.eval_sets)
    points = ", ".join(f"{100 * f:g} %" for f in run.config.eval_fractions)
    time = expected(run, setting)
    rounds = f"about {count(time.rounds)}" if time.rounds else "unknown"
    charged = f", {flops(time.flops)}" if time.flops else ""
    lines = [what, how, f"rounds   {rounds} of {setting.schedule.prompts * setting.schedule.group_size:,} completions "
             f"with {setting.schedule.updates} update{'s' * (setting.schedule.updates > 1)} each{charged}"]  # fmt: skip
    lines.append(
        f"time     about {clock(time.seconds)}: {time.how}" if time.seconds else f"time     unknown: {time.how}"
    )
    limit = f"every completion at {run.config.max_new_tokens} tokens"
    lines.append(f"memory   at most {size(plan.peak)}, in {plan.worst.name}, {limit}")
    lines.append(f"trains   on {len(run.trainer.prompt_stream.problems):,} problems of {run.trainer.task.name}")
    lines.append(f"scores   at {points or 'no point'} of the budget: {sets}")
    lines.append(f"writes   {run.folder}")
    lines += [f"note     {notice}" for notice in run.notices[:1]]
    lines.append("every field: --show-config; to start: the same without --dry-run")
    return lines
