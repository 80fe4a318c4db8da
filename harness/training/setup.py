"""From a configuration to a run that can start: everything the user gave is checked here, and nothing is written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from evals.tasks import EvalSet, Problem
from harness.accounting.budget import Spend, sampling_budget
from harness.accounting.flops import FlopsModel, RunFlops
from harness.accounting.profiler import PhaseProfiler
from harness.accounting.round_sizing import RoundSizer
from harness.config.experiment import Experiment, resolve_experiment
from harness.config.lora import is_adapter
from harness.config.rewards import check_problem_count, unused_settings
from harness.config.run_config import RunConfig
from harness.config.start_models import defaults_notice
from harness.models.adapters.adapter_set import REFERENCE, AdapterSet
from harness.models.adapters.attach import attach
from harness.models.adapters.quantized import loading_options
from harness.models.loading import accelerator, context_of, load_model, pick_device
from harness.models.optimizer import OptimizerSettings
from harness.models.parallel.sharding import gathered
from harness.models.policy import LMPolicy
from harness.processes.group import current
from harness.records import variables
from harness.records.environment import environment
from harness.records.fingerprint import config_sha256
from harness.records.io import sha256
from harness.records.schema import SCHEMA, EnvironmentTable, Record
from harness.records.sharing.trackers import check_trackers
from harness.rewards.base import RewardSource
from harness.rewards.factory import reward_model_fingerprint, reward_source_of
from harness.rollout.prompts import PromptStream
from harness.rollout.sampler import Sampler, Sampling
from harness.rollout.self_check import self_check
from harness.rollout.tokenization import PromptTokenizer
from harness.rollout.tools.registry import sampler_of
from harness.training.completions import (
    CompletionSource,
    RewardSampling,
    SampledCompletions,
    WrittenSolutions,
    group_bound,
)
from harness.training.distributed.rounds import RoundBegun
from harness.training.distributed.start import agree, processes
from harness.training.evaluation import Evaluator, eval_names, repeats_of, sets_of
from harness.training.iterations import Iterations
from harness.training.loop.processes import check_shared
from harness.training.loop.protocol import TrainingLoop
from harness.training.loop.redrawing import check_draws
from harness.training.offline import OfflineLoop
from harness.training.resume.folder import run_folder
from harness.training.resume.inputs import hash_inputs
from harness.training.resume.same import check_same
from harness.training.sitting.threads import set_threads
from harness.training.supervised.problems import training_problems
from harness.training.trainer import Trainer

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
    round_begun: RoundBegun | None = None  # of several processes: what is kept where one is lost


def prepare(config: RunConfig) -> PreparedRun:
    """Raises ValueError, one line, on anything the user got wrong; touches no file."""
    check_trackers(config.track)
    experiment = resolve_experiment(config)
    schedule, task = experiment.schedule, experiment.task
    folder = current().on_first(lambda: run_folder(config, task.name))
    check_draws(schedule, experiment.budget)
    check_shared(experiment.algo)
    device = pick_device(config.device)
    set_threads(config.threads)
    loaded: list[str] = []
    options = loading_options(experiment.lora, device)
    adapted = experiment.lora is not None and is_adapter(config.model)  # an adapter that is trained on
    model, hf_tokenizer, identity = load_model(config.model, config.dtype, loaded, merge=not adapted, options=options)
    if hf_tokenizer.eos_token_id is None:
        raise ValueError(f"model: the tokenizer of '{config.model}' has no end token")
    room = experiment.tools.room if experiment.tools else 0
    tokenizer = PromptTokenizer.of(hf_tokenizer, context_of(model), config, room)
    eval_sets = sets_of(task, config)
    problems, left_out = training_problems(experiment, tokenizer, eval_sets)
    if experiment.reward_model:
        check_problem_count(config, experiment.reward_model, len(problems))
    read = {"the training problems": read_prompts(tokenizer, task.name, problems)}
    read |= {s.name: read_prompts(tokenizer, s.name, s.problems) for s in eval_sets}
    longest = read["the training problems"][0]

    policy = policy_of(experiment, device, model)
    shared_head = policy.critic if schedule.critic == "shared" else None
    with gathered(*policy.shards):
        sampler = sampler_of(config, task, policy.lm.model, hf_tokenizer, policy.accelerator.autocast, shared_head)
    prompts = [tokenizer.ids(tokenizer.render(p)) for p in problems[:CHECKED]]
    with gathered(*policy.shards):
        checked = self_check(policy, sampler, prompts, max(n for n, _ in read.values()) + config.max_new_tokens + room)
    trainer = build_trainer(experiment, policy, sampler, tokenizer, problems, longest)
    trainer.checks.update({f"self_check_{name}": gap for name, gap in checked.gaps.items()})
    loop = OfflineLoop(trainer) if schedule.source == "initial" else trainer
    (names, stock), (repeated, averaged) = eval_names(config, eval_sets), repeats_of(eval_sets)
    evaluator = Evaluator(
        trainer.sampler, tokenizer, folder / "tasks", names, config.seed, repeated, config.keep_outcomes, stock
    )
    evaluator.averaged, evaluator.rows = averaged, config.eval_batch_size or sampler.rows
    record = new_record(experiment, identity, eval_sets, str(trainer.policy.device))
    record["environment"]["inputs"] = hash_inputs(
        experiment, problems, eval_sets, {name: digest for name, (_, digest) in read.items()}
    )
    agree(config, record)
    if config.resume:
        current().on_first(lambda: check_same(folder, record))
    said = [*loaded, *filter(None, [checked.notice]), *task.notices(), *left_out]
    notices = _notices(experiment, said, trainer)
    record["notices"] = notices
    return PreparedRun(config, folder, trainer, loop, evaluator, eval_sets, record, notices, longest)


def _notices(experiment: Experiment, said: Sequence[str], trainer: Trainer) -> list[str]:
    """What the user should know: of the environment, of defaults, what loading said, and of what is never used."""
    config = experiment.config
    notices = [*variables.notices(os.environ), *defaults_notice(config.model, config.sources), *said]
    notices += unused_settings(config, "steps" in experiment.algo.needs)
    if trainer.round_sizer.groups(trainer.spend) == 0:
        notices.append(f"the budget {config.budget} does not pay for one group: nothing will be trained")
    return notices


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
    budget, spend, profiler = experiment.budget, Spend(), PhaseProfiler(str(policy.device), current().at)
    offline = schedule.source == "initial"
    drawn = sampling_budget(budget, schedule.prompts, schedule.sampling_fraction) if offline else budget
    [probes], room = algo.probes([0]), experiment.tools.room if experiment.tools else 0
    bound = group_bound(drawn.unit, schedule, config.max_new_tokens, flops, longest, probes, room)
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
        critic_lr=schedule.critic_lr if schedule.value_lr is None else schedule.value_lr / config.lr,
        gradient_checkpointing=config.gradient_checkpointing,
        reference_device=config.reference_device,
        parallel=config.parallel if current().size > 1 else "ddp",
        cpu_offload=config.cpu_offload,
        adapters=adapters_of(experiment, model),
    )


def adapters_of(experiment: Experiment, model: Any) -> AdapterSet | None:
    """Where the run trains adapters.  The reference is the base alone; where the start has an adapter, or the reference
    is renewed, it is one more adapter, which is kept."""
    config, lora = experiment.config, experiment.lora
    if lora is None:
        return None
    folder = config.model if is_adapter(config.model) else None
    reference = "reference" in experiment.algo.needs or config.log_reference_kl
    kept = reference and (folder is not None or config.reset_reference)
    return attach(model, lora, config.seed, experiment.schedule.critic == "separate", kept, folder)


def flops_of(policy: LMPolicy, source: RewardSource, reference: bool) -> RunFlops:
    """By the models that the run has; a `reference` that is read for the metrics alone is not charged."""
    adapters, read = policy.adapters, policy.lm.model
    model = base = FlopsModel.of_parameters(read, list(read.parameters()) if adapters is None else adapters.base)
    if adapters is not None:
        model = base.adapted(adapters.size)
    critic = None
    if policy.critic is not None:
        head = read.get_output_embeddings().weight.numel()  # a value model has none
        own = policy.critic.adapter is not None
        critic = FlopsModel.of_critic(policy.critic, replace(base, matrix=base.matrix - 2.0 * head) if own else None)
    kept = model if adapters is None or REFERENCE in adapters.names else base
    reward_models = [FlopsModel.of_classifier(m) for m in source.modules().values()]
    return RunFlops(model, kept if reference else None, critic, reward_models[0] if reward_models else None)


def read_prompts(tokenizer: PromptTokenizer, name: str, problems: Sequence[Problem]) -> tuple[int, str]:
    """(tokens of the longest, sha256 of all their ids).  Raises ValueError, naming the set, where a prompt leaves no
    room for a completion."""
    longest, digest = 0, hashlib.sha256()
    for problem in problems:
        ids = tokenizer.ids(tokenizer.render(problem), name)
        longest = max(longest, len(ids))
        digest.update(f"{ids}\n".encode())
    return longest, digest.hexdigest()


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
                **processes(experiment.config),
                **({"reward_model": named} if (named := reward_model_fingerprint(experiment.reward_model)) else {}),
                "data": data,
                "prompt_sha256": sha256(prompts.encode()),
            },
        ),
    }
