"""A prepared run, from its first evaluation to its record."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any, Protocol

from evals.scoring import task_files
from evals.scoring.scorer import EvalRow
from harness.config.start_models import defaults_file
from harness.models.loading import save_model
from harness.records.recorder import Recorder
from harness.training import checkpoint
from harness.training.interrupt import Interrupt
from harness.training.memory_check import probe
from harness.training.metrics import warnings
from harness.training.setup import Run
from harness.training.trainer import Trainer


class RunListener(Protocol):
    """Who is told how a run goes: the console's progress view, a notebook's, a list in a test."""

    def start(self, title_lines: Sequence[str]) -> None:
        """What is about to happen."""

    def phase(self, text: str) -> None:
        """What the run is doing now."""

    def round(self, metrics: dict[str, float], warnings: Sequence[str]) -> None:
        """A round has ended: its line of metrics.jsonl, and what looks wrong."""

    def evaluation(self, fraction: float, rows: Sequence[EvalRow]) -> None:
        """A point of the learning curve has been measured."""

    def message(self, text: str) -> None:
        """Anything else that the user should know."""


def execute(run: Run, listener: RunListener) -> dict[str, Any]:
    """Run it.  The record says `finished`, `interrupted` or `failed` (with a reason) whatever happens."""
    if run.config.resume:
        run.record["evals"] = checkpoint.restore(run.trainer, run.folder / "checkpoints") or []
        checkpoint.rewind(run.folder, run.trainer.rounds)
    recorder = Recorder(run.folder, run.record)
    _begin(run, recorder, listener)
    with Interrupt(listener.message) as interrupt:
        try:
            if run.trainer.policy.device.type == "cuda":  # elsewhere memory has no hard edge
                probe(run.trainer, run.longest)
            _rounds(run, recorder, listener, interrupt)
            _export(run)
            run.record["status"] = "finished"
        except KeyboardInterrupt:
            run.record.update(status="interrupted", reason="interrupted by the user")
            if interrupt.whole:
                _checkpoint(run)
            raise
        except Exception as error:
            run.record.update(status="failed", reason=f"{type(error).__name__}: {error}")
            raise
        finally:
            _settle(run)
            recorder.save()
            recorder.close()
    return run.record


def _begin(run: Run, recorder: Recorder, listener: RunListener) -> None:
    """The evaluation sets as files, the first state of the record, and what the user should know."""
    render = run.trainer.encoder.render if run.trainer.encoder.chat else None
    folder = run.folder / "tasks"
    task_files.write(run.trainer.task.spec(), run.eval_sets, folder, run.config.max_new_tokens, render)
    recorder.save()
    listener.start(title(run))
    for notice in run.notices:
        listener.message(notice)


def _checkpoint(run: Run) -> None:
    if run.config.keep_checkpoints and run.trainer.rounds:
        with run.trainer.meter("checkpoint"):
            folder = run.folder / "checkpoints"
            checkpoint.save(run.trainer, run.record["evals"], folder, run.config.keep_checkpoints)


def _export(run: Run) -> None:
    """`final/`: the trained model as `from_pretrained` loads it, with its start model's profile."""
    trainer, final = run.trainer, run.folder / "checkpoints" / "final"
    with trainer.meter("checkpoint"):
        save_model(trainer.policy.modules()["policy"], trainer.encoder.tokenizer, final)
        for name, module in trainer.source.modules().items():
            save_model(module, trainer.encoder.tokenizer, run.folder / "checkpoints" / name)
        if profile := defaults_file(run.config.model):  # its scale settings hold for what became of it
            shutil.copyfile(profile, final / "model_defaults.toml")


def title(run: Run) -> list[str]:
    """What is about to happen, in a few words."""
    c, schedule = run.config, run.trainer.schedule
    what = f"{run.record['algo']} on {run.trainer.task.name}, {c.model}, seed {c.seed}"
    how = (
        f"{schedule.prompts} prompts x {schedule.group_size} completions a round, lr {c.lr:g}, "
        f"budget {c.budget}, {run.record['environment']['device']}"
    )
    return [what, how, f"record: {run.folder}"]


