"""A prepared run, from its first evaluation to its record."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

from evals import taskfiles
from harness import checkpoint
from harness.config import profile_file
from harness.display import Display
from harness.load import save_model
from harness.metrics import warnings
from harness.prepare import Run
from harness.prompts import Encoder
from harness.record import Recorder


def execute(run: Run, display: Display) -> dict[str, Any]:
    """Run it.  The record says `finished`, `interrupted` or `failed` (with a reason) whatever happens."""
    if run.config.resume:
        run.record["evals"] = checkpoint.restore(run.trainer, run.folder / "checkpoints") or []
        checkpoint.rewind(run.folder, run.trainer.rounds)
    recorder = Recorder(run.folder, run.record)
    trainer, fractions = run.trainer, sorted(set(run.config.eval_fractions))
    taskfiles.write(
        run.trainer.task.spec(),
        run.eval_sets,
        run.folder / "tasks",
        run.config.max_new_tokens,
        _render(trainer.encoder),
    )
    recorder.save()
    display.start(title(run))
    for notice in run.notices:
        display.message(notice)
    try:
        _rounds(run, recorder, display, fractions)
        with trainer.meter("checkpoint"):
            model = trainer.policy.accelerator.unwrap_model(trainer.policy.model)
            final = run.folder / "checkpoints" / "final"
            save_model(model, trainer.encoder.tokenizer, final)
            if profile := profile_file(run.config.model):  # its scale settings hold for what became of it
                shutil.copyfile(profile, final / "profile.toml")
        run.record["status"] = "finished"
    except KeyboardInterrupt:
        run.record.update(status="interrupted", reason="interrupted by the user")
        raise
    except Exception as error:
        run.record.update(status="failed", reason=f"{type(error).__name__}: {error}")
        raise
    finally:
        _settle(run)
        recorder.save()
        recorder.close()
    return run.record


def title(run: Run) -> list[str]:
    """What is about to happen, in a few words."""
    c, schedule = run.config, run.trainer.schedule
    what = f"{run.record['algo']} on {run.trainer.task.name}, {c.model}, seed {c.seed}"
    how = (
        f"{schedule.prompts} prompts x {schedule.group_size} completions a round, lr {c.lr:g}, "
        f"budget {c.budget}, {run.record['environment']['device']}"
    )
    return [what, how, f"record: {run.folder}"]


def _render(encoder: Encoder) -> Callable[[str], str] | None:
    return encoder.render if encoder.chat else None


def _rounds(run: Run, recorder: Recorder, display: Display, fractions: list[float]) -> None:
    """The loop with its evaluations: each falls at the first round that reaches its fraction of the budget."""
    trainer, budget = run.trainer, run.trainer.planner.budget
    history: list[dict[str, float]] = []
    exact = trainer.policy.device.type == "cpu" and trainer.policy.accelerator.mixed_precision == "no"

    def evaluate(fraction: float) -> None:
        display.phase(f"evaluating at {fraction:.0%} of the budget")
        rows = run.evaluator.record(fraction, trainer.spend, trainer.meter, recorder, trainer.rounds)
        display.evaluation(fraction, rows)

    waiting = [f for f in fractions if f not in {row["fraction"] for row in run.record["evals"]}]
    if waiting and waiting[0] == 0.0:
        evaluate(waiting.pop(0))
    display.phase("training")
    while (done := trainer.round()) is not None:
        metrics = done.metrics(budget, trainer.meter)
        history.append(metrics)
        recorder.round(done.number, metrics, done.samples())
        display.round(metrics, warnings(history, exact))
        _settle(run)
        recorder.save()
        while waiting and waiting[0] < 1.0 and budget.fraction(trainer.spend) >= waiting[0]:
            evaluate(waiting.pop(0))
        if run.config.keep_checkpoints and trainer.rounds % run.config.checkpoint_every == 0:
            with trainer.meter("checkpoint"):
                checkpoint.save(trainer, run.record["evals"], run.folder / "checkpoints", run.config.keep_checkpoints)
    if waiting:
        evaluate(waiting[-1])


def _settle(run: Run) -> None:
    """Bring the record up to date with the ledger and the meter."""
    trainer = run.trainer
    run.record["spend"] = trainer.spend.as_dict()
    run.record["phases"] = trainer.meter.as_dict()
    run.record["checks"] = dict(trainer.checks)
    parts = {name: {"bytes": size, "how": "measured"} for name, size in trainer.policy.memory_parts().items()}
    parts["kv_cache"] = {"bytes": trainer.sampler.peak_cache_bytes, "how": "measured"}
    parts["activations"] = {"bytes": trainer.activation_bytes, "how": "measured"}
    run.record["memory"] = {"peak_bytes": trainer.meter.peak_bytes, "parts": parts}
