"""From a configuration to a run that can start: everything the user gave is checked here, and nothing is written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from evals.scoring.scorer import available
from evals.tasks import EvalSet, Problem, train_problems
from harness.accounting.budget import Spend, sampling_budget
from harness.accounting.flops import FlopsModel, RunFlops
from harness.accounting.profiler import PhaseProfiler
from harness.accounting.round_sizing import RoundSizer
from harness.config.experiment import Experiment, resolve_experiment, with_defaults
from harness.config.rewards import check_problem_count, unused_settings
from harness.config.run_config import RunConfig
from harness.models.loading import accelerator, context_of, load_model, pick_device
from harness.models.optimizer import OptimizerSettings
from harness.models.policy import LMPolicy
from harness.records import lock
from harness.records.environment import environment
from harness.records.fingerprint import config_differences, config_sha256
from harness.records.io import sha256
from harness.records.schema import SCHEMA, EnvironmentTable, Record, check_shape
from harness.records.upgrade import upgrade_own, upgrade_record
from harness.rewards.base import RewardSource
from harness.rewards.factory import reward_model_fingerprint, reward_source_of
from harness.rollout.prompts import PromptStream
from harness.rollout.sampler import Sampler, Sampling
from harness.rollout.self_check import self_check
from harness.rollout.tokenization import PromptTokenizer
from harness.training.completions import (
    CompletionSource,
    RewardSampling,
    SampledCompletions,
    WrittenSolutions,
    group_bound,
    with_solutions,
)
from harness.training.evaluation import Evaluator, sets_of
from harness.training.iterations import Iterations
from harness.training.offline import OfflineLoop
from harness.training.trainer import Trainer, TrainingLoop

CHECKED = 64  # training prompts among which the self-check finds a short, a middling and a long one


@dataclass
class PreparedRun:
    """Everything that a run needs, checked and built; nothing has been written yet."""

    config: RunConfig
    folder: Path
    trainer: Trainer
    loop: TrainingLoop  # the trainer itself, or the offline loop that drives it
    evaluator: Evaluator
    eval_sets: list[EvalSet]
    record: Record
    notices: list[str]  # what the user should know of the data
    longest: int  # prompt, in tokens


def prepare(config: RunConfig) -> PreparedRun:
    """Raises ValueError, one line, on anything the user got wrong; touches no file."""
    experiment = resolve_experiment(config)
    schedule, task = experiment.schedule, experiment.task
    folder = run_folder(config, task.name)
    device = pick_device(config.device)
    model, hf_tokenizer, identity = load_model(config.model, config.dtype)
    if hf_tokenizer.eos_token_id is None:
        raise ValueError(f"model: the tokenizer of '{config.model}' has no end token")
    tokenizer = PromptTokenizer(hf_tokenizer, context_of(model), config.max_new_tokens)
    problems, eval_sets, left_out = train_problems(task, config.seed), sets_of(task, config), list[str]()
    if schedule.source == "dataset":
        problems, left_out = with_solutions(task, problems, tokenizer)
    if experiment.reward_model:
        check_problem_count(config, experiment.reward_model, len(problems))
    longest = longest_prompt(tokenizer, task.name, (p.prompt for p in problems))
    evaluated = [longest_prompt(tokenizer, s.name, (p.prompt for p in s.problems)) for s in eval_sets]

    policy = policy_of(experiment, device, model)
    shared_head = policy.critic if schedule.critic == "shared" else None
    sampler = Sampler(
        policy.lm.model, hf_tokenizer, config.rollout_batch_size, policy.accelerator.autocast, shared_head
    )
    prompts = [tokenizer.ids(tokenizer.render(p.prompt)) for p in problems[:CHECKED]]
    checked = self_check(policy, sampler, prompts, max(longest, *evaluated) + config.max_new_tokens)
    trainer = build_trainer(experiment, policy, sampler, tokenizer, problems, longest)
    trainer.checks.update({f"self_check_{name}": gap for name, gap in checked.gaps.items()})
    loop = OfflineLoop(trainer) if schedule.source == "initial" else trainer
    names, repeated = eval_names(config, eval_sets), {s.name: s.samples for s in eval_sets if s.samples > 1}
    evaluator = Evaluator(
        trainer.sampler, tokenizer, folder / "tasks", names, config.seed, repeated, config.keep_outcomes
    )
    record = new_record(experiment, identity, eval_sets, str(trainer.policy.device))
    if config.resume:
        check_same(folder, record)
    notices = [
        *filter(None, [checked.notice]),
        *task.notices(),
        *left_out,
        *unused_settings(config, "steps" in experiment.algo.needs),
    ]
    if trainer.round_sizer.groups(trainer.spend) == 0:
        notices.append(f"the budget {config.budget} does not pay for one group: nothing will be trained")
    record["notices"] = notices
    return PreparedRun(config, folder, trainer, loop, evaluator, eval_sets, record, notices, longest)


def build_trainer(
    experiment: Experiment,
    policy: LMPolicy,
    sampler: Sampler,
    tokenizer: PromptTokenizer,
    problems: Sequence[Problem],
    longest: int,
) -> Trainer:
    """The trainer of an experiment; `longest` prompt in tokens."""
    config, algo, schedule, task = experiment.config, experiment.algo, experiment.schedule, experiment.task
    reward_source = reward_source_of(experiment, policy, tokenizer.tokenizer)
    flops = flops_of(policy, reward_source, "reference" in algo.needs)
    budget, spend, profiler = experiment.budget, Spend(), PhaseProfiler(str(policy.device))
    offline = schedule.source == "initial"
    drawn = sampling_budget(budget, schedule.prompts, schedule.sampling_fraction) if offline else budget
    bound = group_bound(drawn.unit, schedule, config.max_new_tokens, flops, longest)
    plain = schedule.likelihood == "plain"
    sampling = Sampling(config.temperature, config.max_new_tokens, config.seed, "train", task.stop, plain)
    stream = PromptStream(problems, config.seed)
    completions: CompletionSource
    if schedule.source == "dataset":
        completions = WrittenSolutions(tokenizer, task, policy, sampler.pad, flops)
    else:
        completions = SampledCompletions(sampler, tokenizer, sampling, schedule.group_size, flops)
    return Trainer(
        algo=algo,
        schedule=schedule,
        policy=policy,
        sampler=sampler,
        tokenizer=tokenizer,
        task=task,
        completions=completions,
        reward_source=reward_source,
        reward_sampling=RewardSampling(sampler, tokenizer, sampling, stream, flops, budget, spend, profiler),
        prompt_stream=stream,
        sampling=sampling,
        budget=budget,
        round_sizer=RoundSizer(drawn, schedule.prompts, bound),
        flops=flops,
        profiler=profiler,
        micro_batch_tokens=config.micro_batch_tokens,
        spend=spend,
        checks={},
        iterations=Iterations(config.iterations, config.reset_reference, config.refresh_reward),
        logged_requirements=frozenset({"reference"}) if config.log_reference_kl else frozenset(),
    )


def policy_of(experiment: Experiment, device: str, model: Any) -> LMPolicy:
    config, schedule = experiment.config, experiment.schedule
    return LMPolicy(
        model,
        accelerator(device, config.dtype),
        OptimizerSettings(config.lr, config.warmup, config.decay, name=config.optimizer),
        1.0 if schedule.likelihood == "plain" else config.temperature,
        reference="reference" in experiment.algo.needs or config.log_reference_kl,
        micro_batch_tokens=config.micro_batch_tokens,
        critic=schedule.critic,
        critic_lr=schedule.critic_lr,
        gradient_checkpointing=config.gradient_checkpointing,
        reference_device=config.reference_device,
    )


def flops_of(policy: LMPolicy, source: RewardSource, reference: bool) -> RunFlops:
    """By the models that the run has; a `reference` that is read for the metrics alone is not charged."""
    model = FlopsModel.of(policy.modules()["policy"])
    critic = FlopsModel.of_critic(policy.critic) if policy.critic is not None else None
    reward_models = [FlopsModel.of_classifier(m) for m in source.modules().values()]
    return RunFlops(model, model if reference else None, critic, reward_models[0] if reward_models else None)


def eval_names(config: RunConfig, eval_sets: list[EvalSet]) -> list[str]:
    """The task's sets, then lm-eval's stock tasks.  Raises ValueError where lm-eval is absent or has no such task."""
    ours = [s.name for s in eval_sets]
    if config.eval_tasks:
        if not available():
            raise ValueError("eval_tasks: lm-eval and datasets are not installed here; leave the stock tasks out")
        from evals.scoring.lm_eval_bridge import check_stock

        check_stock(config.eval_tasks, ours)
    return [*ours, *config.eval_tasks]


def run_folder(config: RunConfig, task: str) -> Path:
    """OUT/NAME.  A name that the user gave must be free; the default name is numbered if taken."""
    out = Path(config.out)
    existing = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ValueError(f"out: cannot write in {existing}")
    stem = f"{Path(config.algo_name).stem}-{task}-s{config.seed}"
    if config.resume:
        return out / (config.name or stem)
    if config.name is not None:
        check_free(out / config.name)
        return out / config.name
    numbered = (out / (stem if k == 1 else f"{stem}-{k}") for k in range(1, 10**6))
    return next(folder for folder in numbered if not folder.exists())


def check_free(folder: Path) -> None:
    """Raises ValueError where there is anything but a lock."""
    if folder.exists() and any(p.name != lock.NAME for p in (folder.iterdir() if folder.is_dir() else [folder])):
        raise ValueError(f"name: {folder} already holds another run; choose another --name, or --resume it")


def check_same(folder: Path, record: Record) -> None:
    """A run is resumed only under the configuration that it began with.  Raises ValueError, showing the fields that
    differ."""
    file = folder / "record.json"
    if not file.exists():
        return  # cut off before its first word: it starts from the beginning
    old = _begun(file)
    new = json.loads(json.dumps(record))  # as it would read from a file: tuples are lists
    config = new["config"]
    began = {**old["config"], "algo": upgrade_own(old["config"].get("algo", {}), config["algo"])}
    differ = config_differences(with_defaults(began, config["algo_name"], config["task_name"]), config)
    if old["environment"]["model"] != new["environment"]["model"]:
        differ.append(f"model: {old['environment']['model']} -> {new['environment']['model']}")
    named = [r["environment"].get("reward_model") for r in (old, new)]
    if named[0] != named[1]:
        differ.append(f"reward_model: {named[0]} -> {named[1]}")
    if differ:
        raise ValueError(f"resume: {folder} was begun with another configuration: {'; '.join(differ)}")


def _begun(file: Path) -> dict[str, Any]:
    """Raises ValueError naming the record, and the field of it that no run would have written."""
    try:
        record = json.loads(file.read_text())
        record = upgrade_record(record) if isinstance(record, dict) else record
        check_shape(record, "begun")
    except (OSError, ValueError) as error:
        fault = f"{file}: not the record of a run: {error}; move it away, or choose another --name"
        raise ValueError(f"resume: {fault}") from error
    return dict(record)


def finished(folder: Path) -> bool:
    """Does the folder hold a run that has come to its end?"""
    file = folder / "record.json"
    return file.is_file() and bool(_begun(file)["status"] == "finished")


def longest_prompt(tokenizer: PromptTokenizer, name: str, prompts: Iterator[str]) -> int:
    """In tokens.  Raises ValueError, naming the set, where a prompt leaves no room for a completion."""
    return max(len(tokenizer.ids(tokenizer.render(prompt), name)) for prompt in prompts)


def new_record(experiment: Experiment, identity: dict[str, str], eval_sets: list[EvalSet], device: str) -> Record:
    config, resolved = experiment.config, experiment.as_dict()
    prompts = "\n".join(p.prompt for s in eval_sets for p in s.problems)
    data = [
        {"name": s.name, "sha256": sha256("\n".join(f"{p.id} {p.gold}" for p in s.problems).encode())}
        for s in eval_sets
    ]
    return {
        "schema": SCHEMA,
        "status": "running",
        "reason": None,
        "algo": config.algo_name,
        "seed": config.seed,
        "config": resolved,
        "config_sha256": config_sha256(resolved),
        "budget": {"unit": experiment.budget.unit, "limit": experiment.budget.limit},
        "spend": Spend().as_dict(),
        "phases": {},
        "memory": {},
        "checks": {},
        "evals": [],
        "environment": cast(
            EnvironmentTable,
            {
                **environment(device, torch.get_num_threads()),
                "model": identity,
                **({"reward_model": named} if (named := reward_model_fingerprint(experiment.reward_model)) else {}),
                "data": data,
                "prompt_sha256": sha256(prompts.encode()),
            },
        ),
    }
