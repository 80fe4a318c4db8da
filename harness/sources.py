"""`--reward` -> where the rewards come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evals.tasks import Task
from harness.budget import Budget
from harness.config import RunConfig, build
from harness.policy import LMPolicy
from harness.prompts import Encoder
from harness.reward import LEARNED, STEPWISE, Composed, Noisy, Source, Stepwise, load_function
from harness.reward_models.fields import RewardModelFields


def source_of(config: RunConfig, policy: LMPolicy, encoder: Encoder, task: Task) -> Source:
    """Where the rewards come from: a source, and the terms that are added to what it says."""
    source = _source(config, policy, encoder, task)
    weights = config.reward_weights
    return Composed(source, weights, task, config.max_new_tokens) if weights else source


def _source(config: RunConfig, policy: LMPolicy, encoder: Encoder, task: Task) -> Source:
    if config.reward_noise:
        return Noisy(config.reward_noise, config.seed)
    if config.reward == "process-rule":
        return Stepwise(task, encoder.tokenizer)
    if config.reward not in LEARNED:
        return Source(load_function(config.reward))
    from harness.reward_models.learned import Learned
    from harness.reward_models.model import RewardModel

    fields, tokenizer = reward_model_of(config), encoder.tokenizer
    classifier = classifier_of(fields, policy.modules()["policy"], tokenizer)
    classifier.requires_grad_(False)
    model = RewardModel(classifier, policy.lm, policy.accelerator.autocast, config.micro_tokens, policy.device)
    return Learned(model, "process" if config.reward == "process-model" else "outcome", fields, task, tokenizer)


def classifier_of(fields: RewardModelFields, model: Any, tokenizer: Any) -> Any:
    """The one that is named, or one on the policy's own backbone."""
    from harness.reward_models.model import beside, load

    return load(fields.name, tokenizer, model.dtype) if fields.name else beside(model)


def reward_identity(config: RunConfig) -> dict[str, str] | None:
    """What a named reward model is: by its bytes, or by its name on the hub.  None where none is named."""
    name = reward_model_of(config).name if config.reward in LEARNED else None
    if name is None:
        return None
    from harness.load import weights_sha256

    return {"name": name, "sha256": weights_sha256(Path(name))} if Path(name).is_dir() else {"name": name}


def reward_model_of(config: RunConfig) -> RewardModelFields:
    """Raises ValueError where a field is wrong, or what it samples alone would be more than the budget pays for."""
    fields, budget = build(RewardModelFields, config.reward_model, "reward_model."), Budget.parse(config.budget)
    prompts = 0 if fields.name else fields.prompts  # a later training stays out where it is not paid for
    wanted = {"prompts": prompts, "completions": prompts * fields.samples}.get(budget.unit, 0)
    if wanted > budget.limit:
        raise ValueError(
            f"reward_model.prompts: it would sample {wanted:,} {budget.unit}, and the budget is {budget.limit:,.0f}"
        )
    return fields


def unread(config: RunConfig, steps: bool) -> list[str]:
    """A line for each thing of a reward that was asked for and is not read; `steps`: the algorithm reads them."""
    said = []
    asked = [name for name in config.reward_model if config.sources.get(f"reward_model.{name}") != "profile"]
    if asked and config.reward not in LEARNED:
        said.append(f"reward_model.{asked[0]}: nothing reads it, for reward={config.reward} is not learned")
    if config.reward in STEPWISE and not steps:
        said.append(f"{config.algo_name} reads the last step's reward alone: {config.reward} rates others in vain")
    return said


def trainings_of(config: RunConfig, fields: RewardModelFields) -> int:
    """How often a run trains its reward model."""
    return (0 if fields.name else 1) + (config.iterations - 1 if config.refresh_reward else 0)


def check_drawn(config: RunConfig, problems: int) -> None:
    """Raises ValueError where a reward model would meet a problem twice: once to learn from, once to be measured on."""
    if config.reward in LEARNED:
        fields = reward_model_of(config)
        if (wanted := trainings_of(config, fields) * fields.prompts) > problems:
            raise ValueError(
                f"reward_model.prompts: its {wanted:,} problems must differ, and the task has {problems:,} to train on"
            )
