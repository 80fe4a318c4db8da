"""`--reward` -> where the rewards come from."""

from __future__ import annotations

from evals.tasks import Task
from harness.budget import Budget
from harness.config import RunConfig, build
from harness.policy import LMPolicy
from harness.prompts import Encoder
from harness.reward import LEARNED, Composed, Noisy, Source, Stepwise, load_function
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
    from harness.reward_models.model import RewardModel, beside, load

    fields, tokenizer = reward_model_of(config), encoder.tokenizer
    classifier = load(fields.name, tokenizer) if fields.name else beside(policy.modules()["policy"])
    classifier.requires_grad_(False)
    model = RewardModel(classifier, policy.lm, policy.accelerator.autocast, config.micro_tokens, policy.device)
    return Learned(model, "process" if config.reward == "process-model" else "outcome", fields, task, tokenizer)


def reward_model_of(config: RunConfig) -> RewardModelFields:
    """Raises ValueError where a field is wrong, or what it samples alone would be more than the budget pays for."""
    fields, budget = build(RewardModelFields, config.reward_model, "reward_model."), Budget.parse(config.budget)
    trainings = (0 if fields.name else 1) + (config.iterations - 1 if config.refresh_reward else 0)
    prompts = trainings * fields.prompts
    wanted = {"prompts": prompts, "completions": prompts * fields.samples}.get(budget.unit, 0)
    if wanted > budget.limit:
        raise ValueError(
            f"reward_model.prompts: it would sample {wanted:,} {budget.unit}, and the budget is {budget.limit:,.0f}"
        )
    return fields
