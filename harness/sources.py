"""`--reward` -> where the rewards come from."""

from __future__ import annotations

from evals.tasks import Task
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
    return build(RewardModelFields, config.reward_model, "reward_model.")