def _rounds(run: Run, recorder: Recorder, listener: RunListener, interrupt: Interrupt) -> None:
    """The loop with its evaluations: each falls at the first round that reaches its fraction of the budget."""
    trainer, history = run.trainer, list[dict[str, float]]()
    exact = trainer.policy.device.type == "cpu" and trainer.policy.accelerator.mixed_precision == "no"
    had = {row["fraction"] for row in run.record["evals"]}
    waiting = [f for f in sorted(set(run.config.eval_fractions)) if f not in had]

    def evaluate(fraction: float) -> None:
        listener.phase(f"evaluating at {fraction:.0%} of the budget")
        with trainer.at(fraction) as spend:
            rows = run.evaluator.record(fraction, spend, trainer.meter, recorder, trainer.rounds)
        listener.evaluation(fraction, rows)
        listener.phase("training")

    kept, told = trainer.rounds, len(trainings(run))
    while True:
        while waiting and waiting[0] < 1.0 and trainer.progress >= waiting[0]:
            evaluate(waiting.pop(0))
        if trainer.rounds % run.config.checkpoint_every == 0 and trainer.rounds > kept:
            _checkpoint(run)
            kept = trainer.rounds
        with interrupt.held():
            if (done := trainer.round()) is None:
                break
            metrics = done.metrics(trainer.budget, trainer.meter)
            history.append(metrics)
            recorder.round(done.number, metrics, done.samples())
            listener.round(metrics, warnings(history, exact))
            _settle(run)
            recorder.save()
            for training in trainings(run)[told:]:
                listener.message(judged(training))
            told = len(trainings(run))
    while waiting:  # the end, and what lies between it and the last round that the budget paid for
        evaluate(waiting.pop(0))


def trainings(run: Run) -> list[dict[str, Any]]:
    """Of the run's own reward model, so far."""
    return list(run.trainer.source.state()[0].get("record", []))


def judged(training: dict[str, Any]) -> str:
    """How good the reward model became, in one line."""
    if "skipped" in training:
        return f"reward model: not trained on at {training['fraction']:.0%} of the budget: {training['skipped']}"
    found = []
    for what, q in training["held_out"].items():
        auc = "-" if q["auc"] is None else f"{q['auc']:.2f}"
        found.append(f"{what}: AUC {auc}, accuracy {q['accuracy']:.0%} of {q['n']:,}")
    return f"reward model, on problems it was not trained on: {'; '.join(found) or 'nothing could be judged'}"


def _settle(run: Run) -> None:
    """Bring the record up to date with the ledger and the meter."""
    trainer = run.trainer
    run.record["spend"] = trainer.spend.as_dict()
    run.record["phases"] = trainer.meter.as_dict()
    run.record["checks"] = dict(trainer.checks)
    if split := trainer.split():
        run.record["split"] = split
    if learned := trainings(run):
        run.record["reward_model"] = learned
    run.record["memory"] = memory_of(trainer)


def memory_of(trainer: Trainer) -> dict[str, Any]:
    """The peak (on CUDA also of what the allocator had reserved), and the parts that were counted."""
    parts = {name: {"bytes": size, "how": "measured"} for name, size in trainer.policy.memory_parts().items()}
    for name, module in trainer.source.modules().items():
        parts[name] = {"bytes": sum(p.nbytes for p in module.parameters()), "how": "measured"}
    if shadow := trainer.sampler.engine.shadow_bytes:
        parts["rollout_weights"] = {"bytes": shadow, "how": "measured"}
    parts["kv_cache"] = {"bytes": trainer.sampler.peak_cache_bytes, "how": "measured"}
    parts["activations"] = {"bytes": trainer.activation_bytes, "how": "measured"}
    reserved = {"reserved_bytes": trainer.meter.reserved_bytes} if trainer.meter.cuda else {}
    return {"peak_bytes": trainer.meter.peak_bytes, **reserved, "parts": parts}
