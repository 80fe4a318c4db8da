"""A prepared run, from its first evaluation to its record."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import GenerationConfig

from evals.scoring import task_files
from harness.config.start_models import defaults_file
from harness.models.adapters.folders import base_identity, plain_copy
from harness.models.adapters.folders import save as save_adapter
from harness.models.loading import save_model
from harness.models.parallel.state import state_of
from harness.processes.group import current
from harness.processes.watch import RankLost
from harness.records.io import utc_now
from harness.records.recorder import Recorder, Unwritten, hyperparameters
from harness.records.schema import Record
from harness.records.sharing.model_card import write_card
from harness.records.sharing.trackers import Trackers
from harness.training import checkpoint
from harness.training.distributed.rounds import RoundBegun, check_together
from harness.training.interrupt import Interrupt
from harness.training.loop.prompt_knowledge import never_again
from harness.training.memory_check import memory_of, probe
from harness.training.metrics import warnings
from harness.training.resume.logs import logged_rounds
from harness.training.resume.same import earlier_record
from harness.training.setup import PreparedRun
from harness.training.sitting import log as sittings
from harness.training.sitting.listener import RunListener
from harness.training.sitting.threads import ThreadCount
from harness.training.supervised.accepted import write_accepted


def execute(run: PreparedRun, listener: RunListener) -> Record:
    """Run it.  The record says `finished`, `interrupted` or `failed` (with a reason) whatever happens."""
    group = current()
    earlier = group.on_first(lambda: earlier_record(run.folder)) if run.config.resume else {}
    run.record["started"] = str(earlier.get("started") or utc_now())
    if run.config.resume:
        run.notices += [str(x) for x in earlier.get("notices") or [] if x not in run.notices]
        run.record["evals"] = checkpoint.restore(run.trainer, run.loop, run.folder, run.notices)
    sittings.begin(run.record, earlier.get("sittings") or [], run.trainer.rounds, torch.get_num_threads())
    run.notices += sittings.differences(run.record)
    recorder = Recorder(run.folder, run.record) if group.first else Unwritten(run.record)
    with Interrupt(listener.message) as interrupt:
        try:
            with _begun(run, recorder, listener):
                if run.trainer.policy.device.type == "cuda":  # elsewhere memory has no hard edge
                    probe(run.trainer, run.longest)
                _rounds(run, recorder, listener, interrupt)
            _export(run)
            run.record["status"] = "finished"
            _settle(run)
            if group.first:
                write_card(run.folder / "checkpoints" / "final", run.record)
        except KeyboardInterrupt:
            run.record["status"], run.record["reason"] = "interrupted", f"interrupted by {interrupt.by}"
            if interrupt.whole and (interrupt.agreed or not run.trainer.policy.shards):  # every rank gives its shares
                _checkpoint(run)
            else:
                _keep(run)
            if not interrupt.agreed:  # a launcher ends the others when one has died
                _blame(run.record, group.lost())
            raise
        except RankLost as error:
            _keep(run)
            _blame(run.record, str(error))
            raise
        except BaseException as error:  # sys.exit() in a user's code too: it ends a run, and does not finish it
            if isinstance(error, RuntimeError) and (lost := group.lost()):  # FSDP2's own connections broke
                _blame(run.record, lost)
                raise RankLost(lost) from error
            run.record["status"], run.record["reason"] = "failed", f"{type(error).__name__}: {error}"
            if isinstance(error, Exception):
                raise
            raise RuntimeError(run.record["reason"]) from error
        finally:
            _settle(run)  # no rank is asked anything here: it may be gone
            run.record["ended"] = utc_now()
            sittings.end(run.record, sittings.why(run.record))
            recorder.save()
            recorder.close()
    return run.record


@contextmanager
def _begun(run: PreparedRun, recorder: Recorder, listener: RunListener) -> Iterator[None]:
    """The evaluation sets as files, the first state of the record, and what the user should know.

    The sets of a rank that writes nothing are in a folder of its own while the run lasts.
    """
    with nullcontext(run.folder) if current().first else TemporaryDirectory() as place:
        run.evaluator.folder = folder = Path(place) / "tasks"
        tokenizer = run.trainer.tokenizer
        render = tokenizer.render if tokenizer.changes_prompts else None
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)  # of a folder from elsewhere: lm-eval would run it
        task_files.write(run.trainer.task.spec(), run.eval_sets, folder, run.config.max_new_tokens, render)
        recorder.save()
        listener.start(title(run))
        for notice in run.notices:
            listener.message(notice)
        if run.config.track and current().first:
            trackers = Trackers(run.config.track, run.config.track_project, run.folder, listener.message)
            trackers.start(hyperparameters(run.record), resumed=run.config.resume)
            recorder.trackers = trackers
        yield


def _checkpoint(run: PreparedRun) -> None:
    if run.config.keep_checkpoints and run.trainer.rounds:
        with run.trainer.profiler("checkpoint"):
            snapshot = checkpoint.Snapshot.of(run.trainer, run.loop, run.record["evals"], run.folder)
            checkpoint.save(run.trainer, snapshot, run.folder / "checkpoints", run.config.keep_checkpoints)


def _keep(run: PreparedRun) -> None:
    """The round under way cannot be finished: it is begun again by whoever resumes."""
    if run.round_begun is not None and current().first:
        run.round_begun.keep(run.folder / "checkpoints", run.config.keep_checkpoints)


def _blame(record: Record, lost: str) -> None:
    if lost:
        record["status"], record["reason"] = "failed", f"{lost}; resume goes on from the last checkpoint"


def _export(run: PreparedRun) -> None:
    """`final/`: the trained model as `from_pretrained` loads it, with the defaults of the model that it began as.

    It generates as the run sampled.  Beams, penalties and forced tokens of the model that it began as would give other
    texts than the run has scored wherever they are not switched off one by one.
    """
    trainer, final = run.trainer, run.folder / "checkpoints" / "final"
    sampler, tokenizer = trainer.sampler, trainer.tokenizer.tokenizer
    generation = GenerationConfig(
        do_sample=True,
        temperature=run.config.temperature,
        top_k=0,
        top_p=1.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=sampler.ends,
        pad_token_id=sampler.pad,
    )
    with trainer.profiler("checkpoint"):
        weights = state_of(trainer.policy.modules()["policy"]) if trainer.policy.shards else None
        if not current().first:
            return
        _export_policy(run, final, tokenizer, generation, weights)
        write_accepted(run.loop, run.folder)
        for name, module in trainer.reward_source.modules().items():
            save_model(module, trainer.tokenizer.tokenizer, run.folder / "checkpoints" / name)
        if profile := defaults_file(run.config.model):  # its scale settings hold for what became of it
            shutil.copyfile(profile, final / "model_defaults.toml")


def _export_policy(run: PreparedRun, final: Path, tokenizer: Any, generation: GenerationConfig, weights: Any) -> None:
    """The whole model (of one in shares these `weights`); of an adapted one the adapter, as a PEFT folder, or with
    lora.merge both as one."""
    policy, identity = run.trainer.policy, run.record["environment"]["model"]
    if policy.adapters is None:
        save_model(policy.lm.model, tokenizer, final, generation, weights)
    elif policy.adapters.fields.merge:
        save_model(plain_copy(policy.adapters), tokenizer, final, generation)
    else:
        save_adapter(policy.adapters, final, base_identity(identity))
        tokenizer.save_pretrained(final)
        generation.save_pretrained(final)


def title(run: PreparedRun) -> list[str]:
    """What is about to happen, in a few words."""
    c, schedule = run.config, run.trainer.schedule
    what = f"{run.record['algo']} on {run.trainer.task.name}, {c.model}, seed {c.seed}"
    how = (
        f"{schedule.prompts} prompts x {schedule.group_size} completions per round, lr {c.lr:g}, "
        f"budget {c.budget}, {run.record['environment']['device']}"
    )
    return [what, how, f"record: {run.folder}"]


def _rounds(run: PreparedRun, recorder: Recorder, listener: RunListener, interrupt: Interrupt) -> None:
    """The loop with its evaluations: each falls at the first round that reaches its fraction of the budget."""
    trainer, history = run.trainer, logged_rounds(run.folder, run.trainer.rounds)
    exact = trainer.policy.device.type == "cpu" and trainer.policy.accelerator.mixed_precision == "no"
    if history and (tell := getattr(listener, "resumed", None)):
        said = {int(m["round"]): warnings(history[: i + 1], exact) for i, m in enumerate(history)}
        tell(trainer.rounds, said)
    had = {row["fraction"] for row in run.record["evals"]}
    waiting = [f for f in sorted(set(run.config.eval_fractions)) if f not in had]

    def change(count: int, why: str) -> None:
        sittings.turn(run.record, trainer.rounds, count, why)
        recorder.save()

    threads = ThreadCount(run.config.threads, listener.message, change)

    def evaluate(fraction: float) -> None:
        listener.phase(f"evaluating at {fraction:.0%} of the budget")
        with run.loop.at(fraction) as spend:
            rows = run.evaluator.record(fraction, spend, trainer.profiler, recorder, trainer.rounds)
        listener.evaluation(fraction, rows)
        _look_at_threads(run, threads)
        listener.phase("training")

    saved, shown = trainer.rounds, len(trainings(run))
    while True:
        while waiting and waiting[0] < 1.0 and run.loop.progress >= waiting[0]:
            evaluate(waiting.pop(0))
        if trainer.rounds % run.config.checkpoint_every == 0 and trainer.rounds > saved:
            _checkpoint(run)
            saved = trainer.rounds
        if current().size > 1:
            run.round_begun = RoundBegun(trainer, run.loop, run.record["evals"], run.folder)
        with interrupt.held():
            if (done := run.loop.train_round()) is None:
                break
            metrics = {"round": float(done.number), **done.metrics(trainer.budget, trainer.profiler)}
            history.append(metrics)
            recorder.round(done.number, metrics, done.samples())
            check_together(trainer)
            listener.round(metrics, warnings(history, exact))
            _say_once(run, done.number, listener)
            sittings.count(run.record, done.number)
            _settle(run)
            recorder.save()
            for training in trainings(run)[shown:]:
                listener.message(reward_model_line(training))
            shown = len(trainings(run))
            _look_at_threads(run, threads)
    while waiting:  # the end, and what lies between it and the last round that the budget paid for
        evaluate(waiting.pop(0))


def _say_once(run: PreparedRun, number: int, listener: RunListener) -> None:
    """What only the first round tells."""
    trainer = run.trainer
    problems = len(trainer.prompt_stream.problems)
    for notice in never_again(trainer.algo, trainer.ordinal, trainer.progress, problems) if number == 1 else []:
        run.notices.append(notice)
        listener.message(notice)


def _look_at_threads(run: PreparedRun, threads: ThreadCount) -> None:
    spend = run.trainer.spend
    threads.between(spend.generated_tokens + spend.trained_tokens, run.trainer.profiler.charged_seconds)


def trainings(run: PreparedRun) -> list[dict[str, Any]]:
    """Of the run's own reward model, so far."""
    return list(run.trainer.reward_source.state()[0].get("record", []))


def reward_model_line(training: dict[str, Any]) -> str:
    """How good the reward model became, in one line."""
    if "skipped" in training:
        return f"reward model: not trained on at {training['fraction']:.0%} of the budget: {training['skipped']}"
    parts = []
    for place, q in training["held_out"].items():
        auc = "-" if q["auc"] is None else f"{q['auc']:.2f}"
        parts.append(f"{place}: AUC {auc}, accuracy {q['accuracy']:.0%} of {q['n']:,}")
    return f"reward model, on held-out problems: {'; '.join(parts) or 'the verifier decided none'}"


def _settle(run: PreparedRun) -> None:
    """Bring the record up to date with the ledger and the meter."""
    trainer = run.trainer
    run.record["spend"] = trainer.spend.as_dict()
    run.record["phases"] = trainer.profiler.as_dict()
    run.record["checks"] = dict(trainer.checks)
    if split := run.loop.split():
        run.record["split"] = split
    if learned := trainings(run):
        run.record["reward_model"] = learned
    run.record["memory"] = memory_of(trainer)
